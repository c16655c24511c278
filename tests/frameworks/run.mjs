// Runs the code of docs/snippet.md in applications of the frameworks that it is for, each built as its users build it, in
// Chromium: node run.mjs NAME... ; without names, all but those that need the packages of next/.
//
// What an application has besides is in apps/. A visit is a first view and a click on a link. Prints, as JSON, the name and the
// origin of each that was visited; what was counted is in the database.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, extname, join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { AS_A_PERSON, launch } from '../chromium.mjs';

const { WEIR_URL, WEIR_KEY } = process.env;
const here = import.meta.dirname;
const BUILD_TIMEOUT_MS = 180_000;
const VISIT_TIMEOUT_MS = 30_000;

// The code of a section, by the file that it is for.
async function codeOf(section) {
  const page = await readFile(join(here, '../../docs/snippet.md'), 'utf8');
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  assert.ok(text, `a section ${section}`);
  const files = {};
  for (const [, file, code] of text.matchAll(/^```\w+ (\S+)\n(.*?)^```$/gms)) {
    const made = code.replaceAll('https://collector.example', WEIR_URL).replaceAll('pk_...', WEIR_KEY);
    files[file] = made;
  }
  return files;
}

async function listen(handler) {
  const server = createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { origin: `http://127.0.0.1:${server.address().port}`, stop };
}

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };

// What was built, as a host of static files serves it; unknown paths are the application's.
const serveFiles = (root) =>
  listen(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    for (const path of [pathname, `${pathname}.html`, `${pathname}/index.html`, '/index.html']) {
      const file = join(root, path);
      const content = extname(file) && (await readFile(file).catch(() => null));
      if (!content) continue;
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(content);
      return;
    }
    response.writeHead(404).end();
  });

const servePages = (head, headers = {}) =>
  listen((request, response) => {
    const [title, to] = request.url === '/about' ? ['About', '/'] : ['Home', '/about'];
    response.writeHead(200, { 'content-type': 'text/html', ...headers });
    response.end(`<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title>${head}<a id="next" href="${to}">on</a>`);
  });

// Builds an application from what is in `from` and the code of the docs, and gives the directory.
async function built(name, from, files, command) {
  const root = join(here, dirname(from) === 'apps' ? '' : dirname(from), '.work', name);
  await rm(root, { recursive: true, force: true });
  await cp(join(here, from), root, { recursive: true });
  for (const [file, code] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), code);
  }
  await writeFile(join(root, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const program = join(root, '../../node_modules/.bin', command[0]);
  const env = { ...process.env, NODE_ENV: 'production', ASTRO_TELEMETRY_DISABLED: '1', NEXT_TELEMETRY_DISABLED: '1' };
  // By this Node.js, whichever is on PATH.
  await promisify(execFile)(process.execPath, [program, ...command.slice(1)], { cwd: root, env, timeout: BUILD_TIMEOUT_MS });
  return root;
}

const bundled = (name, section, command, out = 'dist') => async () =>
  serveFiles(join(await built(name, `apps/${name}`, await codeOf(section), command), out));

// One of the two ways that the section shows.
const next = (name, file) => async () => {
  const { [file]: code } = await codeOf('Next.js');
  const root = await built(name, 'next/app', { [file]: code }, ['next', 'build']);
  const child = spawn(process.execPath, ['../../node_modules/next/dist/bin/next', 'start', '-p', '0', '-H', '127.0.0.1'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  const origin = await new Promise((done, failed) => {
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const [, found] = /Local:\s+(http:\S+)/.exec(said) ?? [];
      if (found && /Ready/.test(said)) done(found);
    });
    child.on('exit', () => failed(new Error(`next start ended: ${said}`)));
  });
  return { origin, stop: () => child.kill() };
};

const applications = {
  plain: async () => servePages((await codeOf('Plain HTML'))['index.html']),
  react: bundled('react', 'React Router', ['vite', 'build']),
  vue: bundled('vue', 'Vue', ['vite', 'build']),
  svelte: bundled('svelte', 'SvelteKit', ['vite', 'build'], 'build'),
  astro: bundled('astro', 'Astro', ['astro', 'build']),
  // Tag Manager itself is not there to be run. It makes an element of its own for each script of a tag, with its text only.
  gtm: async () => {
    const [, text] = /<script>(.*)<\/script>/s.exec((await codeOf('Google Tag Manager'))['tag.html']);
    const tag = JSON.stringify(text).replaceAll('<', '\\u003c');
    return servePages(`<script>document.head.append(Object.assign(document.createElement('script'), { text: ${tag} }))</script>`);
  },
  policy: async () => {
    const { headers } = await codeOf('Content Security Policy and Trusted Types');
    const given = Object.fromEntries(headers.trim().split('\n').map((line) => line.split(/: (.*)/s)));
    return servePages((await codeOf('Plain HTML'))['index.html'], given);
  },
  'next-module': next('next-module', 'instrumentation-client.ts'),
  'next-script': next('next-script', 'app/layout.tsx'),
};

const isCounted = (response) => response.request().method() === 'POST' && response.url().startsWith(WEIR_URL) && response.ok();

async function visit(browser, origin) {
  const context = await browser.newContext();
  const problems = [];
  context.on('weberror', (error) => problems.push(`${error.error()}`));
  const page = await context.newPage();
  page.on('console', (message) => message.type() === 'error' && !/favicon/.test(message.location().url) && problems.push(message.text()));
  page.setDefaultTimeout(VISIT_TIMEOUT_MS);
  await Promise.all([page.waitForResponse(isCounted), page.goto(origin)]);
  await Promise.all([page.waitForResponse(isCounted), page.click('#next')]);
  await page.waitForLoadState('networkidle');
  await context.close();
  assert.deepEqual(problems, []);
}

const names = process.argv.slice(2);
const chosen = names.length > 0 ? names : Object.keys(applications).filter((name) => !name.startsWith('next'));
const browser = await launch(chromium, AS_A_PERSON);
const visited = [];
try {
  for (const name of chosen) {
    const started = Date.now();
    const { origin, stop } = await applications[name]();
    try {
      await visit(browser, origin);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    } finally {
      stop();
    }
    console.error(`${name}: ${Date.now() - started} ms`);
    visited.push({ name, origin });
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(visited));
