// Saving: a new query, or on a page of an own one, its next version.
import { find } from '../dom.js';
import { request, signInAgain } from '../http.js';

// `current` gives sql and chart; `saved` hears that the server has them.
export function saving(form, current, saved) {
  const dialog = find('#save');
  const error = find('#save-error');
  const { query } = form.dataset;
  const isOwn = 'own' in form.dataset;
  find('#save-query').addEventListener('click', () => {
    error.hidden = true;
    dialog.showModal();
  });
  find('#save-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const { sql, chart } = current();
    const body = {
      title: find('#query-title').value,
      description: find('#query-description').value,
      shares_results: find('#query-shares').checked,
      sql,
      chart,
      forked_from: form.dataset.forkedFrom ?? null,
    };
    try {
      const answer = await request(isOwn ? `/q/${query}/versions` : '/queries', { method: 'POST', body });
      saved(sql);
      location.href = `/q/${answer?.slug ?? query}`;
    } catch (refused) {
      error.textContent = refused.message;
      if (refused.status == 401) error.append(' ', Object.assign(document.createElement('a'), { href: signInAgain(), textContent: 'Sign in again' }));
      error.hidden = false;
    }
  });
}
