// One value as a whole, in a dialog. JSON is shown with its structure.
import { ask, copy, el } from '../dom.js';

export async function showValue({ name, type }, value) {
  const text = value == null ? 'null' : pretty(type, value);
  const shown = el('pre', { class: value == null ? 'value-text null' : 'value-text', tabindex: '0' }, text);
  const answer = await ask(name, [el('p', { class: 'quiet small' }, type), shown], [['copy', 'Copy'], ['', 'Close', 'primary']], 'large');
  if (answer == 'copy') copy(value ?? '');
}

function pretty(type, value) {
  if (!/^jsonb?$/.test(type) && !/^\s*[[{]/.test(value)) return value;
  try {
    // Only where it stays the same: numbers of more digits than a double has would be changed.
    const parsed = JSON.parse(value);
    return /\d{16}/.test(value) ? value : JSON.stringify(parsed, null, 2);
  } catch {
    return value;
  }
}
