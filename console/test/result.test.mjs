// Results as grid and chart.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { formatOf, labelOf, tickOf } from '../src/chart/labels.js';
import { compare } from '../src/result/order.js';
import { seriesOf, settingsFor, suggest } from '../src/result/settings.js';
import { kindOf, seconds } from '../src/format.js';
import { EVIL, double } from './double.mjs';
import { launch, open, serve } from './support.mjs';

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const on = (title, steps, { sql = 'select large', ...options } = {}) => test(title, async () => {
  const server = await serve({ answer: double().answer });
  const { page, problems, context } = await open(browser, `${server.origin}/fixtures/sql`, options);
  try {
    await page.locator('.cm-content').fill(sql);
    await page.keyboard.press('Control+Enter');
    await page.locator('.grid [role=gridcell]').first().waitFor();
    const column = (at) => page.locator(`.grid-body [role=row] > [aria-colindex="${at}"]`).allTextContents();
    await steps({ page, column });
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
    server.close();
  }
});

on('a hundred thousand rows scroll, with few of them in the page', async ({ page, column }) => {
  const grid = page.locator('.grid');
  assert.equal(await grid.getAttribute('aria-rowcount'), '100001');
  assert.equal((await column(2))[0], '1');
  await grid.evaluate((node) => (node.scrollTop = 50_000 * 28));
  await page.locator('[aria-rowindex="50003"]').waitFor();
  assert.ok((await column(2)).includes('50001'));
  assert.ok((await page.locator('.grid [role=gridcell]').count()) < 500);
  await grid.focus();
  await page.keyboard.press('Control+End');
  await page.locator('[aria-rowindex="100001"]').waitFor();
  const active = await grid.getAttribute('aria-activedescendant');
  assert.equal(await page.locator(`#${active}`).textContent(), '{"plan":"team","seats":0}');
  await page.keyboard.press('Control+Home');
  await page.locator('[aria-rowindex="2"]').waitFor();
  assert.equal((await column(2))[0], '1', 'back at the top');
  assert.match(await page.locator('.cut').textContent(), /not all: the result was cut at 100,000 rows/);
});

on('what is in a cell is text, whatever it looks like', async ({ page, column }) => {
  assert.equal((await column(4))[0], EVIL);
  await page.locator('.grid [role=gridcell]', { hasText: 'onerror' }).dblclick();
  assert.equal(await page.locator('dialog pre').textContent(), EVIL);
  assert.equal(await page.locator('.grid img, dialog img').count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

on('a click on a head sorts by what the column holds, nulls last', async ({ page, column }) => {
  const head = page.getByRole('columnheader', { name: /^amount/ });
  const sortBy = async () => {
    await head.getByRole('button').click();
    return column(3);
  };
  const ascending = (await sortBy()).map(Number);
  assert.deepEqual(ascending, [...ascending].sort((one, other) => one - other));
  assert.equal(await head.getAttribute('aria-sort'), 'ascending');
  const descending = (await sortBy()).map(Number);
  assert.deepEqual(descending, [...descending].sort((one, other) => other - one));
  assert.ok(descending[0] > ascending[0]);
  await page.locator('.grid').focus();
  await page.keyboard.press('Control+End');
  await page.locator('[aria-rowindex="100001"]').waitFor();
  assert.ok((await column(3)).every((text) => text == 'null'));
  await sortBy();
  assert.equal(await head.getAttribute('aria-sort'), 'none');
  assert.equal((await column(2))[0], '1');
});

on('cells are copied as spreadsheets take them, and JSON is shown with its structure', async ({ page }) => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('.grid').focus();
  await page.keyboard.press('Shift+ArrowRight');
  await page.keyboard.press('Shift+ArrowDown');
  await page.getByText('4 cells are selected').waitFor();
  await page.keyboard.press('Control+c');
  await page.getByText('Copied').waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^1\t0\.00\n2\t79\.19$/);
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  assert.equal(await page.locator('dialog pre').textContent(), '{\n  "plan": "team",\n  "seats": 1\n}');
});

on('columns become wider by dragging, and by Alt and an arrow', async ({ page }) => {
  const head = page.getByRole('columnheader', { name: /^amount/ });
  const width = async () => (await head.boundingBox()).width;
  const first = await width();
  const box = await head.locator('.resize').boundingBox();
  await page.mouse.move(box.x + 3, box.y + 5);
  await page.mouse.down();
  await page.mouse.move(box.x + 63, box.y + 5);
  await page.mouse.up();
  assert.equal(await width(), first + 60);
  await head.getByRole('button').focus();
  await page.keyboard.press('Alt+ArrowLeft');
  assert.equal(await width(), first + 44);
});

// How many points of the canvas have about this colour.
const inked = (page) => page.evaluate(() => {
  const canvas = document.querySelector('.chart canvas');
  if (!canvas?.width) return [];
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Map();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] < 250) continue;
    const key = [data[at], data[at + 1], data[at + 2]].join();
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  const resolve = (name) => {
    const probe = document.createElement('span');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color.match(/\d+/g).join();
    probe.remove();
    return seen.get(found) ?? 0;
  };
  return [1, 2, 3, 4, 5, 6].map((at) => resolve(`--series-${at}`));
});

// Until the chart is so: it is drawn when its place has a size.
async function drawn(page, isSo) {
  for (let counts = []; !(counts.length && isSo(counts)); counts = await inked(page)) await page.waitForTimeout(20);
}

on('a chart draws each series in its colour, in both themes and all types', async ({ page }) => {
  await page.getByRole('tab', { name: 'Chart' }).click();
  await page.locator('.chart canvas').waitFor();
  assert.deepEqual(await page.locator('.legend button').allTextContents(), ['DE', 'FR', 'US', 'GB', 'AT', 'null']);
  for (const type of ['line', 'area', 'bars', 'stacked']) {
    await page.locator('.chart-settings select').first().selectOption(type);
    await drawn(page, (counts) => counts.every((count) => count > 40));
  }
  await page.getByRole('button', { name: 'FR' }).click();
  await drawn(page, ([first, second]) => first > 40 && second == 0);
  await page.click('.menu summary');
  await page.getByRole('button', { name: 'Dark' }).click();
  await drawn(page, ([first]) => first > 40);
  await page.keyboard.press('Escape');
  await page.getByText('As a table').click();
  await page.locator('.chart table tbody tr').first().waitFor();
  assert.equal(await page.locator('.chart table tbody tr').count(), 33);
}, { sql: 'select daily' });

on('the tip says what is under the pointer', async ({ page }) => {
  await page.getByRole('tab', { name: 'Chart' }).click();
  const canvas = page.locator('.chart canvas');
  await canvas.waitFor();
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 80);
  await page.locator('.tip').waitFor();
  assert.match(await page.locator('.tip').textContent(), /^\w{3}, \d+ Nov 2026DE1,\d{3}FR/);
}, { sql: 'select daily' });

test('a result opens without a script, and with one has all rows', async () => {
  const server = await serve({ answer: double().answer, pages: { '/r/large': 'result' } });
  try {
    const plain = await open(browser, `${server.origin}/r/large`, { javaScriptEnabled: false });
    assert.equal(await plain.page.locator('.result-body tbody tr').count(), 200);
    const { page, problems } = await open(browser, `${server.origin}/r/large`);
    await page.locator('.grid').waitFor();
    assert.equal(await page.getByRole('tab').count(), 2);
    assert.deepEqual(problems, []);
  } finally {
    server.close();
  }
});

test('a chart is suggested by the types, and one that was chosen is kept while its columns are there', () => {
  const data = { columns: [{ name: 'day', type: 'date' }, { name: 'n', type: 'bigint' }, { name: 'plan', type: 'text' }], rows: [] };
  assert.deepEqual(suggest(data), { type: 'line', x: 'day', y: ['n'], split: 'plan' });
  assert.deepEqual(suggest({ columns: data.columns.slice(1) }), { type: 'bars', x: 'plan', y: ['n'], split: null });
  const chosen = { type: 'bars', x: 'plan', y: ['n'] };
  assert.deepEqual(settingsFor(data, chosen), { ...chosen, split: null });
  assert.deepEqual(settingsFor(data, { ...chosen, x: 'gone' }), suggest(data));
});

test('rows of one x and series are added up; gaps stay gaps', () => {
  const data = {
    columns: [{ name: 'at', type: 'timestamp with time zone' }, { name: 'n', type: 'bigint' }, { name: 'plan', type: 'text' }],
    rows: [['2026-11-26 20:00:00+00', '1', 'team'], ['2026-11-26 22:00:00+02', '2', 'team'], ['2026-11-26 21:00:00+00', '5', null], ['infinity', '9', 'team']],
  };
  const { x, series } = seriesOf(data, { type: 'line', x: 'at', y: ['n'], split: 'plan' });
  assert.deepEqual(x, [Date.UTC(2026, 10, 26, 20) / 1000, Date.UTC(2026, 10, 26, 21) / 1000]);
  assert.deepEqual(series, [{ label: 'null', values: [null, 5] }, { label: 'team', values: [3, null] }]);
});

test('PostgreSQL’s types and moments are understood', () => {
  for (const [type, kind] of [['int4', 'number'], ['bigint', 'number'], ['numeric(12,2)', 'number'], ['double precision', 'number'], ['integer[]', 'text'], ['interval', 'text'], ['date', 'time'], ['timestamptz', 'time'], ['timestamp without time zone', 'time'], ['jsonb', 'json'], ['text', 'text']]) assert.equal(kindOf(type), kind, type);
  assert.equal(seconds('2026-11-26'), Date.UTC(2026, 10, 26) / 1000);
  assert.equal(seconds('2026-11-26 12:00:00.5'), Date.UTC(2026, 10, 26, 12) / 1000 + 0.5);
  assert.equal(seconds('2026-11-26 12:00:00-03:30'), Date.UTC(2026, 10, 26, 15, 30) / 1000);
  assert.equal(seconds('infinity'), null);
});

test('numbers beyond what a double holds are in order, and NaN is the greatest', () => {
  const by = compare('number');
  const sorted = ['9007199254740993', 'NaN', null, '9007199254740992', '-1', '1e3'].sort((one, other) => by(one, other, 1));
  assert.deepEqual(sorted, ['-1', '1e3', '9007199254740992', '9007199254740993', 'NaN', null]);
});

on('on paper all rows are there, without what only works on a screen', async ({ page }) => {
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  await page.emulateMedia({ media: 'print' });
  assert.equal(await page.locator('.print-only tbody tr').count(), 198);
  assert.ok(await page.locator('.print-only').isVisible());
  assert.ok(!(await page.locator('.grid').isVisible()));
  assert.ok(!(await page.locator('.toolbar').isVisible()));
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
  assert.equal(await page.locator('.print-only').count(), 0);
}, { sql: 'select daily' });

on('of three hundred columns only those in sight are in the page', async ({ page }) => {
  const grid = page.locator('.grid');
  assert.ok((await page.locator('.grid [role=gridcell]').count()) < 2000);
  await grid.focus();
  await page.keyboard.press('Control+End');
  const cell = page.locator('.grid [role=gridcell]', { hasText: '1000/299' });
  await cell.waitFor();
  // It stands below its head.
  const head = await page.getByRole('columnheader', { name: 'column_299' }).boundingBox();
  const box = await cell.boundingBox();
  assert.ok(Math.abs(head.x - box.x) < 1 && Math.abs(head.width - box.width) < 1);
  assert.equal(await grid.getAttribute('aria-activedescendant'), await cell.getAttribute('id'));
  assert.equal(await cell.getAttribute('aria-colindex'), '301');
  await page.keyboard.press('Control+Home');
  await page.locator('.grid [role=gridcell]', { hasText: /^1\/0$/ }).waitFor();
}, { sql: 'select wide' });

test('axes and tips say times, sizes and shares as the series are', () => {
  const day = Date.UTC(2026, 10, 26) / 1000;
  const time = (unit, x) => labelOf({ kind: 'time', unit, x }, 0);
  assert.equal(time('day', [day]), 'Thu, 26 Nov 2026');
  assert.equal(time('hour', [day + 3600]), '26 Nov, 01:00:00');
  assert.equal(time('month', [day]), 'Nov 2026');
  assert.equal(time(undefined, [day, day + 60]), '26 Nov, 00:00:00');
  const ticks = tickOf({ kind: 'time' });
  assert.deepEqual(ticks(null, [day, day + 3600], 0, 0, 3600), ['26 Nov', '01:00']);
  assert.deepEqual(ticks(null, [day], 0, 0, 30 * 86_400), ['Nov 2026']);
  assert.deepEqual(tickOf({ kind: 'category', categories: ['a', 'a name of many characters'] })(null, [0, 0.5, 1]), ['a', '', 'a name of man…']);
  assert.equal(formatOf('count')(1_234_567), '1,234,567');
  assert.equal(formatOf('count')(1_234_567, true), '1.2M');
  assert.equal(formatOf('percent')(41.3), '41.3 %');
  assert.equal(formatOf('seconds')(168), '2 m 48 s');
});
