// The tab in which a result is a chart: what is drawn can be chosen, and is there as a table, too.
import { el } from '../dom.js';
import { count, kindOf } from '../format.js';
import { seriesOf, settingsFor } from './settings.js';

const TYPES = [['line', 'Line'], ['bars', 'Bars'], ['area', 'Area'], ['stacked', 'Stacked bars']];
const TABLE_ROWS_MAX = 500;

export async function chartOf(place, data, chart, onChange) {
  const settings = settingsFor(data, chart);
  const names = data.columns.map(({ name }) => name);
  const numbers = data.columns.filter(({ type }) => kindOf(type) == 'number').map(({ name }) => name);
  if (!numbers.length || !data.rows.length) {
    place.append(el('p', { class: 'empty quiet' }, data.rows.length ? 'A chart needs a column of numbers.' : 'No rows.'));
    return;
  }
  const { draw } = await import('#dist/chart.js');
  let drawn;
  const figure = el('figure', { class: 'chart' });
  const select = (label, options, value, set) => {
    const node = el('select', { onchange: () => change(() => set(node.value)) }, ...options.map(([id, title]) => el('option', { value: id, selected: id == value }, title)));
    return el('label', {}, label, node);
  };
  const boxes = el('fieldset', {}, el('legend', {}, 'Y axis'), el('div', {}, ...numbers.map((name) => {
    const box = el('input', { type: 'checkbox', checked: settings.y.includes(name), onchange: () => change(() => {
      settings.y = numbers.filter((other) => (other == name ? box.checked : settings.y.includes(other)));
    }) });
    return el('label', { class: 'check' }, box, name);
  })));
  place.append(
    el(
      'div',
      { class: 'chart-settings' },
      select('Type', TYPES, settings.type, (value) => (settings.type = value)),
      select('X axis', names.map((name) => [name, name]), settings.x, (value) => (settings.x = value)),
      boxes,
      select('Split by', [['', 'nothing'], ...names.map((name) => [name, name])], settings.split ?? '', (value) => (settings.split = value || null)),
    ),
    figure,
  );

  function redraw() {
    drawn?.destroy();
    if (!settings.y.length) return figure.replaceChildren(el('p', { class: 'empty quiet' }, 'Choose a column to go up.'));
    const spec = seriesOf(data, settings);
    const plot = el('div', { class: 'plot', role: 'img', 'aria-label': spec.label });
    figure.replaceChildren(plot, ...(spec.notes.length ? [el('p', { class: 'grid-note' }, spec.notes.join(' '))] : []), asTable(spec, settings.x));
    drawn = draw(plot, spec);
  }
  function change(set) {
    set();
    redraw();
    onChange(settings);
  }
  redraw();
}

function asTable(spec, x) {
  const title = (at) => (spec.kind == 'time' ? new Date(spec.x[at] * 1000).toISOString().replace('T00:00:00.000Z', '').slice(0, 16).replace('T', ' ') : spec.categories?.[at] ?? spec.x[at]);
  const place = el('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': spec.label });
  const details = el('details', {}, el('summary', {}, 'As a table'), place);
  details.addEventListener('toggle', () => {
    if (place.firstChild) return;
    place.append(el(
      'table',
      { class: 'data' },
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, x), ...spec.series.map(({ label }) => el('th', { scope: 'col', class: 'number' }, label)))),
      el('tbody', {}, ...spec.x.slice(0, TABLE_ROWS_MAX).map((_, at) => el('tr', {}, el('th', { scope: 'row' }, title(at)), ...spec.series.map(({ values }) => el('td', { class: 'number' }, values[at] == null ? '' : count(values[at])))))),
    ));
  });
  return details;
}
