// Runs the built file in a page that is made up, where time, failures and the
// life of the page can be steered; and, if a Chromium is there, in a real one.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import vm from 'node:vm';
import { gzipSync } from 'node:zlib';
import { minify } from 'terser';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const built = read('../w.js');
const compiled = new vm.Script(built, { filename: 'w.js' });

const SITE = 'https://site.example';
const QUOTA = 64 * 1024;

// What the snippet sees of a browser.
class Page {
  now = 1_700_000_000_000;
  timers = [];
  listeners = {};
  requests = []; // { url, init, events, answer(status) } of fetch
  beacons = []; // { url, body, events }
  beaconAnswer = () => true;

  constructor({ url = `${SITE}/`, referrer = '', title = 'Home', attributes = {}, ...more } = {}) {
    const page = this;
    const location = { href: url };
    const go = (_state, _title, to) => {
      if (to != null) location.href = new URL(to, location.href).href;
    };
    this.document = {
      currentScript: {
        src: 'https://collector.example/a/w.js?v=1',
        dataset: { key: 'pk_test', ...attributes },
      },
      referrer,
      title,
      hidden: false,
      ...more.document,
    };
    this.window = {
      document: this.document,
      location,
      history: { pushState: go, replaceState: go },
      screen: { width: 1920, height: 1080 },
      navigator: {
        language: 'de-AT',
        sendBeacon(target, body) {
          assert.equal(this, page.window.navigator);
          if (!page.beaconAnswer(body)) return false;
          page.beacons.push({ url: target, body, events: JSON.parse(body).events });
          return true;
        },
      },
      localStorage: {},
      crypto: { getRandomValues: (array) => crypto.getRandomValues(array) },
      URL,
      Date: { now: () => page.now },
      addEventListener: (type, listener) => (this.listeners[type] ??= []).push(listener),
      setTimeout: (run, delay = 0) => this.timers.push({ at: this.now + delay, run }),
      clearTimeout: (id) => id && (this.timers[id - 1].run = null),
      fetch: (target, init) =>
        new Promise((resolve, reject) => {
          this.requests.push({
            url: target,
            init,
            events: JSON.parse(init.body).events,
            answer: async (status) => {
              if (status) resolve({ status });
              else reject(new TypeError('Failed to fetch'));
              await new Promise(setImmediate);
            },
          });
        }),
      ...more.window,
    };
    this.window.window = this.window;
    vm.createContext(this.window);
    this.load();
  }

  load() {
    compiled.runInContext(this.window);
  }

  dispatch(type, event = {}) {
    for (const listener of this.listeners[type] ?? []) listener(event);
  }

  click(...path) {
    this.dispatch('click', { composedPath: () => [...path, this.document, this.window] });
  }

  hide() {
    this.document.hidden = true;
    this.dispatch('visibilitychange');
  }

  // Lets so many milliseconds go by.
  pass(duration) {
    const end = this.now + duration;
    for (;;) {
      const due = this.timers.filter(({ at, run }) => run && at <= end);
      if (!due.length) break;
      const next = due.reduce((a, b) => (b.at < a.at ? b : a));
      this.now = Math.max(this.now, next.at);
      const { run } = next;
      next.run = null;
      run();
    }
    this.now = end;
  }

  // The next batch, which the collector takes, as [type, name or path].
  async taken() {
    this.pass(200);
    const request = this.requests.at(-1);
    assert.ok(!request.taken, 'a new request');
    request.taken = true;
    await request.answer(202);
    return brief(request.events);
  }
}

const brief = (events) => events.map(({ type, name, url }) => [type, name ?? new URL(url).pathname]);
const ids = (events) => events.map(({ id }) => id);
const element = (dataset, attributes = []) => ({
  dataset,
  attributes: attributes.map(([name, value]) => ({ name, value })),
});

test('the built file is that of the source, and small', async () => {
  const { code } = await minify(read('../src/w.js'), JSON.parse(read('../terser.json')));
  assert.equal(built, code, 'run npm run build');
  const size = gzipSync(built, { level: 9 }).length;
  assert.ok(size <= 1150, `${size} bytes`);
});

test('a page view', async () => {
  const page = new Page({ url: `${SITE}/p?utm_source=x#secret`, referrer: 'https://from.example/' });
  page.pass(99);
  assert.equal(page.requests.length, 0);
  page.pass(1);
  const [{ url, init }] = page.requests;
  assert.equal(url, 'https://collector.example/a/v1/events');
  assert.equal(init.method, 'POST');
  assert.equal(init.credentials, 'omit');
  assert.equal(init.keepalive, true);
  assert.equal(init.headers, undefined);
  const { key, events } = JSON.parse(init.body);
  assert.equal(key, 'pk_test');
  const [{ id, ...event }] = events;
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(event, {
    type: 'page',
    timestamp: 1_700_000_000_000,
    url: `${SITE}/p?utm_source=x`,
    referrer: 'https://from.example/',
    title: 'Home',
    screen: '1920x1080',
    language: 'de-AT',
  });
});

test('data-endpoint', () => {
  const page = new Page({ attributes: { endpoint: 'https://other.example/in' } });
  page.pass(100);
  assert.equal(page.requests[0].url, 'https://other.example/in');
});

test('navigation within the page', async () => {
  const page = new Page({ referrer: 'https://from.example/' });
  const { history, location } = page.window;
  await page.taken();

  history.replaceState({}, '', '/');
  history.replaceState({});
  history.pushState({}, '', '#part');
  page.dispatch('popstate');
  page.dispatch('hashchange');
  page.dispatch('pageshow', { persisted: false });
  page.pass(1000);
  assert.equal(page.requests.length, 1);

  history.pushState({}, '', '/two');
  page.document.title = 'Two';
  page.pass(50);
  history.replaceState({}, '', '/three');
  page.document.title = 'Three';
  assert.deepEqual(await page.taken(), [['page', '/two'], ['page', '/three']]);
  const [two, three] = page.requests.at(-1).events;
  assert.deepEqual([two.referrer, two.title], [`${SITE}/`, 'Two']);
  assert.deepEqual([three.referrer, three.title], [`${SITE}/two`, 'Three']);

  location.href = `${SITE}/two`;
  page.dispatch('popstate');
  assert.deepEqual(await page.taken(), [['page', '/two']]);

  // Back from the back/forward cache: the same page, viewed again.
  page.dispatch('pageshow', { persisted: true });
  assert.deepEqual(await page.taken(), [['page', '/two']]);
  assert.equal(page.requests.at(-1).events[0].referrer, `${SITE}/two`);
});

test('data-hash', async () => {
  const page = new Page({ url: `${SITE}/#a`, attributes: { hash: '' } });
  page.window.location.href = `${SITE}/#b`;
  page.dispatch('popstate');
  page.dispatch('hashchange');
  page.window.location.href = `${SITE}/#c`;
  page.dispatch('hashchange');
  await page.taken();
  assert.deepEqual(
    page.requests[0].events.map(({ url }) => url),
    ['a', 'b', 'c'].map((part) => `${SITE}/#${part}`)
  );
});

test('clicks', async () => {
  const page = new Page();
  await page.taken();
  const marked = element({ weirEvent: 'buy' }, [
    ['class', 'x'],
    ['data-weir-event', 'buy'],
    ['data-weir-prop-plan', 'team'],
    ['data-weir-prop-seat-count', '3'],
    ['data-weir-prop-', 'nameless'],
  ]);
  page.click(element({}), element({ weirEvent: '' }));
  page.click({}, element({}), marked, element({ weirEvent: 'outer' }));
  assert.deepEqual(await page.taken(), [['click', 'buy']]);
  assert.deepEqual(page.requests.at(-1).events[0].properties, { plan: 'team', 'seat-count': '3' });
});

test('calls before the snippet is there, and after through what was there', async () => {
  const window = {
    weir: function stub() {
      (window.weir.q = window.weir.q || []).push(arguments);
    },
  };
  const { weir: stub } = window;
  stub('early', { a: 1 });
  stub('early too');
  const page = new Page({ window });
  page.window.weir('late');
  window.weir = page.window.weir;
  stub('stubborn');
  page.load();
  assert.deepEqual(await page.taken(), [
    ['page', '/'],
    ['track', 'early'],
    ['track', 'early too'],
    ['track', 'late'],
    ['track', 'stubborn'],
  ]);
  assert.deepEqual(page.requests[0].events[1].properties, { a: 1 });
});

test('properties are those of the time of the call', async () => {
  const page = new Page();
  const properties = { plan: 'team' };
  page.window.weir('signup', properties);
  properties.plan = 'solo';
  await page.taken();
  assert.deepEqual(page.requests[0].events[1].properties, { plan: 'team' });
});

test('nothing is thrown at the page', async () => {
  const broken = {
    get weir_ignore() {
      throw new Error('no storage here');
    },
  };
  const page = new Page({ window: { localStorage: broken } });
  const { weir } = page.window;
  const circular = {};
  circular.self = circular;
  weir('circular', circular);
  weir('bigint', { n: 1n });
  weir();
  weir(null);
  page.click(null);
  page.window.location.href = null;
  page.dispatch('popstate');
  page.window.location.href = `${SITE}/`;
  weir('fine');
  assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'fine']]);

  new Page({ document: { currentScript: null } }).window.weir('from a module');
});

test('localStorage.weir_ignore', () => {
  const page = new Page({ window: { localStorage: { weir_ignore: '' } } });
  page.window.weir('x');
  page.window.weir.q.push(['y']);
  page.hide();
  page.pass(1000);
  assert.deepEqual([page.requests, page.beacons, page.listeners], [[], [], {}]);
});

test('a prerendered page waits until it is looked at', async () => {
  const page = new Page({ document: { prerendering: true, hidden: true } });
  page.window.weir('waiting');
  page.pass(1000);
  assert.equal(page.requests.length, 0);
  page.document.prerendering = page.document.hidden = false;
  page.dispatch('prerenderingchange');
  assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'waiting']]);
  assert.equal(page.requests[0].events[0].timestamp, page.now - 200);
});

test('what failed is sent again, later and later, under the same ids', async () => {
  const page = new Page();
  page.pass(100);
  const sent = page.requests[0].events;
  let wait = 0;
  for (const status of [503, 0, 429, 408, 500, 502]) {
    const count = page.requests.length;
    await page.requests.at(-1).answer(status);
    const before = page.now;
    while (page.requests.length == count) page.pass(10);
    assert.deepEqual(page.requests.at(-1).events, sent);
    assert.ok(page.now - before > wait, 'backs off');
    wait = page.now - before;
  }
  // An event that comes meanwhile waits its turn.
  await page.requests.at(-1).answer(503);
  const count = page.requests.length;
  page.window.weir('meanwhile');
  page.pass(1000);
  assert.equal(page.requests.length, count);
  page.pass(500_000);
  assert.deepEqual(ids(page.requests.at(-1).events)[0], sent[0].id);
  assert.deepEqual(brief(page.requests.at(-1).events), [['page', '/'], ['track', 'meanwhile']]);

  // That was the last try, as the collector stays away.
  await page.requests.at(-1).answer(503);
  page.pass(1_000_000);
  assert.equal(page.requests.length, count + 1);

  // It's back: what comes now is sent, and tried again if need be.
  page.window.weir('again');
  assert.deepEqual(await page.taken(), [['track', 'again']]);
  page.window.weir('and again');
  page.pass(100);
  await page.requests.at(-1).answer(503);
  page.pass(1000);
  assert.equal(page.requests.length, count + 4);
});

test('a failure holds back what has come since', async () => {
  const page = new Page();
  page.pass(100);
  page.window.weir('since');
  await page.requests[0].answer(503);
  page.pass(250);
  assert.equal(page.requests.length, 1);
  page.pass(400);
  assert.deepEqual(brief(page.requests[1].events), [['page', '/'], ['track', 'since']]);
});

test('what the collector refuses is not sent again', async () => {
  for (const status of [400, 401, 403, 413]) {
    const page = new Page();
    page.pass(100);
    await page.requests[0].answer(status);
    page.pass(1_000_000);
    assert.equal(page.requests.length, 1);
  }
});

test('one request at a time', async () => {
  const page = new Page();
  page.pass(100);
  page.window.weir('a');
  page.pass(100);
  page.window.weir('b');
  page.pass(100);
  assert.equal(page.requests.length, 1);
  await page.requests[0].answer(202);
  page.pass(200);
  assert.deepEqual(brief(page.requests[1].events), [['track', 'a'], ['track', 'b']]);
});

test('much is sent in batches below the quota of the browser', async () => {
  const page = new Page();
  await page.taken();
  const text = '\u20ac'.repeat(1500);
  const names = Array.from({ length: 40 }, (_, i) => ['track', `n${i}`]);
  for (const [, name] of names) page.window.weir(name, { text });
  const got = [];
  while (got.length < names.length) got.push(...(await page.taken()));
  assert.deepEqual(got, names);
  for (const { init } of page.requests) {
    assert.ok(Buffer.byteLength(init.body) < QUOTA);
    assert.equal(init.keepalive, true);
  }
  assert.ok(page.requests.length < 12);

  // One that no keepalive request could hold goes alone, without.
  page.window.weir('huge', { text: text.repeat(15) });
  page.window.weir('small');
  assert.deepEqual(await page.taken(), [['track', 'huge']]);
  assert.equal(page.requests.at(-1).init.keepalive, false);
  assert.deepEqual(await page.taken(), [['track', 'small']]);

  // All at once when the page goes.
  for (const [, name] of names) page.window.weir(name, { text });
  page.dispatch('pagehide', {});
  assert.deepEqual(page.beacons.flatMap(({ events }) => brief(events)), names);
  for (const { body } of page.beacons) assert.ok(Buffer.byteLength(body) < QUOTA);
});

test('a page that leaves sends beacons', async () => {
  for (const leave of [(page) => page.hide(), (page) => page.dispatch('pagehide', {})]) {
    const page = new Page();
    page.window.weir('bye');
    leave(page);
    page.pass(1000);
    assert.equal(page.requests.length, 0);
    const [{ url, body, events }] = page.beacons;
    assert.equal(url, 'https://collector.example/a/v1/events');
    assert.equal(typeof body, 'string');
    assert.equal(JSON.parse(body).key, 'pk_test');
    assert.deepEqual(brief(events), [['page', '/'], ['track', 'bye']]);
  }
});

test('a page that comes into view does not', () => {
  const page = new Page();
  page.dispatch('visibilitychange');
  assert.equal(page.beacons.length, 0);
});

test('a page that leaves takes along what waited for another try', async () => {
  const page = new Page();
  page.pass(100);
  await page.requests[0].answer(503);
  page.hide();
  assert.deepEqual(ids(page.beacons[0].events), ids(page.requests[0].events));
  page.pass(1_000_000);
  assert.equal(page.requests.length, 1);
});

test('fetch stands in for a beacon that cannot be', async () => {
  const refuses = new Page();
  refuses.beaconAnswer = () => false;
  const throws = new Page();
  throws.beaconAnswer = () => {
    throw new Error('no');
  };
  const lacks = new Page();
  delete lacks.window.navigator.sendBeacon;
  for (const page of [refuses, throws, lacks]) {
    page.hide();
    const [{ init, events }] = page.requests;
    assert.deepEqual(brief(events), [['page', '/']]);
    assert.equal(init.keepalive, true);
    // The tab was only put in the background, and the page lives on.
    await page.requests[0].answer(0);
    page.pass(1000);
    assert.deepEqual(ids(page.requests[1].events), ids(events));
  }
});

test('a hidden page does not count on timers', async () => {
  const page = new Page();
  page.hide();
  page.window.weir('a');
  page.window.weir('b');
  assert.deepEqual(brief(page.requests[0].events), [['track', 'a']]);
  assert.equal(page.requests[0].init.keepalive, true);
  assert.deepEqual(brief(page.beacons[1].events), [['track', 'b']]);
});

const chromium = process.env.WEIR_TEST_CHROMIUM || '/usr/bin/chromium';

test('in Chromium', { skip: !existsSync(chromium) && `no ${chromium}` }, async (t) => {
  const collector = http.createServer((req, res) => {
    if (req.method == 'GET') {
      res.writeHead(200, { 'content-type': 'text/javascript' }).end(built);
    } else {
      req.resume();
      res.writeHead(req.method == 'POST' ? 202 : 405, { 'access-control-allow-origin': '*' }).end();
    }
  });
  t.after(() => {
    collector.closeAllConnections();
    collector.close();
  });
  await new Promise((done) => collector.listen(0, '127.0.0.1', done));
  const { stdout } = await promisify(execFile)(process.execPath, [
    fileURLToPath(new URL('browser.mjs', import.meta.url)),
    '--collector',
    `http://127.0.0.1:${collector.address().port}`,
    '--key',
    'pk_test',
  ]);
  assert.equal(JSON.parse(stdout).length, 7);
});
