import { useState } from 'preact/hooks';
import { span } from './format.js';
import { dimensions, parseFilter, valueText, writeFilter } from './filter.js';
import { addDays, daysMax, presets, rangeOf } from './range.js';
import { go, withQuery } from './route.js';

// RangePicker changes the days of the route.
export function RangePicker({ route, today }) {
  const range = rangeOf(route.query, today);
  const [custom, setCustom] = useState(range.name === 'custom');
  const set = (changes) => go(route.path, withQuery(route.query, { range: null, from: null, to: null, ...changes }));
  const pick = (name) => {
    setCustom(name === 'custom');
    set(name === 'custom' ? { from: range.from, to: range.to } : { range: name });
  };
  const latest = addDays(range.from, daysMax - 1);
  const change = (days) => (e) => e.currentTarget.validity.valid && e.currentTarget.value && set(days(e.currentTarget.value)); // typed days may be out of bounds
  const chosen = custom ? 'custom' : range.name;
  return (
    <div class="ranges">
      <fieldset class="segmented">
        <legend class="unseen">Days</legend>
        {[...presets, { name: 'custom', label: 'Dates', short: 'Dates' }].map((p) => (
          <label key={p.name} class={p.name === chosen ? 'on' : ''}>
            <input type="radio" name="range" value={p.name} checked={p.name === chosen} onChange={() => pick(p.name)} /><span class="long">{p.label}</span><span class="short">{p.short}</span>
          </label>
        ))}
      </fieldset>
      {custom && (
        <div class="dates">
          <label>From <input type="date" value={range.from} min={addDays(range.to, 1 - daysMax)} max={range.to} onChange={change((day) => ({ from: day, to: range.to }))} /></label>
          <label>to <input type="date" value={range.to} min={range.from} max={latest < today ? latest : today} onChange={change((day) => ({ from: range.from, to: day }))} /></label>
        </div>
      )}
      <p class="muted days">{span(range.from, range.to, today)}</p>
      {range.refused && <p class="refused" role="status">{range.refused} These are the last {range.days} days.</p>}
    </div>
  );
}

// Chips show the filter of the route and take parts of it away.
export function Chips({ route }) {
  const list = parseFilter(route.query.get('filter'));
  if (list.length === 0) return null;
  const set = (next) => go(route.path, withQuery(route.query, { filter: next.length ? writeFilter(next) : null }));
  return (
    <ul class="chips" aria-label="Filter">
      {list.map((f, i) => (
        <li key={writeFilter([f])}>
          <span>{dimensions[f.dimension] ?? f.dimension} {f.prefix ? (f.not ? 'does not begin with' : 'begins with') : f.not ? 'is not' : 'is'} <b>{valueText(f.dimension, f.value)}</b></span>
          <button type="button" aria-label={`Remove: ${dimensions[f.dimension] ?? f.dimension} ${valueText(f.dimension, f.value)}`} onClick={() => set(list.filter((_, j) => j !== i))}>×</button>
        </li>
      ))}
      {list.length > 1 && <li class="clear"><button type="button" class="quiet" onClick={() => set([])}>Clear all</button></li>}
    </ul>
  );
}

// addFilter narrows the route to a value of a table. Where visits began or
// ended is no property of a hit: of that table it is the page.
export function addFilter(route, table, value) {
  const dimension = table === 'entry' || table === 'exit' ? 'path' : table;
  const list = parseFilter(route.query.get('filter')).filter((f) => f.dimension !== dimension || f.not);
  go(route.path, withQuery(route.query, { filter: writeFilter([...list, { dimension, value, not: false, prefix: false }]) }));
}
