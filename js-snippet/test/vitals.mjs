// Core Web Vitals, by the snippet of a running collector and by the library that
// defines them, of the same page in a real Chromium:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/vitals.mjs
//
// Prints what the library says as one line of JSON; what the snippet says is in
// the database.
import { readFileSync } from 'node:fs';
import { script, serve, until, withBrowser } from './support.mjs';

const library = readFileSync(new URL('../node_modules/web-vitals/dist/web-vitals.iife.js', import.meta.url));

// Shifts in two session windows: the first ends as one more would make it longer
// than five seconds, the second is the worse. Between them a long task after a
// click, from which its next paint has to wait.
const SHIFTS_MS = [200, 1000, 1800, 2600, 3400, 4200, 5000, 5400];
const IDLE_WITHIN_MS = 1000;
const markup = `<style>body { margin: 0; font: 40px sans-serif }</style>
  <div id="space" style="height: 10px"></div>
  <h1>What is painted</h1>
  <button id="slow" style="position: fixed; top: 300px">Slow</button>
  <p id="much" hidden>${'Much text, and later than the rest. '.repeat(12)}</p>
  <script src="/web-vitals.js"></script>
  <script>
    for (const name of ['LCP', 'CLS', 'INP', 'FCP', 'TTFB']) {
      webVitals['on' + name](({ value }) => navigator.sendBeacon('/said', JSON.stringify({ [name.toLowerCase()]: value })));
    }
    setTimeout(() => (much.hidden = false), 100);
    const times = ${JSON.stringify(SHIFTS_MS)};
    window.finished = Promise.all(times.map((time, index) => new Promise((done) => setTimeout(() => {
      space.style.height = parseInt(space.style.height) + 10 * (1 + index % 3) + 'px';
      requestAnimationFrame(() => setTimeout(done));
    }, time))));
    slow.addEventListener('click', () => {
      const end = performance.now() + 120;
      while (performance.now() < end);
    });
    // How long the click took is known once its paint was shown, which on a busy machine is long after.
    window.timed = new Promise((done) => {
      new PerformanceObserver((list) => list.getEntriesByName('click').length && done()).observe({ type: 'event', durationThreshold: 16 });
    });
  </script>
  ${script('data-vitals', 'w.full.js')}`;

const said = {};
const site = await serve({ '/vitals': [markup], '/left': [''] }, async (req, res) => {
  if (req.url == '/web-vitals.js') {
    res.writeHead(200, { 'content-type': 'text/javascript' }).end(library);
    return true;
  }
  if (req.url != '/said') return false;
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  Object.assign(said, JSON.parse(Buffer.concat(chunks)));
  res.writeHead(204).end();
  return true;
});

await withBrowser(async (visit) => {
  const page = await visit(`${site}/vitals`);
  await page.evaluate(() => finished);
  await page.click('#slow');
  await page.evaluate(() => timed);
  // What the browser has noticed is handed to observers when it is idle; which it may never say of itself on a busy machine.
  await page.evaluate((timeout) => new Promise((done) => requestIdleCallback(done, { timeout })), IDLE_WITHIN_MS);
  await page.goto(`${site}/left`);
  await until(() => Object.keys(said).length == 5);
}, () => said);
console.log(JSON.stringify(said));
