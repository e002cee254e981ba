import { get } from './api.js';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { Series } from './series.jsx';
import { useSession } from './session.js';

const everyMs = 2000;

export function Health() {
  const session = useSession();
  const load = useLoad('figures', (signal) => get('api/figures/', {}, signal), { every: everyMs });
  return (
    <>
      <div class="page-head"><h1>Health</h1></div>
      <Loaded load={load} what="The health cannot be shown." skeleton={<><section class="card"><Skeleton tall /></section><section class="card"><Skeleton rows={6} /></section></>}>
        {(h) => (
          <>
            <section class="card figures" aria-label="Figures">
              <div class="tiles still">
                <Figure label="Hits a second" value={format.brief(Math.round(h.rate.hits_per_second))} />
                <Figure label="Fsync, median" value={format.milliseconds(h.fsync.p50_ms)} more={`99 of 100: ${format.milliseconds(h.fsync.p99_ms)}`} />
                <Figure label="Queue" value={format.bytes(h.queue.bytes)} more={`of ${format.bytes(h.queue.bytes_max)}`} bad={h.queue.bytes > 0.8 * h.queue.bytes_max} />
                <Figure label="Disk free" value={format.bytes(h.disk.free_bytes)} more={h.disk.writable ? `${format.bytes(h.disk.bytes)} used by spoor` : 'Full: nothing is taken. Free space.'} bad={!h.disk.writable} />
              </div>
            </section>
            <div class="cards">
              <Samples title="Hits a second" name="hits" samples={h.rate.samples} write={format.count} session={session} />
              <Samples title="Fsync, milliseconds" name="fsync_ms" samples={h.rate.samples} write={format.milliseconds} session={session} />
              <Samples title="Queue" name="queue_bytes" samples={h.rate.samples} write={format.bytes} session={session} />
              <Samples title="Refused a second" name="refused" samples={h.rate.samples} write={format.count} session={session} />
              <section class="card wide">
                <h2>Refusals</h2>
                {h.refusals.length === 0 ? <Empty title="Nothing was refused since the start" /> : (
                  <table>
                    <thead><tr><th scope="col">Reason</th><th scope="col" class="n">Times</th><th scope="col">What to do</th></tr></thead>
                    <tbody>{h.refusals.toSorted((a, b) => b.count - a.count).map((r) => <tr key={r.reason}><th scope="row"><code>{r.reason}</code></th><td class="n">{format.count(r.count)}</td><td class="advice">{r.text}</td></tr>)}</tbody>
                  </table>
                )}
                <p class="hint">Version {h.version}, running since {session.both(h.started)}. Figures are of all apps of this process.</p>
              </section>
            </div>
          </>
        )}
      </Loaded>
    </>
  );
}

function Figure({ label, value, more, bad }) {
  return <div class="tile"><span class="label">{label}</span><span class="value">{value}</span><span class={'change' + (bad ? ' bad' : '')}>{more ?? '\u00a0'}</span></div>;
}

function Samples({ title, name, samples, write, session }) {
  const points = samples.map((s) => ({ at: s.at, value: s[name] }));
  return (
    <section class="card">
      <h2>{title}</h2>
      {points.length < 2 ? <Skeleton tall /> : <Series label={title} points={points} format={write} tick={write === format.bytes ? format.bytes : format.tick} height={150} name={(p) => session.time(p.at)} summary={`${title} of the last ${points.length} seconds; now ${write(points.at(-1).value)}.`} />}
    </section>
  );
}
