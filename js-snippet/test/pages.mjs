// Drives a real Chromium through pages that behave as pages do, all of them using
// the snippet of a running collector:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/pages.mjs
//
// Each behaviour has a page of its own name. What becomes of it can be seen in
// the rows of the database, which the caller looks at. Exits non-zero if
// anything went wrong in the browser.
import assert from 'node:assert/strict';
import { collector, relay as startRelay, script, serve, until, withBrowser } from './support.mjs';

// What is posted to `/NAME` is answered 503 while there is something in `faults[NAME]`.
const faults = {};
const relay = await startRelay((name) => (faults[name]-- > 0 ? 503 : 0));
const { posts, answers } = relay;

const policy = [
  "default-src 'none'",
  `script-src ${collector}`,
  `connect-src ${collector} ${relay.origin}`,
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

// By path: markup, headers, status.
const pages = {
  '/spa': [script('data-hash')],
  '/policy': [
    `${script('data-outbound data-download data-forms data-engagement data-vitals data-errors data-404 data-endpoint="' + relay.origin + '/policy"', 'w.full.js')}
     <button id="buy" data-weir-event="buy">Buy</button>`,
    { 'content-security-policy': policy },
  ],
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
const site = await serve(pages);

// Until nothing that the page has is unsent.
const settled = (page) => page.waitForLoadState('networkidle');
const answered = (page, act) =>
  Promise.all([page.waitForResponse((response) => response.request().method() == 'POST' && response.ok()), act()]);

await withBrowser(async (visit, problems, browser) => {
  {
    const page = await visit(site + '/spa#a');
    await page.evaluate(() => history.pushState({}, '', '/spa/next'));
    await answered(page, () => page.evaluate(() => (location.hash = 'b')));
    await answered(page, () => page.goBack());
    await page.context().close();
  }
  {
    const page = await visit(site + '/policy', {
      init: () => {
        window.violations = [];
        addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));
      },
    });
    // A view that ends before it is painted has no such vitals.
    for (const type of ['paint', 'largest-contentful-paint']) {
      await page.evaluate((type) => new Promise((done) => new PerformanceObserver(() => done()).observe({ type, buffered: true })), type);
    }
    // Both views are seen for a while, so that there is something to be captured.
    await page.waitForFunction(() => document.hasFocus());
    await page.waitForTimeout(300);
    await page.evaluate(() => history.pushState({}, '', '/policy?next'));
    await page.click('#buy');
    await page.waitForTimeout(1000);
    await settled(page);
    assert.deepEqual(await page.evaluate(() => violations), []);
    // And it would have seen one.
    await page.evaluate(() => document.head.append(Object.assign(document.createElement('style'), { textContent: 'p {}' })));
    await page.waitForFunction(() => violations.length);
    assert.deepEqual(await page.evaluate(() => [document.cookie, localStorage.length]), ['', 0]);
    // Whoever closes the browser at once may cut off what the page sends as it goes.
    const before = answers.policy;
    await page.goto('about:blank');
    await until(() => answers.policy > before);
    await page.context().close();
  }
  {
    faults.refused = 2;
    const page = await visit(site + '/refused');
    await answered(page, () => page.evaluate(() => weir('after', { a: 1 })));
    assert.ok(posts.refused >= 3, `${posts.refused} posts`);
    await page.context().close();
  }
  {
    const page = await visit(site + '/offline');
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
    const page = await visit(site + '/kept');
    await page.waitForResponse((response) => response.status() == 503);
    await page.evaluate(() => weir('kept'));
    await page.goto('about:blank');
    faults.kept = 0;
    const [first, second] = [await page.context().newPage(), await page.context().newPage()];
    await Promise.all([first, second].map((tab) => answered(tab, () => tab.goto(`${site}/kept`))));
    assert.equal(await first.evaluate(() => localStorage.length), 0);
    await page.context().close();
  }
  {
    const page = await visit(site + '/consent');
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
    const page = await visit(site + '/signal', { extraHTTPHeaders: { 'sec-gpc': '1' } });
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
    await page.goto(`${site}/behind`);
    await page.waitForTimeout(500);
    assert.equal(count, 0);
    await answered(page, () => page.evaluate(() => look()));
    await context.close();
  }
  {
    const page = await visit(site + '/frame');
    await settled(page);
    await page.context().close();
  }
  {
    const page = await visit(site + '/lost');
    await settled(page);
    await page.context().close();
  }
  {
    const page = await visit(site + '/captured');
    await page.evaluate(() => scrollTo(0, 1000));
    await page.click('#out');
    await page.click('#send');
    await page.click('#buy b');
    await page.click('#file');
    await page.evaluate(() => setTimeout(() => missing(), 0));
    await page.waitForTimeout(1500);
    // Asked for above; all other problems are some.
    const asked = problems.findIndex((problem) => /missing/.test(problem));
    assert.notEqual(asked, -1);
    problems.splice(asked, 1);
    await page.goto('about:blank');
    await page.waitForTimeout(500);
    await page.context().close();
  }
});
