// What is checked in: is it what would be made, small enough, and within the policy as it is written?
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { make } from '../build.mjs';
import { fixtures } from '../fixtures/source/make.mjs';
import { fixtureNames, root } from './support.mjs';

// All of it, fetched cold, is two seconds on a slow phone's network.
const BYTES_MAX = 250_000;
const FIRST_BYTES_MAX = 30_000;
const gz = (name) => gzipSync(readFileSync(`${root}dist/${name}`), { level: 9 }).length;

test('dist is what the sources make: run `npm run build`', async () => {
  const made = await make();
  assert.deepEqual(readdirSync(`${root}dist`).sort(), Object.keys(made).sort());
  for (const [name, text] of Object.entries(made)) assert.ok(readFileSync(`${root}dist/${name}`, 'utf8') == text, `dist/${name} is stale`);
});

test('fixtures are what their sources make: run `npm run fixtures`', () => {
  assert.deepEqual([...fixtureNames].sort(), Object.keys(fixtures).sort());
  for (const [name, html] of Object.entries(fixtures)) assert.ok(readFileSync(`${root}fixtures/${name}.html`, 'utf8') == html, `${name}.html is stale`);
});

test('all of it is small', (t) => {
  const sizes = readdirSync(`${root}dist`).filter((name) => name != 'LICENSES.txt').map((name) => [name, gz(name)]);
  const sum = sizes.reduce((all, [, size]) => all + size, 0);
  t.diagnostic(`${sizes.map((size) => size.join(' ')).join(', ')}; together ${sum}`);
  assert.ok(sum <= BYTES_MAX, `${sum} bytes`);
  assert.ok(gz('console.css') + gz('console.js') + gz('theme.js') <= FIRST_BYTES_MAX);
});

test('what is bundled has its licence beside it', () => {
  const text = readFileSync(`${root}dist/LICENSES.txt`, 'utf8');
  for (const name of ['@codemirror/view', '@codemirror/lang-sql', '@lezer/common', 'style-mod', 'uplot', 'sql-formatter']) assert.match(text, new RegExp(`^${name} \\d`, 'm'));
});

test('no fixture has anything inline, and nothing in the sources parses HTML', () => {
  for (const [name, html] of Object.entries(fixtures)) {
    assert.doesNotMatch(html, /\sstyle=|<style|\son\w+="|javascript:/i, name);
    assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)(?![^>]*application\/json)/, name);
    assert.doesNotMatch(html, /undefined|\[object|NaN/, name);
    const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
    assert.equal(new Set(ids).size, ids.length, `${name} has an id twice`);
    for (const [, form] of html.matchAll(/<form method="post"([^]*?)<\/form>/g)) assert.match(form, /name="csrf"/, `${name}: a form without csrf`);
  }
  for (const file of readdirSync(`${root}src`, { recursive: true }).filter((file) => file.endsWith('.js'))) {
    assert.doesNotMatch(readFileSync(`${root}src/${file}`, 'utf8'), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/, file);
  }
});
