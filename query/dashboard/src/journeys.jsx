import { useState } from 'preact/hooks';
import { get } from './api.js';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { addDays, mondayOf, rangeOf } from './range.js';
import { go, withQuery } from './route.js';
import { useSession } from './session.js';
import { RangePicker } from './toolbar.jsx';

const stepsMin = 2;
const stepsMax = 8;

export function Journeys({ route }) {
  return (
    <>
      <h1>Journeys</h1>
      <Funnel route={route} />
      <Retention />
    </>
  );
}

function Retention() {
  const { today } = useSession();
  const [weeks, setWeeks] = useState(8);
  const from = addDays(mondayOf(today), -7 * (weeks - 1));
  const to = addDays(mondayOf(today), 6);
  const load = useLoad(from, (signal) => get('api/stats/retention/', { from, to }, signal));
  return (
    <section class="card">
      <div class="card-head">
        <h2>Who comes back</h2>
        <select aria-label="Weeks" value={weeks} onChange={(e) => setWeeks(Number(e.currentTarget.value))}>{[4, 8, 12].map((n) => <option key={n} value={n}>{n} weeks</option>)}</select>
      </div>
      <p class="hint">Of the visitors who were new in a week, the part that was there again so many weeks later.</p>
      <div class="reserve cohorts">
        <Loaded load={load} what="The cohorts cannot be shown." skeleton={<Skeleton rows={weeks} />}>
          {({ weeks: list }) => <Cohorts list={list} />}
        </Loaded>
      </div>
    </section>
  );
}

function Cohorts({ list }) {
  const first = list.findIndex((w) => w.size > 0);
  if (first < 0) return <Empty title="Nobody new in these weeks"><p>Cohorts fill as new visitors come.</p></Empty>;
  const rows = list.slice(first);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Cohorts by week">
      <table class="heat">
        <thead><tr><th scope="col">New in the week of</th><th scope="col" class="n">Visitors</th>{rows[0].kept.map((_, i) => <th key={i} scope="col" class="n">{i === 0 ? 'Week 0' : '+' + i}</th>)}</tr></thead>
        <tbody>
          {rows.map((w) => (
            <tr key={w.week}>
              <th scope="row">{format.shortDay(w.week)}</th><td class="n">{format.count(w.size)}</td>
              {w.kept.map((n, i) => <Cell key={i} n={n} of={w.size} />)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ n, of }) {
  if (!of) return <td class="n cell">–</td>;
  return <td class="n cell" title={`${format.count(n)} of ${format.count(of)}`} style={{ backgroundColor: `color-mix(in srgb, var(--accent) ${Math.round((45 * n) / of)}%, transparent)` }}>{format.percent(Math.round((1000 * n) / of) / 1000)}</td>;
}

const kinds = { path: 'Visited page', event: 'Did event', screen: 'Saw screen' };
const placeholders = { path: '/pricing or /blog*', event: 'signup', screen: 'Menu' };

// parseSteps reads "path:/pricing" from the route; what is no step is left out.
const parseSteps = (query) => query.getAll('step').slice(0, stepsMax).flatMap((s) => {
  const at = s.indexOf(':');
  return kinds[s.slice(0, at)] ? [{ kind: s.slice(0, at), text: s.slice(at + 1) }] : [];
});

function Funnel({ route }) {
  const { today } = useSession();
  const range = rangeOf(route.query, today);
  const asked = parseSteps(route.query);
  const [steps, setSteps] = useState(asked.length >= stepsMin ? asked : [{ kind: 'path', text: '/' }, { kind: 'event', text: '' }]);
  const [trouble, setTrouble] = useState('');
  const wanted = route.query.getAll('step');
  const load = useLoad(JSON.stringify([wanted, range.from, range.to]), (signal) => get('api/stats/funnel/', [['from', range.from], ['to', range.to], ...wanted.map((s) => ['step', s])], signal), { enabled: asked.length >= stepsMin });
  const change = (i, changes) => setSteps(steps.map((s, j) => (i === j ? { ...s, ...changes } : s)));
  const show = (e) => {
    e.preventDefault();
    const texts = steps.map((s) => ({ ...s, text: s.text.trim() }));
    if (texts.some((s) => !s.text)) return setTrouble('Fill in every step, or remove it.');
    setTrouble('');
    return go(route.path, withQuery(route.query, { step: texts.map((s) => `${s.kind}:${s.text}`) }));
  };
  return (
    <section class="card funnel">
      <div class="card-head"><h2>Funnel</h2><RangePicker route={route} today={today} /></div>
      <form onSubmit={show} noValidate>
        <ol class="steps">
          {steps.map((s, i) => (
            <li key={i}>
              <span class="muted" aria-hidden="true">{i + 1}</span>
              <select aria-label={`Kind of step ${i + 1}`} value={s.kind} onChange={(e) => change(i, { kind: e.currentTarget.value })}>{Object.entries(kinds).map(([k, label]) => <option key={k} value={k}>{label}</option>)}</select>
              <input type="text" aria-label={`Text of step ${i + 1}`} placeholder={placeholders[s.kind]} value={s.text} maxLength={500} onInput={(e) => change(i, { text: e.currentTarget.value })} />
              <button type="button" class="quiet remove" disabled={steps.length <= stepsMin} aria-label={`Remove step ${i + 1}`} onClick={() => setSteps(steps.filter((_, j) => j !== i))}>×</button>
            </li>
          ))}
        </ol>
        <div class="actions">
          <button type="button" disabled={steps.length >= stepsMax} onClick={() => setSteps([...steps, { kind: 'path', text: '' }])}>Add a step</button>
          <button class="primary">Show</button>
          <p role="alert" class="trouble">{trouble}</p>
        </div>
      </form>
      {asked.length < stepsMin ? (
        <Empty title="Say which way visitors should go"><p>From two to eight steps, each a page, an event or a screen; a text may end with * for all that begin so.</p></Empty>
      ) : (
        <Loaded load={load} what="The funnel cannot be shown." skeleton={<Skeleton rows={asked.length} />}>
          {(f) => (
            <table class="funnel-steps">
              <thead><tr><th scope="col">Step</th><th scope="col" class="n">Visitors</th><th scope="col" class="n">Of the first</th><th scope="col" class="n second">Of the one before</th></tr></thead>
              <tbody>
                {f.steps.map((s, i) => (
                  <tr key={i}>
                    <td class="text"><span class="share" style={{ width: `${100 * (s.rate ?? 0)}%` }} /><span>{words(s.step)}</span></td>
                    <td class="n">{format.count(s.visitors)}</td><td class="n"><b>{format.percent(s.rate)}</b></td>
                    <td class="n second">{i === 0 ? '–' : format.percent(f.steps[i - 1].visitors ? s.visitors / f.steps[i - 1].visitors : null)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Loaded>
      )}
    </section>
  );
}

function words(step) {
  const at = step.indexOf(':');
  return `${kinds[step.slice(0, at)] ?? ''} ${step.slice(at + 1)}`;
}
