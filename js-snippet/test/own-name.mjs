// Loads the snippet under names of a site's own, behind a proxy that puts the
// collector below a prefix, pinned by its hash, under a strict policy:
//
//   node test/own-name.mjs --collector http://127.0.0.1:8080 --script /assets/site.1a2b3c4d.js \
//     --integrity sha384-... --endpoint /api/m --key pk_...
//
// Exits non-zero if the browser refused the script, or asked for anything but
// these two paths.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { launch } from '../../tests/chromium.mjs';

const names = ['collector', 'script', 'integrity', 'endpoint', 'key'];
const { values: options } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
const PREFIX = '/below/here';
const asked = [];

const site = http.createServer((request, response) => {
  if (request.url.startsWith(PREFIX)) {
    const path = request.url.slice(PREFIX.length);
    const upstream = http.request(new URL(path, options.collector), { method: request.method, headers: request.headers }, (answer) => {
      asked.push(`${request.method} ${path} ${answer.statusCode} ${answer.headers['content-encoding'] || ''}`.trim());
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    upstream.on('error', (error) => response.destroy(error));
    request.pipe(upstream);
    return;
  }
  response.setHeader('content-type', 'text/html');
  response.setHeader('content-security-policy', "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; require-trusted-types-for 'script'");
  response.end(`<!doctype html><title>Own</title><link rel="icon" href="data:,">
    <script defer src="${PREFIX}${options.script}" integrity="${options.integrity}" crossorigin data-key="${options.key}"></script>`);
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');

const browser = await launch(chromium);
try {
  const page = await browser.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() == 'error' && faults.push(message.text()));
  const sent = page.waitForResponse((answer) => answer.request().method() == 'POST');
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  assert.equal((await sent).status(), 200);
  assert.deepEqual(faults, []);
  assert.deepEqual(asked, [`GET ${options.script} 200 br`, `POST ${options.endpoint} 200`]);
} finally {
  await browser.close();
  site.close();
}
