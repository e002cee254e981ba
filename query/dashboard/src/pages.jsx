import { Data } from './data.jsx';
import { Empty } from './load.jsx';
import { Health } from './health.jsx';
import { Journeys } from './journeys.jsx';
import { Live } from './live.jsx';
import { Overview } from './overview.jsx';
import { People } from './people.jsx';
import { Profile } from './profile.jsx';
import { Segment } from './segment.jsx';
import { Segments } from './segments.jsx';
import { may, useSession } from './session.js';

const all = [
  { path: '/', title: 'Overview', View: Overview, open: true },
  { path: '/live', title: 'Live', View: Live },
  { path: '/people', title: 'People', View: People },
  { path: '/segments', title: 'Segments', View: Segments },
  { path: '/journeys', title: 'Journeys', View: Journeys },
  { path: '/data', title: 'Data', View: Data },
  { path: '/health', title: 'Health', View: Health, role: 'admin' },
];

// The control plane's secret manages apps, and reads the data of none.
const forControl = [{ path: '/', title: 'Apps', View: Apps }, all.at(-1)];

export const pagesFor = (session) => (session.app ? all.filter((p) => (session.public ? p.open : may(session, p.role ?? 'read'))) : forControl);

export function pageOf(route, session) {
  const pages = pagesFor(session);
  const [first, second] = route.parts;
  const found = pages.find((p) => p.path === '/' + (first ?? ''));
  if (found && second === undefined) return found;
  if (found && first === 'people') return { path: '/people', title: 'Profile', View: Profile };
  if (found && first === 'segments') return { path: '/segments', title: 'Segment', View: Segment };
  return { path: '', title: 'Not found', View: NotFound };
}

function Apps() {
  const { apps } = useSession();
  return (
    <>
      <h1>Apps</h1>
      <section class="card">
        {apps.length === 0
          ? <Empty title="There is no app yet"><p>Make one:</p><code class="block">spoor app create NAME --timezone Europe/Warsaw</code></Empty>
          : <ul>{apps.map((a) => <li key={a}>{a}</li>)}</ul>}
        <p class="hint">This is the control plane's secret: it manages apps and reads the data of none. To see one, log in with a token of it.</p>
      </section>
    </>
  );
}

function NotFound() {
  return (
    <>
      <h1>Not found</h1>
      <Empty title="There is no such page, or this token may not see it."><p><a href="#/">Go to the overview</a></p></Empty>
    </>
  );
}
