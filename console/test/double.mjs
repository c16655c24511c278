// Answers as the console's server does, as far as the pages ask: the contract in README.md. What runs is told by its SQL.
import { json, readJson } from './support.mjs';

const COLUMNS = (...pairs) => pairs.map(([name, type, comment = null]) => ({ name, type, comment }));
export const SCHEMA = [
  {
    schema: 'analytics',
    comment: 'Events, and what is made of them',
    tables: [
      { name: 'events', kind: 'table', comment: 'One row an event', rows_estimate: 61_200_000, bytes: 24_900_000_000, columns: COLUMNS(['event_id', 'uuid'], ['occurred_at', 'timestamp with time zone', "The client's time if it is believable"], ['source', 'text'], ['kind', 'text'], ['name', 'text'], ['visitor_id', 'text'], ['path', 'text'], ['country', 'text'], ['properties', 'jsonb'], ['is_bot', 'boolean']) },
      { name: 'page_views', kind: 'view', comment: 'Events of the kind page', rows_estimate: null, bytes: null, columns: COLUMNS(['occurred_at', 'timestamp with time zone'], ['path', 'text'], ['visitor_id', 'text'], ['country', 'text']) },
      { name: 'sessions', kind: 'table', comment: 'One row a visit', rows_estimate: 4_100_000, bytes: 1_210_000_000, columns: COLUMNS(['bucket', 'date'], ['started_at', 'timestamp with time zone'], ['duration_s', 'double precision'], ['entry_page', 'text'], ['referred_by', 'text']) },
      { name: 'visitors_daily', kind: 'table', comment: 'Visitors, page views, visits of each day', rows_estimate: 1_200, bytes: 204_800, columns: COLUMNS(['bucket', 'date'], ['visitors', 'bigint'], ['page_views', 'bigint']) },
    ],
  },
  {
    schema: 'stripe',
    comment: 'From tap-stripe, each hour',
    tables: [{ name: 'Invoices', kind: 'table', comment: null, rows_estimate: 9_400, bytes: 4_100_000, columns: COLUMNS(['id', 'text'], ['amount_paid', 'bigint'], ['created', 'timestamp with time zone']) }],
  },
];

export const EVIL = '<img src=x onerror="window.hacked=1">';
const day = (at) => new Date(Date.UTC(2026, 9, 24) + at * 86_400_000).toISOString().slice(0, 10);

// Of `id`, what it has in its rows.
const ROWS = {
  daily: {
    columns: [{ name: 'day', type: 'date' }, { name: 'country', type: 'text' }, { name: 'visitors', type: 'bigint' }, { name: 'views', type: 'bigint' }],
    rows: () => Array.from({ length: 198 }, (_, at) => [day(Math.floor(at / 6)), ['DE', 'FR', 'US', 'GB', 'AT', null][at % 6], String(Math.round(1400 - (at % 6) * 210 + 130 * Math.sin(at / 11))), String(Math.round((4800 - (at % 6) * 700) * (1 + Math.sin(at / 14) * 0.2)))]),
  },
  large: {
    columns: [{ name: 'id', type: 'bigint' }, { name: 'amount', type: 'numeric(12,2)' }, { name: 'text', type: 'text' }, { name: 'properties', type: 'jsonb' }],
    rows: () => Array.from({ length: 100_000 }, (_, at) => [String(at + 1), at % 10 == 3 ? null : ((at * 7919) % 100_003 / 100).toFixed(2), at == 0 ? EVIL : `row ${at + 1} ${'of a long text '.repeat(at % 7)}`, `{"plan":"team","seats":${at % 9}}`]),
  },
  wide: { columns: Array.from({ length: 300 }, (_, at) => ({ name: `column_${at}`, type: 'text' })), rows: () => Array.from({ length: 1000 }, (_, row) => Array.from({ length: 300 }, (_, at) => `${row + 1}/${at}`)) },
  one: { columns: [{ name: '?column?', type: 'integer' }], rows: () => [['1']] },
};

export function double() {
  const runs = new Map();
  const state = { posts: [], isSignedOut: false, events: [] };
  let next = 0;

  const outcome = (sql) => {
    if (sql.includes('slow')) return null;
    if (sql.includes('wrong')) {
      const position = [...sql.slice(0, sql.indexOf('wrong'))].length + 1;
      return { state: 'failed', error: { message: 'column "wrong" does not exist', detail: null, hint: 'Perhaps you meant to reference the column "events.name".', sqlstate: '42703', position, statement: sql } };
    }
    if (sql.startsWith('create')) return { state: 'done', results: [], messages: ['CREATE TABLE'] };
    return { state: 'done', results: sql.includes('large') ? ['large'] : sql.includes('wide') ? ['wide'] : sql.includes('two') ? ['one', 'daily'] : sql.trim() == 'select 1' ? ['one'] : ['daily'], messages: [] };
  };

  async function answer(req, res, url) {
    const { pathname } = url;
    const post = req.method == 'POST' ? { path: pathname, body: /json/.test(req.headers['content-type']) ? await readJson(req) : null, token: req.headers['x-csrf-token'] } : null;
    if (post) state.posts.push(post);
    if (state.isSignedOut && /^\/(sql\/|queries$|q\/)/.test(pathname)) return json(res, { error: { message: 'Your session is over.' } }, 401), true;
    if (pathname == '/sql/schema') return json(res, SCHEMA), true;
    if (pathname == '/sql/history') return json(res, [{ sql: 'select count(*) from analytics.events', at: '2026-11-26T20:40:00Z', state: 'done', duration_ms: 830, result: 'one' }, { sql: 'select nothing', at: '2026-11-26T20:39:00Z', state: 'failed', duration_ms: 2, result: null }]), true;
    if (pathname == '/sql/runs' && post) {
      const run = `run-${++next}`;
      runs.set(run, { over: outcome(post.body.sql), since: Date.now() });
      return json(res, { run }, 202), true;
    }
    const asked = /^\/sql\/runs\/([\w-]+)(\/cancel)?$/.exec(pathname);
    if (asked) {
      const run = runs.get(asked[1]);
      if (asked[2]) run.over = { state: 'cancelled' };
      return json(res, asked[2] ? {} : run.over ?? { state: 'running', elapsed_ms: Date.now() - run.since }), true;
    }
    const result = /^\/r\/(\w+)\.json$/.exec(pathname);
    if (result) {
      const { columns, rows } = ROWS[result[1]] ?? ROWS.daily;
      const all = rows();
      const isCut = result[1] == 'large';
      return json(res, { id: result[1], columns, rows: all, row_count: all.length, bytes: 9_100, is_complete: !isCut, cut: isCut ? 'the result was cut at 100,000 rows, the most that is kept' : null, duration_ms: 412, started_at: '2026-11-26T20:40:00Z', by: 'ada', sql: 'select 1', visibility: 'private', expires_at: '2026-12-26T20:40:00Z' }), true;
    }
    if (pathname == '/queries' && post) return json(res, { slug: 'saved' }), true;
    if (post && /^\/q\/[\w-]+\/versions$/.test(pathname)) return json(res, { slug: 'views-by-country' }), true;
    if (post && /^\/r\/\w+\/visibility$/.test(pathname)) return json(res, {}), true;
    if (pathname == '/live/data') {
      const after = url.searchParams.get('after');
      const minute = 60_000;
      return json(res, {
        now_ms: Date.now(), visitors_now: 190, freshness_s: 0.3,
        per_minute: Array.from({ length: 30 }, (_, at) => ({ at_ms: Date.UTC(2026, 10, 26, 21) - (29 - at) * minute, views: 30 + at })),
        accounting: [{ source: 'shop', accepted: 10, stored: 8, duplicate: 1, quarantined: 0, pending: 0, unexplained: 1 }],
        events: state.events.filter(({ event_id }) => event_id > after),
      }), true;
    }
    if (pathname == '/operate/sources/data') return json(res, { now_ms: Date.now(), sources: [{ source: 'shop', is_enabled: true, last_event_ms: Date.now() - 900, events_last_minute: 77 }, { source: 'crm', is_enabled: true, last_event_ms: Date.now() - 20_000, events_last_minute: 1 }] }), true;
    return false;
  }
  return { answer, state };
}
