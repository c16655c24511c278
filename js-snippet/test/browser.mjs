// Drives a real Chromium through a page that uses the snippet of a running
// collector:
//
//   node test/browser.mjs --collector http://127.0.0.1:8080 --key pk_...
//
// Prints one line of JSON: the events that the collector must hold afterwards,
// in the order in which they happened. Exits non-zero if anything went wrong in
// the browser or on the wire. The browser is /usr/bin/chromium, or what
// WEIR_TEST_CHROMIUM names.
import http from 'node:http';
import { once } from 'node:events';
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { AS_A_PERSON, launch } from '../../tests/chromium.mjs';

const DEADLINE = 60_000;

const { values: options } = parseArgs({
  options: { collector: { type: 'string' }, key: { type: 'string' } },
});
if (!options.collector || !options.key) {
  console.error('usage: browser.mjs --collector URL --key KEY');
  process.exit(2);
}

async function listen(handler) {
  const server = http.createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

// What the browser asks of the collector passes through here unchanged. Only on
// the wire can be seen what became of a beacon whose page is gone.
class Relay {
  requests = [];
  events = [];
  #arrived = deferred();

  async start(collector) {
    const { server, origin } = await listen((req, res) => this.#pass(collector, req, res));
    this.server = server;
    this.origin = origin;
  }

  async #pass(collector, req, res) {
    try {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const target = new URL(req.url, collector);
      const upstream = http.request(target, {
        method: req.method,
        headers: { ...req.headers, host: target.host },
        agent: false,
      });
      upstream.end(body);
      const [answer] = await once(upstream, 'response');
      const parts = [];
      for await (const part of answer) parts.push(part);
      res.writeHead(answer.statusCode, answer.headers);
      res.end(Buffer.concat(parts));

      const { method, url, headers } = req;
      this.requests.push({ method, url, headers, status: answer.statusCode });
      if (method == 'POST' && answer.statusCode < 300) {
        const { key, events } = JSON.parse(body);
        assert.equal(key, options.key);
        this.events.push(...events);
      }
    } catch (error) {
      res.destroy();
      this.requests.push({ method: req.method, url: req.url, error: String(error) });
    }
    this.#arrived.resolve();
    this.#arrived = deferred();
  }

  // Waits until the collector has taken so many events.
  async taken(count) {
    while (this.events.length < count) await this.#arrived.promise;
  }
}

function deferred() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}

const relay = new Relay();
await relay.start(options.collector);

const markup = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Start</title>
<script src="/page.js"></script>
<script defer src="${relay.origin}/w.full.js" data-key="${options.key}"></script>
<button id="cta" data-weir-event="cta" data-weir-prop-plan="team" data-weir-prop-spot="hero">
  <b><i id="inner">Go</i></b>
</button>
<button id="plain">Nothing to see</button>
</html>`;

// The stub, a call before the snippet is there, an ear for violations, and what
// is left of a router, which sets the title a little after the URL.
const script = `
window.weir = window.weir || function () { (weir.q = weir.q || []).push(arguments) };
weir('early', { stub: true });
window.violations = [];
document.addEventListener('securitypolicyviolation', (e) => violations.push(e.blockedURI));
const route = () => setTimeout(() => {
  document.title = location.pathname == '/pricing' ? 'Pricing' : 'Start';
});
addEventListener('popstate', route);
`;

const pages = await listen((req, res) => {
  if (req.url == '/page.js') {
    res.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
  } else if (req.url.startsWith('/start')) {
    res.writeHead(200, {
      'content-type': 'text/html',
      'content-security-policy':
        `default-src 'none'; script-src ${relay.origin} 'self'; connect-src ${relay.origin}`,
    }).end(markup);
  } else {
    res.writeHead(404).end();
  }
});

const start = `${pages.origin}/start?utm_source=news&utm_medium=email&utm_campaign=launch`;
const pricing = `${pages.origin}/pricing?ref=nav`;

const expected = [];
function expectEvent(type, name, url, referrer, title, properties) {
  const { pathname, search } = new URL(url);
  const path = pathname + search;
  expected.push({ type, name, url, path, referrer, title, properties });
}

const problems = [];
const watchdog = setTimeout(() => {
  console.error('timed out; taken so far:', relay.events, relay.requests, problems);
  process.exit(1);
}, DEADLINE);

const browser = await launch(chromium, AS_A_PERSON);

try {
  const context = await browser.newContext({ locale: 'en-GB' });
  context.on('weberror', (error) => problems.push(`page error: ${error.error()}`));
  context.on('console', (message) => problems.push(`console: ${message.text()}`));

  // A first view, with the campaign in its URL, and the call that waited. The
  // tab is opened by a script so that a script can close it.
  const opener = await context.newPage();
  const opened = context.waitForEvent('page');
  await opener.evaluate((to) => {
    open(to);
  }, `${start}#top`);
  const tab = await opened;
  expectEvent('page', undefined, start, '', 'Start');
  expectEvent('track', 'early', start, '', 'Start', { stub: true });
  await relay.taken(2);

  // The router goes to another page.
  await tab.evaluate((to) => {
    history.pushState({}, '', to);
    route();
  }, pricing);
  expectEvent('page', undefined, pricing, start, 'Pricing');
  await relay.taken(3);

  // It says again where it is. That's no view, nor is a jump within the page.
  await tab.evaluate(() => {
    history.replaceState({ again: true }, '', location.href);
    location.hash = 'faq';
  });

  // The visitor goes back, over the fragment and then to the first page.
  await tab.goBack();
  await tab.goBack();
  expectEvent('page', undefined, start, pricing, 'Start');
  await relay.taken(4);

  // A click on what's in a marked button, and one that nobody asked about.
  await tab.click('#plain');
  await tab.click('#inner');
  expectEvent('click', 'cta', start, pricing, 'Start', { plan: 'team', spot: 'hero' });
  await relay.taken(5);

  await tab.evaluate(() => weir('signup', { plan: 'team' }));
  expectEvent('track', 'signup', start, pricing, 'Start', { plan: 'team' });
  await relay.taken(6);

  assert.deepEqual(await tab.evaluate(() => violations), []);
  assert.deepEqual(
    await tab.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]),
    ['', 0, 0]
  );

  // One more event, and in the same breath the tab is gone. All timers are taken
  // away, so that only the page's end can send it, however slow the machine is.
  const closed = tab.waitForEvent('close');
  await tab.evaluate(() => {
    setTimeout(() => {
      for (let id = setTimeout(() => {}); id > 0; id--) clearTimeout(id);
      window.setTimeout = () => 0;
      weir('bye');
      close();
    });
  });
  await closed;
  expectEvent('track', 'bye', start, pricing, 'Start');
  await relay.taken(7);

  assert.deepEqual(problems, []);
  assert.deepEqual(
    relay.events.map(({ type, name, url, referrer, title, properties }) => {
      const { pathname, search } = new URL(url);
      return { type, name, url, path: pathname + search, referrer, title, properties };
    }),
    expected
  );
  for (const { id, timestamp, screen } of relay.events) {
    assert.match(id, /^\d{20,40}$/);
    assert.ok(Math.abs(timestamp - Date.now()) < DEADLINE);
    assert.match(screen, /^\d+x\d+$/);
  }
  assert.equal(new Set(relay.events.map(({ id }) => id)).size, expected.length);

  // Nothing but the script and posts that need no preflight, sent without cookies.
  for (const request of relay.requests) {
    const { method, url, headers, status, error } = request;
    assert.equal(error, undefined);
    if (method == 'GET') {
      assert.equal(url, '/w.full.js');
    } else {
      assert.deepEqual([method, url], ['POST', '/v1/events']);
      assert.equal(headers.origin, pages.origin);
      assert.match(headers['content-type'], /^text\/plain/);
      assert.equal(headers.cookie, undefined);
    }
    assert.ok(status >= 200 && status < 300, `${method} ${url}: ${status}`);
  }
  console.log(JSON.stringify(expected));
} finally {
  await browser.close();
  for (const { server } of [relay, pages]) {
    server.closeAllConnections();
    server.close();
  }
  clearTimeout(watchdog);
}
