// Makes the scripts that pages load, w.js and w.full.js, which are checked in
// because the collector contains them; and the modules of the npm package, which
// are not. `npm test` fails where what is checked in is not what would be made.
//
// `node build.mjs --names` looks for the order of names by which gzip makes least
// of w.js and w.full.js as they are now, to be put into NAMES: some ten bytes.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

// What is as it was keeps its time: Cargo compiles what includes a newer file.
const write = (path, text) => {
  if (!existsSync(path) || readFileSync(path, 'utf8') != text) writeFileSync(path, text);
};

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// Of w.js and of w.full.js: the first is that of the most used variable of a scope.
const NAMES = [
  'toindeacwluS_gsphrmyzkvfACqDOBEbxjFGHIJKLMNPQRTUVWXYZ$',
  'ofanseru_mwlithyxcdpbqvkzCEAjBSODgFGHIJKLMNPQRTUVWXYZ$',
];
const TRIALS = 2000;
const TRIALS_OF_A_START = 500;

async function compress(entry, isFull) {
  const isModule = entry == 'module.js';
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [here(`src/${entry}`)],
    bundle: true,
    format: isModule ? 'esm' : 'iife',
    target: 'es2021',
    define: { FULL: String(isFull) },
    minifySyntax: true,
    write: false,
  });
  const { code } = await minify(text, { ecma: 2021, module: isModule, mangle: false, compress: { passes: 5, unsafe_arrows: true } });
  return code;
}

async function mangle(compressed, names, isModule = false) {
  const get = (number) => (number < names.length ? '' : get(Math.floor(number / names.length) - 1)) + names[number % names.length];
  const { code } = await minify(compressed, { ecma: 2021, module: isModule, compress: false, mangle: { nth_identifier: { get } } });
  return code;
}

export const bundle = async (entry, isFull) => mangle(await compress(entry, isFull), NAMES[+isFull], entry == 'module.js');

// Exchanges names while that makes it smaller, from several starts.
async function findNames(isFull) {
  const compressed = await compress('script.js', isFull);
  const measure = async (names) => execFileSync('gzip', ['-9'], { input: await mangle(compressed, names) }).length;
  const any = (count) => Math.floor(Math.random() * count);
  let best = { names: NAMES[+isFull], size: await measure(NAMES[+isFull]) };
  let last = best;
  for (let trial = 0; trial < TRIALS; trial++) {
    if (trial % TRIALS_OF_A_START == 0) last = { ...best, size: best.size + 4 };
    const names = [...last.names];
    for (let times = any(3); times >= 0; times--) {
      const [one, other] = [any(26), any(34)];
      [names[one], names[other]] = [names[other], names[one]];
    }
    const size = await measure(names);
    if (size <= last.size) last = { names: names.join(''), size };
    if (size < best.size) best = last;
  }
  return best;
}

if (process.argv[2] == '--names') {
  for (const isFull of [false, true]) console.log(await findNames(isFull));
} else if (process.argv[1] == fileURLToPath(import.meta.url)) {
  mkdirSync(here('dist'), { recursive: true });
  for (const [path, entry, isFull] of [
    ['w.js', 'script.js', false],
    ['w.full.js', 'script.js', true],
    ['dist/weir.js', 'module.js', false],
    ['dist/weir.full.js', 'module.js', true],
  ]) write(here(path), await bundle(entry, isFull));
}
