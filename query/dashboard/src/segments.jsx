import { get } from './api.js';
import { describe } from './conditions.jsx';
import * as format from './format.js';
import { Empty, Loaded, Skeleton, useLoad } from './load.jsx';
import { link } from './route.js';
import { may, useSession } from './session.js';

export const segmentsOf = (answer) => answer?.segments ?? answer?.results ?? [];

export function Segments() {
  const session = useSession();
  const load = useLoad('segments', async (signal) => segmentsOf(await get('api/public/segments/', {}, signal)));
  const build = may(session, 'write') && <a class="button primary" href={link('/segments/new')}>New segment</a>;
  return (
    <>
      <div class="page-head"><h1>Segments</h1>{build}</div>
      <section class="card">
        <Loaded load={load} what="The segments cannot be shown." skeleton={<Skeleton rows={6} />}>
          {(list) => (list.length === 0 ? (
            <Empty title="No segments yet"><p>A segment is a group of people by what is known of them and what they did, such as all who saw /pricing twice in 30 days. It is always up to date.</p>{build && <p>{build}</p>}</Empty>
          ) : (
            <table>
              <thead><tr><th scope="col">Segment</th><th scope="col" class="second">Who is in it</th><th scope="col" class="n">People</th></tr></thead>
              <tbody>
                {list.map((s) => (
                  <tr key={s.id}>
                    <td><a href={link('/segments/' + s.id)}>{s.name}</a>{s.description && <small>{s.description}</small>}</td>
                    <td class="second muted">{describe(s.filter)}</td>
                    <td class="n">{format.count(s.count)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          ))}
        </Loaded>
      </section>
    </>
  );
}
