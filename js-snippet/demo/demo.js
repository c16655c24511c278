// What the demo's page does besides carrying the snippet: its own navigation, and the rows beside it.

const INTERVAL_MS = 500;
const table = document.querySelector('tbody');
const state = document.querySelector('#state');
// Of each row, when this page first had it.
const seen = new Map();
let isFirst = true;

// Pages without loading, as a single-page application has them.
for (const link of document.querySelectorAll('[data-page]')) {
  link.addEventListener('click', (event) => {
    event.preventDefault();
    history.pushState(null, '', link.href);
    mark();
  });
}
addEventListener('popstate', mark);

function mark() {
  for (const link of document.querySelectorAll('[data-page]')) {
    if (link.pathname === location.pathname) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}
mark();

const onClick = (id, act) => document.querySelector(id).addEventListener('click', act);
onClick('#signup', () => weir('signup', { plan: 'team', seats: 3 }));
onClick('#identify', () => weir.identify('alice', { email: 'alice@example.com' }));
onClick('#reset', () => weir.reset());
onClick('#error', () => {
  throw new Error('nobody catches this');
});
document.querySelector('#letter').addEventListener('submit', (event) => event.preventDefault());

async function refresh() {
  try {
    const answer = await fetch('/demo/rows');
    if (!answer.ok) throw new Error(`the collector answered ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    state.textContent = `The rows can't be read now: ${error.message}`;
  }
  setTimeout(refresh, INTERVAL_MS);
}

function show(rows) {
  const now = Date.now();
  for (const row of rows) {
    if (!seen.has(row.event_id)) seen.set(row.event_id, isFirst ? null : now - row.occurred_ms);
  }
  state.textContent = rows.length ? `${rows.length} rows; the newest is on top.` : 'Waiting for the first row…';
  const known = new Set([...table.children].map((line) => line.dataset.id));
  if (rows.every((row) => known.has(row.event_id)) && rows.length === known.size) return;
  table.replaceChildren(...rows.map((row) => line(row, !isFirst && !known.has(row.event_id))));
  isFirst = false;
}

function line(row, isFresh) {
  const after = seen.get(row.event_id);
  const properties = row.properties && Object.keys(row.properties).length ? JSON.stringify(row.properties) : '';
  const cells = [row.kind, row.name, row.path, properties, row.user_id || row.visitor_id?.slice(0, 8), after == null ? '' : `${after} ms`];
  const line = document.createElement('tr');
  line.dataset.id = row.event_id;
  line.classList.toggle('fresh', isFresh);
  line.append(...cells.map((text) => Object.assign(document.createElement('td'), { textContent: text ?? '' })));
  line.lastChild.className = 'number';
  return line;
}

refresh();
