// The mark under the word of which PostgreSQL said that it is wrong. It goes with the next change.
import { StateEffect, StateField } from '@codemirror/state';
import { Decoration, EditorView } from '@codemirror/view';

const set = StateEffect.define();
const word = Decoration.mark({ class: 'cm-error', attributes: { title: 'PostgreSQL stopped here' } });
const line = Decoration.line({ class: 'cm-error-line' });

export const errorMark = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    for (const effect of transaction.effects) if (effect.is(set)) return effect.value;
    return transaction.docChanged ? Decoration.none : marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

export function markError(view, at) {
  let marks = Decoration.none;
  if (at != null) {
    const { doc } = view.state;
    // At the end of the text, the character before is marked.
    const from = Math.max(0, Math.min(at, doc.length - 1));
    const length = /^(\w+|"[^"]*"|.)?/su.exec(doc.sliceString(from, from + 100))[0].length;
    marks = Decoration.set([line.range(doc.lineAt(from).from), ...(length ? [word.range(from, from + length)] : [])]);
  }
  view.dispatch({ effects: set.of(marks), ...(at == null ? {} : { selection: undefined, scrollIntoView: false }) });
}
