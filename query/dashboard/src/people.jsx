import { useEffect, useRef } from 'preact/hooks';
import { get } from './api.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { go, link } from './route.js';
import { useSession } from './session.js';

export function People({ route }) {
  const session = useSession();
  const text = (route.query.get('q') ?? '').trim();
  const field = useRef();
  const load = useLoad(text, (signal) => get('api/find/', { q: text }, signal), { enabled: text !== '' });
  useEffect(() => { field.current.value = text; }, [text]);
  const search = (e) => {
    e.preventDefault();
    const q = field.current.value.trim();
    go('/people', q ? { q } : undefined);
  };
  return (
    <>
      <div class="page-head"><h1>People</h1></div>
      <form class="search" role="search" onSubmit={search}>
        <label for="q">Find a person</label>
        <input id="q" ref={field} type="search" maxLength={512} placeholder="E-mail, user id, phone, key or id" autoComplete="off" spellcheck={false} />
        <button class="primary">Search</button>
      </form>
      <section class="card">
        {!text ? (
          <Empty title="Search by an identifier"><p>Type the whole e-mail address, user id, phone number, cookie key or public id of a person. Parts of them find nobody.</p></Empty>
        ) : load.error?.status === 400 ? (
          <Empty title="That names nobody"><p>Search for one whole e-mail address, user id, phone number, cookie key or public id, of at most 512 characters.</p></Empty>
        ) : (
          <Loaded load={load.key === text || load.error ? load : { loading: true }} what="The search failed." skeleton={<Skeleton rows={3} />}>
            {({ people }) => (people.length === 0 ? (
              <Empty title="Nobody is known by that"><p>Only whole identifiers are found. Anonymous visitors are found by the key of their cookie, or in the <a href="#/live">live view</a>.</p></Empty>
            ) : <Found people={people} session={session} />)}
          </Loaded>
        )}
      </section>
    </>
  );
}

export function Found({ people, session }) {
  return (
    <table class="people">
      <thead><tr><th scope="col">Person</th><th scope="col" class="second">E-mail</th><th scope="col" class="second">User id</th><th scope="col">Last seen</th></tr></thead>
      <tbody>
        {people.map((p) => (
          <tr key={p.id}>
            <td><a href={link('/people/' + p.id)}>{p.name || p.email || p.user_id || p.custom_id || p.id}</a></td>
            <td class="second">{p.email ?? '–'}</td><td class="second">{p.user_id ?? p.custom_id ?? '–'}</td><td>{session.both(p.last_seen)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
