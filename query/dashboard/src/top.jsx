import { useState } from 'preact/hooks';
import { get } from './api.js';
import { dimensions, valueText } from './filter.js';
import * as format from './format.js';
import { Loaded, Skeleton, useLoad } from './load.jsx';
import { useSession } from './session.js';
import { addFilter } from './toolbar.jsx';
import { Tabs } from './tabs.jsx';

const rowsMin = 8;
const rowsMax = 100;

// what a row's count counts
const counted = { path: 'Views', title: 'Views', screen: 'Views', entry: 'Entries', exit: 'Exits', event: 'Times', outbound: 'Clicks', download: 'Times' };

// By these visits come; what no visit came by, such as the site's own pages, is no source.
const sources = ['channel', 'referrer'];

// TopTable shows the most frequent texts of the dimension whose tab is chosen.
// Plain: it stands within a card of somebody else.
export function TopTable({ title, tabs, query, route, every, plain }) {
  const [dimension, choose] = useState(tabs[0][0]);
  const [limit, setLimit] = useState(rowsMin);
  const load = useLoad(JSON.stringify([dimension, limit, query]), (signal) => get('api/stats/top/', { dimension, limit, ...query }, signal), { every });
  const fits = load.data?.dimension === dimension;
  const Box = plain ? 'div' : 'section';
  return (
    <Box class={plain ? 'top-table' : 'card top-table'} aria-label={plain ? undefined : title} aria-busy={load.loading ? 'true' : undefined}>
      <h2 class="unseen">{title}</h2>
      <Tabs label={title} tabs={tabs.map(([name, label]) => ({ name, label }))} chosen={dimension} choose={(d) => { choose(d); setLimit(rowsMin); }}>
        <div class="reserve">
          <Loaded load={fits || load.error ? load : { loading: true }} what="This table cannot be shown." skeleton={<Skeleton rows={rowsMin} />}>
            {(top) => <Rows top={top} dimension={dimension} route={route} />}
          </Loaded>
          <p class="more">
            {fits && load.data.texts > load.data.rows.length && load.data.rows.length >= rowsMin && limit < rowsMax && (
              <button type="button" class="quiet" onClick={() => setLimit(rowsMax)}>Show more of {format.count(load.data.texts)}</button>
            )}
            {limit > rowsMin && <button type="button" class="quiet" onClick={() => setLimit(rowsMin)}>Show fewer</button>}
          </p>
        </div>
      </Tabs>
    </Box>
  );
}

function Rows({ top, dimension, route }) {
  const { public: open } = useSession();
  const rows = top.rows.filter((r) => r.count > 0 || !sources.includes(dimension));
  if (rows.length === 0 && !top.other?.visitors) return <p class="none muted">Nothing in these days.</p>;
  const most = Math.max(1, ...rows.map((r) => r.visitors));
  return (
    <table class="top-rows">
      <thead><tr><th scope="col">{dimensions[dimension]}</th><th scope="col" class="n">Visitors</th><th scope="col" class="n second">{counted[dimension] ?? 'Visits'}</th></tr></thead>
      <tbody>
        {rows.map((r) => (
          <tr key={r.value}>
            <td class="text">
              <span class="share" style={{ width: `${(100 * r.visitors) / most}%` }} />
              {open
                ? <span>{valueText(dimension, r.value)}</span>
                : <button type="button" title={`Show only ${valueText(dimension, r.value)}`} onClick={() => addFilter(route, dimension, r.value)}>{valueText(dimension, r.value)}</button>}
            </td>
            <td class="n">{format.count(r.visitors)}</td>
            <td class="n second">{format.count(r.count)}</td>
          </tr>
        ))}
        {top.other?.count > 0 && (
          <tr class="rest" title="Texts that fewer than five people brought, and what was over the limit of a day.">
            <td class="text"><span>(other)</span></td><td class="n">{format.count(top.other.visitors)}</td><td class="n second">{format.count(top.other.count)}</td>
          </tr>
        )}
      </tbody>
    </table>
  );
}
