import { get } from './api.js';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { useSession } from './session.js';

// Goals are those that the app declares.
export function Goals({ query, every }) {
  const session = useSession();
  const load = useLoad(JSON.stringify(query), (signal) => get('api/stats/goals/', { from: query.from, to: query.to }, signal), { every });
  return (
    <section class="card wide goals" aria-label="Goals">
      <h2>Goals</h2>
      <Loaded load={load} what="The goals cannot be shown." skeleton={<Skeleton rows={3} />}>
        {({ goals }) => (goals.length === 0 ? (
          <Empty title="No goals yet">
            {!session.public && (
              <>
                <p>Say which events or pages are aims of this app, and their conversion appears here:</p>
                <code class="block">spoor app set {session.app} 'goals=Signup=event:signup'</code>
              </>
            )}
          </Empty>
        ) : (
          <>
            <table>
              <thead><tr><th scope="col">Goal</th><th scope="col" class="n">Visitors</th><th scope="col" class="n second">Times</th><th scope="col" class="n">Conversion</th></tr></thead>
              <tbody>
                {goals.map((g) => (
                  <tr key={g.goal}>
                    <th scope="row" title={g.goal}>{g.name || g.goal}</th>
                    <td class="n">{format.count(g.visitors)}</td><td class="n second">{format.count(g.count)}</td><td class="n"><b>{format.percent(g.conversion)}</b></td>
                  </tr>
                ))}
              </tbody>
            </table>
            {query.filter && <p class="hint">Of all visitors of these days; the filter does not apply to goals.</p>}
          </>
        ))}
      </Loaded>
    </section>
  );
}
