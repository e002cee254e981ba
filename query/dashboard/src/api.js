// Trouble is what went wrong with a request, in words for people.
export class Trouble extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// address gives a path below this page's place its query: an object, or pairs
// where a name may come more than once.
export function address(path, query = {}) {
  const pairs = Array.isArray(query) ? query : Object.entries(query);
  const search = new URLSearchParams(pairs.filter(([, v]) => v !== undefined && v !== null && v !== ''));
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

// onEnded is told when a request finds that the session is over.
let onEnded = () => {};
export const whenSessionEnds = (fn) => { onEnded = fn; };

async function send(method, url, options = {}) {
  let reply;
  try {
    reply = await fetch(url, {
      method,
      cache: 'no-store',
      ...options,
      headers: { Accept: 'application/json', ...(method === 'GET' ? {} : { 'X-Spoor-App': '1' }), ...options.headers },
    });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Trouble(0, 'The server cannot be reached. Check that spoor is running, then try again.');
  }
  if (reply.ok) {
    const text = await reply.text();
    return text ? JSON.parse(text) : null;
  }
  const trouble = new Trouble(reply.status, await words(reply));
  if (reply.status === 401) onEnded();
  throw trouble;
}

// words are what the server says of a failure, or what its status means.
async function words(reply) {
  try {
    const body = await reply.json();
    if (body.detail) return body.detail;
    if (body.errors) return Object.entries(body.errors).map(([field, texts]) => `${field}: ${[].concat(texts).join(' ')}`).join(' ');
  } catch { /* it was no JSON */ }
  switch (reply.status) {
    case 404: return 'The server does not know this. It may be gone, or this version cannot do it.';
    case 429: return 'Too many requests. Wait a minute, then try again.';
    default: return `The server answered ${reply.status}. Its log says why.`;
  }
}

const json = (body) => ({ body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });

export const get = (path, query, signal) => send('GET', address(path, query), { signal, headers: { Accept: '*/*;version=2' } });
export const post = (path, body, signal) => send('POST', address(path), { signal, ...json(body) });
export const put = (path, body) => send('PUT', address(path), json(body));
export const remove = (path) => send('DELETE', address(path));

// submit sends a form to a path that takes forms.
export const submit = (path, fields) => send('POST', path, { body: new URLSearchParams(fields) });
