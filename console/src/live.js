// The live page: asks for what is new, each two seconds, and puts it on top.
import { el, find, findAll, svg } from './dom.js';
import { clock, count, duration, minute } from './format.js';
import { poll, request, signInAgain } from './http.js';

const INTERVAL_MS = 2000;
// More rows than anyone reads, few enough for a page that stays open for days.
const ROWS_MAX = 200;
const VISITOR_CHARACTERS = 8;

let after = find('#events tbody tr')?.dataset.id ?? '';

export function live() {
  if ('waiting' in document.body.dataset) return waitForTheFirst();
  const filter = filters();
  const pause = find('#pause');
  // What has arrived meanwhile, oldest first.
  let held = [];
  pause.addEventListener('click', () => {
    const isPaused = pause.getAttribute('aria-pressed') != 'true';
    pause.setAttribute('aria-pressed', isPaused);
    if (!isPaused) {
      show(held, filter);
      held = [];
    }
    pause.textContent = isPaused ? 'Go on' : 'Pause';
  });
  poll(
    INTERVAL_MS,
    async () => {
      const data = await fetchNews();
      figures(data);
      const news = [...data.events].sort((one, other) => (one.event_id < other.event_id ? -1 : 1));
      if (pause.getAttribute('aria-pressed') == 'true') {
        held = [...held, ...news].slice(-ROWS_MAX);
        pause.textContent = held.length ? `Go on (${held.length} new)` : 'Go on';
      } else show(news, filter);
      find('#live-state').textContent = '';
    },
    troubled,
  );
}

async function fetchNews() {
  const data = await request(`/live/data?after=${encodeURIComponent(after)}`);
  for (const { event_id } of data.events) if (event_id > after) after = event_id;
  return data;
}

function troubled(error) {
  const state = find('#live-state') ?? find('#waiting');
  state.replaceChildren(error.message, ...(error.status == 401 ? [' ', el('a', { href: signInAgain() }, 'Sign in again')] : []));
}

function waitForTheFirst() {
  poll(
    INTERVAL_MS,
    async () => {
      if ((await fetchNews()).events.length) location.reload();
    },
    troubled,
  );
}

function figures({ visitors_now, freshness_s, per_minute, accounting }) {
  find('#visitors-now').textContent = visitors_now == null ? 'too many to count' : count(visitors_now);
  find('#freshness').textContent = freshness_s == null ? 'not known' : duration(freshness_s * 1000);
  minutes(per_minute);
  find('#accounting tbody').replaceChildren(...accounting.map((line) => {
    const { accepted, stored, duplicate, quarantined, pending, unexplained } = line;
    const numbers = [accepted, stored, duplicate, quarantined, pending, unexplained];
    return el('tr', unexplained ? { class: 'loud' } : {}, el('td', {}, line.source), ...numbers.map((value) => el('td', { class: 'number' }, count(value))));
  }));
}

function minutes(per_minute) {
  if (!per_minute.length) return;
  const most = Math.max(1, ...per_minute.map(({ views }) => views));
  const bars = per_minute.map(({ at_ms, views }, at) => {
    const height = (views / most) * 100;
    const isNow = at == per_minute.length - 1;
    const bar = svg('rect', { x: at * 10 + 1, y: 100 - height, width: 8, height, class: isNow ? 'now' : null });
    bar.append(svg('title', {}, `${minute(at_ms)}: ${count(views)}`));
    return bar;
  });
  const label = `Page views a minute: ${per_minute.at(-1).views} in the current one, at most ${most}`;
  find('#minutes').replaceChildren(svg('svg', { class: 'minutes', viewBox: `0 0 ${bars.length * 10} 100`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, ...bars));
  const [first, middle] = findAll('.minutes-axis span');
  first.textContent = minute(per_minute[0].at_ms);
  middle.textContent = minute(per_minute[Math.floor(per_minute.length / 2)].at_ms);
}

function filters() {
  const [source, kind, name] = ['#filter-source', '#filter-kind', '#filter-name'].map((id) => find(id));
  const fits = (row) => {
    const { dataset } = row;
    const needle = name.value.toLowerCase();
    return (!source.value || dataset.source == source.value) && (!kind.value || dataset.kind == kind.value)
      && (!needle || `${dataset.name} ${row.cells[4].textContent}`.toLowerCase().includes(needle));
  };
  const apply = () => findAll('#events tbody tr').forEach((row) => (row.hidden = !fits(row)));
  find('#event-filter').addEventListener('input', apply);
  find('#event-filter').addEventListener('submit', (event) => event.preventDefault());
  return {
    fits,
    // A source or kind that appears for the first time can be chosen, too.
    learn(event) {
      for (const [select, value] of [[source, event.source], [kind, event.kind]]) {
        if (![...select.options].some((option) => option.value == value)) select.append(el('option', {}, value));
      }
    },
  };
}

function show(news, filter) {
  const body = find('#events tbody');
  const known = new Set([...body.rows].map((row) => row.dataset.id));
  for (const event of news) {
    if (known.has(event.event_id)) continue;
    filter.learn(event);
    const row = line(event);
    row.hidden = !filter.fits(row);
    body.prepend(row);
  }
  while (body.rows.length > ROWS_MAX) body.lastElementChild.remove();
}

function line({ event_id, occurred_at, source, kind, name, path, visitor_id, country, browser, properties }) {
  const said = properties && Object.keys(properties).length ? JSON.stringify(properties) : '';
  const cells = [source, kind, name, path, visitor_id?.slice(0, VISITOR_CHARACTERS), country, browser, said];
  return el(
    'tr',
    { class: 'fresh', 'data-id': event_id, 'data-source': source, 'data-kind': kind, 'data-name': name ?? '' },
    el('td', {}, el('time', { datetime: occurred_at }, clock(occurred_at))),
    ...cells.map((text) => el('td', { title: text?.length > 20 ? text : null }, text ?? '')),
  );
}
