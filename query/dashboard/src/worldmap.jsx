import { useMemo } from 'preact/hooks';
import * as format from './format.js';
import { Failed, useLoad } from './load.jsx';
import { useSession } from './session.js';
import { addFilter } from './toolbar.jsx';

const shades = 5;
let world; // asked for once

const readWorld = async () => {
  world ??= fetch('world.json').then((r) => {
    if (!r.ok) throw new Error('The map is missing on the server.');
    return r.json();
  });
  try {
    return await world;
  } catch (e) {
    world = undefined;
    throw e;
  }
};

// WorldMap shades countries by visitors; the table beside it has the figures.
export function WorldMap({ rows, route }) {
  const { public: open } = useSession();
  const map = useLoad('world', readWorld);
  const visitors = useMemo(() => new Map((rows ?? []).map((r) => [r.value, r.visitors])), [rows]);
  const most = Math.max(1, ...visitors.values());
  const shade = (code) => {
    const n = visitors.get(code);
    return n ? 1 + Math.min(shades - 1, Math.floor(shades * Math.sqrt(n / most) - 1e-9)) : 0;
  };
  const first = (rows ?? []).slice(0, 5).map((r) => `${format.country(r.value)} ${format.count(r.visitors)}`).join(', ');
  return (
    <div class="world">
      {map.error && !map.data && <Failed what="The map cannot be shown." error={map.error} retry={map.retry} />}
      <svg viewBox={map.data ? `0 0 ${map.data.width} ${map.data.height}` : '0 0 1600 752'} role="img" aria-label={first ? `Visitors by country: ${first}.` : 'A map of visitors by country; nobody yet.'}>
        {map.data?.lands.map((land, i) => (
          <path key={land.code ?? i} d={land.path} class={`land s${shade(land.code)}${open ? '' : ' pick'}`} onClick={visitors.has(land.code) && !open ? () => addFilter(route, 'country', land.code) : undefined}>
            {land.code && <title>{`${format.country(land.code)}: ${format.count(visitors.get(land.code) ?? 0)}`}</title>}
          </path>
        ))}
      </svg>
      <p class="scale muted" aria-hidden="true"><span>1</span>{Array.from({ length: shades }, (_, i) => <i key={i} class={`s${i + 1}`} />)}<span>{format.brief(most)} visitors</span></p>
    </div>
  );
}
