// Makes what the console's pages load, dist/, which is checked in because the program contains it. `npm test` fails where what
// is checked in is not what would be made.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// Each is fetched when a page first needs it; console.js knows the others by these names.
const ENTRIES = {
  'theme.js': 'src/theme.js',
  'console.js': 'src/console.js',
  'sql.js': 'src/editor/editor.js',
  'sql-format.js': 'src/editor/format.js',
  'chart.js': 'src/chart/chart.js',
  'console.css': 'src/css/console.css',
  'docs.css': 'src/css/docs.css',
};

const LICENSE_NAMES = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'];

function licenses(packages) {
  return packages.map((name) => {
    const directory = here(`node_modules/${name}/`);
    const { version, license } = JSON.parse(readFileSync(`${directory}package.json`, 'utf8'));
    for (const file of LICENSE_NAMES) {
      try {
        return `${name} ${version} (${license})\n\n${readFileSync(directory + file, 'utf8').trim()}\n`;
      } catch {
        // The next name.
      }
    }
    throw new Error(`${name} has no licence file`);
  }).join(`\n${'-'.repeat(78)}\n\n`);
}

const parts = {
  name: 'parts',
  setup({ onResolve, onLoad }) {
    // `#dist/chart.js` is the file beside, when it runs.
    onResolve({ filter: /^#dist\// }, ({ path }) => ({ path: path.replace('#dist', '.'), external: true }));
    // Where a document has a head, style-mod writes a <style>, which the policy forbids; adopted sheets it allows.
    onLoad({ filter: /style-mod\/src\/style-mod\.js$/ }, ({ path }) => {
      const contents = readFileSync(path, 'utf8');
      const changed = contents.replace('!root.head && root.adoptedStyleSheets', 'root.adoptedStyleSheets');
      if (changed == contents) throw new Error(`${path} is another one: see how it adopts sheets`);
      return { contents: changed };
    });
  },
};

// The files of dist/, by name.
export async function make() {
  const files = {};
  const packages = new Set();
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const { outputFiles: [{ text }], metafile } = await build({
      absWorkingDir: here('.'),
      entryPoints: [entry],
      bundle: true,
      minify: true,
      format: name == 'theme.js' ? 'iife' : 'esm',
      target: name.endsWith('.js') ? 'es2022' : undefined,
      legalComments: 'none',
      plugins: [parts],
      metafile: true,
      write: false,
    });
    files[name] = text;
    for (const input of Object.keys(metafile.inputs)) {
      const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
      if (found) packages.add(found[1]);
    }
  }
  files['LICENSES.txt'] = `What the files beside this one contain besides weir's own code.\n\n${licenses([...packages].sort())}`;
  return files;
}

if (process.argv[1] == fileURLToPath(import.meta.url)) {
  mkdirSync(here('dist'), { recursive: true });
  for (const [name, text] of Object.entries(await make())) writeFileSync(here(`dist/${name}`), text);
}
