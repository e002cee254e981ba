// Pages are named by the fragment, "#/people/7?range=30", so that one document
// serves them all at whatever path it stands.
import { useEffect, useState } from 'preact/hooks';

export function parse(hash) {
  const text = hash.replace(/^#/, '') || '/';
  const at = text.indexOf('?');
  const path = at < 0 ? text : text.slice(0, at);
  return { path, parts: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(at < 0 ? '' : text.slice(at + 1)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // somebody typed it
  }
}

export function link(path, query) {
  const text = query ? new URLSearchParams(query).toString() : '';
  return '#' + path + (text ? '?' + text : '');
}

export const go = (path, query) => { location.hash = link(path, query); };

// withQuery changes values of a query; null takes one out, a list gives several.
export function withQuery(query, changes) {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const v of value === null ? [] : [].concat(value)) next.append(name, v);
  }
  return next;
}

export function useRoute() {
  const [route, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => set(parse(location.hash));
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}
