// Pages that come, go and stand beside each other in a real Chromium, using the
// snippet of a running collector, as pages.mjs does:
//
//   WEIR_URL=http://127.0.0.1:8080 WEIR_KEY=pk_... node test/lifecycle.mjs
//
// Each event must become one row of the database, which the caller looks at.
import assert from 'node:assert/strict';
import { relay as startRelay, script, serve, until, withBrowser, withUndrivenBrowser } from './support.mjs';

// Long enough for a view that must not be counted to be sent.
const NOTHING_COMES_MS = 500;

// What the collector does to whom: `held` requests wait until they are let go.
let letGo;
const held = new Promise((done) => (letGo = done));
const disturb = (name) => (name == 'closing' ? held : undefined);

// What pages of undriven browsers say, and what they wait for.
const said = [];
const conditions = {};
const say = (what) => `fetch('/say?${what}')`;
const pages = {};

async function start() {
  const relay = await startRelay(disturb);
  const site = await serve(pages, async (req, res) => {
    const [path, what] = req.url.split('?');
    if (path != '/say') return false;
    said.push(what);
    await conditions[what]?.();
    res.end();
    return true;
  });
  return { relay, site };
}

// The page is left and comes back out of the back/forward cache: a view again.
{
  const { relay, site } = await start();
  pages['/back'] = [`${script(`data-endpoint="${relay.origin}/back"`)}
    <script>
      addEventListener('pageshow', ({ persisted }) => {
        ${say("shown ' + persisted + '")}.then(() => persisted || (location.href = '/away'));
      });
    </script>`];
  pages['/away'] = [`<script>addEventListener('load', () => setTimeout(() => history.back()))</script>`];
  conditions['shown%20false'] = () => until(() => relay.answers.back == 1);
  await withUndrivenBrowser(`${site}/back`, () => until(() => relay.answers.back == 2));
  assert.deepEqual(said.splice(0), ['shown%20false', 'shown%20true']);
}

// A prerendered page counts when it is shown, once.
{
  const { relay, site } = await start();
  pages['/link'] = [`${script(`data-endpoint="${relay.origin}/link"`)}
    <script type="speculationrules">
      { "prerender": [{ "source": "list", "urls": ["/prerendered"], "eagerness": "immediate" }] }
    </script>
    <script>${say('link')}.then(() => (location.href = '/prerendered'))</script>`];
  pages['/prerendered'] = [`<script>
      if (document.prerendering) {
        addEventListener('load', () => ${say('prerendered')});
        document.addEventListener('prerenderingchange', () => ${say('activated')});
      } else ${say('not prerendered')};
    </script>
    ${script(`data-endpoint="${relay.origin}/prerendered" data-vitals`, 'w.full.js')}`];
  conditions.link = async () => {
    await until(() => said.includes('prerendered'));
    await new Promise((done) => setTimeout(done, NOTHING_COMES_MS));
    assert.equal(relay.posts.prerendered, undefined);
  };
  await withUndrivenBrowser(`${site}/link`, async () => {
    await until(() => relay.answers.prerendered);
    await new Promise((done) => setTimeout(done, NOTHING_COMES_MS));
    assert.equal(relay.posts.prerendered, 1);
  });
  assert.deepEqual(said.splice(0), ['link', 'prerendered', 'activated']);
}

const { relay, site } = await start();
const other = await serve(pages);
Object.assign(pages, {
  '/closing': [script(`data-endpoint="${relay.origin}/closing"`)],
  '/closed': [script(`data-endpoint="${relay.origin}/closed"`)],
  '/frames': [`${script()}<iframe src="/inner"></iframe><iframe src="${other.replace('127.0.0.1', 'localhost')}/foreign"></iframe>`],
  '/inner': [script()],
  '/foreign': [script()],
  '/tab': [script()],
});

const answered = (page, act) =>
  Promise.all([page.waitForResponse((response) => response.request().method() == 'POST' && response.ok()), act()]);

await withBrowser(async (visit) => {
  {
    // A tab is closed while its request is on its way, and another event waits for
    // the answer. Neither is lost; the next page of the site adds nothing.
    const page = await visit(`${site}/closing`);
    await until(() => relay.posts.closing == 1);
    await page.evaluate(() => weir('last words'));
    const context = page.context();
    const next = await context.newPage();
    await page.close();
    await until(() => relay.posts.closing == 2);
    letGo();
    await until(() => relay.answers.closing == 2);
    await answered(next, () => next.goto(`${site}/closed`));
    assert.equal(await next.evaluate(() => localStorage.length), 0);
    assert.deepEqual(relay.posts, { closing: 2, closed: 1 });
    await context.close();
  }
  {
    // The page, a frame of its own site and one of another, each with the snippet.
    const page = await visit(`${site}/frames`);
    await page.waitForLoadState('networkidle');
    await page.context().close();
  }
  {
    // Two tabs: who the visitor is in one, they are in the other.
    const first = await visit(`${site}/tab?1`);
    const second = await first.context().newPage();
    await answered(second, () => second.goto(`${site}/tab?2`));
    await answered(first, () => first.evaluate(() => weir.identify('bob')));
    await answered(second, () => second.evaluate(() => weir('as bob')));
    await answered(second, () => second.evaluate(() => (weir.reset(), weir('as nobody'))));
    await answered(first, () => first.evaluate(() => weir('as nobody, too')));
    await first.context().close();
  }
});
