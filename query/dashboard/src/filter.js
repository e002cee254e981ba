// A filter is a list of {dimension, value, not, prefix}; all must hold. As text:
// "country==PL;path!=/cart*", where a star at the end means all that begin so,
// and a backslash makes the next of ; * \ a character like others.
import { country, language } from './format.js';

export const dimensions = {
  path: 'Page', entry: 'Entry page', exit: 'Exit page', title: 'Title', screen: 'Screen',
  referrer: 'Referrer', channel: 'Channel', source: 'UTM source', medium: 'UTM medium', campaign: 'UTM campaign',
  country: 'Country', region: 'Region', city: 'City',
  browser: 'Browser', os: 'System', device: 'Device', resolution: 'Resolution', language: 'Language',
  event: 'Event', outbound: 'Outbound link', download: 'Download',
};

export function parseFilter(text) {
  return ((text ?? '').match(/(?:\\.|[^;])+/gs) ?? []).flatMap((part) => {
    const m = /^([a-z]+)(==|!=)((?:\\.|.)*?)(\*?)$/s.exec(part);
    return m ? [{ dimension: m[1], not: m[2] === '!=', value: m[3].replace(/\\([;*\\])/g, '$1'), prefix: m[4] !== '' }] : [];
  });
}

export const writeFilter = (list) => list.map((f) => f.dimension + (f.not ? '!=' : '==') + f.value.replace(/[;*\\]/g, '\\$&') + (f.prefix ? '*' : '')).join(';');

// valueText is a value of a dimension as people read it.
export function valueText(dimension, value) {
  if (value === '') return '(none)';
  switch (dimension) {
    case 'country': return country(value);
    case 'language': return language(value);
    case 'channel':
    case 'device': return value[0].toUpperCase() + value.slice(1);
    default: return value;
  }
}
