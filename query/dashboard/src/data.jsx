import { get } from './api.js';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { useSession } from './session.js';

const days = (n) => (n ? `${format.count(n)} days` : 'without end');
const rules = { erasure: 'A person was erased', sweep: 'Idle profiles were swept', expiry: 'What was past its age expired', termination: 'The app was terminated' };
const stages = { asked: 'asked', removed: 'removed', bytes_gone: 'no byte left', backups_expired: 'out of backups' };

export function Data() {
  const session = useSession();
  const load = useLoad('retention', (signal) => get('api/retention/', {}, signal), { every: 30_000 });
  return (
    <>
      <div class="page-head"><h1>Data</h1></div>
      <Loaded load={load} what="What is kept cannot be shown." skeleton={<div class="cards">{[0, 1].map((i) => <section key={i} class="card short-card"><Skeleton rows={5} /></section>)}<section class="card wide"><Skeleton rows={12} /></section></div>}>
        {(r) => (
          <div class="cards">
            <section class="card short-card">
              <h2>How long it is kept</h2>
              <dl class="kept">
                <div><dt>Idle anonymous profiles</dt><dd>{days(r.idle_days)}</dd></div>
                <div><dt>Hits of any person</dt><dd>{days(r.hits_days)}</dd></div>
                <div><dt>Statistics of a day</dt><dd>{days(r.statistics_days)}</dd></div>
                <div><dt>Last sweep</dt><dd>{r.last_sweep ? session.both(r.last_sweep) : 'none yet'}</dd></div>
                <div><dt>Next sweep</dt><dd>{r.next_sweep ? session.both(r.next_sweep) : '–'}</dd></div>
              </dl>
            </section>
            <section class="card short-card">
              <h2>Due to go</h2>
              {r.due.every((d) => !d.profiles) ? <Empty title="Nothing is due in the next seven days"><p>Idle anonymous profiles appear here a week before they go.</p></Empty> : (
                <table>
                  <thead><tr><th scope="col">Day</th><th scope="col" class="n">Profiles</th></tr></thead>
                  <tbody>{r.due.map((d) => <tr key={d.day}><th scope="row">{format.day(d.day)}</th><td class="n">{format.count(d.profiles)}</td></tr>)}</tbody>
                </table>
              )}
            </section>
            <Partitions list={r.partitions} />
            <Receipts list={r.receipts} session={session} />
          </div>
        )}
      </Loaded>
    </>
  );
}

function Partitions({ list }) {
  const sum = (name) => list.reduce((all, p) => all + p[name], 0);
  return (
    <section class="card wide">
      <h2>Days</h2>
      {list.length === 0 ? <Empty title="No day holds hits yet"><p>Each day of the app's calendar with hits becomes a partition of its own.</p></Empty> : (
        <div class="scroll tall" tabIndex={0} role="region" aria-label="Days, table">
          <table>
            <thead><tr><th scope="col">Day</th><th scope="col" class="n">Hits</th><th scope="col" class="n second">Visitors counted</th><th scope="col" class="n">Size</th><th scope="col">State</th></tr></thead>
            <tbody>
              {list.toSorted((a, b) => (a.day < b.day ? 1 : -1)).map((p) => (
                <tr key={p.day}><th scope="row">{format.date(p.day)}</th><td class="n">{format.count(p.hits)}</td><td class="n second">{format.count(p.profiles)}</td><td class="n">{format.bytes(p.bytes)}</td><td><span class={'state ' + (p.sealed ? 'sealed' : 'open')}>{p.sealed ? 'sealed' : 'open'}</span></td></tr>
              ))}
            </tbody>
            <tfoot><tr><th scope="row">{list.length === 1 ? '1 day' : `${list.length} days`}</th><td class="n">{format.count(sum('hits'))}</td><td class="second" /><td class="n">{format.bytes(sum('bytes'))}</td><td /></tr></tfoot>
          </table>
        </div>
      )}
      <p class="hint">Sizes are estimates: small days share blocks. A sealed day takes no more hits, and its rare texts are folded. Visitors are those of the day's statistics, also where their profiles have gone since.</p>
    </section>
  );
}

function Receipts({ list, session }) {
  return (
    <section class="card wide">
      <h2>Receipts</h2>
      {list.length === 0 ? <Empty title="Nothing was removed yet"><p>Each removal leaves a receipt: what went, how much, and since when no byte is left.</p></Empty> : (
        <table>
          <thead><tr><th scope="col">What</th><th scope="col" class="n">Profiles</th><th scope="col" class="n second">Hits</th><th scope="col">Stage</th></tr></thead>
          <tbody>
            {list.map((r) => {
              const last = r.stages.at(-1);
              return <tr key={r.id}><th scope="row">{rules[r.what] ?? r.what}</th><td class="n">{format.count(r.profiles)}</td><td class="n second">{format.count(r.hits)}</td><td>{last ? <>{stages[last.stage] ?? last.stage} <small>{session.both(last.at)}</small></> : '–'}</td></tr>;
            })}
          </tbody>
        </table>
      )}
    </section>
  );
}
