import uPlot from 'uplot';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import * as format from './format.js';
import { useTheme } from './theme.js';

// wholes are the steps of an axis that counts.
const wholes = Array.from({ length: 30 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

// colours are asked of the page, because a canvas knows no custom properties.
function colours(probe) {
  const of = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  return { line: of('--accent'), fill: of('--accent-faint'), before: of('--dim'), grid: of('--line'), text: of('--muted') };
}

function optionsOf({ previous, write, height, width, label, nameOf, lone, bars }, c, hover) {
  const axis = { stroke: c.text, font: '12px system-ui, sans-serif', ticks: { show: false } };
  return {
    width, height,
    padding: [12, 24, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 8 } },
    hooks: { setCursor: [(u) => hover(u.cursor.idx === null || u.cursor.idx === undefined ? null : { index: u.cursor.idx, left: u.cursor.left })] },
    scales: { x: { time: false, range: (_, min, max) => (bars ? [min - 0.6, max + 0.6] : min === max ? [min - 1, max + 1] : [min, max]) }, y: { range: (_, min, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [
      { ...axis, size: 30, grid: { show: false }, incrs: [1, 2, 3, 4, 6, 7, 14, 28, 30, 60, 90], space: 64, values: (_, at) => at.map(nameOf) },
      { ...axis, grid: { stroke: c.grid, width: 1 }, size: (_, values) => 16 + 7 * Math.max(3, ...(values ?? []).map((v) => v.length)), space: height < 200 ? 30 : 44, ...((write === format.tick || write === format.bytes) && { incrs: wholes }), values: (_, at) => at.map(write) },
    ],
    series: [
      {},
      { label: 'before', stroke: c.before, width: 1.5, dash: [4, 4], points: { show: false }, show: Boolean(previous) },
      {
        label, stroke: c.line, width: 2, fill: c.fill,
        ...(bars ? { paths: uPlot.paths.bars({ size: [0.7, 40], radius: 0.2 }), width: 0, fill: c.line, points: { show: false } } : { points: { show: lone, size: 7, fill: c.line } }),
      },
    ],
  };
}

// Series draws points {at, value} over one another's indexes, with those of the
// period before as a dimmed line. What it shows is in a table beside it, too.
export function Series({ label, interval = 'day', points, previous, format: write = format.count, tick = format.tick, height = 260, name, bars, summary }) {
  const box = useRef();
  const probe = useRef();
  const plot = useRef();
  const [hover, setHover] = useState(null);
  const [open, setOpen] = useState(false);
  const { shown } = useTheme();
  const step = name ?? ((p, axis) => format.point(p.at, interval, axis));
  const longest = Math.max(points.length, previous?.length ?? 0);
  const current = useRef();
  current.current = points;
  const shape = JSON.stringify([label, interval, bars ? '' : points[0]?.at, longest, Boolean(previous), height, shown, bars]);
  const values = (list) => Array.from({ length: longest }, (_, i) => list?.[i]?.value ?? null);
  const data = [Array.from({ length: longest }, (_, i) => i), values(previous), values(points)];
  const nameOf = (i) => (current.current[i] ? step(current.current[i], true) : '');

  useLayoutEffect(() => { // with the words around it
    const place = box.current;
    if (!place) return undefined; // gone before it was drawn
    const width = place.clientWidth;
    const u = new uPlot(optionsOf({ previous, write: tick, height, width, label, nameOf, lone: longest < 2, bars }, colours(probe.current), setHover), data, place);
    plot.current = u;
    const watch = new ResizeObserver(() => u.setSize({ width: place.clientWidth, height }));
    watch.observe(place);
    return () => {
      watch.disconnect();
      u.destroy();
    };
  }, [shape]);
  const text = JSON.stringify(data);
  useLayoutEffect(() => plot.current?.setData(data), [text]);

  const shownPoint = hover && points[hover.index];
  const old = hover && previous?.[hover.index];
  return (
    <figure class="series">
      <div class="plot" style={{ minHeight: `${height}px` }} onMouseLeave={() => setHover(null)}>
        <span class="probe" ref={probe} />
        <div ref={box} role="img" aria-label={summary ?? `${label} as a line; the table below has the figures.`} />
        {(shownPoint || old) && (
          <div class={'tip' + (hover.index > longest / 2 ? ' left' : '')} style={{ left: `${hover.left + (plot.current?.bbox.left ?? 0) / devicePixelRatio}px` }}>
            {shownPoint && <p><b>{write(shownPoint.value)}</b> {step(shownPoint, false)}</p>}
            {old && <p class="muted"><b>{write(old.value)}</b> {format.point(old.at, interval, false)}</p>}
          </div>
        )}
      </div>
      <details class="as-table" onToggle={(e) => setOpen(e.currentTarget.open)}>
        <summary>Show as a table</summary>
        {open && <div class="scroll" tabIndex={0} role="region" aria-label={`${label}, table`}>
          <table>
            <thead><tr><th scope="col">When</th><th scope="col" class="n">{label}</th>{previous && <th scope="col" class="n">Period before</th>}</tr></thead>
            <tbody>
              {points.map((p, i) => (
                <tr key={p.at}><th scope="row">{step(p, false)}</th><td class="n">{write(p.value)}</td>{previous && <td class="n">{write(previous[i]?.value)}</td>}</tr>
              ))}
            </tbody>
          </table>
        </div>}
      </details>
    </figure>
  );
}
