// Runs one client in a page in Chromium: node browser.mjs NAME [LINGER_MS]. It is bundled from its published package, and finds the
// collector in `weir`. The page is left after the client says `done()`: what is not sent by then goes as it leaves.
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { AS_A_PERSON, launch } from '../chromium.mjs';

const { WEIR_URL, WEIR_KEY, WEIR_ALIAS } = process.env;
const name = process.argv[2];
const { outputFiles } = await build({
  entryPoints: [`${import.meta.dirname}/browser/${name}.mjs`],
  bundle: true,
  write: false,
  format: 'iife',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  logLevel: 'error',
});
const page = `<!doctype html><html lang="de-CH"><meta charset="utf-8"><title>Pricing</title><body><p id="text">Buy</p>
<button id="buy">Buy</button><script>window.weir = ${JSON.stringify({ url: WEIR_URL, key: WEIR_KEY, alias: WEIR_ALIAS })};
window.finished = new Promise((resolve) => { window.done = resolve; });</script><script src="/bundle.js"></script></body></html>`;
const server = createServer((request, response) => {
  const isBundle = request.url === '/bundle.js';
  response.setHeader('content-type', isBundle ? 'text/javascript; charset=utf-8' : 'text/html; charset=utf-8');
  response.end(isBundle ? outputFiles[0].text : request.url === '/left' ? '<!doctype html><title>Left</title>' : page);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

// Some clients count no robots.
const browser = await launch(chromium, AS_A_PERSON, '--accept-lang=de-CH');
try {
  const context = await browser.newContext({
    locale: 'de-CH',
    screen: { width: 1920, height: 1080 },
  });
  await context.addInitScript(() => Object.defineProperty(navigator, 'webdriver', { get: () => false }));
  const tab = await context.newPage();
  tab.on('pageerror', (error) => console.error(`page: ${error.message}`));
  tab.on('console', (message) => message.type() === 'error' && console.error(`console: ${message.text()} ${message.location().url}`));
  if (process.env.SHOW) tab.on('request', (request) => console.error(`${request.method()} ${request.url()}`));
  tab.on('requestfailed', (request) => console.error(`failed: ${request.url()} ${request.failure()?.errorText}`));
  // Nothing but the page and the collector is there to be asked.
  await context.route((url) => ![origin, WEIR_URL].includes(url.origin), (route) => route.abort());
  // The first time that events are sent, the collector fails.
  const { WEIR_FAULT } = process.env;
  let failures = 0;
  const isEvents = (route) => route.request().method() === 'POST' && !/flags|decide/.test(route.request().url());
  if (WEIR_FAULT) {
    await context.route((url) => url.origin === WEIR_URL, async (route) => {
      if (failures > 0 || !isEvents(route)) return route.continue();
      failures += 1;
      if (WEIR_FAULT === 'Unavailable') {
        const headers = { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', 'retry-after': '1' };
        return route.fulfill({ status: 503, headers, body: '{}' });
      }
      // It takes them, and is not heard.
      if (WEIR_FAULT === 'Unheard') await route.fetch();
      return route.abort('connectionreset');
    });
  }
  await tab.goto(`${origin}/pricing?utm_source=newsletter&utm_campaign=spring`, { referer: 'https://news.example/' });
  await tab.evaluate(() => window.finished);
  await tab.waitForTimeout(Number(process.argv[3] ?? 500));
  if (WEIR_FAULT && failures === 0) throw new Error('nothing failed');
  await tab.evaluate(() => location.assign('/left'));
  await tab.waitForURL(`${origin}/left`);
  await tab.waitForTimeout(300);
} finally {
  await browser.close();
  server.close();
}
