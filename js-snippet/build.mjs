// Makes the scripts that pages load, w.js and w.full.js, which are checked in
// because the collector contains them; and the modules of the npm package, which
// are not. `npm test` fails where what is checked in is not what would be made.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export async function bundle(entry, isFull) {
  const isModule = entry == 'module.js';
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [here(`src/${entry}`)],
    bundle: true,
    format: isModule ? 'esm' : 'iife',
    target: 'es2021',
    define: { FULL: String(isFull) },
    write: false,
  });
  const { code } = await minify(text, { ecma: 2021, module: isModule, compress: { passes: 5, unsafe_arrows: true } });
  return code;
}

if (process.argv[1] == fileURLToPath(import.meta.url)) {
  mkdirSync(here('dist'), { recursive: true });
  for (const [path, entry, isFull] of [
    ['w.js', 'script.js', false],
    ['w.full.js', 'script.js', true],
    ['dist/weir.js', 'module.js', false],
    ['dist/weir.full.js', 'module.js', true],
  ]) writeFileSync(here(path), await bundle(entry, isFull));
}
