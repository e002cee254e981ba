import { useEffect, useRef, useState } from 'preact/hooks';
import { address, get } from './api.js';
import * as format from './format.js';
import { Empty } from './load.jsx';
import { useSession } from './session.js';
import { link } from './route.js';

const rowsMax = 200;
const flushMs = 250; // a busy app is drawn four times a second
const minuteMs = 60_000;
const retryMaxMs = 30_000;

// useHits follows the hits as they are stored. While it is paused they wait. A
// hidden tab has no stream: over HTTP/1.1 a browser has six connections for all.
function useHits(paused) {
  const [view, set] = useState({ hits: [], waiting: 0, state: 'connecting', minute: 0, rested: false });
  const again = useRef();
  const stopped = useRef(paused);
  stopped.current = paused;
  useEffect(() => {
    let source, timer, wait = 1000, fresh = [], serial = 0;
    let arrivals = []; // [second, count], of the last minute
    let state = 'connecting', rested = false;
    const gone = new AbortController();
    const close = () => {
      source?.close();
      clearTimeout(timer);
    };
    const open = () => {
      close();
      if (document.hidden || gone.signal.aborted) return;
      source = new EventSource(address('api/live/'));
      source.onopen = () => { state = 'open'; wait = 1000; };
      source.addEventListener('hit', (e) => {
        const hit = JSON.parse(e.data);
        hit.serial = ++serial; // a hit whose person is unknown may have no id of its own
        fresh.push(hit);
        if (fresh.length > rowsMax) fresh.shift();
        const second = Math.floor(Date.now() / 1000);
        const last = arrivals.at(-1);
        if (last?.[0] === second) last[1]++;
        else arrivals.push([second, 1]);
      });
      source.onerror = () => { // refused, or cut: the browser's own retry would hide why
        close();
        state = 'broken';
        timer = setTimeout(tryNow, wait);
        wait = Math.min(2 * wait, retryMaxMs);
      };
    };
    const tryNow = () => {
      close();
      get('api/session/', {}, gone.signal).then(open, (e) => e.status !== 401 && !gone.signal.aborted && source.onerror());
    };
    again.current = tryNow;
    const turn = () => {
      if (!document.hidden) return open();
      close();
      state = 'connecting';
      rested = true;
    };
    document.addEventListener('visibilitychange', turn);
    open();
    const draw = setInterval(() => {
      const since = (Date.now() - minuteMs) / 1000;
      arrivals = arrivals.filter(([second]) => second >= since);
      const minute = arrivals.reduce((sum, [, n]) => sum + n, 0);
      set((old) => {
        const take = stopped.current ? [] : fresh.splice(0);
        if (!take.length && old.minute === minute && old.state === state && old.waiting === fresh.length && old.rested === rested) return old;
        return { hits: take.length ? [...take.reverse(), ...old.hits].slice(0, rowsMax) : old.hits, waiting: fresh.length, state, minute, rested };
      });
    }, flushMs);
    return () => {
      gone.abort();
      close();
      document.removeEventListener('visibilitychange', turn);
      clearInterval(draw);
    };
  }, []);
  return { ...view, tryNow: () => again.current() };
}

export function Live() {
  const session = useSession();
  const [paused, pause] = useState(false);
  const { hits, waiting, state, minute, rested, tryNow } = useHits(paused);
  return (
    <>
      <div class="page-head">
        <h1>Live</h1>
        <div class="live-tools">
          <p class="rate"><i class={'pulse ' + state} /> <b aria-live="polite" aria-atomic="true">{format.count(minute)}</b> hits in the last minute</p>
          <button type="button" aria-pressed={paused} onClick={() => pause(!paused)}>{paused ? (waiting ? `Go on (${waiting === rowsMax ? rowsMax + '+' : waiting} new)` : 'Go on') : 'Pause'}</button>
        </div>
      </div>
      {state === 'broken' && <div class="failed" role="alert"><p><strong>The stream is cut.</strong> Trying again; check that spoor is running, and that not too many streams are open.</p><button type="button" onClick={tryNow}>Try now</button></div>}
      <section class="card live" aria-label="Hits, newest first">
        {hits.length === 0 ? (
          <Empty title={state === 'open' ? 'Waiting for hits' : 'Connecting'}>
            <p>What visitors do appears here as soon as it is stored. Open a page with the widget; the demo has one at <code>/demo</code> on the collector's address.</p>
          </Empty>
        ) : (
          <table class="hits">
            <thead><tr><th scope="col">Time</th><th scope="col">What</th><th scope="col">Where</th><th scope="col" class="second">From</th><th scope="col">Who</th></tr></thead>
            <tbody>{hits.map((h) => <Hit key={h.serial} hit={h} time={session.time} />)}</tbody>
          </table>
        )}
      </section>
      {rested && <p class="hint">While this tab was hidden the stream rested. Hits of that time are not in the list.</p>}
      {hits.length === rowsMax && <p class="hint">The newest {rowsMax}. All hits are in the export: <code>/api/export/hits.ndjson</code>.</p>}
    </>
  );
}

function Hit({ hit, time }) {
  const from = [hit.city, hit.country && format.country(hit.country)].filter(Boolean).join(', ');
  const device = [hit.browser, hit.os].filter(Boolean).join(' on ');
  return (
    <tr>
      <td class="time"><time dateTime={hit.time}>{time(hit.time)}</time></td>
      <td class="what"><Kind type={hit.type} />{hit.name && hit.name !== hit.type && <b>{hit.name}</b>}</td>
      <td class="where"><Where url={hit.url} title={hit.title} /></td>
      <td class="from second"><span>{from || '–'}</span>{device && <small>{device}</small>}</td>
      <td class="who">{hit.bot ? <span class="muted">Bot</span> : hit.client ? <a href={link('/people/' + hit.client)}>{hit.user_id || '…' + String(hit.client).slice(-5)}</a> : '–'}</td>
    </tr>
  );
}

export const Kind = ({ type }) => <span class={'kind k-' + (['page', 'event', 'product', 'identify', 'screen'].includes(type) ? type : 'else')}>{type}</span>;

// Where names a page, and leads to it if it is one of the web.
export function Where({ url, title }) {
  if (!url) return title ? <span>{title}</span> : <span class="muted">–</span>;
  let at;
  try {
    at = new URL(url);
  } catch { /* shown as it is */ }
  if (!at || !/^https?:$/.test(at.protocol)) return <span>{url}</span>;
  return <a href={at.href} rel="noreferrer noopener" target="_blank" title={title ? `${title}\n${url}` : url}><span class="host">{at.host}</span>{at.pathname + at.search + at.hash}</a>;
}
