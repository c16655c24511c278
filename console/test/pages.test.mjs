// Every fixture in a real Chromium: within the policy, without a serious fault for those who can't see or use a mouse, on a phone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { double } from './double.mjs';
import { fixtureNames, launch, open, root, serve } from './support.mjs';

const axe = readFileSync(`${root}node_modules/axe-core/axe.min.js`, 'utf8');
const PHONE = { width: 360, height: 740 };

let server;
let browser;
before(async () => {
  server = await serve({ answer: double().answer });
  browser = await launch();
});
after(async () => {
  await browser.close();
  server.close();
});

// Until scripts have done what they do at the start.
async function settled(page) {
  await page.waitForLoadState('networkidle');
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter(({ impact }) => impact == 'serious' || impact == 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target.join(' ')} (${node.any[0]?.message ?? node.failureSummary})`).join('; ')}`);
}

for (const name of fixtureNames) {
  test(name, async () => {
    for (const colorScheme of ['light', 'dark']) {
      const { page, problems, context } = await open(browser, `${server.origin}/fixtures/${name}`, { colorScheme });
      await settled(page);
      assert.deepEqual(await faults(page), [], colorScheme);
      assert.equal(await page.locator('h1').count(), 1, 'one heading of the first rank');
      if (colorScheme == 'light') {
        await page.setViewportSize(PHONE);
        await settled(page);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the body scrolls sideways on a phone');
      }
      assert.deepEqual(problems, []);
      await context.close();
    }
  });
}

test('an open result, a chart, a failure, and every dialog are as accessible', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page, problems, context } = await open(browser, `${server.origin}/fixtures/sql?since=x`, { colorScheme });
    await page.locator('.cm-content').waitFor();
    await page.click('#run');
    await page.locator('.grid [role=gridcell]').first().waitFor();
    assert.deepEqual(await faults(page), [], 'table');
    await page.getByRole('tab', { name: 'Chart' }).click();
    await page.locator('.chart canvas').waitFor();
    assert.deepEqual(await faults(page), [], 'chart');
    await page.click('#save-query');
    assert.deepEqual(await faults(page), [], 'saving');
    await page.keyboard.press('Escape');
    await page.click('#show-history');
    await page.locator('.history .sql').first().waitFor();
    assert.deepEqual(await faults(page), [], 'history');
    await page.locator('.history .sql').nth(1).click();
    await page.locator('.cm-content').fill('select wrong');
    await page.keyboard.press('Control+Enter');
    await page.locator('.failure').waitFor();
    assert.deepEqual(await faults(page), [], 'failure');
    assert.deepEqual(problems, []);
    await context.close();
  }
});
