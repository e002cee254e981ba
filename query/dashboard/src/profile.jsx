import { useEffect, useState } from 'preact/hooks';
import { get } from './api.js';
import * as format from './format.js';
import { Kind, Where } from './live.jsx';
import { Empty, Failed, Loaded, Skeleton, useLoad } from './load.jsx';
import { link } from './route.js';
import { useSession } from './session.js';

export function Profile({ route }) {
  const id = route.parts[1];
  const path = 'api/public/users/' + encodeURIComponent(id);
  const load = useLoad(id, (signal) => get(path + '/', {}, signal));
  if (load.error?.status === 404 && !load.data) {
    return (
      <>
        <h1>Profile</h1>
        <section class="card"><Empty title="There is no such person"><p>The profile may have been removed, or its id is that of another app. <a href="#/people">Search again</a></p></Empty></section>
      </>
    );
  }
  return (
    <>
      <p class="back"><a href="#/people">People</a></p>
      <div class="page-head"><h1>{load.data ? nameOf(load.data) : 'Profile'}</h1></div>
      <Loaded load={load} what="The profile cannot be shown." skeleton={<div class="profile"><section class="card"><Skeleton rows={12} /></section><section class="card"><Skeleton rows={12} /></section></div>}>
        {(p) => (
          <div class="profile">
            <div class="facts">
              <Facts person={p} />
              <Membership path={path} person={p} />
              <Kept path={path} person={p} />
            </div>
            <Timeline path={path} id={id} />
          </div>
        )}
      </Loaded>
    </>
  );
}

const nameOf = (p) => p.name || p.email || p.custom_id || 'Anonymous visitor';

function List({ title, rows }) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false);
  if (shown.length === 0) return null;
  return (
    <section class="card">
      <h2>{title}</h2>
      <dl>{shown.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value === true ? 'yes' : value}</dd></div>)}</dl>
    </section>
  );
}

const shownValue = (v) => (typeof v === 'object' ? JSON.stringify(v) : String(v));

function Facts({ person: p }) {
  const session = useSession();
  const standard = [
    ['Gender', p.gender === 'unknown' ? '' : p.gender], ['City', p.city], ['Region', p.region], ['Country', p.country],
    ['Time zone', p.timezone], ['Language', p.browser_language && format.language(p.browser_language)], ['Browser', p.browser], ['System', p.os_type], ['Device', p.device],
    ['Resolution', p.resolution], ['Score', p.score || ''], ['Unsubscribed', p.unsubscribed],
  ];
  return (
    <>
      <List title="Known by" rows={[['Id', String(p.id)], ['User id', p.custom_id], ['E-mail', p.email], ['Phone', p.phone_number], ['Key', p.key], ['Mobile ids', (p.mobile_ids ?? []).join(', ')]]} />
      <List title="Activity" rows={[['Status', p.status], ['Pageviews', format.count(p.page_views)], ['First seen', session.both(p.first_seen)], ['Last seen', session.both(p.last_seen)], ['Last e-mail opened', p.last_email_opened && session.both(p.last_email_opened)], ['Last e-mail clicked', p.last_email_clicked && session.both(p.last_email_clicked)]]} />
      <List title="Attributes" rows={[...standard, ...(p.attributes ?? []).map((a) => [a.name, a.value === null ? null : shownValue(a.value)])]} />
    </>
  );
}

function Names({ title, names }) {
  return <div><dt>{title}</dt><dd>{names.length ? <ul class="labels">{names.map((n) => <li key={n}>{n}</li>)}</ul> : <span class="muted">none</span>}</dd></div>;
}

function Membership({ path, person: p }) {
  const segments = useLoad(path, (signal) => get(path + '/segments/', {}, signal));
  const names = (list) => (list ?? []).map((one) => (typeof one === 'string' ? one : one.name));
  const found = segments.data?.results ?? segments.data?.segments ?? segments.data ?? [];
  return (
    <section class="card">
      <h2>Tags, lists, segments</h2>
      <dl>
        <Names title="Tags" names={names(p.tags)} />
        <Names title="Lists" names={names(p.lists)} />
        {!segments.error && <Names title="Segments" names={names(Array.isArray(found) ? found : [])} />}
      </dl>
    </section>
  );
}

const lasts = (until) => (until === 'forever' ? 'without end' : 'until ' + format.day(until));

function Kept({ path, person: p }) {
  const session = useSession();
  const load = useLoad(path, (signal) => get(path + '/retention/', {}, signal));
  return (
    <section class="card">
      <h2>Rights and retention</h2>
      <Loaded load={load} what="The retention cannot be shown." skeleton={<Skeleton rows={2} />}>
        {(r) => (
          <dl>
            {p.restricted_until && <div><dt>Restricted</dt><dd>{lasts(p.restricted_until)}</dd></div>}
            {p.objected_at && <div><dt>Objected</dt><dd>{session.both(p.objected_at)}</dd></div>}
            {p.held_until && <div><dt>Legal hold</dt><dd>{lasts(p.held_until)}</dd></div>}
            <div><dt>Last active</dt><dd>{format.day(r.last_active)}</dd></div>
            {r.due && <div><dt>To be removed</dt><dd>{format.day(r.due)}</dd></div>}
            {r.due_because && <div><dt>Because</dt><dd class="advice">{r.due_because}</dd></div>}
            {r.kept_because?.length > 0 && <div><dt>Kept because</dt><dd class="advice">{r.kept_because.join('; ')}</dd></div>}
          </dl>
        )}
      </Loaded>
    </section>
  );
}

// Timeline is what a person did, newest first, page by page.
function Timeline({ path, id }) {
  const session = useSession();
  const [view, set] = useState({ moments: [], cursor: undefined });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const read = async (cursor) => {
    setBusy(true);
    setError(null);
    try {
      const page = await get(path + '/timeline/', { cursor });
      const next = page.next && new URL(page.next, location.href).searchParams.get('cursor');
      set((old) => ({ moments: cursor ? [...old.moments, ...page.results] : page.results, cursor: next || null }));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  useEffect(() => { read(); }, [id]);
  const days = [];
  for (const m of view.moments) {
    const day = session.day(m.datetime);
    if (days.at(-1)?.day !== day) days.push({ day, moments: [] });
    days.at(-1).moments.push(m);
  }
  return (
    <section class="card timeline" aria-label="Timeline" aria-busy={busy ? 'true' : undefined}>
      <div class="card-head"><h2>Timeline</h2><button type="button" class="quiet" disabled={busy} onClick={() => read()}>Refresh</button></div>
      {days.map(({ day, moments }) => (
        <div key={day}>
          <h3>{day}</h3>
          <ol>
            {moments.map((m) => (
              <li key={m.id}>
                <time dateTime={m.datetime}>{session.time(m.datetime)}</time>
                <Kind type={m.name === 'page' ? 'page' : m.name} />
                <span class="where">{m.content?.title && <b>{m.content.title}</b>}{m.content?.url && <Where url={m.content.url} />}</span>
              </li>
            ))}
          </ol>
        </div>
      ))}
      {error && <Failed what="The timeline cannot be read." error={error} retry={() => read(view.cursor)} />}
      {view.cursor === undefined && !error && <Skeleton rows={10} />}
      {view.cursor === null && view.moments.length === 0 && <Empty title="Nothing is kept of what this person did" />}
      {view.cursor && <button type="button" disabled={busy} onClick={() => read(view.cursor)}>{busy ? 'Loading…' : 'Load more'}</button>}
    </section>
  );
}
