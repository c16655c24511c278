// `{{since}}` in the SQL makes a field. Values are the server's to quote; here they are only texts.
import { el, find } from '../dom.js';

const PARAMETER = /\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}/gi;

export const namesIn = (sql) => [...new Set([...sql.matchAll(PARAMETER)].map(([, name]) => name))];

export function parameters() {
  const place = find('#parameters');
  // What was typed, also for names that are gone for a moment.
  const values = new Map(new URLSearchParams(location.search));
  let shown = [];
  return {
    follow(sql) {
      const names = namesIn(sql);
      if (names.join() == shown.join()) return;
      shown = names;
      place.hidden = !names.length;
      const fields = names.map((name) => {
        const input = el('input', { name, autocomplete: 'off', spellcheck: 'false', maxlength: 1000, placeholder: 'value', oninput: () => values.set(name, input.value) });
        input.value = values.get(name) ?? '';
        return el('label', {}, `{{${name}}}`, input);
      });
      place.replaceChildren(place.firstElementChild, ...fields);
    },
    values: (sql) => Object.fromEntries(namesIn(sql).map((name) => [name, values.get(name) ?? ''])),
    focusEmpty(sql) {
      const name = namesIn(sql).find((name) => !values.get(name));
      const input = name && find(`input[name="${name}"]`, place);
      input?.focus();
      return name;
    },
  };
}
