// A table of any number of rows, of which only those in sight are in the page.
import { copy, el } from '../dom.js';
import { count, kindOf } from '../format.js';
import { resizable, widths } from './columns.js';
import { compare } from './order.js';
import { printable } from './print.js';
import { showValue } from './value.js';

// Rows above and below those in sight, so that quick scrolling shows no gap.
const MARGIN_ROWS = 8;
// A result that short is as high as its rows.
const SHORT_ROWS = 18;
// Longer texts are cut in their cells: a browser lays out what it doesn't show, too.
const CELL_CHARACTERS_MAX = 300;
let grids = 0;

export function grid({ columns, rows }, label = 'Rows') {
  const name = `grid-${++grids}`;
  const kinds = columns.map(({ type }) => kindOf(type));
  // Where rows are after sorting.
  let order = rows.map((_, at) => at);
  let sorted = { column: -1, direction: 0 };
  let active = { row: 0, column: 0 };
  let anchor = active;
  // The rows that are in the page, by their number.
  const lines = new Map();
  let shown = [0, 0];

  const headers = columns.map(({ name: title, type }, at) => el(
    'div',
    { role: 'columnheader', class: kinds[at] == 'number' ? 'number' : null, 'aria-sort': 'none', 'aria-colindex': at + 2 },
    el('button', { type: 'button', class: 'sort', title: `${title}: ${type}`, onclick: () => sort(at) }, el('span', { class: 'title' }, title), el('span', { class: 'type' }, type)),
    el('span', { class: 'resize', 'aria-hidden': 'true' }),
  ));
  const head = el('div', { role: 'rowgroup', class: 'grid-head' }, el(
    'div',
    { role: 'row', class: 'grid-row', 'aria-rowindex': 1 },
    el('div', { role: 'columnheader', class: 'line-number', 'aria-colindex': 1 }, el('span', { class: 'hidden-visually' }, 'Row')),
    ...headers,
  ));
  const body = el('div', { role: 'rowgroup', class: 'grid-body' });
  const node = el(
    'div',
    { role: 'grid', class: `grid${rows.length <= SHORT_ROWS ? ' short' : ''}`, tabindex: '0', 'aria-label': label, 'aria-rowcount': rows.length + 1, 'aria-colcount': columns.length + 1, 'aria-readonly': 'true', 'aria-multiselectable': 'true' },
    head,
    body,
  );
  const note = el('p', { class: 'grid-note', role: 'status' });
  const columnsInSight = resizable(node, headers, widths(columns, rows), () => draw());

  const height = () => parseFloat(getComputedStyle(node).getPropertyValue('--row-height'));
  const valueAt = (row, column) => rows[order[row]][column];
  const between = (value, one, other) => value >= Math.min(one, other) && value <= Math.max(one, other);

  function look(row, column) {
    const isRange = anchor.row != active.row || anchor.column != active.column;
    return [
      kinds[column] == 'number' && 'number',
      valueAt(row, column) == null && 'null',
      isRange && between(row, anchor.row, active.row) && between(column, anchor.column, active.column) && 'selected',
      row == active.row && column == active.column && 'active',
    ].filter(Boolean).join(' ');
  }

  function cell(row, column) {
    const value = valueAt(row, column);
    // Lines are shown one after the other; the whole text is in the dialog.
    const text = value == null ? 'null' : value.slice(0, CELL_CHARACTERS_MAX).replace(/\s*\n\s*/g, ' ↵ ');
    const node = el('div', { role: 'gridcell', id: `${name}-${row}-${column}`, class: look(row, column) || null, 'aria-colindex': column + 2, 'data-at': `${row} ${column}` }, text);
    node.style.gridColumn = column + 2;
    return node;
  }

  function line(row) {
    const node = el(
      'div',
      { role: 'row', class: 'grid-row', 'aria-rowindex': row + 2 },
      el('div', { role: 'rowheader', class: 'line-number', 'aria-colindex': 1 }, count(row + 1)),
      ...columns.slice(...shown).map((_, at) => cell(row, shown[0] + at)),
    );
    node.style.transform = `translateY(${row * height()}px)`;
    return node;
  }

  // Rows that stay in sight stay in the page, so that what is being clicked on doesn't go.
  function draw() {
    const rowHeight = height();
    const first = Math.max(0, Math.floor(node.scrollTop / rowHeight) - MARGIN_ROWS);
    const last = Math.min(rows.length, Math.ceil((node.scrollTop + node.clientHeight) / rowHeight) + MARGIN_ROWS);
    const inSight = columnsInSight();
    if (inSight.join() != shown.join()) {
      shown = inSight;
      body.replaceChildren();
      lines.clear();
    }
    for (const [row, line] of lines) {
      if (row >= first && row < last) continue;
      line.remove();
      lines.delete(row);
    }
    // In their order, for those who read the page and don't see it.
    let next = null;
    for (let row = last - 1; row >= first; row--) {
      if (!lines.has(row)) {
        lines.set(row, line(row));
        body.insertBefore(lines.get(row), next);
      }
      next = lines.get(row);
    }
    const current = `${name}-${active.row}-${active.column}`;
    if (lines.has(active.row) && active.column >= shown[0] && active.column < shown[1]) node.setAttribute('aria-activedescendant', current);
    else node.removeAttribute('aria-activedescendant');
  }

  function drawAnew() {
    body.replaceChildren();
    lines.clear();
    draw();
  }

  function mark() {
    for (const [row, line] of lines) for (let column = shown[0]; column < shown[1]; column++) line.children[column - shown[0] + 1].className = look(row, column);
  }

  function sort(column) {
    const direction = sorted.column == column ? { 1: -1, [-1]: 0, 0: 1 }[sorted.direction] : 1;
    sorted = { column, direction };
    order = rows.map((_, at) => at);
    if (direction) {
      const less = compare(kinds[column]);
      order.sort((one, other) => less(rows[one][column], rows[other][column], direction) || one - other);
    }
    headers.forEach((header, at) => header.setAttribute('aria-sort', at == column && direction ? (direction > 0 ? 'ascending' : 'descending') : 'none'));
    active = anchor = { row: 0, column };
    node.scrollTop = 0;
    drawAnew();
  }

  function move(row, column, extend) {
    active = { row: Math.max(0, Math.min(rows.length - 1, row)), column: Math.max(0, Math.min(columns.length - 1, column)) };
    if (!extend) anchor = active;
    const rowHeight = height();
    const top = active.row * rowHeight;
    const seen = node.clientHeight - head.offsetHeight;
    if (top < node.scrollTop) node.scrollTop = top;
    else if (top + rowHeight > node.scrollTop + seen) node.scrollTop = top + rowHeight - seen;
    const box = headers[active.column];
    const numbers = head.firstChild.firstChild.offsetWidth;
    if (box.offsetLeft < node.scrollLeft + numbers) node.scrollLeft = box.offsetLeft - numbers;
    else if (box.offsetLeft + box.offsetWidth > node.scrollLeft + node.clientWidth) node.scrollLeft = box.offsetLeft + box.offsetWidth - node.clientWidth;
    draw();
    mark();
    const cells = (Math.abs(anchor.row - active.row) + 1) * (Math.abs(anchor.column - active.column) + 1);
    note.textContent = cells > 1 ? `${count(cells)} cells are selected; Ctrl+C copies them` : '';
  }

  // Tab-separated, as spreadsheets take it.
  function selection() {
    const lines = [];
    for (let row = Math.min(anchor.row, active.row); row <= Math.max(anchor.row, active.row); row++) {
      const cells = [];
      for (let column = Math.min(anchor.column, active.column); column <= Math.max(anchor.column, active.column); column++) cells.push(valueAt(row, column) ?? '');
      lines.push(cells.join('\t'));
    }
    return lines.join('\n');
  }

  const openActive = () => showValue(columns[active.column], valueAt(active.row, active.column));

  node.addEventListener('keydown', (event) => {
    if (event.target != node || !rows.length) return;
    const page = Math.max(1, Math.floor(node.clientHeight / height()) - 2);
    const isFar = event.ctrlKey || event.metaKey;
    const { row, column } = active;
    const to = {
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      PageDown: [row + page, column],
      PageUp: [row - page, column],
      Home: [isFar ? 0 : row, 0],
      End: [isFar ? rows.length - 1 : row, columns.length - 1],
    }[event.key];
    if (to) move(...to, event.shiftKey);
    else if (event.key == 'Enter') openActive();
    else if (isFar && event.key == 'c') copy(selection());
    else if (isFar && event.key == 'a') {
      anchor = { row: 0, column: 0 };
      move(rows.length - 1, columns.length - 1, true);
    } else return;
    event.preventDefault();
  });
  const at = (event) => event.target.dataset?.at?.split(' ').map(Number);
  body.addEventListener('pointerdown', (event) => {
    const place = at(event);
    if (!place || event.button) return;
    move(...place, event.shiftKey);
    const extend = (over) => {
      const place = at(over);
      if (place && (place[0] != active.row || place[1] != active.column)) move(...place, true);
    };
    // A finger scrolls instead.
    if (event.pointerType != 'mouse') return;
    body.addEventListener('pointerover', extend);
    addEventListener('pointerup', () => body.removeEventListener('pointerover', extend), { once: true });
  });
  body.addEventListener('dblclick', (event) => at(event) && openActive());
  // What the cell can't show opens at once.
  body.addEventListener('click', (event) => {
    const place = at(event);
    const isClipped = event.target.scrollWidth > event.target.clientWidth + 1 || (place && valueAt(...place)?.length > CELL_CHARACTERS_MAX);
    if (place && isClipped && anchor.row == active.row && anchor.column == active.column && !event.shiftKey) openActive();
  });
  node.addEventListener('scroll', () => draw());
  new ResizeObserver(() => draw()).observe(node);

  const place = () => {
    body.style.height = `${rows.length * height()}px`;
    draw();
  };
  printable(node, columns, () => order.map((at) => rows[at]), kinds);
  // Sizes are known only once it is in the page.
  requestAnimationFrame(place);
  return el('div', {}, node, rows.length ? note : el('p', { class: 'grid-note' }, 'No rows.'));
}
