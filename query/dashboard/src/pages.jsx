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
import { may } from './session.js';

const all = [
  { path: '/', title: 'Overview', View: Overview, open: true },
  { path: '/live', title: 'Live', View: Live },
  { path: '/people', title: 'People', View: People },
  { path: '/segments', title: 'Segments', View: Segments },
  { path: '/journeys', title: 'Journeys', View: Journeys },
  { path: '/data', title: 'Data', View: Data },
  { path: '/health', title: 'Health', View: Health, role: 'admin' },
];

export const pagesFor = (session) => all.filter((p) => (session.public ? p.open : may(session, p.role ?? 'read')));

export function pageOf(route, session) {
  const pages = pagesFor(session);
  const [first, second] = route.parts;
  const found = pages.find((p) => p.path === '/' + (first ?? ''));
  if (found && second === undefined) return found;
  if (found && first === 'people') return { path: '/people', title: 'Profile', View: Profile };
  if (found && first === 'segments') return { path: '/segments', title: 'Segment', View: Segment };
  return { path: '', title: 'Not found', View: NotFound };
}

function NotFound() {
  return (
    <>
      <h1>Not found</h1>
      <Empty title="There is no such page, or this token may not see it."><p><a href="#/">Go to the overview</a></p></Empty>
    </>
  );
}
