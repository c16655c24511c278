// How every test starts Chromium: WEIR_TEST_CHROMIUM, or Debian's.
const { WEIR_TEST_CHROMIUM } = process.env;
export const executablePath = WEIR_TEST_CHROMIUM || '/usr/bin/chromium';

// Not the headless browser's own name, as collectors tell robots by that; for the whole process, as what a page sends as it is left
// asks no context for it.
export const AS_A_PERSON =
  '--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';

// Root has no sandbox, machines of tests have no graphics, and nothing but the pages may use the network.
export const ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

// Where a dozen start at once, one was seen to crash before it had a window. No test has begun by then.
const ATTEMPTS = 3;

// `chromium` is playwright-core's, of the package whose test this is.
export async function launch(chromium, ...args) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await chromium.launch({ executablePath, args: [...ARGS, ...args] });
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      console.error(`Chromium did not start, attempt ${attempt}: ${error.message.split('\n')[0]}`);
    }
  }
}
