import { useEffect, useRef, useState } from 'preact/hooks';
import { submit } from './api.js';
import { link } from './route.js';
import { pageOf, pagesFor } from './pages.jsx';
import { setTheme, themes, useTheme } from './theme.js';

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <circle cx="9" cy="23" r="2.4" /><circle cx="13.5" cy="16" r="2.9" /><circle cx="20.5" cy="14" r="3.4" /><circle cx="23" cy="7.5" r="2" />
    </svg>
  );
}

const icons = {
  auto: <><circle cx="10" cy="10" r="7" /><path d="M10 3a7 7 0 0 1 0 14z" class="solid" /></>,
  light: <><circle cx="10" cy="10" r="3.5" /><path d="M10 1.5v2.5M10 16v2.5M1.5 10h2.5M16 10h2.5M4 4l1.8 1.8M14.2 14.2 16 16M16 4l-1.8 1.8M5.8 14.2 4 16" /></>,
  dark: <path d="M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7z" />,
};

export function ThemeToggle() {
  const { choice } = useTheme();
  const next = themes[(themes.indexOf(choice) + 1) % themes.length];
  return (
    <button type="button" class="quiet icon" onClick={() => setTheme(next)} title={`Theme: ${choice}`} aria-label={`Theme: ${choice}. Change to ${next}.`}>
      <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">{icons[choice]}</svg>
    </button>
  );
}

export function Header({ route, session, leave }) {
  const pages = pagesFor(session);
  const here = pageOf(route, session).path;
  const nav = useRef();
  useEffect(() => nav.current?.querySelector('[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' }), [here]);
  const [failed, setFailed] = useState(null);
  const logOut = async () => {
    try {
      await submit('logout', {});
    } catch (error) {
      if (error.status !== 401) return setFailed(error); // 401: it was over already
    }
    return leave();
  };
  return (
    <header class="top">
      <div class="bar">
        <a class="brand" href={link('/')} aria-label="spoor, overview"><Mark /></a>
        <span class="app">{session.app ?? 'Control plane'}</span>
        {pages.length > 1 && (
          <nav aria-label="Pages" ref={nav}>
            {pages.map((p) => <a key={p.path} href={link(p.path)} aria-current={p.path === here ? 'page' : undefined}>{p.title}</a>)}
          </nav>
        )}
        <div class="tools">
          <ThemeToggle />
          {!session.public && <button type="button" class="quiet" onClick={logOut}>Log out</button>}
        </div>
      </div>
      {failed && <p class="failed" role="alert"><span><strong>You are still logged in.</strong> {failed.message} The session goes on until you log out.</span><button type="button" onClick={logOut}>Log out again</button></p>}
    </header>
  );
}
