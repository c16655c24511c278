// The editor and what it runs, against a server that keeps to the contract of README.md.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { double } from './double.mjs';
import { launch, open, serve } from './support.mjs';

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

// A page with a server of its own.
const on = (title, path, steps, options) => test(title, async () => {
  const { answer, state } = double();
  const server = await serve({ answer, pages: { '/sql': 'sql', '/q/views-by-country': 'query', '/q/of-another': 'query-of-another', '/sign-in': 'sign-in', '/q/saved': 'query' } });
  const { page, problems, context } = await open(browser, server.origin + path, options);
  try {
    const editor = page.locator('.cm-content');
    await editor.waitFor();
    const write = async (sql) => {
      await editor.click();
      await page.keyboard.press('Control+a');
      await page.keyboard.press('Delete');
      await page.keyboard.insertText(sql);
    };
    const text = () => page.inputValue('#sql');
    const runs = () => state.posts.filter(({ path }) => path == '/sql/runs').map(({ body }) => body);
    const polled = async (read, expected) => {
      for (;;) {
        const value = await read();
        if (value === expected) return;
        await page.waitForTimeout(30);
      }
    };
    await steps({ page, editor, write, text, runs, state, server, polled });
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
    server.close();
  }
});

on('typing, over a selection too, stays within the policy', '/sql', async ({ page, editor, text }) => {
  await editor.click();
  await page.keyboard.press('Control+a');
  await page.keyboard.type("select 'ä' from (values (1)) v;");
  assert.equal(await text(), "select 'ä' from (values (1)) v;");
  await page.keyboard.press('Control+a');
  await page.keyboard.type('(');
  assert.equal(await text(), "(select 'ä' from (values (1)) v;)", 'a bracket closes around what is selected');
  await page.keyboard.press('Control+z');
  assert.equal(await text(), "select 'ä' from (values (1)) v;");
});

on('completion knows tables, columns, and aliases', '/sql', async ({ page, editor, write, text, polled }) => {
  await page.locator('.schema-tree .space').first().waitFor();
  await write('select * from analytics.page_views p where p.');
  await page.keyboard.type('co');
  const chosen = page.locator('.cm-tooltip-autocomplete [aria-selected]');
  await chosen.waitFor();
  assert.match(await chosen.textContent(), /^countrytext/);
  // By the mouse: Enter is taken only some moments after the list has appeared, as nobody meant it before.
  await chosen.click();
  await polled(text, 'select * from analytics.page_views p where p.country');
  await write('select * from analytics.');
  await page.keyboard.press('Control+Space');
  await page.locator('.cm-tooltip-autocomplete').getByText('visitors_daily').waitFor();
  assert.equal(await editor.getAttribute('aria-label'), 'SQL');
});

on('Control and Enter runs all, with the token', '/sql', async ({ page, write, runs, state }) => {
  await write('select 1');
  await page.keyboard.press('Control+Enter');
  await page.locator('.grid [role=gridcell]').waitFor();
  assert.equal(await page.locator('.grid [role=gridcell]').textContent(), '1');
  assert.deepEqual(runs(), [{ sql: 'select 1', parameters: {}, query: null, is_foreign: false }]);
  assert.equal(state.posts[0].token, await page.getAttribute('meta[name=csrf]', 'content'));
  assert.match(await page.locator('.result .facts').textContent(), /Rows1.*412 ms.*until 26 Dec unless shared/);
});

on('what is selected runs alone, and an error is marked where it is', '/sql', async ({ page, editor, write, runs }) => {
  await write("select '🐘';\nselect wrong from analytics.events");
  await page.keyboard.press('Home');
  await page.keyboard.press('Shift+End');
  await page.keyboard.press('Control+Enter');
  await page.locator('.failure').waitFor();
  assert.equal(runs()[0].sql, 'select wrong from analytics.events');
  assert.equal(await page.locator('.cm-error').textContent(), 'wrong');
  assert.match(await page.locator('.failure').textContent(), /column "wrong" does not exist.*Hint.*Line 2, column 8.*42703/);
  await page.keyboard.press('Control+Home');
  await page.getByRole('button', { name: 'Line 2, column 8' }).click();
  await page.keyboard.type('x');
  assert.match(await page.inputValue('#sql'), /select xwrong/);
  assert.equal(await page.locator('.cm-error').count(), 0, 'the mark goes with a change');
  // A whole text with a character of two code units before the error.
  await editor.press('Control+Enter');
  await page.locator('.cm-error').waitFor();
  assert.equal(await page.locator('.cm-error').textContent(), 'wrong');
});

on('a slow run is cancelled', '/sql', async ({ page, write, state }) => {
  await write('select slow');
  await page.keyboard.press('Control+Enter');
  await page.getByText(/^Running, /).waitFor();
  assert.ok(await page.isDisabled('#run'));
  await page.click('#cancel');
  await page.getByText('Cancelled').waitFor();
  assert.ok(state.posts.some(({ path }) => /^\/sql\/runs\/run-1\/cancel$/.test(path)));
  assert.ok(await page.isEnabled('#run'));
});

on('parameters become fields, with values from the address', '/sql?since=2026-10-24', async ({ page, write, runs }) => {
  await write("select * from analytics.events where occurred_at > {{since}} and source = {{ source }} and kind = {{since}}");
  assert.deepEqual(await page.locator('#parameters label').allTextContents(), ['{{since}}', '{{source}}']);
  await page.keyboard.press('Control+Enter');
  await page.getByText('{{source}} has no value.').waitFor();
  assert.deepEqual(runs(), []);
  await page.keyboard.type("sh'op");
  await page.keyboard.press('Enter');
  await page.locator('.grid').waitFor();
  assert.deepEqual(runs()[0].parameters, { since: '2026-10-24', source: "sh'op" });
});

on('what was typed survives a reload, being signed out, and can be dropped', '/sql', async ({ page, write, text, state, polled, server }) => {
  const servers = await text();
  await write('select 2');
  await page.reload();
  await page.locator('.cm-content').waitFor();
  assert.equal(await text(), 'select 2');
  assert.ok(await page.isVisible('#draft'));
  state.isSignedOut = true;
  await page.click('#run');
  const link = page.getByRole('link', { name: 'Sign in again' });
  await link.waitFor();
  assert.equal(await link.getAttribute('href'), '/sign-in?next=%2Fsql');
  await link.click();
  state.isSignedOut = false;
  await page.goto(`${server.origin}/sql`);
  await page.locator('.cm-content').waitFor();
  assert.equal(await text(), 'select 2');
  await page.click('#drop-draft');
  assert.equal(await text(), servers);
  await page.reload();
  await page.locator('.cm-content').waitFor();
  assert.equal(await text(), servers);
  // Signing out leaves nothing behind.
  await write('select 3');
  await polled(() => page.evaluate(() => Object.keys(localStorage).some((name) => name.startsWith('weir.draft.'))), true);
  await page.click('.menu summary');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(/sign-out/);
  await page.goto(`${server.origin}/sign-in`);
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith('weir.draft.'))), []);
});

on('format lays out, and keeps parameters', '/sql', async ({ page, write, text, polled }) => {
  await write('SELECT a,b FROM t WHERE x={{since}}');
  await page.keyboard.press('Shift+Alt+F');
  await polled(async () => /^select\n\s+a,\n\s+b\nfrom\n\s+t\nwhere\n\s+x = \{\{since\}\}$/.test(await text()), true);
});

on('the tables can be searched, and insert their names', '/sql', async ({ page, write, text }) => {
  await write('select * from ');
  await page.fill('#schema-search', 'amount');
  const column = page.locator('.schema-tree .column', { hasText: 'amount_paid' });
  await column.waitFor();
  await page.getByText('stripe."Invoices"').click();
  assert.equal(await text(), 'select * from stripe."Invoices"');
  await page.fill('#schema-search', 'no such thing');
  await page.getByText('Nothing is called so.').waitFor();
});

on('history goes back into the editor', '/sql', async ({ page, text }) => {
  await page.click('#show-history');
  await page.getByText('select count(*) from analytics.events').click();
  assert.equal(await text(), 'select count(*) from analytics.events');
});

on('several results are below each other, and what statements say', '/sql', async ({ page, write }) => {
  await write('select two');
  await page.keyboard.press('Control+Enter');
  await page.getByText('Result 2 of 2').waitFor();
  assert.equal(await page.locator('.grid').count(), 2);
  await write('create table x ()');
  await page.keyboard.press('Control+Enter');
  await page.getByText('CREATE TABLE', { exact: true }).waitFor();
});

on('a query is saved with its chart; an own one gets a version', '/q/views-by-country', async ({ page, state }) => {
  await page.getByRole('tab', { name: 'Chart' }).click();
  await page.locator('.chart-settings select').first().selectOption('bars');
  await page.click('#save-query');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await page.waitForURL(/\/q\/views-by-country$/);
  const { path, body } = state.posts.find(({ path }) => path.endsWith('/versions'));
  assert.equal(path, '/q/views-by-country/versions');
  assert.deepEqual(body.chart, { type: 'bars', x: 'day', y: ['views'], split: 'country' });
  assert.equal(body.title, 'Views by country');
  assert.match(body.sql, /^select date_trunc/);
});

on("somebody else's query is saved as a new one", '/q/of-another', async ({ page, state }) => {
  await page.click('#save-query');
  await page.fill('#query-title', 'Mine');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await page.waitForURL(/\/q\/saved$/);
  assert.equal(state.posts.find(({ path }) => path == '/queries').body.title, 'Mine');
});

on('what somebody else wrote is told as theirs until it is changed', '/q/of-another?since=2026-01-01', async ({ page, runs }) => {
  const run = async (keys) => {
    const before = runs().length;
    for (const key of keys) await page.keyboard.press(key);
    await page.waitForFunction(() => !document.querySelector('#run').disabled);
    assert.equal(runs().length, before + 1);
    const { query, is_foreign } = runs().at(-1);
    return [query, is_foreign];
  };
  await page.locator('.cm-content').click();
  assert.deepEqual(await run(['Control+Enter']), ['views-by-country', true]);
  assert.deepEqual(await run(['Control+Home', 'Shift+End', 'Control+Enter']), ['views-by-country', true], 'a part of it is theirs, too');
  assert.deepEqual(await run(['Control+End', 'Space', 'Control+Enter']), [null, false]);
});

on('a result is shared with a link', '/sql', async ({ page, write, state, server }) => {
  await write('select 1');
  await page.keyboard.press('Control+Enter');
  await page.getByRole('button', { name: 'Share', exact: true }).click();
  await page.getByRole('link', { name: `${server.origin}/r/one` }).waitFor();
  assert.deepEqual(state.posts.find(({ path }) => path == '/r/one/visibility').body, { visibility: 'colleagues' });
  assert.match(await page.locator('.result .facts').textContent(), /as long as it is shared/);
});

on('all of it works from the keyboard, and nobody is caught in the editor', '/sql?since=x', async ({ page, polled }) => {
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className);
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'main');
  await page.locator('.cm-content').focus();
  await page.keyboard.press('Tab');
  assert.match(await focused(), /cm-content/, 'Tab indents');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  assert.doesNotMatch(await focused(), /cm-content/);
  for (let left = 6; (await focused()) != 'run' && left; left--) await page.keyboard.press('Tab');
  assert.equal(await focused(), 'run');
  await page.keyboard.press('Enter');
  await page.locator('.grid [role=gridcell]').first().waitFor();
  for (let left = 20; !/^grid/.test(await focused()) && left; left--) await page.keyboard.press('Tab');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await polled(async () => page.locator('dialog[open] pre').textContent(), 'DE');
  await page.keyboard.press('Escape');
  assert.match(await focused(), /^grid/, 'focus is back where it was');
});
