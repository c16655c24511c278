// What the tests in a real Chromium stand on: pages on a local server, a browser
// that nobody takes for a robot, and the way to a collector that can be seen and
// disturbed. The collector and its key are in WEIR_URL and WEIR_KEY.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { ARGS, AS_A_PERSON, executablePath, launch } from '../../tests/chromium.mjs';

export const { WEIR_URL: collector, WEIR_KEY: key } = process.env;

const DEADLINE = 60_000;
// A browser of an own profile is slow to let go of it.
const ATTEMPTS_TO_REMOVE = 10;

const servers = [];

export async function listen(handler) {
  const server = http.createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  return `http://127.0.0.1:${server.address().port}`;
}

export const script = (attributes = '', file = 'w.js') =>
  `<script defer src="${collector}/${file}" data-key="${key}" ${attributes}></script>`;

// `pages` are by path: markup, headers, status. `answer` may answer what is none
// of them, and says whether it did.
export const serve = (pages, answer) =>
  listen(async (req, res) => {
    const path = req.url.split('?')[0];
    // What browsers ask for by themselves.
    if (path == '/favicon.ico') return res.writeHead(204).end();
    if (!pages[path] && (await answer?.(req, res))) return;
    const [markup, headers = {}, status = 200] = pages[path] ?? ['', {}, 404];
    res.writeHead(status, { 'content-type': 'text/html', ...headers });
    res.end(`<!doctype html><meta charset="utf-8"><title>${req.url}</title>${markup}`);
  });

// Before the collector: what is posted to `/NAME` is given to `disturb(NAME)`,
// which may wait, or say a status to be answered instead. What is posted counts
// in `posts[NAME]` when it arrives, in `answers[NAME]` when it was answered.
export async function relay(disturb = () => {}) {
  const posts = {};
  const answers = {};
  const origin = await listen(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const name = req.url.slice(1);
    posts[name] = (posts[name] ?? 0) + 1;
    let status = await disturb(name);
    if (!status) {
      const answer = await fetch(`${collector}/v1/events`, {
        method: 'POST',
        headers: { 'content-type': 'text/plain', 'user-agent': req.headers['user-agent'] },
        body: Buffer.concat(chunks),
      });
      status = answer.status;
    }
    answers[name] = (answers[name] ?? 0) + 1;
    res.writeHead(status, { 'access-control-allow-origin': '*' }).end();
  });
  return { origin, posts, answers };
}

export async function until(condition) {
  while (!(await condition())) await new Promise((done) => setTimeout(done, 20));
}

// Ends the whole test if it hangs, and says how far it was by `seen`; its servers when it is over.
export async function bounded(steps, seen = () => '') {
  const watchdog = setTimeout(() => {
    console.error('timed out', seen());
    process.exit(1);
  }, DEADLINE);
  try {
    await steps();
  } finally {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
    clearTimeout(watchdog);
  }
}

// Runs the steps with `visit(url, options)`, which opens a page in a context of
// its own, and with a list of what went wrong in pages, to be empty at the end.
export const withBrowser = (steps, seen) =>
  bounded(async () => {
    const browser = await launch(chromium, AS_A_PERSON);
    const problems = [];
    const visit = async (url, { init, ...options } = {}) => {
      const context = await browser.newContext(options);
      context.on('weberror', (error) => problems.push(`${url}: ${error.error()}`));
      if (init) await context.addInitScript(init);
      const page = await context.newPage();
      await page.goto(url);
      return page;
    };
    try {
      await steps(visit, problems, browser);
      assert.deepEqual(problems, []);
    } finally {
      await browser.close();
    }
  }, seen);

// Opens `url` in a browser that nobody drives: whoever drives one keeps pages from
// the back/forward cache and from being prerendered. The pages say themselves how
// far they are. Ends it when the steps are over.
export const withUndrivenBrowser = (url, steps) =>
  bounded(async () => {
    const profile = await mkdtemp(join(tmpdir(), 'weir-chromium.'));
    const args = ['--headless', ...ARGS, AS_A_PERSON, `--user-data-dir=${profile}`, '--remote-debugging-port=0', url];
    const child = spawn(executablePath, args, { stdio: 'ignore' });
    const exit = once(child, 'exit');
    try {
      await Promise.race([steps(), exit.then(([code]) => assert.fail(`the browser ended: ${code}`))]);
    } finally {
      child.kill();
      await exit;
      await rm(profile, { recursive: true, force: true, maxRetries: ATTEMPTS_TO_REMOVE });
    }
  });
