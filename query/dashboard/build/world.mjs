// Prints the map of the world as JSON: an SVG path per country, projected once
// here, so that the page needs neither the geometry nor the projection.
import { createRequire } from 'node:module';
import { geoEqualEarth, geoPath } from 'd3-geo';
import { feature } from 'topojson-client';

const world = createRequire(import.meta.url)('world-atlas/countries-110m.json');
const width = 1600;
const antarctica = '010';

const countries = feature(world, world.objects.countries).features.filter((f) => f.id !== antarctica);
const all = { type: 'FeatureCollection', features: countries };
const projection = geoEqualEarth().rotate([-11, 0]).fitWidth(width, all);
const path = geoPath(projection).digits(0);
const height = Math.ceil(path.bounds(all)[1][1]);

// Locales know the countries by the numbers of ISO 3166, too.
const code = (id) => (id ? new Intl.Locale('und-' + id).region : null);

const lands = countries
  .map((f) => ({ code: code(f.id), path: path(f) }))
  .sort((a, b) => Number((a.code ?? '~') > (b.code ?? '~')) - Number((a.code ?? '~') < (b.code ?? '~')));
process.stdout.write(JSON.stringify({ width, height, lands }) + '\n');
