// The editor: CodeMirror instead of a textarea, for PostgreSQL's SQL.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { PostgreSQL, sql } from '@codemirror/lang-sql';
import { bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState } from '@codemirror/state';
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers, placeholder } from '@codemirror/view';
import { highlighting, looks } from './looks.js';
import { errorMark, markError } from './mark.js';
import { replaceByTyping } from './typing.js';
import { codeUnits } from './position.js';

const HINT = 'Escape, then Tab leaves the editor. Control and Enter runs.';

// Takes the place of `textarea`, which keeps its name and value for the form. `onRun`, `onFormat` and `onChange(text)` hear of
// what happens.
export function createEditor(textarea, { onRun, onFormat, onChange }) {
  const language = new Compartment();
  const postgres = (schema) => sql({ dialect: PostgreSQL, schema, defaultSchema: 'analytics', upperCaseKeywords: false });
  const run = () => {
    onRun();
    return true;
  };
  const view = new EditorView({
    state: EditorState.create({
      doc: textarea.value,
      extensions: [
        lineNumbers(),
        history(),
        drawSelection(),
        EditorState.allowMultipleSelections.of(true),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ icons: false }),
        highlightActiveLine(),
        highlightSelectionMatches(),
        search({ top: true }),
        EditorView.lineWrapping,
        syntaxHighlighting(highlighting),
        looks,
        errorMark,
        replaceByTyping,
        placeholder(textarea.placeholder),
        language.of(postgres({})),
        EditorView.contentAttributes.of({ 'aria-label': 'SQL', 'aria-description': HINT, spellcheck: 'false', autocapitalize: 'none' }),
        keymap.of([
          { key: 'Mod-Enter', run, preventDefault: true },
          { key: 'Shift-Alt-f', run: () => (onFormat(), true), preventDefault: true },
          ...closeBracketsKeymap,
          ...completionKeymap,
          ...searchKeymap,
          ...historyKeymap,
          indentWithTab,
          ...defaultKeymap.filter(({ key }) => key != 'Mod-Enter'),
        ]),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          textarea.value = view.state.doc.toString();
          onChange(textarea.value);
        }),
      ],
    }),
  });
  textarea.hidden = true;
  textarea.after(view.dom);
  const text = () => view.state.doc.toString();

  return {
    view,
    text,
    focus: () => view.focus(),
    // What is to be run: what is selected, else all; and where in the text that begins.
    chosen() {
      const { from, to, empty } = view.state.selection.main;
      return empty ? { sql: text(), from: 0 } : { sql: view.state.sliceDoc(from, to), from };
    },
    replace(sql) {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: sql } });
    },
    insert(name) {
      view.dispatch(view.state.replaceSelection(name));
      view.focus();
    },
    setSchema(schemas) {
      view.dispatch({ effects: language.reconfigure(postgres(completions(schemas))) });
    },
    // Marks the word at PostgreSQL's `position` of the statement that begins at `from`; null takes the mark away. Gives line and
    // column, from 1.
    mark(position, from = 0) {
      const at = position == null ? null : Math.min(from + codeUnits(text().slice(from), position), view.state.doc.length);
      markError(view, at);
      if (at == null) return null;
      const line = view.state.doc.lineAt(at);
      return { line: line.number, column: at - line.from + 1, text: line.text, at };
    },
    goTo(at) {
      view.dispatch({ selection: { anchor: at }, scrollIntoView: true });
      view.focus();
    },
  };
}

// The schema as lang-sql's completion takes it.
function completions(schemas) {
  const spaces = {};
  for (const { schema, tables } of schemas) {
    spaces[schema] = {};
    for (const { name, kind, comment, columns } of tables) {
      spaces[schema][name] = {
        self: { label: name, type: 'class', detail: kind, info: comment ?? undefined },
        children: columns.map(({ name, type, comment }) => ({ label: name, type: 'property', detail: type, info: comment ?? undefined })),
      };
    }
  }
  return spaces;
}
