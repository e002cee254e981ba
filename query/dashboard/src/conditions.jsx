// The conditions of a segment, as form controls make them. A filter that has
// another shape was made over REST, and is shown as it is.
import { useId, useMemo } from 'preact/hooks';
import { countries } from './format.js';

// attributes are those that spoor knows itself. What is computed when a profile
// is read, as status is, is in no filter.
export const attributes = {
  email: 'E-mail', user_id: 'User id', phone_number: 'Phone', first_name: 'First name', last_name: 'Last name', name: 'Name',
  country: 'Country', region: 'Region', city: 'City', timezone: 'Time zone',
  browser: 'Browser', os_type: 'System', device: 'Device', browser_language: 'Language', resolution: 'Resolution',
  first_seen: 'First seen', last_seen: 'Last seen', created_at: 'Made', page_views: 'Pageviews', events: 'Events', visits: 'Visits',
  known: 'Has a contact', unsubscribed: 'Unsubscribed', score: 'Score',
};

const operators = {
  is: 'is', not: 'is not', contains: 'contains', starts_with: 'begins with', ends_with: 'ends with',
  more: 'is more than', more_or_equal: 'is at least', less: 'is less than', less_or_equal: 'is at most', exists: 'is known',
};

// A kind makes the JSON of a row, and reads a row from JSON; undefined: it is
// not of this kind.
const did = (name, label) => ({
  label,
  blank: { text: '', times: 1, days: 30 },
  write: (r) => ({ [name]: r.text, times: Number(r.times), days: Number(r.days) }),
  read: (c) => (name in c && onlyKeys(c, [name, 'times', 'days']) ? { text: c[name], times: c.times ?? 1, days: c.days ?? 30 } : undefined),
  ready: (r) => r.text !== '' && r.times >= 1 && r.days >= 1,
  say: (r) => `${r.no ? 'not ' : ''}${label.toLowerCase()} ${r.text}${r.times > 1 ? ` ${r.times} times` : ''} in ${r.days} days`,
});
const within = (name, label) => ({
  label,
  blank: { days: name === 'active' ? 7 : 30 },
  write: (r) => ({ [name]: { days: Number(r.days) } }),
  read: (c) => (c[name]?.days && onlyKeys(c, [name]) ? { days: c[name].days } : undefined),
  ready: (r) => r.days >= 1,
  say: (r) => `${r.no ? 'not ' : ''}${label.toLowerCase()} ${r.days} days`,
});
const member = (name, label) => ({
  label,
  blank: { of: '' },
  write: (r) => ({ [name]: name === 'tag' ? r.of : Number(r.of) }),
  read: (c) => (name in c && onlyKeys(c, [name]) ? { of: String(c[name]) } : undefined),
  ready: (r) => r.of !== '',
  say: (r) => `${r.no ? 'not ' : ''}${label.toLowerCase()} ${r.of}`,
});

export const kinds = {
  attribute: {
    label: 'Attribute',
    blank: { name: '', operator: 'is', value: '' },
    write: (r) => ({ attribute: r.name, [r.operator]: r.operator === 'exists' ? r.value !== 'no' : plain(r.value) }),
    read: (c) => {
      const operator = Object.keys(operators).find((o) => o in c);
      if (!('attribute' in c) || !operator || !onlyKeys(c, ['attribute', operator])) return undefined;
      return { name: c.attribute, operator, value: operator === 'exists' ? (c.exists ? 'yes' : 'no') : String(c[operator]) };
    },
    ready: (r) => r.name !== '' && (r.operator === 'exists' || r.value !== ''),
    say: (r) => (r.operator === 'exists' ? `${r.name} is ${r.value === 'no' ? 'not ' : ''}known` : `${r.no ? 'not ' : ''}${r.name} ${operators[r.operator]} ${r.value}`),
  },
  path: did('path', 'Visited page'),
  event: did('event', 'Did event'),
  screen: did('screen', 'Saw screen'),
  active: within('active', 'Active within'),
  idle: within('idle', 'Idle for'),
  tag: member('tag', 'Has tag'),
  list: member('list', 'On list'),
  segment: member('segment', 'In segment'),
};

const onlyKeys = (o, keys) => Object.keys(o).every((k) => keys.includes(k));

// plain sends numbers and truths as such: they compare by the attribute's type.
function plain(text) {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?(0|[1-9]\d{0,14})(\.\d{1,9})?$/.test(text) ? Number(text) : text;
}

let serial = 0;
export const blankRow = (kind) => ({ key: ++serial, kind, no: false, ...kinds[kind].blank });
export const isReady = (row) => kinds[row.kind].ready(row);

export function writeFilter(mode, rows) {
  return { [mode]: rows.map((r) => (r.no ? { not: kinds[r.kind].write(r) } : kinds[r.kind].write(r))) };
}

// readFilter is the reverse of writeFilter; null: the form cannot show it.
export function readFilter(filter) {
  if (!filter || typeof filter !== 'object') return null;
  const mode = ['all', 'any'].find((m) => Array.isArray(filter[m])) ?? 'all';
  const list = Array.isArray(filter[mode]) ? (onlyKeys(filter, [mode]) ? filter[mode] : null) : [filter];
  if (!list) return null;
  const rows = [];
  for (const condition of list) {
    const no = Boolean(condition?.not && onlyKeys(condition, ['not']) && typeof condition.not === 'object');
    const inner = no ? condition.not : condition;
    if (!inner || typeof inner !== 'object') return null;
    const kind = Object.keys(kinds).find((k) => kinds[k].read(inner));
    if (!kind) return null;
    rows.push({ key: ++serial, kind, no, ...kinds[kind].read(inner) });
  }
  return { mode, rows };
}

export function describe(filter) {
  const form = readFilter(filter);
  if (!form) return JSON.stringify(filter);
  return form.rows.map((r) => kinds[r.kind].say(r)).join(form.mode === 'all' ? ' and ' : ' or ');
}

// meantBy is the attribute whose label somebody wrote, as tables show it.
const meantBy = (text) => Object.keys(attributes).find((a) => a !== text && [a, attributes[a].toLowerCase()].includes(text.trim().toLowerCase()));

function Country({ label, value, choose }) {
  const list = useMemo(countries, []);
  return (
    <select class="country" aria-label={label} value={value} onChange={(e) => choose(e.currentTarget.value)}>
      <option value="">Choose</option>
      {value && !list.some((c) => c.code === value) && <option>{value}</option>}
      {list.map((c) => <option key={c.code} value={c.code}>{c.name}</option>)}
    </select>
  );
}

// Condition is the row of one condition. Known: names for what can be chosen.
export function Condition({ row, number, known, change, remove }) {
  const id = useId();
  const set = (changes) => change({ ...row, ...changes });
  const text = (name, label, more) => (
    <input type="text" class={name} aria-label={`${label} of condition ${number}`} placeholder={label} value={row[name]} maxLength={500} onInput={(e) => set({ [name]: e.currentTarget.value })} {...more} />
  );
  const figure = (name, label, max) => (
    <input type="number" aria-label={`${label} of condition ${number}`} min={1} max={max} value={row[name]} onInput={(e) => set({ [name]: e.currentTarget.value })} />
  );
  const fields = {
    attribute: () => (
      <>
        {text('name', 'Attribute', { list: id + '-names' })}
        <datalist id={id + '-names'}>{Object.entries(attributes).map(([a, label]) => <option key={a} value={a} label={label} />)}</datalist>
        <select aria-label={`Comparison of condition ${number}`} value={row.operator} onChange={(e) => set({ operator: e.currentTarget.value })}>
          {Object.entries(operators).map(([o, label]) => <option key={o} value={o}>{label}</option>)}
        </select>
        {row.operator === 'exists'
          ? <select aria-label={`Value of condition ${number}`} value={row.value === 'no' ? 'no' : 'yes'} onChange={(e) => set({ value: e.currentTarget.value })}><option>yes</option><option>no</option></select>
          : row.name === 'country' && ['is', 'not'].includes(row.operator)
            ? <Country label={`Value of condition ${number}`} value={row.value} choose={(value) => set({ value })} />
            : text('value', 'Value')}
        {meant && <p class="hint">Is it <code>{meant}</code>? <button type="button" class="quiet" onClick={() => set({ name: meant })}>Use {meant}</button></p>}
      </>
    ),
    did: () => (
      <>
        {text('text', row.kind === 'path' ? '/pricing or /blog*' : row.kind === 'event' ? 'signup' : 'Screen')}
        <span class="words">at least {figure('times', 'Times', 1000)} times in {figure('days', 'Days', 1100)} days</span>
      </>
    ),
    within: () => <span class="words">{figure('days', 'Days', 1100)} days</span>,
    member: () => {
      const options = known[row.kind];
      return (
        <select aria-label={`Value of condition ${number}`} value={row.of} onChange={(e) => set({ of: e.currentTarget.value })}>
          <option value="">{options.length ? 'Choose' : 'None exists yet'}</option>
          {row.of && !options.some((o) => String(o.value) === row.of) && <option>{row.of}</option>}
          {options.map((o) => <option key={o.value} value={o.value}>{o.name}</option>)}
        </select>
      );
    },
  };
  const meant = row.kind === 'attribute' && meantBy(row.name);
  const shape = { attribute: 'attribute', path: 'did', event: 'did', screen: 'did', active: 'within', idle: 'within' }[row.kind] ?? 'member';
  return (
    <li class="condition">
      <select aria-label={`Yes or no of condition ${number}`} value={row.no ? 'no' : 'yes'} onChange={(e) => set({ no: e.currentTarget.value === 'no' })}>
        <option value="yes">Who</option><option value="no">Who not</option>
      </select>
      <select aria-label={`Kind of condition ${number}`} value={row.kind} onChange={(e) => change({ ...blankRow(e.currentTarget.value), key: row.key, no: row.no })}>
        {Object.entries(kinds).map(([k, { label }]) => <option key={k} value={k}>{label}</option>)}
      </select>
      {fields[shape]()}
      <button type="button" class="quiet remove" aria-label={`Remove condition ${number}`} onClick={remove}>×</button>
    </li>
  );
}
