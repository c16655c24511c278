// What stands at a chart's axes and in its tip.

const DAY_S = 86_400;
const UTC = { timeZone: 'UTC' };
const hour = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', ...UTC });
const second = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', ...UTC });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', ...UTC });
const month = new Intl.DateTimeFormat('en-GB', { month: 'short', year: 'numeric', ...UTC });
const wholeDay = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', ...UTC });

const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });
const long = new Intl.NumberFormat('en-US', { maximumFractionDigits: 3 });

const FORMATS = {
  count: (value, isTick) => (isTick && Math.abs(value) >= 10_000 ? short : long).format(value),
  percent: (value) => `${long.format(value)} %`,
  seconds: (value) => (value >= 60 ? `${Math.floor(value / 60)} m ${Math.round(value % 60)} s` : `${long.format(value)} s`),
};
export const formatOf = (name) => FORMATS[name] ?? FORMATS.count;

// Of the tip: the place `at` of x.
export function labelOf({ kind = 'time', x, categories, unit }, at) {
  if (kind == 'category') return categories[at];
  if (kind == 'number') return long.format(x[at]);
  const date = new Date(x[at] * 1000);
  if (unit == 'month') return month.format(date);
  const isDay = unit ? unit == 'day' || unit == 'week' : x.every((value) => value % DAY_S == 0);
  return isDay ? wholeDay.format(date) : `${day.format(date)}, ${second.format(date)}`;
}

// Of the axis: uPlot's `values`.
export function tickOf({ kind = 'time', categories }) {
  if (kind == 'category') return (_, places) => places.map((at) => shorten(categories[at] ?? ''));
  if (kind == 'number') return (_, places) => places.map((value) => FORMATS.count(value, true));
  return (_, places, _axis, _space, step) => places.map((value) => {
    const date = new Date(value * 1000);
    if (step >= 28 * DAY_S) return month.format(date);
    return step >= DAY_S || value % DAY_S == 0 ? day.format(date) : (step < 60 ? second : hour).format(date);
  });
}

const shorten = (text) => (text.length > 14 ? `${text.slice(0, 13)}…` : text);
