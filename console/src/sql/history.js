// What was run before: to be seen again, or taken back into the editor.
import { el, facts, find } from '../dom.js';
import { duration, moment } from '../format.js';
import { request } from '../http.js';
import { refusal } from '../result/view.js';

export function historyDrawer(take) {
  const dialog = find('#history');
  const list = find('#history-list');
  find('#show-history').addEventListener('click', async () => {
    dialog.showModal();
    list.replaceChildren(el('li', { class: 'quiet' }, 'Loading…'));
    try {
      const runs = await request('/sql/history');
      list.replaceChildren(...(runs.length ? runs.map(line) : [el('li', { class: 'quiet' }, 'Nothing was run yet.')]));
    } catch (error) {
      list.replaceChildren(el('li', {}, refusal(error)));
    }
  });

  const line = ({ sql, at, state, duration_ms, result }) => el(
    'li',
    {},
    el('button', { type: 'button', class: 'sql', title: 'Put it into the editor', onclick: () => {
      dialog.close();
      take(sql);
    } }, sql),
    el('div', { class: 'row' }, facts([
      ['At', `${moment(at)} UTC`],
      ['State', el('span', { class: state == 'failed' ? 'bad' : null }, state)],
      ['Took', duration_ms == null ? null : duration(duration_ms)],
      ['Result', result ? el('a', { href: `/r/${encodeURIComponent(result)}` }, 'open') : null],
    ])),
  );
}
