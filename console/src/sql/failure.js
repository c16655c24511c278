// What PostgreSQL says of a statement that failed, with the place in it.
import { el } from '../dom.js';

// `place` is of the editor's `mark`; `goTo` shows it there.
export function failure({ message, detail, hint, sqlstate, statement }, place, goTo) {
  return el(
    'div',
    { class: 'failure', role: 'alert' },
    el('p', { class: 'message' }, message),
    detail && el('p', {}, detail),
    hint && el('p', {}, `Hint: ${hint}`),
    place && excerpt(place),
    el(
      'p',
      { class: 'row small' },
      place && el('button', { type: 'button', class: 'tiny', onclick: goTo }, `Line ${place.line}, column ${place.column}`),
      sqlstate && el('span', { class: 'quiet' }, `SQLSTATE ${sqlstate}`),
    ),
    !place && statement && el('details', {}, el('summary', {}, 'The statement'), el('pre', {}, statement)),
  );
}

function excerpt({ text, column }) {
  const word = /^(\w+|.)?/su.exec(text.slice(column - 1))[0];
  return el('pre', {}, text.slice(0, column - 1), el('mark', {}, word), text.slice(column - 1 + word.length));
}
