// What the snippet does to the main thread of a page in a real Chromium:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/tasks.mjs
//
// It asks for no layout that the browser had not done yet, and hears of nothing
// that would make a page wait for it. (Only a view in which nobody scrolled or
// clicked is measured as it ends; and at a click, the styles of what is clicked
// are worked out somewhat sooner.) How long it takes is measured by
// scripts/compare-trackers.
import assert from 'node:assert/strict';
import { script, serve, withBrowser } from './support.mjs';

// Those that scrolling waits for, or that keep a page out of the back/forward cache.
const COSTLY = ['wheel', 'mousewheel', 'touchstart', 'touchmove', 'touchend', 'unload', 'beforeunload'];

const options = 'data-outbound data-download data-forms data-engagement data-vitals data-errors data-404';
// The page changes what it looks like whenever something happens, as pages do.
const markup = `<div style="height: 5000px"><p id="text">Text</p></div>
  <button id="buy" style="position: fixed; top: 10px" data-weir-event="buy">Buy</button>
  <script>
    const soil = () => (text.style.width = Math.random() * 500 + 'px');
    for (const type of ['click', 'scroll', 'visibilitychange']) document.addEventListener(type, soil);
    for (const type of ['blur', 'pagehide', 'popstate']) addEventListener(type, soil);
    window.route = (to) => (soil(), history.pushState({}, '', to));
  </script>`;
// The same, and a script that does ask: what is found in it can be found.
const rude = "<script defer src=\"/rude.js\"></script>";
const pages = { '/quiet': [markup + script(options, 'w.full.js')], '/rude': [markup + rude] };
const site = await serve(pages, (req, res) => {
  if (req.url != '/rude.js') return false;
  res.writeHead(200, { 'content-type': 'text/javascript' });
  res.end("addEventListener('scroll', () => setTimeout(() => (soil(), scrollY)));");
  return true;
});

// The layouts in a trace that began while a script whose URL ends so was running.
function forcedLayouts(events, url) {
  const spans = events.filter(({ ph, dur }) => ph == 'X' && dur != null);
  const scripts = spans.filter(({ name, args }) => /^(FunctionCall|EvaluateScript)$/.test(name) && args.data?.url?.endsWith(url));
  // For whoever runs this; a machine that is busy makes it longer.
  console.error(`${url}: ${scripts.length} tasks, the longest ${Math.max(...scripts.map(({ dur }) => dur)) / 1000} ms`);
  assert.ok(scripts.length > 0, `no task of ${url} in the trace`);
  const isWithin = (inner, outer) => inner.pid == outer.pid && inner.tid == outer.tid
    && inner.ts >= outer.ts && inner.ts <= outer.ts + outer.dur;
  return spans.filter((span) => span.name == 'Layout' && scripts.some((task) => isWithin(span, task)));
}

await withBrowser(async (visit, problems, browser) => {
  const found = {};
  for (const [path, url] of [['/quiet', '/w.full.js'], ['/rude', '/rude.js']]) {
    const page = await visit('about:blank');
    await browser.startTracing(page, { categories: ['devtools.timeline'] });
    await page.goto(site + path);
    await page.click('#buy');
    for (const y of [500, 2000]) {
      await page.evaluate((to) => scrollTo(0, to), y);
      await page.waitForTimeout(200);
    }
    await page.evaluate(() => route('?next'));
    await page.evaluate(() => dispatchEvent(new Event('blur')));
    await page.waitForTimeout(200);
    await page.click('#buy');
    await page.goBack();
    await page.click('#buy');
    if (path == '/quiet') {
      const session = await page.context().newCDPSession(page);
      const { result: { objectId } } = await session.send('Runtime.evaluate', { expression: 'window' });
      const { listeners } = await session.send('DOMDebugger.getEventListeners', { objectId });
      const types = listeners.map(({ type }) => type);
      assert.ok(types.includes('scroll'), 'its listeners can be seen');
      assert.deepEqual(types.filter((type) => COSTLY.includes(type)), []);
    }
    await page.goto(`${site}/left`);
    await page.waitForTimeout(200);
    const { traceEvents } = JSON.parse(await browser.stopTracing());
    found[path] = forcedLayouts(traceEvents, url);
    await page.context().close();
  }
  assert.ok(found['/rude'].length > 0, 'a forced layout is seen in the trace');
  assert.deepEqual(found['/quiet'].map(({ name, args }) => ({ name, args })), []);
});
