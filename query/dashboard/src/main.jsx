import { render } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { chooseApp, get, whenSessionEnds } from './api.js';
import { clock } from './format.js';
import { Failed } from './load.jsx';
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

  const ask = useCallback(async (app) => {
    try {
      chooseApp(app ?? '');
      const answer = await get('api/session/');
      if (answer.apps && !app && answer.apps.length > 0) chooseApp(answer.app || answer.apps[0]);
      had.current = true;
      setError(null);
      setEnded(false);
      setSession({ ...answer, app: app || answer.app || answer.apps?.[0] || '', ...clock(answer.timezone ?? 'UTC') });
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

  useEffect(() => {
    if (!session) return undefined;
    const timer = setInterval(() => document.hidden || ask(session.apps ? session.app : undefined), refreshMs);
    return () => clearInterval(timer);
  }, [session?.app]);

  if (session) return <Shell session={session} choose={ask} leave={() => { had.current = false; setSession(null); }} />;
  if (session === null) return <Login ended={ended} entered={() => ask()} />;
  return <main class="alone">{error && <Failed what="The dashboard cannot start." error={error} retry={() => ask()} />}</main>;
}

function Shell({ session, choose, leave }) {
  const route = useRoute();
  const page = pageOf(route, session);
  const main = useRef();
  const seen = useRef(route.path);
  useEffect(() => {
    document.title = `${page.title} · ${session.app} · spoor`;
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
      <Header route={route} session={session} choose={choose} leave={leave} />
      <main id="main" tabIndex={-1} ref={main} key={session.app + route.path}><page.View route={route} /></main>
      <footer class="foot">
        <p>{session.public ? 'A shared, read-only view.' : <>Days begin and end in {session.timezone}.</>} Made with <a href="licences.txt">free software</a>.</p>
      </footer>
    </SessionContext.Provider>
  );
}

document.addEventListener('DOMContentLoaded', () => render(<App />, document.getElementById('app')));
