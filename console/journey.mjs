// Does in the console of a running `weir up` what people do: signs in for the first time, pastes the snippet into a page, sees the
// first visit, writes a query, shares what it came to; a colleague opens the link, and is refused what is not granted to them.
//
//   node journey.mjs --admin http://127.0.0.1:8081 --first NAME:PASSWORD --second NAME:PASSWORD [--screenshots DIR]
//
// Exits non-zero if anything is not as a person would expect, or went wrong in the browser. Prints how long it took.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { launch } from '../tests/chromium.mjs';

const DEADLINE = 60_000;
const names = ['admin', 'first', 'second', 'screenshots'];
const { values: options } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const started = Date.now();

const browser = await launch(chromium);
const site = createServer((request, response) => response.setHeader('content-type', 'text/html').end(site.html));
await new Promise((listening) => site.listen(0, '127.0.0.1', listening));

const faults = [];
async function person(scheme) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: scheme, baseURL: options.admin });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  page.on('console', (message) => message.type() == 'error' && !/status of 40[134]/.test(message.text()) && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(error.message));
  return page;
}

let shots = 0;
// Looks at a page: what cannot be used by everyone, and, where asked for, a picture, in the page's theme and as a phone shows it.
async function look(page, name) {
  // (In a world of its own, where the page's policy does not hold.)
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id });
  const run = async (expression) => {
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
    assert.ok(!exceptionDetails, exceptionDetails?.text);
    return result.value;
  };
  await run(AXE);
  const violations = await run('axe.run().then(({violations}) => violations.map(({id, impact, nodes}) => ({id, impact, nodes: nodes.map((n) => n.html).slice(0, 3)})))');
  const serious = violations.filter(({ impact }) => impact == 'serious' || impact == 'critical');
  assert.deepEqual(serious, [], name);
  await session.detach();
  if (!options.screenshots) return;
  const path = (kind) => join(options.screenshots, `${String(++shots).padStart(2, '0')}-${name}-${kind}.png`);
  await page.screenshot({ path: path('wide') });
  await page.setViewportSize({ width: 360, height: 740 });
  const over = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
  assert.ok(over <= 0, `${name} is ${over} pixels too wide for a phone`);
  await page.screenshot({ path: path('phone') });
  await page.setViewportSize({ width: 1280, height: 860 });
}

async function signIn(page, credentials) {
  const [role, ...password] = credentials.split(':');
  await page.getByLabel('Role').fill(role);
  await page.getByLabel('Password').fill(password.join(':'));
  await page.getByRole('button', { name: 'Sign in' }).click();
}

async function write(page, sql) {
  await page.locator('.cm-content').click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(sql);
  await page.keyboard.press('Control+Enter');
}

try {
  const ada = await person('light');
  await ada.goto('/');
  await look(ada, 'sign-in');
  await signIn(ada, `${options.first.split(':')[0]}:wrong`);
  await ada.getByRole('alert').getByText('role or password is wrong').waitFor();
  await signIn(ada, options.first);

  // The page says what to paste. It is pasted, and somebody visits.
  await ada.getByRole('heading', { name: 'Send the first event' }).waitFor();
  await look(ada, 'first-steps');
  const tag = await ada.locator('#tag').textContent();
  site.html = `<!doctype html><title>A shop</title>${tag}<h1>Hello</h1>`;
  // (A headless browser counts as a robot.)
  const visitor = await (await browser.newContext({ userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0' })).newPage();
  await visitor.goto(`http://127.0.0.1:${site.address().port}/pricing?utm_source=newsletter`);
  await ada.getByRole('heading', { name: 'Live', exact: true }).waitFor();
  await ada.locator('#events tbody tr').filter({ hasText: '/pricing' }).first().waitFor();
  await ada.locator('#visitors-now').getByText('1', { exact: true }).waitFor();
  await look(ada, 'live');

  // A query, whose result is shared.
  await ada.getByRole('link', { name: 'SQL' }).click();
  await ada.locator('.schema-tree').getByText('page_views', { exact: true }).waitFor();
  await write(ada, 'select path, utm_source, count(*) as views from analytics.page_views where host = {{host}} group by 1, 2');
  await ada.getByLabel('host').fill('127.0.0.1');
  await ada.getByRole('button', { name: 'Run', exact: true }).click();
  await ada.locator('#answer').getByText('newsletter').first().waitFor();
  await look(ada, 'sql');
  await ada.getByRole('button', { name: 'Share' }).click();
  const link = await ada.getByText(/\/r\/[0-9a-f]{32}$/).first().textContent();
  const result = new URL(link.trim(), options.admin).pathname;
  await write(ada, "select 'kept' as before; selec 1");
  await ada.locator('#answer').getByText('syntax error').first().waitFor();
  await ada.locator('#answer').getByText('kept').first().waitFor();
  await write(ada, 'select path, utm_source, count(*) as views from analytics.page_views group by 1, 2');
  await ada.locator('#answer').getByText('newsletter').first().waitFor();
  await ada.getByRole('button', { name: 'Save…' }).click();
  await ada.getByLabel('Title').fill('Views by campaign');
  await ada.locator('#save').getByLabel(/Colleagues see its results/).check();
  await ada.locator('#save').getByRole('button', { name: 'Save' }).click();
  await ada.waitForURL('**/q/views-by-campaign');
  await ada.getByText('for colleagues, too').waitFor();
  await look(ada, 'query');

  // A colleague opens the link, from a chat.
  const bob = await person('dark');
  await bob.goto(result);
  await signIn(bob, options.second);
  await bob.waitForURL(`**${result}`);
  await bob.locator('.result').getByText('newsletter').first().waitFor();
  assert.equal(await bob.getByRole('button', { name: 'Set' }).count(), 0, 'who may see it is not for him to say');
  await look(bob, 'result');
  await bob.goto(`http://127.0.0.1:${site.address().port}/`);
  await bob.evaluate((link) => (location.href = link), new URL(result, options.admin).href);
  await bob.waitForURL(`**${result}`);
  await bob.locator('.result').getByText('newsletter').first().waitFor();

  // What was not shared, and what is not granted.
  await bob.goto('/results');
  await bob.getByText('No result yet').waitFor();
  await bob.goto('/q/views-by-campaign');
  assert.equal(await bob.locator('.result').count(), 0, "ada's result was not shared");
  await bob.goto('/sql');
  await write(bob, 'select * from weir.write_keys');
  await bob.locator('#answer').getByText('permission denied').first().waitFor();
  await look(bob, 'refused');
  await bob.goto('/r/00000000000000000000000000000000');
  await bob.getByRole('heading', { name: 'There is nothing here' }).waitFor();
  await look(bob, 'nothing');
  for (const [path, name] of [['/queries', 'queries'], ['/results', 'results'], ['/account', 'account'], ['/dashboard', 'dashboard'], ['/operate', 'operate']]) {
    for (const page of [ada, bob]) {
      await page.goto(path);
      await look(page, name);
    }
  }
  await bob.getByText(options.second.split(':')[0], { exact: true }).first().click();
  await bob.getByRole('button', { name: 'Sign out' }).click();
  await bob.waitForURL('**/sign-in');
  assert.deepEqual(faults, []);
  console.log(JSON.stringify({ seconds: (Date.now() - started) / 1000 }));
} finally {
  await browser.close();
  site.close();
}
