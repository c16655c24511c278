// On paper nothing scrolls: while a page is printed, a plain table stands in for the grid.
import { el } from '../dom.js';
import { count } from '../format.js';

// Some hundred pages: nobody meant more.
const ROWS_MAX = 5000;

// `rowsNow` gives the rows in their present order.
export function printable(grid, columns, rowsNow, kinds) {
  let table;
  const before = () => {
    // It may be gone from the page, for the next result.
    if (!grid.isConnected) return removeEventListener('beforeprint', before);
    const rows = rowsNow();
    const kind = (at) => (kinds[at] == 'number' ? 'number' : null);
    table = el(
      'table',
      { class: 'data print-only' },
      rows.length > ROWS_MAX && el('caption', {}, `The first ${count(ROWS_MAX)} of ${count(rows.length)} rows`),
      el('thead', {}, el('tr', {}, ...columns.map(({ name }, at) => el('th', { scope: 'col', class: kind(at) }, name)))),
      el('tbody', {}, ...rows.slice(0, ROWS_MAX).map((row) => el('tr', {}, ...row.map((value, at) => el('td', { class: value == null ? 'null' : kind(at) }, value ?? 'null'))))),
    );
    grid.after(table);
  };
  addEventListener('beforeprint', before);
  addEventListener('afterprint', () => table?.remove());
}
