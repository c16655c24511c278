// What a chart of a result shows: chosen by the columns' types, until somebody chooses.
import { kindOf, seconds } from '../format.js';

// More lines than that can't be told apart.
export const SERIES_MAX = 6;
// More bars than that are a wall.
const CATEGORIES_MAX = 200;

export function suggest({ columns }) {
  const kinds = columns.map(({ type }) => kindOf(type));
  const numbers = columns.filter((_, at) => kinds[at] == 'number').map(({ name }) => name);
  const time = columns.find((_, at) => kinds[at] == 'time')?.name;
  const texts = columns.filter((_, at) => kinds[at] == 'text').map(({ name }) => name);
  const x = time ?? texts[0] ?? numbers[0] ?? columns[0]?.name;
  const y = numbers.filter((name) => name != x).slice(0, time && texts.length ? 1 : 3);
  return { type: time || x == numbers[0] ? 'line' : 'bars', x, y, split: time && texts.length ? texts[0] : null };
}

// `chart` as far as the result has its columns.
export function settingsFor(data, chart) {
  const names = new Set(data.columns.map(({ name }) => name));
  const fits = chart && names.has(chart.x) && chart.y?.length && chart.y.every((name) => names.has(name)) && (!chart.split || names.has(chart.split));
  return fits ? { type: chart.type ?? 'line', x: chart.x, y: chart.y, split: chart.split ?? null } : suggest(data);
}

// What chart.js draws. Rows of the same x and series are added up.
export function seriesOf({ columns, rows }, { type, x, y, split }) {
  const at = (name) => columns.findIndex((column) => column.name == name);
  const xAt = at(x);
  const splitAt = split ? at(split) : -1;
  const found = kindOf(columns[xAt].type);
  const kind = found == 'time' || found == 'number' ? found : 'category';
  const read = { time: seconds, number: (text) => (text == null ? null : Number(text)), category: (text) => text ?? 'null' }[kind];

  const points = new Map();
  const totals = new Map();
  for (const row of rows) {
    const key = read(row[xAt]);
    if (key == null || Number.isNaN(key)) continue;
    if (!points.has(key)) points.set(key, new Map());
    for (const name of y) {
      const value = row[at(name)];
      if (value == null) continue;
      const series = splitAt < 0 ? name : (y.length > 1 ? `${row[splitAt] ?? 'null'} · ${name}` : row[splitAt] ?? 'null');
      const cells = points.get(key);
      cells.set(series, (cells.get(series) ?? 0) + Number(value));
      totals.set(series, (totals.get(series) ?? 0) + Math.abs(Number(value)));
    }
  }
  let keys = [...points.keys()];
  if (kind != 'category') keys.sort((one, other) => one - other);
  const notes = [];
  if (kind == 'category' && keys.length > CATEGORIES_MAX) {
    notes.push(`The first ${CATEGORIES_MAX} of ${keys.length} values of ${x}.`);
    keys = keys.slice(0, CATEGORIES_MAX);
  }
  const names = splitAt < 0 ? y : [...totals].sort((one, other) => other[1] - one[1]).map(([name]) => name);
  if (names.length > SERIES_MAX) notes.push(`The ${SERIES_MAX} greatest of ${names.length} series.`);
  return {
    type,
    label: `${y.join(', ')} by ${x}`,
    x: kind == 'category' ? keys.map((_, index) => index) : keys,
    kind,
    categories: kind == 'category' ? keys : undefined,
    series: names.slice(0, SERIES_MAX).map((label) => ({ label, values: keys.map((key) => points.get(key).get(label) ?? null) })),
    notes,
  };
}
