// One visit of one page for each tracker, as published, in Chromium: node trackers.mjs ROUNDS
//
// The page is an application that routes: it is loaded, goes to two more pages, back, and is clicked and scrolled. Its path begins
// with the tracker's name, by which the caller finds what was counted. Prints, as JSON, what each tracker weighs, sends and takes:
// once for one round, medians of all for more, with the times then.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, request as send } from 'node:http';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { AS_A_PERSON, launch } from '../chromium.mjs';
import { minify } from 'terser';

const { WEIR_URL, WEIR_KEY, WEIR_ALIAS, WEIR_TEST_UMAMI } = process.env;
const rounds = Number(process.argv[2] ?? 1);

// Trackers wait before they send: Umami 300 ms after a route, posthog-js 3 s for a batch. All are watched for as long, and none is left
// before its events have come, however slow the machine.
const STEP_MS = 700;
const END_MS = 3500;
const EVENTS = /^\/(v1\/events|api\/(event|send)|(i\/v0\/)?e)\/?(\?|$)/;
const SAMPLE_US = 100;

const module = async (code) => {
  const { outputFiles: [{ text }] } = await build({
    stdin: { contents: code, resolveDir: import.meta.dirname },
    bundle: true, write: false, minify: true, format: 'iife', logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  });
  return { code: text };
};
const collected = async (path) => ({ code: await (await fetch(WEIR_URL + path)).text() });
const version = async (name) => JSON.parse(await readFile(`${import.meta.dirname}/node_modules/${name}/package.json`)).version;

// What each is told, as its documentation says for an application that routes; `url` is the collector's.
const trackers = {
  none: async () => ({ code: '' }),
  'weir w.js': async (url) => ({ ...await collected('/w.js'), attributes: `data-key="${WEIR_KEY}" data-endpoint="${url}/v1/events"` }),
  'weir w.full.js': async (url) => ({
    ...await collected('/w.full.js'),
    attributes: `data-key="${WEIR_KEY}" data-endpoint="${url}/v1/events" data-outbound data-download data-forms data-engagement data-vitals data-errors`,
  }),
  'plausible-tracker': (url) => module(`import Plausible from 'plausible-tracker';
    (Plausible.default ?? Plausible)({ domain: '${WEIR_ALIAS}', apiHost: '${url}', trackLocalhost: true }).enableAutoPageviews();`),
  '@plausible-analytics/tracker': (url) => module(`import { init } from '@plausible-analytics/tracker';
    init({ domain: '${WEIR_ALIAS}', endpoint: '${url}/api/event', captureOnLocalhost: true });`),
  umami: async (url) => {
    const source = (await readFile(WEIR_TEST_UMAMI, 'utf8'))
      .replace('__COLLECT_API_HOST__', '').replace('__COLLECT_API_ENDPOINT__', '/api/send');
    return { ...await minify(source, { compress: { evaluate: false } }), attributes: `data-website-id="${WEIR_ALIAS}" data-host-url="${url}"` };
  },
  'posthog-js': (url) => module(`import posthog from 'posthog-js';
    posthog.init('${WEIR_KEY}', { api_host: '${url}', defaults: '2025-05-24', capture_pageview: 'history_change' });`),
};
const versions = async (name) => (name.startsWith('weir') || name === 'none' ? null : name === 'umami' ? '2.10.0' : version(name));

const listen = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
};

// Passes requests on to the collector and counts what came: of a preflight, a browser says nothing to its driver.
let requests = 0;
let answered = 0; // of those with events
const sockets = new Set();
const front = createServer((incoming, answer) => {
  requests += 1;
  const target = new URL(incoming.url, WEIR_URL);
  const outgoing = send(target, { method: incoming.method, headers: { ...incoming.headers, host: target.host } }, (given) => {
    answer.writeHead(given.statusCode, given.headers);
    given.pipe(answer);
    if (incoming.method === 'POST' && EVENTS.test(incoming.url)) answer.on('finish', () => (answered += 1));
  });
  outgoing.on('error', () => answer.destroy());
  incoming.pipe(outgoing);
});
front.on('connection', (socket) => sockets.add(socket));
const url = await listen(front);
const received = () => [...sockets].reduce((sum, socket) => sum + socket.bytesRead, 0);

let tracker;
const markup = () => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Home</title>
  <script defer src="/tracker.js" ${tracker.attributes ?? ''}></script>
  <nav><a class="route" href="pricing">Pricing</a> <a class="route" href="docs">Docs</a></nav>
  <main></main>
  <script>
    const base = location.pathname.replace(/[^/]*$/, '');
    const show = () => {
      const name = location.pathname.slice(base.length) || 'home';
      document.title = name;
      document.querySelector('main').innerHTML = '<h1>' + name + '</h1>' + '<p>Some text, <b>as pages</b> have it.</p>'.repeat(200);
    };
    document.addEventListener('click', (event) => {
      const link = event.target.closest('a.route');
      if (!link) return;
      event.preventDefault();
      history.pushState({}, '', base + link.getAttribute('href'));
      show();
    });
    addEventListener('popstate', show);
    show();
  </script>`;
const site = createServer((request, response) => {
  const isScript = request.url === '/tracker.js';
  response.setHeader('content-type', `text/${isScript ? 'javascript' : 'html'}; charset=utf-8`);
  response.end(isScript ? tracker.code : markup());
});
const origin = await listen(site);

const browser = await launch(chromium, AS_A_PERSON);

const slug = (name) => name.replace(/\W+/g, '-');

// The time in what the script called and all that it called, in ms.
function timeIn(profile) {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])));
  const isIn = new Map();
  const within = (id) => {
    if (!isIn.has(id)) {
      isIn.set(id, nodes.get(id).callFrame.url.endsWith('/tracker.js') || (parents.has(id) && within(parents.get(id))));
    }
    return isIn.get(id);
  };
  return profile.samples.reduce((sum, id, index) => sum + (within(id) ? profile.timeDeltas[index] : 0), 0) / 1000;
}

async function visit(name, isProfiled) {
  const context = await browser.newContext();
  await context.addInitScript(() => Object.defineProperty(navigator, 'webdriver', { get: () => false }));
  await context.route((asked) => ![origin, url].includes(asked.origin), (route) => route.abort());
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send('Performance.enable');
  if (isProfiled) {
    await devtools.send('Profiler.enable');
    await devtools.send('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    await devtools.send('Profiler.start');
  }
  const before = [requests, received(), answered];
  await page.goto(`${origin}/${slug(name)}/`);
  await page.waitForTimeout(STEP_MS);
  for (const link of ['Pricing', 'Docs']) {
    await page.click(`text=${link}`);
    await page.waitForTimeout(STEP_MS);
  }
  await page.goBack();
  await page.waitForTimeout(STEP_MS);
  await page.click('h1');
  await page.evaluate(() => scrollTo(0, 1000));
  await page.waitForTimeout(END_MS);
  while (name !== 'none' && answered === before[2]) await page.waitForTimeout(50);
  const { metrics } = await devtools.send('Performance.getMetrics');
  const tasks = metrics.find((metric) => metric.name === 'TaskDuration').value * 1000;
  const script = isProfiled ? timeIn((await devtools.send('Profiler.stop')).profile) : null;
  await page.goto('about:blank');
  await page.waitForTimeout(STEP_MS);
  await context.close();
  return { tasks, script, requests: requests - before[0], bytes: received() - before[1] };
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const results = [];
try {
  for (const name of Object.keys(trackers)) {
    if (name === 'none' && rounds === 1) continue;
    results.push({ name, version: await versions(name), made: await trackers[name](url), visits: [], profiled: [] });
  }
  // In turn, so that what else the machine does meets all alike.
  for (let round = 0; round < rounds; round += 1) {
    for (const result of results) {
      tracker = result.made;
      result.visits.push(await visit(result.name, false));
      if (rounds > 1) result.profiled.push(await visit(result.name, true));
    }
  }
} finally {
  await browser.close();
  for (const server of [front, site]) {
    server.closeAllConnections();
    server.close();
  }
}
const visitsEach = rounds > 1 ? 2 * rounds : 1;
console.log(JSON.stringify(results.map(({ name, version: published, made, visits, profiled }) => ({
  name,
  slug: slug(name),
  version: published,
  visits: visitsEach,
  script_bytes: made.code ? gzipSync(made.code, { level: 9 }).length : 0,
  requests: median(visits.map((one) => one.requests)),
  bytes_sent: median(visits.map((one) => one.bytes)),
  script_ms: profiled.length ? median(profiled.map((one) => one.script)) : null,
  tasks_ms: median(visits.map((one) => one.tasks)),
}))));
