// How wide the columns of a grid are: by what is in them, until somebody drags.

const ROWS_LOOKED_AT = 200;
const CHARACTER_PX = 7.4;
const PADDING_PX = 26;
const WIDTH_MIN_PX = 56;
const WIDTH_MAX_PX = 420;
const STEP_PX = 16;
// So many are always in the page; of more, only those in sight and these beside them.
const COLUMNS_ALWAYS = 40;
const MARGIN_PX = 500;

export function widths(columns, rows) {
  const numbers = Math.max(36, String(rows.length).length * 8 + 24);
  const longest = columns.map(({ name, type }) => name.length + type.length * 0.85 + 1);
  for (const row of rows.slice(0, ROWS_LOOKED_AT)) row.forEach((value, at) => (longest[at] = Math.max(longest[at], value?.length ?? 4)));
  return [numbers, ...longest.map((characters) => Math.round(Math.max(WIDTH_MIN_PX, Math.min(WIDTH_MAX_PX, characters * CHARACTER_PX + PADDING_PX))))];
}

// Gives a function that says which columns are in sight: the first, and the one after the last. `changed` hears of a new width.
export function resizable(node, headers, sizes, changed) {
  const set = () => node.style.setProperty('--columns', sizes.map((size) => `${size}px`).join(' '));
  set();
  const resize = (at, size) => {
    sizes[at + 1] = Math.max(WIDTH_MIN_PX, size);
    set();
    changed();
  };
  headers.forEach((header, at) => {
    header.querySelector('.resize').addEventListener('pointerdown', (event) => {
      event.preventDefault();
      const from = event.clientX - header.offsetWidth;
      const drag = (moved) => resize(at, moved.clientX - from);
      addEventListener('pointermove', drag);
      addEventListener('pointerup', () => removeEventListener('pointermove', drag), { once: true });
    });
    header.addEventListener('keydown', (event) => {
      const step = event.altKey && { ArrowLeft: -STEP_PX, ArrowRight: STEP_PX }[event.key];
      if (!step) return;
      event.preventDefault();
      resize(at, header.offsetWidth + step);
    });
  });
  return () => {
    if (headers.length <= COLUMNS_ALWAYS) return [0, headers.length];
    const [left, right] = [node.scrollLeft - MARGIN_PX, node.scrollLeft + node.clientWidth + MARGIN_PX];
    let [first, x] = [0, sizes[0]];
    while (first < headers.length - 1 && x + sizes[first + 1] < left) x += sizes[++first];
    let last = first;
    while (last < headers.length && x < right) x += sizes[++last];
    return [first, last];
  };
}
