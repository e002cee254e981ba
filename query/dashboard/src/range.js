const dayMs = 86_400_000;
const ofDay = (d) => Date.parse(d + 'T00:00Z');
const toDay = (ms) => new Date(ms).toISOString().slice(0, 10);

export const addDays = (d, n) => toDay(ofDay(d) + n * dayMs);
export const daysBetween = (from, to) => Math.round((ofDay(to) - ofDay(from)) / dayMs);
export const mondayOf = (d) => addDays(d, -((new Date(ofDay(d)).getUTCDay() + 6) % 7));

export const presets = [
  { name: '1', label: 'Today', short: 'Today', days: 1 },
  { name: '7', label: '7 days', short: '7 d', days: 7 },
  { name: '30', label: '30 days', short: '30 d', days: 30 },
  { name: '90', label: '90 days', short: '90 d', days: 90 },
  { name: '365', label: '12 months', short: '1 y', days: 365 },
];
const byDefault = '30';
export const daysMax = 1100; // that statistics answer for at once

const isDay = (d) => /^\d{4}-\d\d-\d\d$/.test(d) && !Number.isNaN(ofDay(d)) && toDay(ofDay(d)) === d; // 30 February reads as 2 March

function whyNot(from, to) {
  const wrong = [from, to].find((d) => !isDay(d));
  if (wrong !== undefined) return wrong ? `${wrong.slice(0, 20)} is no day.` : 'A range of dates wants both its days.';
  if (from > to) return 'The first day is after the last.';
  if (daysBetween(from, to) >= daysMax) return `More than ${daysMax.toLocaleString('en-GB')} days cannot be shown at once.`;
  return '';
}

// rangeOf is the range that a route's query asks for, as days that are both
// included, with the interval at which it is drawn. Refused says why dates that
// were asked for are not those.
export function rangeOf(query, today) {
  let [from, to, name] = [query.get('from'), query.get('to'), 'custom'];
  const refused = from === null && to === null ? '' : whyNot(from ?? '', to ?? '');
  if (from === null || refused) {
    const preset = presets.find((p) => p.name === query.get('range')) ?? presets.find((p) => p.name === byDefault);
    [from, to, name] = [addDays(today, 1 - preset.days), today, preset.name];
  }
  const days = daysBetween(from, to) + 1;
  const interval = days === 1 ? 'hour' : days <= 90 ? 'day' : days <= 400 ? 'week' : 'month';
  return { name, from, to, days, interval, refused, open: to >= today };
}
