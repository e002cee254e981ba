import { useState } from 'preact/hooks';
import { get } from './api.js';
import * as format from './format.js';
import { Goals } from './goals.jsx';
import { Empty, Failed, Skeleton, useLoad } from './load.jsx';
import { rangeOf } from './range.js';
import { link } from './route.js';
import { Series } from './series.jsx';
import { useSession } from './session.js';
import { Chips, RangePicker } from './toolbar.jsx';
import { TopTable } from './top.jsx';
import { WorldMap } from './worldmap.jsx';

const everyMs = 10_000; // while today is shown
const everySharedMs = 60_000; // a link may have many readers

const metrics = [
  { name: 'visitors', label: 'Visitors', write: format.brief, good: 1 },
  { name: 'visits', label: 'Visits', write: format.brief, good: 1 },
  { name: 'pageviews', label: 'Pageviews', write: format.brief, good: 1 },
  { name: 'bounce_rate', label: 'Bounce rate', write: format.percent, tick: format.percent, good: -1 },
  { name: 'visit_duration', label: 'Visit duration', write: format.duration, tick: format.duration, good: 1 },
];

const tables = {
  pages: [['path', 'Pages'], ['entry', 'Entry'], ['exit', 'Exit']],
  sources: [['channel', 'Channels'], ['referrer', 'Referrers'], ['source', 'UTM source'], ['medium', 'Medium'], ['campaign', 'Campaign']],
  devices: [['browser', 'Browsers'], ['os', 'Systems'], ['device', 'Devices'], ['resolution', 'Resolutions'], ['language', 'Languages']],
  events: [['event', 'Events'], ['outbound', 'Outbound links'], ['download', 'Downloads']],
};

export function Overview({ route }) {
  const session = useSession();
  const range = rangeOf(route.query, session.today);
  const filter = session.public ? '' : route.query.get('filter') ?? ''; // who has only a link filters nothing
  const query = { from: range.from, to: range.to, filter };
  const every = range.open ? (session.public ? everySharedMs : everyMs) : 0;
  const figures = useLoad(JSON.stringify(query), (signal) => Promise.all(metrics.map((m) =>
    get('api/stats/', { metric: m.name, interval: range.interval, compare: 'previous', ...query }, signal))), { every });
  const nothing = figures.data && !filter && figures.data.every((s) => !s.total);

  return (
    <>
      <div class="page-head">
        <h1>Overview</h1>
        <RangePicker route={route} today={session.today} />
      </div>
      {!session.public && <Chips route={route} />}
      <Figures figures={figures} range={range} />
      {nothing ? <Nothing range={range} /> : (
        <div class="cards">
          <TopTable title="Pages" tabs={tables.pages} query={query} route={route} every={every} />
          <TopTable title="Sources" tabs={tables.sources} query={query} route={route} every={every} />
          <Places query={query} route={route} every={every} />
          <TopTable title="Devices" tabs={tables.devices} query={query} route={route} every={every} />
          <TopTable title="Events" tabs={tables.events} query={query} route={route} every={every} />
          <Goals query={query} every={every} />
        </div>
      )}
    </>
  );
}

function Figures({ figures, range }) {
  const session = useSession();
  const [chosen, choose] = useState('visitors');
  const at = metrics.findIndex((m) => m.name === chosen);
  const metric = metrics[at];
  const stats = figures.data?.[at];
  const now = session.hour();
  const points = stats?.points.map((p) => (stats.interval === 'hour' && now.startsWith(session.today) && p.at.slice(0, 13) > now ? { ...p, value: null } : p)); // hours to come are not empty ones
  const before = stats?.previous && format.span(stats.previous.from, stats.previous.to, session.today);
  return (
    <section class="card figures" aria-label="Figures" aria-busy={figures.loading ? 'true' : undefined}>
      <div class="tiles">
        {metrics.map((m, i) => <Tile key={m.name} metric={m} stats={figures.data?.[i]} failed={Boolean(figures.error)} open={range.open} on={m.name === chosen} choose={() => choose(m.name)} />)}
        <Active />
      </div>
      {figures.error && !stats && <Failed what="The figures cannot be shown." error={figures.error} retry={figures.retry} />}
      <div class="chart">
        {stats
          ? <Series label={metric.label} interval={stats.interval ?? range.interval} points={points} previous={stats.previous?.points} format={metric.write} tick={metric.tick ?? format.tick}
              summary={`${metric.label} from ${format.day(stats.from)} to ${format.day(stats.to)}: ${metric.write(stats.total)} in all.`} />
          : !figures.error && <Skeleton tall />}
      </div>
      <p class="legend muted">
        {stats && <><span><i class="now" /> {format.span(stats.from, stats.to, session.today)}</span>{before && <span><i class="then" /> {before}</span>}</>}
      </p>
    </section>
  );
}

function Tile({ metric, stats, failed, open, on, choose }) {
  const change = stats?.previous?.change;
  const way = open || !change || Math.abs(change) < 0.005 ? '' : Math.sign(change) === metric.good ? ' good' : ' bad';
  return (
    <button type="button" class="tile" aria-pressed={on} onClick={choose}>
      <span class="label">{metric.label}</span>
      <span class="value" title={stats && metric.write === format.brief ? format.count(stats.total) : undefined}>{stats ? metric.write(stats.total) : failed ? '–' : <Skeleton />}</span>
      <span class={'change' + way} title={open ? 'Today is not over: the period before is longer by the rest of it.' : undefined}>{stats ? (change === null || change === undefined ? '–' : format.change(change)) : '\u00a0'}{open && typeof change === 'number' && ' so far'}<span class="unseen"> against the period before{open && ', while today is not over'}</span></span>
    </button>
  );
}

function Active() {
  const { public: open } = useSession();
  const active = useLoad('active', (signal) => get('api/stats/', { metric: 'active' }, signal), { every: open ? everySharedMs : 5000 });
  return (
    <div class="tile active">
      <span class="label"><i class="pulse" /> Active now</span>
      <span class="value" aria-live="polite" aria-atomic="true">{active.data ? format.brief(active.data.now) : active.error ? '–' : <Skeleton />}</span>
      <span class="change">{open ? 'last 5 minutes' : <a href="#/live">Watch live</a>}</span>
    </div>
  );
}

// Nothing says whether the app has hits at all: its other days, or how to begin.
function Nothing({ range }) {
  const session = useSession();
  const days = useLoad('days', (signal) => get('api/partitions/', {}, signal), { enabled: !session.public });
  const newest = days.data?.reduce((last, p) => (p.day > last ? p.day : last), '');
  const elsewhere = (
    <p>
      {range.name !== '30' && <a href={link('/', { range: 30 })}>Look at the last 30 days</a>}
      {range.name === '30' && <a href={link('/', { range: 365 })}>Look at the last 12 months</a>}
    </p>
  );
  return (
    <section class="card">
      {days.loading && !session.public ? <Skeleton rows={3} /> : session.public || newest ? (
        <Empty title="No visits in these days">
          {newest && <p>The newest hits are of {format.day(newest)}.</p>}
          {elsewhere}
        </Empty>
      ) : (
        <Empty title="No hits in these days yet">
          <p>Put the widget's line into your pages, with a write key of this app:</p>
          <code class="block">{'<script async src="https://YOUR-COLLECTOR/widget.js" data-key="YOUR-KEY"></script>'}</code>
          <p>The demo has a page to try it on: <code>/demo</code> on the collector's address. Figures appear here within seconds.</p>
        </Empty>
      )}
    </section>
  );
}

function Places({ query, route, every }) {
  const countries = useLoad(JSON.stringify(query), (signal) => get('api/stats/top/', { dimension: 'country', limit: 250, ...query }, signal), { every });
  return (
    <section class="card wide places" aria-label="Places">
      <WorldMap rows={countries.data?.rows} route={route} />
      <TopTable title="Places" plain tabs={[['country', 'Countries'], ['region', 'Regions'], ['city', 'Cities']]} query={query} route={route} every={every} />
    </section>
  );
}
