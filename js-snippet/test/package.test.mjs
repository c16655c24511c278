// The npm package: what is in it, what its types allow, and that a server can import it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (command, ...args) => execFileSync(command, args, { cwd: root, encoding: 'utf8' });
// The npm that runs this, or any.
const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];

test('the package', async () => {
  run(process.execPath, 'build.mjs');
  const [{ files }] = JSON.parse(run(...npm, 'pack', '--dry-run', '--json', '--ignore-scripts'));
  assert.deepEqual(files.map(({ path }) => path).sort(), [
    'README.md', 'dist/weir.full.js', 'dist/weir.js', 'package.json', 'types/full.d.ts', 'types/index.d.ts', 'w.full.js', 'w.js',
  ]);

  run(process.execPath, 'node_modules/typescript/bin/tsc', '--noEmit', '--strict', '--module', 'nodenext', '--lib',
    'es2022,dom', '--types', '', 'test/types.ts');

  // No document here: nothing happens, and nothing is kept.
  for (const name of ['weir-js', 'weir-js/full']) {
    const { default: weir } = await import(name);
    weir('early');
    weir.init({ key: 'pk_1', endpoint: '/e' });
    weir.identify('u');
  }
  assert.equal(globalThis.weir, undefined);
});
