// Draws series with uPlot, in the page's colours, with a legend and a tip that say the numbers.
import uPlot from 'uplot';
import { el, findAll, svg } from '../dom.js';
import { grouped } from './bars.js';
import { formatOf, labelOf, tickOf } from './labels.js';

const FONT = '12px system-ui, sans-serif';
const LEGEND_FROM = 2;

const colour = (name, within) => {
  const probe = el('span', { hidden: true });
  within.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};
const faint = (opaque, share) => `color-mix(in srgb, ${opaque} ${share * 100}%, transparent)`;

// One on the other: what is drawn of each is its top and the top below it.
function stack(series) {
  const sums = series[0]?.values.map(() => 0) ?? [];
  return series.map(({ values }) => values.map((value, at) => (sums[at] += value ?? 0)));
}

// Draws into `place`, and follows its width and the theme until `destroy` is called.
//
// `spec`: type (line, area, bars, stacked), label, kind of x (time, number, category), x, categories, unit, format, series
// of {label, values, dash}.
export function draw(place, spec) {
  const { type = 'line', kind = 'time', series } = spec;
  const isBars = type == 'bars' || type == 'stacked';
  const shown = series.map(() => true);
  const format = formatOf(spec.format);
  // A comparison is no colour of its own: it is the quieter twin of what it is compared with.
  const colourOf = (at) => (series[at].dash ? colour('--edge', place) : colour(`--series-${(at % 6) + 1}`, place));
  const legend = el('ul', { class: 'legend' });
  const tip = el('div', { class: 'tip', hidden: true });
  let plot;

  const swatch = (at) => svg('svg', { viewBox: '0 0 22 12', 'aria-hidden': 'true' }, isBars
    ? svg('rect', { x: 3, y: 1, width: 16, height: 10, rx: 2, fill: colourOf(at) })
    : svg('line', { x1: 0, y1: 6, x2: 22, y2: 6, stroke: colourOf(at), 'stroke-width': 3, 'stroke-dasharray': series[at].dash ? '5 4' : null }));

  function drawLegend() {
    legend.replaceChildren(...(series.length < LEGEND_FROM ? [] : series.map(({ label }, at) => el('li', {}, el('button', { type: 'button', 'aria-pressed': shown[at], onclick: () => {
      shown[at] = !shown[at];
      render();
      findAll('button', legend)[at].focus();
    } }, swatch(at), label)))));
  }

  function say(u) {
    const { idx, left, top } = u.cursor;
    tip.hidden = idx == null || left < 0;
    if (tip.hidden) return;
    tip.replaceChildren(
      el('p', { class: 'quiet' }, labelOf(spec, idx)),
      ...series.map(({ label, values }, at) => shown[at] && el('p', {}, swatch(at), label, el('span', { class: 'value' }, values[idx] == null ? '–' : format(values[idx])))).filter(Boolean),
    );
    const isRight = left > u.over.clientWidth / 2;
    tip.style.transform = `translate(${isRight ? left - tip.offsetWidth - 12 : left + 12}px, ${Math.min(top, u.over.clientHeight - tip.offsetHeight)}px)`;
  }

  function options(width) {
    const line = colour('--line', place);
    const axis = { stroke: colour('--quiet', place), font: FONT, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const visible = series.map((_, at) => at).filter((at) => shown[at]);
    return {
      width,
      height: place.clientHeight || 256,
      legend: { show: false },
      cursor: { y: false, points: { show: !isBars, size: 8 }, drag: { x: !isBars, y: false } },
      tzDate: (second) => uPlot.tzDate(new Date(second * 1000), 'Etc/UTC'),
      scales: {
        x: { time: kind == 'time', range: isBars ? (_, low, high) => [low - halfStep(spec.x), high + halfStep(spec.x)] : undefined },
        y: { range: (_, low, high) => (low == high && low == 0 ? [0, 1] : uPlot.rangeNum(Math.min(0, low), Math.max(0, high), { min: { pad: 0.08, soft: 0, mode: 1 }, max: { pad: 0.08, soft: 0, mode: 1 } })) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: kind == 'category' ? 90 : 70, values: tickOf(spec), ...(kind == 'category' ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {}) },
        { ...axis, ticks: { show: false }, size: (u, values) => Math.max(36, ...(values ?? []).map((text) => (text?.length ?? 0) * 7.2 + 14)), values: (_, values) => values.map((value) => format(value, true)) },
      ],
      series: [
        {},
        ...series.map(({ label, dash }, at) => ({
          label,
          show: shown[at],
          stroke: colourOf(at),
          width: isBars ? 0 : 2,
          dash: dash ? [6, 5] : undefined,
          fill: isBars ? colourOf(at) : type == 'area' || (series.length <= 2 && at == 0 && spec.fill) ? faint(colourOf(at), 0.14) : undefined,
          points: { show: !isBars && spec.x.length < 2 },
          paths: isBars ? grouped(visible.indexOf(at), type == 'stacked' ? 0 : visible.length, type == 'stacked' && stackBelow(at)) : undefined,
        })),
      ],
      hooks: { setCursor: [say] },
    };
  }
  // The values under a stacked series: the next lower one that is shown.
  const stacked = () => stack(series.map((one, at) => (shown[at] ? one : { values: one.values.map(() => 0) })));
  const stackBelow = (at) => (at ? stacked()[at - 1] : undefined);

  function render() {
    plot?.destroy();
    const values = type == 'stacked' ? stacked() : series.map(({ values }) => values);
    plot = new uPlot(options(place.clientWidth), [spec.x, ...values], place);
    plot.over.append(tip);
    tip.hidden = true;
    drawLegend();
  }

  const observer = new ResizeObserver(([{ contentRect: { width } }]) => {
    if (!width) return;
    if (!plot) render();
    else if (Math.abs(plot.width - width) > 1) plot.setSize({ width, height: plot.height });
  });
  observer.observe(place);
  addEventListener('weir:theme', render);
  place.after(legend);
  return {
    destroy() {
      observer.disconnect();
      removeEventListener('weir:theme', render);
      plot?.destroy();
      legend.remove();
    },
  };
}

// Half of the smallest distance between two places of x.
function halfStep(x) {
  let least = Infinity;
  for (let at = 1; at < x.length; at++) least = Math.min(least, x[at] - x[at - 1]);
  return least == Infinity ? 0.5 : least / 2;
}
