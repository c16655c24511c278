// Opens every page of the documentation in a running collector: in both themes, as a phone shows it, and without scripts.
//
//   node docs.mjs http://127.0.0.1:8081 SLUG... [--screenshots DIR]
//
// Exits non-zero where one cannot be used by everyone, scrolls sideways on a phone, or went wrong in the browser.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { launch } from '../tests/chromium.mjs';

const { values: options, positionals } = parseArgs({ options: { screenshots: { type: 'string' } }, allowPositionals: true });
const [admin, ...slugs] = positionals;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1360, height: 900 };

const browser = await launch(chromium);

// What those who don't see, or use no mouse, stumble over.
async function faults(page) {
  // (In a world of its own, where the page's policy does not hold.)
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id });
  const run = async (expression) => {
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, contextId, awaitPromise: true, returnByValue: true });
    assert.ok(!exceptionDetails, exceptionDetails?.text);
    return result.value;
  };
  await run(AXE);
  const violations = await run(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
    violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map(({ html }) => html.slice(0, 200)) })))`);
  await session.detach();
  return violations.filter(({ impact }) => impact == 'serious' || impact == 'critical').map(({ id, nodes }) => `${id}: ${nodes.join('; ')}`);
}

const found = [];
// Colours and widths of all are these pages': they have everything that any has.
const EXAMPLES = ['', 'js-snippet'];

async function open(options) {
  const context = await browser.newContext({ viewport: DESKTOP, baseURL: admin, ...options });
  const page = await context.newPage();
  page.on('console', (message) => message.type() == 'error' && !/status of 404/.test(message.text()) && found.push(message.text()));
  page.on('pageerror', (error) => found.push(error.message));
  page.on('request', (request) => request.url().startsWith(admin) || request.url().startsWith('data:') || found.push(`asked for ${request.url()}`));
  return page;
}

for (const colorScheme of ['light', 'dark']) {
  const page = await open({ colorScheme });
  for (const slug of slugs) {
    const note = (fault) => found.push(`/docs/${slug}, ${colorScheme}: ${fault}`);
    const shoot = async (kind) => options.screenshots && (await page.screenshot({ path: join(options.screenshots, `${slug || 'index'}-${colorScheme}${kind}.png`) }));
    const isExample = EXAMPLES.includes(slug);
    if (colorScheme == 'dark' && !isExample) continue;
    await page.setViewportSize(DESKTOP);
    await page.goto(`/docs/${slug}`);
    await shoot('');
    if (isExample) (await faults(page)).forEach(note);
    await page.setViewportSize(PHONE);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > PHONE.width) note(`it scrolls sideways on a phone: ${width}`);
    if (isExample) (await faults(page)).forEach((fault) => note(`phone, ${fault}`));
    await shoot('-phone');
  }
  await page.context().close();
}

// Without scripts nothing is missing: the lists are beside the text, and on a phone one unfolds, the other is a link away.
const page = await open({ javaScriptEnabled: false });
await page.goto('/docs/cookbook');
const [beside, folded] = ['.beside a', '.above a'].map((place) => page.locator(place).filter({ hasText: '16. Who uses it most?' }));
assert.ok(await beside.isVisible(), 'what is on the page is listed beside it');
assert.ok(await page.getByRole('link', { name: 'Retention', exact: true }).isVisible(), 'and so are all pages');
await page.setViewportSize(PHONE);
assert.ok(!(await beside.isVisible()) && !(await folded.isVisible()), 'it is folded on a phone');
await page.locator('.above summary').click();
assert.ok(await folded.isVisible(), 'and opens');
await page.getByRole('link', { name: 'All pages' }).click();
assert.ok(await page.getByRole('link', { name: 'Retention', exact: true }).isVisible());

await browser.close();
assert.deepEqual(found, []);
