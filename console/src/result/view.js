// A result: its table, its chart, and what may be done with it.
import { copy, el, facts, find, toast } from '../dom.js';
import { bytes, count, day, duration } from '../format.js';
import { request, signInAgain } from '../http.js';
import { chartOf } from './chart-tab.js';
import { grid } from './grid.js';

export const loadResult = (id) => request(`/r/${encodeURIComponent(id)}.json`);

let views = 0;

// Table and chart as tabs. `chart` is how it was drawn last; `onChart` hears of each change.
export function tabs(data, chart, onChart = () => {}) {
  const name = `result-${++views}`;
  const table = el('div', { role: 'tabpanel', id: `${name}-table`, 'aria-labelledby': `${name}-table-tab` }, grid(data, 'Result'));
  const picture = el('div', { role: 'tabpanel', id: `${name}-chart`, 'aria-labelledby': `${name}-chart-tab`, hidden: true });
  const panels = [table, picture];
  let isDrawn = false;
  const buttons = ['Table', 'Chart'].map((title, at) => el('button', { type: 'button', role: 'tab', id: `${panels[at].id}-tab`, 'aria-controls': panels[at].id, onclick: () => choose(at) }, title));
  function choose(chosen, focus = false) {
    buttons.forEach((button, at) => {
      button.setAttribute('aria-selected', at == chosen);
      button.tabIndex = at == chosen ? 0 : -1;
      panels[at].hidden = at != chosen;
    });
    if (focus) buttons[chosen].focus();
    if (chosen == 1 && !isDrawn) {
      isDrawn = true;
      chartOf(picture, data, chart, onChart);
    }
  }
  const list = el('div', { role: 'tablist', class: 'segments', 'aria-label': 'Show as' }, ...buttons);
  list.addEventListener('keydown', (event) => {
    if (event.key == 'ArrowLeft' || event.key == 'ArrowRight') choose(buttons[0].ariaSelected == 'true' ? 1 : 0, true);
  });
  choose(0);
  return [el('div', { class: 'result-bar' }, list), table, picture];
}

// A result that has just been computed.
export function resultSection(data, { title, chart, onChart } = {}) {
  const head = el('div', { class: 'result-head' });
  const link = el('div');
  const drawHead = () => head.replaceChildren(
    facts([
      [title ?? 'Rows', title ? `${count(data.row_count)} rows` : count(data.row_count)],
      ['Took', duration(data.duration_ms)],
      ['Size', bytes(data.bytes)],
      ['Kept', data.expires_at == null ? 'for as long as it is shared' : `until ${day(data.expires_at)} unless shared`],
    ]),
    actions(data, link, drawHead),
  );
  drawHead();
  const section = el('section', { class: 'result', 'aria-label': title ?? 'Result', 'data-result': data.id }, head, link);
  if (data.cut || !data.is_complete) section.append(cut(data));
  section.append(el('div', { class: 'result-body' }, ...tabs(data, chart, onChart)));
  return section;
}

const cut = ({ cut }) => el('p', { class: 'cut', role: 'alert' }, `This is not all: ${cut ?? 'the result was cut'}. Totals and charts of it are wrong.`);

function actions(data, link, changed) {
  const href = (kind) => `/r/${encodeURIComponent(data.id)}${kind}`;
  const share = el('button', { type: 'button', class: 'tiny', onclick: async () => {
    share.disabled = true;
    try {
      await request(href('/visibility'), { method: 'POST', body: { visibility: 'colleagues' } });
      data.visibility = 'colleagues';
      data.expires_at = null;
      const url = location.origin + href('');
      changed();
      link.replaceChildren(el('div', { class: 'flash good', role: 'status' }, el('div', {}, 'Everyone who can sign in may open it: ', el('a', { href: href('') }, url)), el('button', { type: 'button', class: 'tiny', onclick: () => copy(url) }, 'Copy')));
    } catch (error) {
      share.disabled = false;
      link.replaceChildren(refusal(error));
    }
  } }, data.visibility == 'colleagues' ? 'Shared' : 'Share');
  share.disabled = data.visibility == 'colleagues';
  return el(
    'div',
    { class: 'row' },
    share,
    ...['csv', 'json', 'parquet'].map((kind) => el('a', { class: 'button tiny', href: href(`.${kind}`), download: true }, { csv: 'CSV', json: 'JSON', parquet: 'Parquet' }[kind])),
    el('a', { class: 'button tiny', href: href('') }, 'Open'),
  );
}

// What a request was refused with, and where to go if that is signing in.
export const refusal = (error) => el('div', { class: 'flash bad', role: 'alert' }, el('div', {}, error.message, ...(error.status == 401 ? [' What you typed is kept. ', el('a', { href: signInAgain() }, 'Sign in again')] : [])));

// A result that the server has written: its rows become a grid. `chart` is how it is drawn if the section does not say.
export async function takeOver(section, fallback, onChart) {
  const body = find('.result-body', section);
  try {
    const data = await loadResult(section.dataset.result);
    const chart = section.dataset.chart ? JSON.parse(section.dataset.chart) : fallback;
    body.replaceChildren(...tabs(data, chart, onChart));
  } catch (error) {
    toast(`Only the first rows: ${error.message}`);
  }
}
