import { useEffect, useRef, useState } from 'preact/hooks';
import { get, post, put, remove } from './api.js';
import { attributes, blankRow, Condition, isReady, readFilter, writeFilter } from './conditions.jsx';
import * as format from './format.js';
import { Empty, Failed, Loaded, Skeleton, useLoad } from './load.jsx';
import { Found } from './people.jsx';
import { go } from './route.js';
import { segmentsOf } from './segments.jsx';
import { Series } from './series.jsx';
import { may, useSession } from './session.js';

const previewMs = 350; // after the last change

export function Segment({ route }) {
  const id = route.parts[1];
  const made = id !== 'new';
  const path = 'api/public/segments/' + encodeURIComponent(id) + '/';
  const load = useLoad(id, (signal) => get(path, {}, signal), { enabled: made });
  if (!made) return <Editor segment={null} />;
  if (load.error?.status === 404) {
    return <><h1>Segment</h1><section class="card"><Empty title="There is no such segment"><p>It may have been deleted. <a href="#/segments">All segments</a></p></Empty></section></>;
  }
  return (
    <Loaded load={load} what="The segment cannot be shown." skeleton={<><h1>Segment</h1><section class="card"><Skeleton rows={8} /></section></>}>
      {(segment) => (
        <>
          <Editor key={segment.id} segment={segment} saved={load.retry} />
          <Members path={path} stamp={JSON.stringify(segment.filter)} />
          <History path={path} />
        </>
      )}
    </Loaded>
  );
}

// useKnown reads the names that conditions can be about.
function useKnown() {
  const read = (path, value) => async (signal) => {
    const answer = await get(path, {}, signal);
    return (answer.results ?? segmentsOf(answer)).map((one) => ({ name: one.name, value: one[value] }));
  };
  const tags = useLoad('tags', read('api/public/tags/', 'name'));
  const lists = useLoad('lists', read('api/public/lists/', 'id'));
  const segments = useLoad('segments', read('api/public/segments/', 'id'));
  return { tag: tags.data ?? [], list: lists.data ?? [], segment: segments.data ?? [] };
}

function Editor({ segment, saved }) {
  const session = useSession();
  const known = useKnown();
  const form = segment ? readFilter(segment.filter) : { mode: 'all', rows: [blankRow('attribute')] };
  const [name, setName] = useState(segment?.name ?? '');
  const [description, setDescription] = useState(segment?.description ?? '');
  const [mode, setMode] = useState(form?.mode ?? 'all');
  const [rows, setRows] = useState(form?.rows ?? []);
  const [busy, setBusy] = useState(false);
  const [said, say] = useState(null); // {text, bad}
  const dialog = useRef();
  const conditions = useRef();
  const add = useRef();
  const [focus, setFocus] = useState(null); // {at}: the condition that gets it
  const mayWrite = may(session, 'write');
  const ready = !form || (rows.length > 0 && rows.every(isReady));
  const filter = form ? writeFilter(mode, rows) : segment.filter;
  const size = usePreview(ready ? filter : null);

  const unknown = rows.find((r) => r.kind === 'attribute' && r.name && !(r.name in attributes))?.name;
  useEffect(() => {
    if (!focus) return;
    const field = [...conditions.current.children].at(Math.min(focus.at, rows.length - 1))?.querySelector('select');
    (field ?? add.current).focus();
  }, [focus]);
  const append = () => {
    setRows([...rows, blankRow('attribute')]);
    setFocus({ at: rows.length });
  };
  const take = (row) => {
    setRows(rows.filter((r) => r.key !== row.key));
    setFocus({ at: rows.indexOf(row) });
  };

  const save = async (e) => {
    e.preventDefault();
    if (!name.trim()) return say({ text: 'Give the segment a name.', bad: true });
    if (!ready) return say({ text: 'Fill in every condition, or remove it.', bad: true });
    setBusy(true);
    try {
      const body = { name: name.trim(), description, filter };
      const answer = segment ? await put(`api/public/segments/${segment.id}/`, body) : await post('api/public/segments/', body);
      say({ text: 'Saved.' });
      if (segment) saved();
      else go('/segments/' + answer.id);
    } catch (error) {
      say({ text: error.message, bad: true });
    }
    return setBusy(false);
  };
  const drop = async () => {
    dialog.current.close();
    try {
      await remove(`api/public/segments/${segment.id}/`);
      go('/segments');
    } catch (error) {
      say({ text: error.message, bad: true });
    }
  };
  return (
    <>
      <p class="back"><a href="#/segments">Segments</a></p>
      <div class="page-head"><h1>{segment ? segment.name : 'New segment'}</h1></div>
      <form class="card segment" onSubmit={save} noValidate>
        <div class="size">
          <span class="label">People in it now</span>
          <output class="value" aria-live="polite">{size.error || !ready ? '–' : size.count === undefined ? '…' : format.count(size.count)}</output>
          {!ready && <p class="hint">Fill in the conditions, and their people are counted.</p>}
          {ready && size.count === 0 && <p class="hint">Nobody has this. Upper and lower case differ{unknown ? <>, and <code>{unknown}</code> is none of spoor's own attributes: it must be written as you send it</> : ''}.</p>}
          {size.error && <p class="trouble">{size.error.message}</p>}
        </div>
        <fieldset disabled={!mayWrite}>
          <legend class="unseen">The segment</legend>
          <label for="name">Name</label>
          <input id="name" type="text" value={name} maxLength={200} onInput={(e) => setName(e.currentTarget.value)} />
          <label for="description">Description</label>
          <input id="description" type="text" value={description} maxLength={1000} onInput={(e) => setDescription(e.currentTarget.value)} />
          {form ? (
            <>
              <p class="mode">
                <label for="mode">People must meet</label>
                <select id="mode" value={mode} onChange={(e) => setMode(e.currentTarget.value)}><option value="all">all conditions</option><option value="any">any condition</option></select>
              </p>
              <ol class="conditions" ref={conditions}>
                {rows.map((row, i) => (
                  <Condition key={row.key} row={row} number={i + 1} known={known} change={(next) => setRows(rows.map((r) => (r.key === row.key ? next : r)))} remove={() => take(row)} />
                ))}
              </ol>
              <button type="button" ref={add} disabled={rows.length >= 32} onClick={append}>Add a condition</button>
            </>
          ) : (
            <>
              <p class="hint">This filter was made over REST and is richer than this form; change it there.</p>
              <pre tabIndex={0}>{JSON.stringify(segment.filter, null, 2)}</pre>
            </>
          )}
        </fieldset>
        <div class="actions">
          {mayWrite && <button class="primary" disabled={busy}>Save</button>}
          {mayWrite && segment && <button type="button" class="danger" onClick={() => dialog.current.showModal()}>Delete</button>}
          <p role="status" class={said?.bad ? 'trouble' : 'muted'}>{said?.text ?? (mayWrite ? '' : 'Changing segments wants a token with the role write.')}</p>
        </div>
        <dialog ref={dialog} aria-labelledby="ask">
          <p id="ask">Delete the segment <b>{segment?.name}</b>, with its history? The people in it stay.</p>
          <div class="actions"><button type="button" class="danger" onClick={drop}>Delete</button><button type="button" onClick={() => dialog.current.close()}>Keep</button></div>
        </dialog>
      </form>
    </>
  );
}

// usePreview counts who a filter fits, a moment after it was changed.
function usePreview(filter) {
  const [size, set] = useState({});
  const text = JSON.stringify(filter);
  useEffect(() => {
    if (!filter) return set({});
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { count } = await post('api/public/segments/preview/', { filter }, abort.signal);
        set({ count });
      } catch (error) {
        if (!abort.signal.aborted) set({ error });
      }
    }, previewMs);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return size;
}

function Members({ path, stamp }) {
  const session = useSession();
  const [cursors, setCursors] = useState(['']); // of the pages up to this one
  const cursor = cursors.at(-1);
  const load = useLoad(path + stamp + cursor, (signal) => get(path + 'users/', { cursor }, signal));
  const next = load.data?.next && new URL(load.data.next, location.href).searchParams.get('cursor');
  return (
    <section class="card">
      <h2>Members</h2>
      <Loaded load={load} what="The members cannot be shown." skeleton={<Skeleton rows={6} />}>
        {(page) => (page.results.length === 0
          ? <Empty title="Nobody is in this segment"><p>Loosen a condition, or wait: it is always up to date.</p></Empty>
          : <Found people={page.results} session={session} />)}
      </Loaded>
      {(next || cursors.length > 1) && (
        <div class="actions pages">
          <button type="button" disabled={cursors.length === 1} onClick={() => setCursors(cursors.slice(0, -1))}>Back</button>
          <span class="muted">Page {cursors.length}</span>
          <button type="button" disabled={!next} onClick={() => setCursors([...cursors, next])}>Next</button>
        </div>
      )}
    </section>
  );
}

function History({ path }) {
  const load = useLoad(path, (signal) => get(path + 'history/', { days: 90 }, signal));
  return (
    <section class="card">
      <h2>Size by day</h2>
      <Loaded load={load} what="The history cannot be shown." skeleton={<Skeleton rows={4} />}>
        {({ points }) => (points.length === 0
          ? <Empty title="No history yet"><p>The size is noted once a day, at the end of the app's day.</p></Empty>
          : <Series label="People" points={points} height={140} />)}
      </Loaded>
    </section>
  );
}
