import { render } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { get, whenSessionEnds } from './api.js';
import { clock } from './format.js';
import { Failed, useStale } from './load.jsx';
import { Header } from './header.jsx';
import { Login } from './login.jsx';
import { pageOf } from './pages.jsx';
import { useRoute } from './route.js';
import { SessionContext } from './session.js';
import './theme.js';

const refreshMs = 60_000; // days end, and roles change

function App() {
  const [session, setSession] = useState(undefined); // null: none
  const [error, setError] = useState(null);
  const [ended, setEnded] = useState(false);
  const had = useRef(false);

  const ask = useCallback(async () => {
    try {
      const answer = await get('api/session/');
      had.current = true;
      setError(null);
      setEnded(false);
      setSession({ ...answer, ...clock(answer.timezone) });
    } catch (e) {
      if (e.status !== 401) setError(e);
    }
  }, []);

  useEffect(() => {
    whenSessionEnds(() => {
      setEnded(had.current);
      setSession(null);
    });
    ask();
  }, []);

  const enter = useCallback(async () => {
    await ask();
    requestAnimationFrame(() => document.getElementById('main')?.focus({ preventScroll: true })); // the form that had the focus is gone
  }, []);

  useEffect(() => {
    if (!session) return undefined;
    const timer = setInterval(() => document.hidden || ask(), refreshMs);
    return () => clearInterval(timer);
  }, [Boolean(session)]);

  if (session) return <Shell session={session} leave={() => { had.current = false; setSession(null); }} />;
  if (session === null) return <Login ended={ended} entered={enter} />;
  return <main class="alone">{error && <Failed what="The dashboard cannot start." error={error} retry={ask} />}</main>;
}

function Shell({ session, leave }) {
  const route = useRoute();
  const page = pageOf(route, session);
  const main = useRef();
  const seen = useRef(route.path);
  useEffect(() => {
    document.title = [page.title, session.app, 'spoor'].filter(Boolean).join(' · ');
    if (seen.current === route.path) return;
    seen.current = route.path;
    scrollTo(0, 0);
    main.current.focus({ preventScroll: true });
  }, [route.path, page.title, session.app]);
  const skip = (e) => {
    e.preventDefault();
    main.current.focus();
  };
  return (
    <SessionContext.Provider value={session}>
      <a class="skip" href="#main" onClick={skip}>Skip to the content</a>
      <Header route={route} session={session} leave={leave} />
      <Stale session={session} />
      <main id="main" tabIndex={-1} ref={main} key={route.path}><page.View route={route} /></main>
      <footer class="foot">
        <p>{session.public && 'A shared, read-only view. '}{session.app && `Days begin and end in ${session.timezone}. `}Made with <a href="licences.txt">free software</a>.</p>
      </footer>
    </SessionContext.Provider>
  );
}

// Stale stands in the margin above the page, and moves nothing.
function Stale({ session }) {
  const since = useStale();
  return <p class="stale" role="status">{since !== null && <span>Not up to date since {session.minute(since)}. Trying again.</span>}</p>;
}

document.addEventListener('DOMContentLoaded', () => render(<App />, document.getElementById('app')));
