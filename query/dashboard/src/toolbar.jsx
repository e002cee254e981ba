import { useState } from 'preact/hooks';
import { span } from './format.js';
import { dimensions, exact, parseFilter, plain, valueText, writeFilter } from './filter.js';
import { presets, rangeOf } from './range.js';
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
          <label>From <input type="date" value={range.from} max={range.to} onChange={(e) => e.currentTarget.value && set({ from: e.currentTarget.value, to: range.to < e.currentTarget.value ? e.currentTarget.value : range.to })} /></label>
          <label>to <input type="date" value={range.to} min={range.from} max={today} onChange={(e) => e.currentTarget.value && set({ from: range.from > e.currentTarget.value ? e.currentTarget.value : range.from, to: e.currentTarget.value })} /></label>
        </div>
      )}
      <p class="muted days">{span(range.from, range.to)}</p>
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
          <span>{dimensions[f.dimension] ?? f.dimension} {f.not ? 'is not' : 'is'} <b>{valueText(f.dimension, plain(f.value))}</b></span>
          <button type="button" aria-label={`Remove: ${dimensions[f.dimension] ?? f.dimension} ${valueText(f.dimension, plain(f.value))}`} onClick={() => set(list.filter((_, j) => j !== i))}>×</button>
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
  go(route.path, withQuery(route.query, { filter: writeFilter([...list, { dimension, value: exact(value), not: false }]) }));
}
