// Pages in which something that the snippet uses is broken, in a real Chromium:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/broken.mjs
//
// No page sees an error of the snippet's, its calls do no harm, and what can be
// counted still is: the caller looks at the rows.
import assert from 'node:assert/strict';
import { script, serve, withBrowser } from './support.mjs';

// What is done to the page before any script of its own runs, by the page's name.
const breakages = {
  nothing: () => {},
  storage: () => {
    Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } });
  },
  quota: () => {
    const filling = 'x'.repeat(64 * 1024);
    try {
      for (let i = 0; ; i++) localStorage[`filling ${i}`] = filling;
    } catch {}
    try {
      for (let i = 0; ; i++) localStorage[`more ${i}`] = '';
    } catch {}
  },
  fetch: () => {
    const { fetch } = window;
    let calls = 0;
    window.fetch = (...args) => {
      if (++calls <= 2) throw new TypeError('instrumented badly');
      return fetch(...args);
    };
  },
  history: () => {
    Object.freeze(history);
  },
  performance: () => {
    performance.getEntriesByType = () => { throw new TypeError('no entries'); };
  },
  observer: () => {
    window.PerformanceObserver = class {
      static get supportedEntryTypes() { throw new TypeError('no types'); }
    };
  },
  crypto: () => {
    Object.defineProperty(window, 'crypto', { get() { throw new TypeError('no crypto'); } });
  },
  online: () => {
    Object.defineProperty(navigator, 'onLine', { get() { throw new TypeError('no network'); } });
  },
};

const options = 'data-outbound data-download data-forms data-engagement data-vitals data-errors data-404';
const pages = {};
for (const name in breakages) {
  for (const [path, file] of [[`/${name}`, 'w.js'], [`/${name}/full`, 'w.full.js']]) {
    pages[path] = [`${script(options, file)}<div style="height: 3000px"></div><button data-weir-event="buy">Buy</button>`];
  }
}
const site = await serve(pages);

await withBrowser(async (visit, problems, browser) => {
  for (const path in pages) {
    const page = await visit(site + path, { init: breakages[path.split('/')[1]] });
    page.on('console', (message) => problems.push(`${path}: ${message.text()}`));
    await page.evaluate(() => {
      weir('mine', { circular: window });
      weir('mine', { a: 1 });
      weir.identify('carol');
      window.router = () => history.pushState({}, '', location.pathname + '?next');
      router();
      scrollTo(0, 500);
    });
    await page.click('button');
    await page.waitForLoadState('networkidle');
    await page.evaluate(() => weir('late'));
    await page.waitForTimeout(500);
    await page.goto('about:blank');
    await page.context().close();
  }
});
