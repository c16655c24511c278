// Looks at the dashboard of a running console as a person does: opens it, clicks a country, takes the filter away, chooses another
// period, shares it, and opens the link where nobody has signed in.
//
//   node dashboard.mjs --admin http://127.0.0.1:8081 --cookie NAME=VALUE --country Germany [--screenshots DIR]
//
// Exits non-zero if anything is not as a person would expect, or went wrong in the browser. Prints what it saw, as JSON.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { launch } from '../tests/chromium.mjs';

const { values: options } = parseArgs({ options: Object.fromEntries(['admin', 'cookie', 'country', 'screenshots'].map((name) => [name, { type: 'string' }])) });
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const [cookieName, cookieValue] = options.cookie.split(/=(.*)/);
const browser = await launch(chromium);
const faults = [];

async function visitor({ scheme = 'light', script = true, isSignedIn = true } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: scheme, javaScriptEnabled: script, baseURL: options.admin });
  if (isSignedIn) await context.addCookies([{ name: cookieName, value: cookieValue, url: options.admin }]);
  const page = await context.newPage();
  page.on('console', (message) => message.type() == 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(error.message));
  return page;
}

// What cannot be used by everyone; in a world of its own, where the page's policy does not hold.
async function usable(page, name) {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id });
  const run = async (expression) => (await session.send('Runtime.evaluate', { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true })).result.value;
  await run(AXE);
  const found = await run('axe.run().then(({violations}) => violations.map(({id, impact, nodes}) => ({id, impact, nodes: nodes.map((n) => n.html).slice(0, 3)})))');
  assert.deepEqual(found.filter(({ impact }) => impact == 'serious' || impact == 'critical'), [], name);
  await session.detach();
}

async function shoot(page, name) {
  const over = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
  assert.ok(over <= 0, `${name} is ${over} pixels too wide`);
  if (options.screenshots) await page.screenshot({ path: join(options.screenshots, `${name}.png`), fullPage: true });
}

const visits = async (page) => (await page.locator('.figures .figure-value').nth(1).textContent()).trim();

try {
  const page = await visitor();
  await page.goto('/dashboard?period=7d');
  await page.locator('.plot canvas').waitFor();
  const all = await visits(page);
  await usable(page, 'dashboard');
  await shoot(page, 'light');

  await page.getByRole('link', { name: options.country }).click();
  await page.locator('.chip').waitFor();
  assert.match(page.url(), /f\.country=[A-Z]{2}/);
  const filtered = await visits(page);
  await shoot(page, 'filtered');
  await page.getByRole('link', { name: /^Remove the filter/ }).click();
  await page.locator('.chip').waitFor({ state: 'detached' });
  assert.equal(await visits(page), all, 'without the filter all are there again');

  await page.getByRole('link', { name: 'Yesterday' }).click();
  await page.locator('.segments a[aria-current]', { hasText: 'Yesterday' }).waitFor();
  await page.locator('.plot canvas').waitFor();
  const yesterday = await visits(page);
  await page.getByRole('link', { name: /^Bounce rate/ }).click();
  await page.getByRole('heading', { name: 'Bounce rate by hour' }).waitFor({ state: 'attached' });
  await shoot(page, 'hours');
  await page.getByLabel('Compare with').selectOption({ label: 'nothing' });
  await page.waitForURL(/compare=none/);

  await page.goto('/dashboard?period=7d');
  await page.getByRole('link', { name: 'signup' }).first().click();
  await page.getByText('by plan').waitFor();
  await shoot(page, 'event');
  await page.goto('/dashboard?period=7d&panel=pages&limit=5');
  await shoot(page, 'list');

  await page.goto('/dashboard?period=7d');
  await page.getByRole('button', { name: 'Share…' }).click();
  await page.getByLabel('What it is for').fill('A test');
  await shoot(page, 'share');
  await page.getByRole('button', { name: 'Make a link' }).click();
  const link = (await page.locator('dialog[open] pre').textContent()).trim();
  await usable(page, 'dialog');
  const stranger = await visitor({ isSignedIn: false });
  await stranger.goto(`${link}?period=7d`);
  assert.equal(await visits(stranger), all, 'the link shows the same');
  assert.equal(await stranger.locator('header.bar').count(), 0);
  await usable(stranger, 'shared');
  await shoot(stranger, 'shared');

  const dark = await visitor({ scheme: 'dark' });
  await dark.goto('/dashboard?period=7d');
  await dark.locator('.plot canvas').waitFor();
  await usable(dark, 'dark');
  await shoot(dark, 'dark');
  const phone = await visitor();
  await phone.setViewportSize({ width: 360, height: 740 });
  await phone.goto('/dashboard?period=7d&f.device=mobile');
  await phone.locator('.plot canvas').waitFor();
  await shoot(phone, 'phone');

  const plain = await visitor({ script: false });
  await plain.goto('/dashboard?period=7d');
  assert.equal(await visits(plain), all, 'without scripts');
  await plain.getByText('As a table').click();
  await plain.getByRole('rowheader').first().waitFor();
  if (options.screenshots) await plain.screenshot({ path: join(options.screenshots, 'plain.png'), fullPage: true });

  assert.deepEqual(faults, []);
  console.log(JSON.stringify({ all, filtered, yesterday }));
} finally {
  await browser.close();
}
