const locale = 'en-GB'; // that of the words around
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });
const rate = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
const signed = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0, signDisplay: 'exceptZero' });
const decimal = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

const none = '–';
const known = (format) => (n) => (n === null || n === undefined ? none : format(n));

export const count = known((n) => whole.format(n));
export const brief = known((n) => (Math.abs(n) < 100_000 ? whole.format(n) : short.format(n)));
export const tick = known((n) => short.format(n));
export const percent = known((n) => rate.format(n));
export const change = known((n) => (Math.abs(n) >= 10 ? (n > 0 ? '+' : '−') + short.format(Math.abs(n)) + '×' : signed.format(n)));
export const milliseconds = known((n) => decimal.format(n) + ' ms');

// duration writes seconds as "2m 14s".
export const duration = known((seconds) => {
  const s = Math.round(seconds);
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${String(s % 60).padStart(2, '0')}s`;
  return `${whole.format(Math.floor(s / 3600))}h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}m`;
});

const units = ['B', 'kB', 'MB', 'GB', 'TB'];
export const bytes = known((n) => {
  let i = 0;
  while (n >= 999.5 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i === 0 || n >= 100 ? whole.format(n) : decimal.format(n)} ${units[i]}`;
});

// Days and local hours are written without a zone, and shown as they are.
const utc = (options) => new Intl.DateTimeFormat(locale, { timeZone: 'UTC', ...options });
const dayShort = utc({ day: 'numeric', month: 'short' });
const dayLong = utc({ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
const dayOnly = utc({ day: 'numeric', month: 'short', year: 'numeric' });
const monthShort = utc({ month: 'short', year: '2-digit' });
const monthLong = utc({ month: 'long', year: 'numeric' });

export const day = known((d) => dayLong.format(new Date(d + 'T00:00Z')));
export const date = known((d) => dayOnly.format(new Date(d + 'T00:00Z')));
export const shortDay = known((d) => dayShort.format(new Date(d + 'T00:00Z')));

// span writes days from one to another, with their years unless that is today's.
export function span(from, to, today) {
  if (from === to) return day(from);
  const year = today.slice(0, 4);
  const one = from.slice(0, 4) === year && to.slice(0, 4) === year ? shortDay : date;
  return `${one(from)} – ${one(to)}`;
}

// point names a point of a series, shortly for an axis.
export function point(at, interval, axis) {
  const date = new Date((at.length > 10 ? at : at + 'T00:00') + 'Z');
  switch (interval) {
    case 'hour': return axis ? at.slice(11, 16) : `${dayLong.format(date)}, ${at.slice(11, 16)}`;
    case 'month': return (axis ? monthShort : monthLong).format(date);
    case 'week': return (axis ? '' : 'Week of ') + dayShort.format(date);
    default: return (axis ? dayShort : dayLong).format(date);
  }
}

// clock writes moments in the app's time zone.
export function clock(timeZone) {
  const of = (options) => new Intl.DateTimeFormat(locale, { timeZone, ...options });
  const time = of({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const minute = of({ hour: '2-digit', minute: '2-digit' });
  const both = of({ day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });
  const days = of({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
  const moment = (format) => (text) => {
    const date = new Date(text ?? NaN);
    return Number.isNaN(date.getTime()) ? none : format.format(date);
  };
  const hours = new Intl.DateTimeFormat('sv-SE', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', hourCycle: 'h23' }); // 2026-11-22 14
  return { time: moment(time), minute: moment(minute), both: moment(both), day: moment(days), hour: () => hours.format(new Date()).replace(' ', 'T') };
}

// names are what codes stand for; what is no code stays as it is.
const naming = (type) => {
  const names = new Intl.DisplayNames(locale, { type });
  return (code) => {
    try {
      return names.of(code) ?? code;
    } catch {
      return code;
    }
  };
};
export const country = naming('region');
export const language = naming('language');

// countries are the codes that stand for a country today, by name.
export function countries() {
  const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];
  const names = new Intl.DisplayNames(locale, { type: 'region', fallback: 'none' });
  const others = ['EU', 'EZ', 'QO', 'UN', 'XA', 'XB', 'ZZ']; // unions, tests, unknown
  return letters.flatMap((a) => letters.map((b) => a + b))
    .filter((code) => names.of(code) && !others.includes(code) && new Intl.Locale('und-' + code).region === code) // the region of an old code is its successor
    .map((code) => ({ code, name: names.of(code) }))
    .sort((a, b) => a.name.localeCompare(b.name, locale));
}
