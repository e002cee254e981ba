import { get } from './api.js';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { useSession } from './session.js';

export function Goals({ query, every }) {
  const session = useSession();
  const declared = session.goals?.length ?? 0;
  const load = useLoad(JSON.stringify(query), (signal) => get('api/stats/goals/', { from: query.from, to: query.to }, signal), { every, enabled: declared > 0 });
  return (
    <section class="card wide goals">
      <h2>Goals</h2>
      {declared === 0 ? (
        <Empty title="No goals yet">
          <p>Say which events or pages are aims of this app, and their conversion appears here:</p>
          <code class="block">spoor app set {session.app} 'goals=Signup=event:signup'</code>
        </Empty>
      ) : (
        <Loaded load={load} what="The goals cannot be shown." skeleton={<Skeleton rows={declared} />}>
          {(g) => (
            <>
              <table>
                <thead><tr><th scope="col">Goal</th><th scope="col" class="n">Visitors</th><th scope="col" class="n second">Times</th><th scope="col" class="n">Conversion</th></tr></thead>
                <tbody>
                  {g.goals.map((one) => (
                    <tr key={one.goal}>
                      <th scope="row" title={one.goal}>{one.name || one.goal}</th>
                      <td class="n">{format.count(one.visitors)}</td><td class="n second">{format.count(one.count)}</td><td class="n"><b>{format.percent(one.conversion)}</b></td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {query.filter && <p class="hint">Of all visitors of these days; the filter does not apply to goals.</p>}
            </>
          )}
        </Loaded>
      )}
    </section>
  );
}
