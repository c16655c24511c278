// Runs the built file in a page that is made up, where time, failures and the
// life of the page can be steered; and, if a Chromium is there, in a real one.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import vm from 'node:vm';
import { executablePath } from '../../tests/chromium.mjs';
import { bundle } from '../build.mjs';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const built = read('../w.js');
const full = read('../w.full.js');
const scripts = [built, full].map((code) => new vm.Script(code, { filename: 'w.js' }));

const SITE = 'https://site.example';
const QUOTA = 64 * 1024;

// What the snippet sees of a browser.
class Page {
  now = 1_700_000_000_000;
  timers = [];
  listeners = {};
  requests = []; // { url, init, events, answer(status, reason) } of fetch
  inFlight = 0; // bytes of those with keepalive
  refused = 0; // requests, for the quota

  constructor({ url = `${SITE}/`, referrer = '', title = 'Home', attributes = {}, isFull = false, hasStorage = true, ...more } = {}) {
    const page = this;
    this.script = scripts[+isFull];
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
    };
    Object.defineProperties(this.document, Object.getOwnPropertyDescriptors(more.document ?? {}));
    this.window = {
      document: this.document,
      location,
      history: { pushState: go, replaceState: go },
      screen: { width: 1920, height: 1080 },
      navigator: { onLine: true },
      localStorage: {},
      performance: { getEntriesByType: () => [{}] },
      innerHeight: 1000,
      scrollY: 0,
      crypto: { getRandomValues: (array) => crypto.getRandomValues(array) },
      URL,
      Date: { now: () => page.now },
      addEventListener: (type, listener) => (this.listeners[type] ??= []).push(listener),
      setTimeout: (run, delay = 0) => this.timers.push({ at: this.now + delay, run }),
      clearTimeout: (id) => id && (this.timers[id - 1].run = null),
      fetch: (target, init) =>
        new Promise((resolve, reject) => {
          // As browsers do: of all the requests in flight that may outlive the page.
          const size = init.keepalive ? Buffer.byteLength(init.body) : 0;
          if (this.inFlight + size > QUOTA) {
            this.refused += 1;
            return reject(new TypeError('quota exceeded'));
          }
          this.inFlight += size;
          this.requests.push({
            url: '' + target,
            init,
            events: JSON.parse(init.body).events,
            answer: async (status, reason = new TypeError('Failed to fetch')) => {
              this.inFlight -= size;
              if (status) resolve({ status });
              else reject(reason);
              await new Promise(setImmediate);
            },
          });
        }),
      ...more.window,
    };
    this.window.window = this.window;
    if (!hasStorage) {
      Object.defineProperty(this.window, 'localStorage', {
        get() {
          throw new Error('no storage here');
        },
      });
    }
    vm.createContext(this.window);
    this.load();
  }

  load() {
    this.script.runInContext(this.window);
  }

  dispatch(type, event = {}) {
    for (const listener of this.listeners[type] ?? []) listener(event);
  }

  show() {
    this.document.hidden = false;
    this.dispatch('visibilitychange');
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

test('the built files are those of the source, and small', async (t) => {
  assert.equal(built, await bundle('script.js', false), 'run npm run build');
  assert.equal(full, await bundle('script.js', true), 'run npm run build');
  for (const [code, most] of [[built, 1150], [full, 2200]]) {
    const size = Number(execFileSync('sh', ['-c', 'gzip -9 | wc -c'], { input: code }));
    t.diagnostic(`${size} bytes of ${most}`);
    assert.ok(size <= most, `${size} bytes`);
  }
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
  assert.match(id, /^\d{20,40}$/);
  assert.deepEqual(event, {
    type: 'page',
    timestamp: 1_700_000_000_000,
    url: `${SITE}/p?utm_source=x`,
    referrer: 'https://from.example/',
    title: 'Home',
    screen: '1920x1080',
  });
});

test('a view has the time that routers take, however lately the one before was answered', async () => {
  for (let since = 0; since < 250; since += 10) {
    const page = new Page();
    await page.taken();
    page.pass(since);
    page.window.history.pushState({}, '', '/two');
    page.pass(99);
    page.document.title = 'Two';
    page.pass(1);
    assert.deepEqual(page.requests.slice(1).map(({ events }) => events[0].title), ['Two'], `${since} ms`);
  }
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
  page.window.location.href = `${SITE}/#c`;
  page.dispatch('popstate');
  await page.taken();
  assert.deepEqual(
    page.requests[0].events.map(({ url }) => url),
    ['a', 'b', 'c'].map((part) => `${SITE}/#${part}`)
  );
});

test('clicks', async () => {
  const page = new Page({ isFull: true });
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
  assert.deepEqual(await page.taken(), [['click', 'buy'], ['click', 'outer']]);
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
  for (const isFull of [false, true]) {
    const page = new Page({ isFull, hasStorage: false });
    const { weir } = page.window;
    const circular = {};
    circular.self = circular;
    weir('circular', circular);
    weir('bigint', { n: 1n });
    weir();
    weir(null);
    page.click(null);
    page.dispatch('submit', {});
    page.window.location.href = null;
    page.dispatch('popstate');
    page.window.location.href = `${SITE}/`;
    weir('fine');
    assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'fine']]);
  }
  new Page({ document: { currentScript: null } });
});

test('localStorage.weir_ignore', () => {
  const localStorage = { weir_ignore: '1' };
  const page = new Page({ window: { localStorage } });
  page.window.weir('x');
  page.window.weir.identify('u');
  page.window.weir.q.push(['y']);
  page.hide();
  page.pass(1000);
  assert.deepEqual([page.requests, localStorage], [[], { weir_ignore: '1' }]);
});

test('a page that nobody looks at waits', async () => {
  const page = new Page({ document: { hidden: true } });
  page.window.weir('waiting');
  page.pass(1000);
  assert.equal(page.requests.length, 0);
  page.show();
  assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'waiting']]);
  page.hide();
  page.show();
  page.pass(1000);
  assert.equal(page.requests.length, 1);
});

test('who the visitor is', async () => {
  const localStorage = {};
  const page = new Page({ window: { localStorage } });
  page.window.weir.identify(7, { plan: 'team' });
  page.window.weir('a');
  assert.deepEqual(await page.taken(), [['page', '/'], ['identify', '/'], ['track', 'a']]);
  const [first, identify, a] = page.requests[0].events;
  assert.deepEqual([first.user_id, identify.user_id, a.user_id], [undefined, 7, 7]);
  assert.deepEqual(identify.properties, { plan: 'team' });
  const next = new Page({ window: { localStorage } });
  next.window.weir('reset');
  next.window.weir('b');
  await next.taken();
  assert.deepEqual(next.requests[0].events.map(({ user_id }) => user_id), [7, undefined]);
  assert.deepEqual(localStorage, {});
});

test('nothing is sent or stored before consent, and all of it after', async () => {
  const localStorage = {};
  const attributes = { consent: '' };
  const page = new Page({ attributes, window: { localStorage } });
  page.window.weir.identify('u');
  page.window.weir('a');
  page.hide();
  page.show();
  page.pass(10_000);
  assert.deepEqual([page.requests, localStorage], [[], {}]);
  page.window.weir.consent(true);
  assert.deepEqual(localStorage, { weir_consent: 1, weir_user: 'u' });
  assert.deepEqual(await page.taken(), [['page', '/'], ['identify', '/'], ['track', 'a']]);
  assert.deepEqual(page.requests[0].events.map(({ user_id }) => user_id), [undefined, 'u', 'u']);

  const next = new Page({ attributes, window: { localStorage } });
  assert.deepEqual(await next.taken(), [['page', '/']]);
  next.window.weir.identify('u');
  next.window.weir.consent(false);
  next.window.weir.identify('u');
  next.window.weir('b');
  next.hide();
  next.pass(10_000);
  assert.equal(next.requests.length, 1);
  assert.deepEqual(localStorage, { weir_consent: 0 });

  // Also where the page didn't ask for consent before.
  const refused = new Page({ window: { localStorage } });
  refused.window.weir.identify('u');
  refused.pass(10_000);
  refused.hide();
  assert.deepEqual([refused.requests, localStorage], [[], { weir_consent: 0 }]);
});

test('what is in flight when consent is refused is not sent again', async () => {
  const localStorage = {};
  const page = new Page({ window: { localStorage } });
  page.pass(100);
  page.window.weir.consent(false);
  await page.requests[0].answer(503);
  page.pass(1_000_000);
  page.hide();
  assert.equal(page.requests.length, 1);
  assert.deepEqual(localStorage, { weir_consent: 0 });
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

  // The collector stays away for long, and is asked again all the same.
  for (let times = 0; times < 20; times++) {
    await page.requests.at(-1).answer(503);
    page.pass(23 * 60_000);
  }
  assert.equal(page.requests.length, count + 21);
  assert.deepEqual(ids(page.requests.at(-1).events)[0], sent[0].id);

  // It's back: what comes now is sent at once.
  await page.requests.at(-1).answer(200);
  page.window.weir('again');
  assert.deepEqual(await page.taken(), [['track', 'again']]);
});

test('the network is back', async () => {
  const page = new Page();
  page.pass(100);
  for (const wait of [1000, 5000, 10_000]) {
    await page.requests.at(-1).answer(0);
    page.pass(wait);
  }
  await page.requests.at(-1).answer(0);
  const count = page.requests.length;
  page.dispatch('online');
  assert.equal(page.requests.length, count + 1);
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

});

test('a page that leaves sends what the quota allows, and leaves the rest to the next one', async () => {
  for (const text of ['\u20ac'.repeat(1500), 'x']) {
    const localStorage = {};
    const page = new Page({ window: { localStorage } });
    page.pass(100);
    const names = Array.from({ length: 120 }, (_, i) => ['track', `n${i}`]);
    for (const [, name] of names) page.window.weir(name, { text });
    page.hide();
    page.dispatch('pagehide', {});
    assert.equal(page.refused, 0);
    const left = page.requests.slice(1);
    assert.ok(left.length, 'something is sent');
    for (const { init } of left) assert.equal(init.keepalive, true);
    const sent = left.flatMap(({ events }) => brief(events));
    const kept = brief(JSON.parse(localStorage.pk_test));
    assert.ok(sent.length + kept.length == 120 && kept.length);
    assert.deepEqual([...sent, ...kept], names);

    const next = new Page({ url: `${SITE}/next`, window: { localStorage } });
    const got = [];
    while (got.length <= kept.length) got.push(...(await next.taken()));
    assert.deepEqual(got, [...kept, ['page', '/next']]);
  }
});

test('a page that leaves waits for nothing', async () => {
  for (const leave of [(page) => page.hide(), (page) => page.dispatch('pagehide', {})]) {
    const page = new Page();
    page.window.weir('bye');
    leave(page);
    const [{ init, events }] = page.requests;
    assert.equal(init.keepalive, true);
    assert.deepEqual(brief(events), [['page', '/'], ['track', 'bye']]);
    // Nor for the answer to an earlier request.
    page.window.weir('again');
    leave(page);
    assert.deepEqual(brief(page.requests[1].events), [['track', 'again']]);
  }
});

test('a page that comes back waits for no answer from before', async () => {
  const page = new Page();
  page.pass(100);
  page.dispatch('pagehide', { persisted: true });
  page.dispatch('pageshow', { persisted: true });
  page.pass(100);
  assert.deepEqual(brief(page.requests[1].events), [['page', '/']]);
});

test('what the page made of fetch rejects with nothing', async () => {
  const page = new Page();
  page.pass(100);
  await page.requests[0].answer(0, null);
  page.pass(1000);
  assert.deepEqual(ids(page.requests[1].events), ids(page.requests[0].events));
});

test('what the page made of fetch throws', async () => {
  const page = new Page();
  const { fetch } = page.window;
  page.window.fetch = () => {
    throw new TypeError('instrumented badly');
  };
  page.pass(100);
  page.window.fetch = fetch;
  page.window.weir('a');
  assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'a']]);
});

test('what cannot be sent outlives the page, and is sent once', async () => {
  const localStorage = {};
  const page = new Page({ window: { localStorage } });
  page.pass(100);
  await page.requests[0].answer(503);
  page.window.weir('a');
  page.dispatch('pagehide', {});
  assert.equal(page.requests.length, 1);
  assert.deepEqual(Object.keys(localStorage), ['pk_test']);

  // The network is gone, and nothing was tried.
  const offline = new Page({ url: `${SITE}/off`, window: { localStorage, navigator: { onLine: false } } });
  offline.hide();
  assert.equal(offline.requests.length, 0);

  const next = new Page({ url: `${SITE}/next`, window: { localStorage } });
  assert.deepEqual(await next.taken(), [['page', '/'], ['track', 'a'], ['page', '/off'], ['page', '/next']]);
  assert.deepEqual(next.requests[0].events[0].id, page.requests[0].events[0].id);
  assert.deepEqual(localStorage, {});
});

test('what fails while the page is hidden is stored, and tried again when it is shown', async () => {
  const localStorage = {};
  const page = new Page({ window: { localStorage } });
  page.pass(100);
  page.hide();
  await page.requests[0].answer(503);
  assert.deepEqual(brief(JSON.parse(localStorage.pk_test)), [['page', '/']]);
  page.pass(1000);
  assert.equal(page.requests.length, 1);
  page.show();
  assert.deepEqual(ids(page.requests[1].events), ids(page.requests[0].events));
  assert.deepEqual(localStorage, {});
});

test('a full storage costs nothing while the page is there', async () => {
  const localStorage = new Proxy({}, {
    set() {
      throw new Error('QuotaExceededError');
    },
  });
  const page = new Page({ window: { localStorage } });
  page.window.weir.identify('u');
  page.pass(100);
  await page.requests[0].answer(503);
  page.window.weir('a');
  page.hide();
  page.show();
  page.pass(1000);
  assert.deepEqual(brief(page.requests[1].events), [['page', '/'], ['identify', '/'], ['track', 'a']]);
  assert.equal(page.requests[1].events[1].user_id, 'u');
});

test('what is stored is not what was', async () => {
  const localStorage = { pk_test: '[{"type":"tra' };
  const page = new Page({ window: { localStorage } });
  page.pass(100);
  page.window.weir('a');
  assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'a']]);
  assert.deepEqual(localStorage, {});
});

test('of what cannot be sent, the latest are kept', async () => {
  const localStorage = {};
  const page = new Page({ window: { localStorage } });
  page.pass(100);
  for (let number = 0; number < 600; number++) page.window.weir('n' + number);
  await page.requests[0].answer(503);
  page.hide();
  const kept = JSON.parse(localStorage.pk_test);
  assert.deepEqual([kept.length, kept.at(-1).name], [500, 'n599']);

  // Of what comes after the failure, and of what another page kept, too.
  page.show();
  for (let number = 600; number < 1300; number++) page.window.weir('n' + number);
  page.hide();
  assert.deepEqual(JSON.parse(localStorage.pk_test).map(({ name }) => name).filter((_, index) => index % 499 == 0), ['n800', 'n1299']);

  const offline = new Page({ window: { localStorage, navigator: { onLine: false } } });
  offline.hide();
  const both = JSON.parse(localStorage.pk_test);
  assert.deepEqual([both.length, both[0].name, both.at(-1).type], [500, 'n801', 'page']);

  // In memory, too: a title is asked for once for each event that waits.
  let titles = 0;
  const failing = new Page({ document: { get title() { titles += 1; return ''; } } });
  failing.pass(100);
  await failing.requests[0].answer(503);
  for (let number = 0; number < 600; number++) failing.window.weir('n' + number);
  titles = 0;
  failing.hide();
  assert.equal(titles, 500);

  const waiting = new Page({ attributes: { consent: '' } });
  for (let number = 0; number < 600; number++) waiting.window.weir('n' + number);
  waiting.window.weir.consent(true);
  const got = [];
  while (got.length < 500) got.push(...(await waiting.taken()));
  assert.deepEqual([got.length, got[0][1], got.at(-1)[1]], [500, 'n100', 'n599']);
});

test('a hidden page does not count on timers', async () => {
  const page = new Page();
  await page.taken();
  page.hide();
  page.window.weir('a');
  page.window.weir('b');
  assert.deepEqual(page.requests.slice(1).map(({ events }) => brief(events)), [[['track', 'a']], [['track', 'b']]]);
});

test('links, forms and errors, where they are asked for', async () => {
  const link = (url, path = new URL(url).pathname) => ({ host: new URL(url).host, href: url, pathname: path });
  const form = (attributes) => ({
    target: { attributes: Object.assign(attributes.map(([name, value]) => ({ name, value })),
      Object.fromEntries(attributes.map(([name, value]) => [name, { value }]))) },
  });
  const happen = (page) => {
    page.window.location.host = 'site.example';
    page.click(link(`${SITE}/inside`));
    page.click(link('https://other.example/x?y'));
    page.click(link(`${SITE}/files/a.PDF`));
    page.dispatch('submit', form([['id', 'login'], ['action', '/in']]));
    page.dispatch('submit', form([['data-weir-event', 'order'], ['data-weir-prop-size', 'l']]));
    page.dispatch('error', { message: 'oh', filename: 'a.js', lineno: 7 });
    page.dispatch('unhandledrejection', { reason: new Error('no') });
    page.dispatch('error', { target: 'an image' });
  };
  const without = new Page({ isFull: true });
  await without.taken();
  happen(without);
  assert.deepEqual(await without.taken(), [['submit', 'order']]);
  assert.deepEqual(without.requests.at(-1).events[0].properties, { size: 'l' });

  const page = new Page({ isFull: true, attributes: { outbound: '', download: '', forms: '', errors: '' } });
  await page.taken();
  happen(page);
  await page.taken();
  assert.deepEqual(
    page.requests.at(-1).events.map(({ type, name, properties }) => [type, name, properties]),
    [
      ['click', 'outbound', { url: 'https://other.example/x?y' }],
      ['click', 'download', { url: `${SITE}/files/a.PDF` }],
      ['submit', 'form', { id: 'login', action: '/in' }],
      ['submit', 'order', { size: 'l' }],
      ['track', 'js_error', { message: 'oh', at: 'a.js' }],
      ['track', 'js_error', { message: 'Error: no' }],
    ]
  );
});

test('how long and how far a page was read', async () => {
  let hasFocus = true;
  const document = { hasFocus: () => hasFocus, documentElement: { scrollHeight: 4000 } };
  const page = new Page({ isFull: true, attributes: { engagement: '' }, document });
  await page.taken();
  page.pass(1800);
  page.window.scrollY = 2000;
  page.dispatch('scroll');
  hasFocus = false;
  page.dispatch('blur');
  page.pass(60_000);
  page.hide();
  const [{ name, properties }] = page.requests.at(-1).events;
  assert.deepEqual([name, properties], ['engagement', { engaged_ms: 2000, scroll_depth: 75 }]);
});

test('a link to a file of others is outbound, where only that is asked for', async () => {
  const page = new Page({ isFull: true, attributes: { outbound: '' } });
  page.window.location.host = 'site.example';
  await page.taken();
  page.click({ host: 'other.example', href: 'https://other.example/a.pdf', pathname: '/a.pdf' });
  assert.deepEqual(await page.taken(), [['click', 'outbound']]);
});

test('a browser without an entry of the navigation', async () => {
  const document = { hasFocus: () => true, documentElement: { scrollHeight: 4000 } };
  const window = {
    performance: { getEntriesByType: () => [] },
    PerformanceObserver: { supportedEntryTypes: [] },
  };
  const page = new Page({ isFull: true, attributes: { 404: '', vitals: '', engagement: '' }, document, window });
  await page.taken();
  page.pass(1000);
  page.hide();
  const [vitals, engagement] = page.requests.at(-1).events;
  assert.deepEqual([vitals.name, vitals.properties], ['web_vitals', {}]);
  assert.deepEqual([engagement.name, engagement.properties.engaged_ms], ['engagement', 1200]);
});

test('the module, in a page whose history is frozen', async () => {
  for (const isFull of [false, true]) {
    const code = (await bundle('module.js', isFull)).replace(/export\s*{\s*(\w+) as default\s*};?/, 'globalThis.weir = $1;');
    assert.match(code, /globalThis\.weir/);
    const page = new Page({ document: { currentScript: null } });
    Object.freeze(page.window.history);
    // Modules are strict.
    new vm.Script(`'use strict';${code}`).runInContext(page.window);
    const { weir } = page.window;
    weir('early');
    weir.init();
    weir.init({ key: 'pk_test', endpoint: '/e' });
    weir('late');
    assert.deepEqual(await page.taken(), [['page', '/'], ['track', 'early'], ['track', 'late']]);
    page.dispatch('pagehide', {});
  }
});

test('in Chromium', { skip: !existsSync(executablePath) && `no ${executablePath}` }, async (t) => {
  const collector = http.createServer((req, res) => {
    if (req.method == 'GET') {
      res.writeHead(200, { 'content-type': 'text/javascript' }).end(full);
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
