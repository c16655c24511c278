// The SQL page and the page of a saved query: the editor, and what it runs.
import { el, find, findAll } from '../dom.js';
import { duration } from '../format.js';
import { request } from '../http.js';
import { loadResult, refusal, resultSection, takeOver } from '../result/view.js';
import { draft } from './draft.js';
import { failure } from './failure.js';
import { historyDrawer } from './history.js';
import { parameters } from './parameters.js';
import { Run } from './run.js';
import { saving } from './save.js';
import { schemaTree } from './schema.js';

const TICK_MS = 100;

export async function sqlPage() {
  const form = find('#runner');
  const textarea = find('#sql');
  const answer = find('#answer');
  const state = find('#run-state');
  const [runButton, cancelButton] = [find('#run'), find('#cancel')];
  let chart = form.dataset.chart ? JSON.parse(form.dataset.chart) : null;
  let current = null;

  const { createEditor } = await import('#dist/sql.js');
  const kept = draft(textarea);
  const fields = parameters();
  const changed = (text) => {
    kept.keep(text);
    fields.follow(text);
  };
  const editor = createEditor(textarea, { onRun: run, onFormat: format, onChange: changed });
  fields.follow(editor.text());
  // Until somebody changes it, a text that others wrote is theirs.
  const found = textarea.defaultValue;
  const isAsFound = () => editor.text() == found;
  kept.onDrop((text) => editor.replace(text));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    run();
  });
  cancelButton.addEventListener('click', cancel);
  find('#format').addEventListener('click', format);
  historyDrawer((sql) => {
    editor.replace(sql);
    editor.focus();
  });
  saving(form, () => ({ sql: editor.text(), chart }), kept.settled);
  findAll('.result', answer).forEach((section) => takeOver(section, chart, (settings) => (chart = settings)));
  loadSchema();

  async function loadSchema() {
    try {
      const schemas = await request('/sql/schema');
      schemaTree(schemas, (name) => editor.insert(name));
      editor.setSchema(schemas);
    } catch (error) {
      find('#schema-tree').replaceChildren(el('p', { class: 'note' }, `The tables can't be listed: ${error.message}`));
    }
  }

  async function format() {
    try {
      const { format } = await import('#dist/sql-format.js');
      const text = editor.text();
      const laidOut = format(text);
      if (laidOut != text) editor.replace(laidOut);
      state.textContent = '';
    } catch (error) {
      state.textContent = `Can't be laid out: ${String(error.message).split('\n')[0]}`;
    }
  }

  async function run() {
    if (current) return;
    const { sql, from } = editor.chosen();
    if (!sql.trim()) return;
    const empty = fields.focusEmpty(sql);
    if (empty) {
      state.textContent = `{{${empty}}} has no value.`;
      return;
    }
    const started = performance.now();
    let tick;
    editor.mark(null);
    runButton.disabled = true;
    state.textContent = 'Running…';
    current = {};
    try {
      current = await Run.start({
        sql,
        parameters: fields.values(sql),
        query: isAsFound() || 'own' in form.dataset ? form.dataset.query ?? null : null,
        is_foreign: 'foreign' in form.dataset && isAsFound(),
      }, () => {});
      cancelButton.disabled = false;
      tick = setInterval(() => (state.textContent = `Running, ${duration(performance.now() - started)}`), TICK_MS);
      show(await current.over(), from, performance.now() - started);
    } catch (error) {
      answer.replaceChildren(refusal(error));
      state.textContent = '';
    } finally {
      clearInterval(tick);
      current = null;
      cancelButton.disabled = true;
      runButton.disabled = false;
    }
  }

  async function cancel() {
    cancelButton.disabled = true;
    try {
      await current?.cancel();
      // The run itself says that it has ended.
    } catch (error) {
      state.textContent = error.message;
      cancelButton.disabled = false;
    }
  }

  async function show(over, from, took_ms) {
    state.textContent = { done: `Done in ${duration(took_ms)}`, failed: 'Failed', cancelled: 'Cancelled' }[over.state] ?? '';
    if (over.state == 'failed') {
      const place = editor.mark(over.error.position, from);
      // What came before it has happened, and is kept.
      await showResults(over, failure(over.error, place, () => editor.goTo(place.at)));
    } else if (over.state == 'done') await showResults(over);
    else await showResults(over);
  }

  async function showResults({ results = [], messages = [] }, ...first) {
    const said = messages.length ? [el('ul', { class: 'messages', role: 'status' }, ...messages.map((text) => el('li', {}, text)))] : [];
    const places = results.map(() => el('div'));
    answer.replaceChildren(...first, ...said, ...places);
    for (const [at, id] of results.entries()) {
      try {
        const data = await loadResult(id);
        const title = results.length > 1 ? `Result ${at + 1} of ${results.length}` : undefined;
        places[at].replaceWith(resultSection(data, { title, chart, onChart: (settings) => (chart = settings) }));
      } catch (error) {
        places[at].replaceWith(refusal(error));
      }
    }
  }
}
