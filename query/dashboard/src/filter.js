// A filter is a list of {dimension, value, not}; all must hold. As text:
// "country==PL;path!=/cart". Values stay as they are written: * at the end
// stands for all that begin so, a backslash makes ; * and itself plain.
import { country, language } from './format.js';

export const dimensions = {
  path: 'Page', entry: 'Entry page', exit: 'Exit page', title: 'Title', screen: 'Screen',
  referrer: 'Referrer', channel: 'Channel', source: 'UTM source', medium: 'UTM medium', campaign: 'UTM campaign',
  country: 'Country', region: 'Region', city: 'City',
  browser: 'Browser', os: 'System', device: 'Device', resolution: 'Resolution', language: 'Language',
  event: 'Event', outbound: 'Outbound link', download: 'Download',
};

export function parseFilter(text) {
  return ((text ?? '').match(/(?:\\[^]|[^;])+/g) ?? []).flatMap((part) => {
    const m = /^([a-z]+)(==|!=)(.*)$/s.exec(part);
    return m ? [{ dimension: m[1], not: m[2] === '!=', value: m[3] }] : [];
  });
}

export const writeFilter = (list) => list.map((f) => f.dimension + (f.not ? '!=' : '==') + f.value).join(';');

// exact writes a text as the value that stands for it alone.
export const exact = (text) => text.replace(/[\\;]|\*$/g, '\\$&');

// plain is a value without its backslashes.
export const plain = (value) => value.replace(/\\([\\;*])/g, '$1');

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
