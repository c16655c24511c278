// Drives a real Chromium through pages that behave as pages do, all of them using
// the snippet of a running collector:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/pages.mjs
//
// Each behaviour has a page of its own name. What becomes of it can be seen in
// the rows of the database, which the caller looks at. Exits non-zero if
// anything went wrong in the browser.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { chromium } from 'playwright-core';

const { WEIR_URL: collector, WEIR_KEY: key, WEIR_TEST_CHROMIUM: executablePath = '/usr/bin/chromium' } = process.env;
const DEADLINE = 60_000;

async function listen(handler) {
  const server = http.createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

// A collector that is not well: what is posted to `/NAME` is answered 503 while
// there is something in `faults[NAME]`, and counts in `posts[NAME]`.
const faults = {};
const posts = {};
const relay = await listen(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const name = req.url.slice(1);
  posts[name] = (posts[name] ?? 0) + 1;
  if (faults[name]-- > 0) {
    res.writeHead(503, { 'access-control-allow-origin': '*' }).end();
    return;
  }
  const answer = await fetch(`${collector}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain', 'user-agent': req.headers['user-agent'] },
    body: Buffer.concat(chunks),
  });
  res.writeHead(answer.status, { 'access-control-allow-origin': '*' }).end(await answer.text());
});

const script = (attributes = '', file = 'w.js') =>
  `<script defer src="${collector}/${file}" data-key="${key}" ${attributes}></script>`;
const policy = [
  "default-src 'none'",
  `script-src ${collector}`,
  `connect-src ${collector}`,
  "require-trusted-types-for 'script'",
].join('; ');

// By path: markup, headers, status.
const pages = {
  '/spa': [script('data-hash')],
  '/policy': [script('data-weir data-vitals data-engagement', 'w.full.js'), { 'content-security-policy': policy }],
  '/refused': [script(`data-endpoint="${relay.origin}/refused"`)],
  '/offline': [script()],
  '/kept': [script(`data-endpoint="${relay.origin}/kept"`)],
  '/consent': [script('data-consent')],
  '/signal': [script()],
  '/behind': [script()],
  '/frame': [`<iframe sandbox="allow-scripts" src="/framed"></iframe>`],
  '/framed': [script()],
  '/lost': [script('data-404', 'w.full.js'), {}, 404],
  '/captured': [
    `${script('data-outbound data-download data-forms data-errors data-engagement data-vitals', 'w.full.js')}
     <h1>Text</h1><div style="height: 5000px"></div>
     <a id="out" target="_blank" href="${collector}/out?x">out</a> <a id="file" download href="/a.pdf">file</a>
     <form id="login" action="/in" onsubmit="return false"><input name="id" value="secret"><button id="send">Send</button></form>
     <button id="buy" data-weir-event="buy" data-weir-prop-plan="team"><b>Buy</b></button>`,
  ],
};
const site = await listen((req, res) => {
  const [markup, headers = {}, status = 200] = pages[req.url.split('?')[0]] ?? ['', {}, 404];
  res.writeHead(status, { 'content-type': 'text/html', ...headers });
  res.end(`<!doctype html><meta charset="utf-8"><title>${req.url}</title>${markup}`);
});

const watchdog = setTimeout(() => {
  console.error('timed out', posts, problems);
  process.exit(1);
}, DEADLINE);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--user-agent=Mozilla/5.0 (X11; Linux x86_64) '
    + 'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36'],
});
const problems = [];

async function visit(path, options = {}) {
  const context = await browser.newContext(options);
  context.on('weberror', (error) => problems.push(`${path}: ${error.error()}`));
  const page = await context.newPage();
  await page.goto(site.origin + path);
  return page;
}

// Until nothing that the page has is unsent.
const settled = (page) => page.waitForLoadState('networkidle');
const answered = (page, act) =>
  Promise.all([page.waitForResponse((response) => response.request().method() == 'POST' && response.ok()), act()]);

try {
  {
    const page = await visit('/spa#a');
    await page.evaluate(() => history.pushState({}, '', '/spa/next'));
    await answered(page, () => page.evaluate(() => (location.hash = 'b')));
    await answered(page, () => page.goBack());
    await page.context().close();
  }
  {
    const page = await visit('/policy');
    const [violations] = await Promise.all([
      page.evaluate(() => new Promise((done) => {
        const seen = [];
        addEventListener('securitypolicyviolation', (event) => seen.push(event.violatedDirective));
        setTimeout(() => done(seen), 1000);
      })),
      settled(page),
    ]);
    assert.deepEqual(violations, []);
    assert.deepEqual(await page.evaluate(() => [document.cookie, localStorage.length]), ['', 0]);
    await page.context().close();
  }
  {
    faults.refused = 2;
    const page = await visit('/refused');
    await answered(page, () => page.evaluate(() => weir('after', { a: 1 })));
    assert.ok(posts.refused >= 3, `${posts.refused} posts`);
    await page.context().close();
  }
  {
    const page = await visit('/offline');
    await settled(page);
    await page.context().setOffline(true);
    const failed = page.waitForEvent('requestfailed');
    await page.evaluate(() => weir('while offline'));
    await failed;
    await answered(page, () => page.context().setOffline(false));
    await page.context().close();
  }
  {
    // Nothing gets through until the page is gone; another tab of the site sends it.
    faults.kept = 1000;
    const page = await visit('/kept');
    await page.waitForResponse((response) => response.status() == 503);
    await page.evaluate(() => weir('kept'));
    await page.goto('about:blank');
    faults.kept = 0;
    const [first, second] = [await page.context().newPage(), await page.context().newPage()];
    await Promise.all([first, second].map((tab) => answered(tab, () => tab.goto(`${site.origin}/kept`))));
    assert.equal(await first.evaluate(() => localStorage.length), 0);
    await page.context().close();
  }
  {
    const page = await visit('/consent');
    await page.evaluate(() => weir('early'));
    await page.waitForTimeout(500);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    await answered(page, () => page.evaluate(() => weir.consent(true)));
    await page.evaluate(() => {
      weir.consent(false);
      weir('never');
    });
    await page.waitForTimeout(300);
    await page.context().close();
  }
  {
    const page = await visit('/signal', { extraHTTPHeaders: { 'sec-gpc': '1' } });
    await answered(page, () => page.evaluate(() => weir.identify('alice', { email: 'a@example.com' })));
    await page.context().close();
  }
  {
    // A tab that is opened behind others counts when somebody looks at it.
    const context = await browser.newContext();
    await context.addInitScript(() => {
      let isHidden = true;
      Object.defineProperty(document, 'hidden', { get: () => isHidden });
      window.look = () => {
        isHidden = false;
        document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
      };
    });
    const page = await context.newPage();
    let count = 0;
    page.on('request', (request) => (count += request.method() == 'POST'));
    await page.goto(`${site.origin}/behind`);
    await page.waitForTimeout(500);
    assert.equal(count, 0);
    await answered(page, () => page.evaluate(() => look()));
    await context.close();
  }
  {
    const page = await visit('/frame');
    await settled(page);
    await page.context().close();
  }
  {
    const page = await visit('/lost');
    await settled(page);
    await page.context().close();
  }
  {
    const page = await visit('/captured');
    await page.evaluate(() => scrollTo(0, 1000));
    await page.click('#out');
    await page.click('#send');
    await page.click('#buy b');
    await page.click('#file');
    await page.evaluate(() => setTimeout(() => missing(), 0));
    await page.waitForTimeout(1500);
    problems.splice(problems.findIndex((problem) => /missing/.test(problem)), 1);
    await page.goto('about:blank');
    await page.waitForTimeout(500);
    await page.context().close();
  }
  assert.deepEqual(problems, []);
} finally {
  await browser.close();
  for (const { server } of [relay, site]) {
    server.closeAllConnections();
    server.close();
  }
  clearTimeout(watchdog);
}
