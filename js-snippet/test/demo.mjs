// Clicks about on the demo of a running `weir up`, and sees the rows arrive:
//
//   node test/demo.mjs --admin http://127.0.0.1:8081 [--screenshots DIR]
//
// Exits non-zero if a row is missing, or anything went wrong in the browser.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { launch } from '../../tests/chromium.mjs';

const DEADLINE = 60_000;
const { values: options } = parseArgs({ options: { admin: { type: 'string' }, screenshots: { type: 'string' } } });

const browser = await launch(chromium);
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(DEADLINE);
  const faults = [];
  page.on('console', (message) => message.type() == 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => error.message.includes('nobody catches this') || faults.push(error.message));

  // Rows have these cells, in any order of arrival.
  const row = (...texts) => {
    let rows = page.locator('tbody tr');
    for (const hasText of texts) rows = rows.filter({ hasText });
    return rows.first().waitFor();
  };

  await page.goto(`${options.admin}/demo`);
  await row('page', '/demo');
  await page.getByRole('link', { name: 'About' }).click();
  await row('page', '/demo/about');
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await row('click', 'add_to_cart', 'copper-1204', ' ms');
  await page.getByRole('button', { name: "weir.identify('alice')" }).click();
  await row('identify', 'alice@example.com');
  await page.getByRole('button', { name: "weir('signup', …)" }).click();
  await row('track', 'signup', 'alice');
  await page.getByRole('button', { name: 'An error nobody catches' }).click();
  await row('js_error', 'nobody catches this');
  await page.getByLabel(/A form/).fill('secret@example.com');
  await page.getByRole('button', { name: 'Send' }).click();
  await row('submit', 'letter');
  assert(!(await page.locator('table').innerText()).includes('secret@'), 'what was typed is not sent');
  await page.reload();
  await row('page', '/demo/about');
  assert.deepEqual(faults, []);

  if (options.screenshots) {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(options.screenshots, `demo-${colorScheme}.png`) });
    }
    await page.setViewportSize({ width: 390, height: 844 });
    await page.screenshot({ path: join(options.screenshots, 'demo-phone.png'), fullPage: true });
  }
} finally {
  await browser.close();
}
