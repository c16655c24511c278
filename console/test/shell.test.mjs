// What pages do besides SQL: the live view, the dashboard, forms that ask, themes, shortcuts.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EVIL, double } from './double.mjs';
import { fixtureNames, launch, open, serve } from './support.mjs';

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const on = (title, fixture, steps, options) => test(title, async () => {
  const { answer, state } = double();
  const pages = { '/': 'live' };
  const server = await serve({ answer, pages });
  const { page, problems, context } = await open(browser, `${server.origin}/fixtures/${fixture}`, options);
  try {
    await steps({ page, state, server, pages });
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
    server.close();
  }
});

const event = (id, more = {}) => ({ event_id: `0199ffff-0000-8000-8000-00000000000${id}`, occurred_at: '2026-11-26T21:00:00Z', source: 'shop', kind: 'page', name: null, path: `/new-${id}`, visitor_id: '0123456789abcdef', country: 'DE', browser: 'Firefox', properties: {}, ...more });

on('events arrive on top; the books are renewed', 'live', async ({ page, state }) => {
  state.events.push(event(1, { name: EVIL }), event(2));
  await page.getByText('/new-2').waitFor();
  assert.equal(await page.locator('#events tbody tr').first().locator('td').nth(4).textContent(), '/new-2');
  assert.equal(await page.locator('#events img').count(), 0);
  assert.equal(await page.textContent('#visitors-now'), '190');
  assert.equal(await page.textContent('#freshness'), '300 ms');
  assert.match(await page.locator('#accounting tr.loud').textContent(), /shop/);
  assert.equal(await page.locator('#minutes rect').count(), 30);
  assert.deepEqual(await page.locator('.minutes-axis span').allTextContents(), ['20:31', '20:46', 'now']);
});

on('while it is paused nothing moves', 'live', async ({ page, state }) => {
  await page.click('#pause');
  const rows = await page.locator('#events tbody tr').count();
  state.events.push(event(3));
  await page.getByRole('button', { name: 'Go on (1 new)' }).waitFor();
  assert.equal(await page.locator('#events tbody tr').count(), rows);
  await page.click('#pause');
  assert.equal(await page.locator('#events tbody tr').count(), rows + 1);
});

on('events are filtered, also those to come', 'live', async ({ page, state }) => {
  await page.selectOption('#filter-kind', 'page');
  await page.fill('#filter-name', '/new');
  assert.equal(await page.locator('#events tbody tr:visible').count(), 0);
  state.events.push(event(4), event(5, { kind: 'click' }), event(6, { source: 'fresh' }));
  await page.getByText('/new-6').waitFor();
  assert.deepEqual(await page.locator('#events tbody tr:visible td:nth-child(5)').allTextContents(), ['/new-6', '/new-4']);
  assert.ok((await page.locator('#filter-source option').allTextContents()).includes('fresh'));
});

on('the first event turns the empty page into the live one', 'live-empty', async ({ page, state }) => {
  const loaded = page.waitForEvent('load');
  state.events.push(event(7));
  await loaded;
});

on('a snippet is copied', 'live-empty', async ({ page }) => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy' }).first().click();
  await page.getByText('Copied').waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^<script defer src="https:\/\/collector\.example\/w\.js" data-key="pk_\w+"><\/script>$/);
});

on('the dashboard draws its chart, and remembers which tabs were open', 'dashboard', async ({ page }) => {
  await page.locator('.chart canvas').waitFor();
  assert.deepEqual(await page.locator('.legend button').allTextContents(), ['28 Oct to 26 Nov', '28 Sep to 27 Oct']);
  await page.getByText('Browsers', { exact: true }).click();
  assert.ok(await page.getByText('Safari').isVisible());
  await page.reload();
  assert.ok(await page.getByText('Safari').isVisible());
});

on('a select of the dashboard loads the page anew, with all filters', 'dashboard', async ({ page }) => {
  await page.selectOption('#compare', 'year');
  await page.waitForURL(/\/dashboard\?source=shop&period=30d&f\.country=DE&compare=year$/);
});

on('without a script the dashboard is whole', 'dashboard', async ({ page }) => {
  assert.ok(await page.getByText('/products/copper-kettle').first().isVisible());
  await page.getByText('Exit', { exact: true }).click();
  assert.ok(await page.getByText('12,480').isVisible());
  await page.getByText('As a table').click();
  assert.equal(await page.locator('.chart tbody tr').count(), 30);
  assert.ok(await page.getByRole('button', { name: 'Show' }).first().isVisible());
  assert.ok(!(await page.getByText('Share…').isVisible()));
}, { javaScriptEnabled: false });

on('what destroys asks first', 'operate-sources', async ({ page, state }) => {
  await page.getByRole('button', { name: 'Disable' }).first().click();
  await page.getByText('Disable shop? What it sends is refused with 401 within five seconds.').waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.deepEqual(state.posts, []);
  await page.getByRole('button', { name: 'Disable' }).first().click();
  await page.getByRole('button', { name: 'Disable it' }).click();
  await page.waitForURL(/\/operate\/sources\/disable$/);
  assert.deepEqual(state.posts.map(({ path }) => path), ['/operate/sources/disable']);
});

on('whether a source is arriving is seen at once', 'operate-sources', async ({ page }) => {
  const crm = page.locator('#sources tr[data-source=crm]');
  assert.match(await crm.textContent(), /quiet/);
  await crm.getByText('arriving').waitFor();
  assert.match(await page.locator('#sources tr[data-source=shop]').textContent(), /77 a minute/);
});

on('a theme is remembered, and there before anything is painted', 'operate-audit', async ({ page }) => {
  const dark = 'rgb(16, 23, 28)';
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.notEqual(await background(), dark);
  await page.click('.menu summary');
  await page.getByRole('button', { name: 'Dark' }).click();
  assert.equal(await background(), dark);
  await page.reload({ waitUntil: 'commit' });
  await page.waitForFunction(() => document.body);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.click('.menu summary');
  await page.getByRole('button', { name: 'System' }).click();
  assert.notEqual(await background(), dark);
});

on('/ searches, ? shows the keys, Escape closes what floats', 'queries', async ({ page }) => {
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  assert.equal(await page.inputValue('#search'), '');
  await page.locator('#search').blur();
  await page.keyboard.press('?');
  await page.getByText('search, where there is one').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('dialog[open]').count(), 0);
  await page.click('.menu summary');
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('.menu[open]').count(), 0);
});

on('the page that says the database is away looks again', 'message-503', async ({ page }) => {
  assert.equal(await page.getAttribute('body', 'data-retry-s'), '5');
  await page.waitForEvent('load', { timeout: 20_000 });
});

test('every link of the tabs leads somewhere there is a fixture for', () => {
  for (const name of ['rollups', 'sync', 'partitions', 'quarantine', 'sources', 'usage', 'audit', 'people']) assert.ok(fixtureNames.includes(`operate-${name}`));
});
