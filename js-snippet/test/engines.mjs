// The main behaviours of the snippet in an engine that is not Chromium's:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... WEIR_TEST_FIREFOX=... node test/engines.mjs firefox
//   WEIR_URL=... WEIR_KEY=... WEIR_TEST_WEBKIT_DRIVER=... node test/engines.mjs webkit
//
// The browsers are those of the system: Firefox by WebDriver BiDi, WebKitGTK by
// its WebKitWebDriver, which needs a display (xvfb-run). What becomes of it can be
// seen in the rows of the database, which the caller looks at.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { bounded, relay as startRelay, script, serve, until } from './support.mjs';

const { WEIR_TEST_FIREFOX, WEIR_TEST_WEBKIT_DRIVER } = process.env;

// Each gives the same few commands: open an address, run a function in the page,
// click what a selector finds, open another tab and close this one, end.
const engines = {
  async firefox() {
    const { default: puppeteer } = await import('puppeteer-core');
    const browser = await puppeteer.launch({ browser: 'firefox', executablePath: WEIR_TEST_FIREFOX, headless: true });
    let page = await browser.newPage();
    return {
      version: await browser.version(),
      open: (url) => page.goto(url),
      run: (fn) => page.evaluate(fn),
      click: (selector) => page.click(selector),
      async another() {
        const old = page;
        page = await browser.newPage();
        await old.close();
      },
      end: () => browser.close(),
    };
  },

  async webkit() {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const driver = spawn(WEIR_TEST_WEBKIT_DRIVER, [`--port=${port}`], { stdio: 'ignore' });
    const exit = once(driver, 'exit');
    const ask = async (method, path, body) => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
      const { value } = await answer.json();
      assert.ok(answer.ok, `${method} ${path}: ${JSON.stringify(value)}`);
      return value;
    };
    let isReady;
    while (!isReady) {
      isReady = await ask('GET', '/status').then(({ ready }) => ready, () => false);
      if (!isReady) await new Promise((done) => setTimeout(done, 50));
    }
    const { sessionId, capabilities } = await ask('POST', '/session', { capabilities: {} });
    const session = `/session/${sessionId}`;
    return {
      version: `${capabilities.browserName} ${capabilities.browserVersion}`,
      open: (url) => ask('POST', `${session}/url`, { url }),
      run: (fn) => ask('POST', `${session}/execute/sync`, { script: `return (${fn})()`, args: [] }),
      async click(value) {
        const element = await ask('POST', `${session}/element`, { using: 'css selector', value });
        await ask('POST', `${session}/element/${Object.values(element)[0]}/click`, {});
      },
      async another() {
        const { handle } = await ask('POST', `${session}/window/new`, { type: 'tab' });
        await ask('DELETE', `${session}/window`);
        await ask('POST', `${session}/window`, { handle });
      },
      async end() {
        await ask('DELETE', session);
        driver.kill();
        await exit;
      },
    };
  },
};

const faults = {};
const relay = await startRelay((name) => (faults[name]-- > 0 ? 503 : 0));
const { answers } = relay;
const page = (name, more = '') =>
  [`${script(`data-endpoint="${relay.origin}/${name}" data-engagement data-vitals data-outbound`, 'w.full.js')}
    <div style="height: 3000px"></div><button id="buy" data-weir-event="buy" data-weir-prop-plan="team"
    style="position: fixed; top: 10px">Buy</button>${more}`];
const site = await serve({
  '/main': page('main', '<script>addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted))</script>'),
  '/refused': page('refused'), '/kept': page('kept'), '/closing': page('closing'), '/left': ['Left'],
});

await bounded(async () => {
  const browser = await engines[process.argv[2]]();
  try {
    // Not the drivers' own command, which passes over what no person has touched.
    const back = () => browser.run(() => {
      setTimeout(() => history.back());
    });
    // Waits until so many requests were answered.
    const count = (name, least) => until(() => (answers[name] ?? 0) >= least);
    await browser.open(`${site}/main`);
    await count('main', 1);
    await browser.run(() => history.pushState({}, '', '/main/next'));
    await count('main', 2);
    await back();
    await count('main', 3);
    await browser.click('#buy');
    await count('main', 4);
    await browser.run(() => {
      scrollTo(0, 1000);
      weir.identify('dora', { plan: 'team' });
      weir('signup', { circular: window });
      weir('signup', { plan: 'team' });
    });
    await count('main', 5);
    // What is captured until the page is left, sent as it is left.
    await browser.open(`${site}/left`);
    await count('main', 6);
    await back();
    await count('main', 7);
    const persisted = await browser.run(() => window.persisted);
    await browser.another();

    faults.refused = 2;
    await browser.open(`${site}/refused`);
    await count('refused', 3);

    faults.kept = 1000;
    await browser.open(`${site}/kept`);
    await count('kept', 1);
    await browser.run(() => weir('kept'));
    await browser.open(`${site}/left`);
    faults.kept = 0;
    const before = answers.kept;
    await browser.open(`${site}/kept`);
    await count('kept', before + 1);
    await until(() => browser.run(() => Object.keys(localStorage).join() == 'weir_user'));

    await browser.open(`${site}/closing`);
    await count('closing', 1);
    await browser.run(() => {
      weir('last words');
    });
    await browser.another();
    await count('closing', 2);
    console.log(`${browser.version}; from the back/forward cache: ${persisted}`);
  } finally {
    await browser.end();
  }
});
