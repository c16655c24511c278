// What the tests stand on: a server that gives fixtures and dist/ under the console's policy, and a real Chromium.
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { launch as launchChromium } from '../../tests/chromium.mjs';

export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
export const root = fileURLToPath(new URL('..', import.meta.url));
export const fixtureNames = readdirSync(`${root}fixtures`).filter((name) => name.endsWith('.html')).map((name) => name.slice(0, -5));

const TYPES = { js: 'text/javascript', css: 'text/css', txt: 'text/plain' };
export const json = (res, value, status = 200) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));

export async function readJson(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || 'null');
}

// `/fixtures/NAME` is that fixture; `pages` gives fixtures' names by other paths. `answer(req, res, url)` may answer anything else
// first, and says whether it did.
export async function serve({ pages = {}, answer = () => false } = {}) {
  const server = http.createServer(async (req, res) => {
    const url = new URL(req.url, 'http://localhost');
    const { pathname } = url;
    if (await answer(req, res, url)) return;
    const asset = /^\/assets\/([\w.-]+)$/.exec(pathname);
    try {
      if (asset) {
        const text = readFileSync(`${root}dist/${asset[1]}`);
        res.writeHead(200, { 'content-type': TYPES[asset[1].split('.').pop()], 'x-content-type-options': 'nosniff' }).end(text);
        return;
      }
      const name = pages[pathname] ?? /^\/fixtures\/([\w-]+)$/.exec(pathname)?.[1];
      if (name) {
        const text = readFileSync(`${root}fixtures/${name}.html`);
        res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': POLICY }).end(text);
        return;
      }
    } catch (error) {
      res.writeHead(404).end(String(error));
      return;
    }
    json(res, { error: { message: `no ${pathname} here` } }, 404);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

export const launch = () => launchChromium(chromium);

// A page of a context of its own. What goes wrong in it is gathered in `problems`: exceptions, violations of the policy,
// requests that leave the server.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy|Trusted/i.test(message.text())) problems.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(new URL(url).origin) && !request.url().startsWith('data:')) problems.push(`asked for ${request.url()}`);
  });
  await page.goto(url);
  return { page, problems, context };
}
