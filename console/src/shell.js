// What every page does: theme, menu, dialogs, questions before something is lost, copying, shortcuts.
import { ask, copy, el, find, findAll } from './dom.js';

const DRAFTS = 'weir.draft.';

export function store(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Storage may be forbidden or full: nothing depends on it.
  }
  return null;
}
export const draftName = (path) => `${DRAFTS}${document.body.dataset.person}.${path}`;

function theme() {
  const buttons = findAll('[data-theme-choice]');
  const chosen = () => document.documentElement.dataset.theme ?? 'system';
  const mark = () => buttons.forEach((button) => button.setAttribute('aria-pressed', button.dataset.themeChoice == chosen()));
  for (const button of buttons) {
    button.addEventListener('click', () => {
      const { themeChoice } = button.dataset;
      if (themeChoice == 'system') delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = themeChoice;
      store('weir.theme', themeChoice == 'system' ? null : themeChoice);
      mark();
      dispatchEvent(new Event('weir:theme'));
    });
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('weir:theme')));
  mark();
}

// Details that float close when one goes elsewhere.
function menus() {
  const floating = findAll('details.menu, details.custom-period');
  addEventListener('click', (event) => floating.forEach((menu) => menu.contains(event.target) || (menu.open = false)));
  addEventListener('keydown', (event) => {
    if (event.key != 'Escape') return;
    for (const menu of floating.filter((menu) => menu.open)) {
      menu.open = false;
      find('summary', menu).focus();
    }
  });
}

async function confirmFirst(event, button) {
  const { form } = button;
  if (form.dataset.confirmed) return;
  event.preventDefault();
  const answer = await ask('Are you sure?', el('p', {}, button.dataset.confirm), [['', 'Cancel'], ['yes', button.dataset.confirmAction ?? 'Yes', 'danger']]);
  if (answer != 'yes') return button.focus();
  form.dataset.confirmed = 'yes';
  form.requestSubmit(button);
}

function clicks() {
  addEventListener('click', (event) => {
    const button = event.target.closest?.('button');
    if (!button) return;
    const { open, copy: source, confirm } = button.dataset;
    if ('shortcuts' in button.dataset) showShortcuts();
    else if (open) document.getElementById(open).showModal();
    else if (source) copy(find(source).textContent);
    else if ('close' in button.dataset) button.closest('dialog').close();
    else if (confirm && button.form) confirmFirst(event, button);
  });
  findAll('dialog[data-open-now]').forEach((dialog) => dialog.showModal());
  findAll('form[data-submit-on-change]').forEach((form) => form.addEventListener('change', () => form.requestSubmit()));
  // The next person at this browser must not find what this one has typed.
  find('form[action="/sign-out"]')?.addEventListener('submit', () => {
    for (const name of Object.keys(localStorage)) if (name.startsWith(DRAFTS)) store(name, null);
  });
}

// On a phone, tabs scroll: the one that holds is in sight.
function tabs() {
  for (const tab of findAll('.tabs > [aria-current]')) {
    const list = tab.parentElement;
    list.scrollLeft = tab.offsetLeft - list.offsetLeft - (list.clientWidth - tab.offsetWidth) / 2;
  }
}

// Which tab of a panel was open: a filter loads the page anew.
function panels() {
  for (const radio of findAll('.panel .segments input')) {
    const name = `weir.${radio.name}`;
    if (sessionStorage.getItem(name) == radio.value) radio.checked = true;
    radio.addEventListener('change', () => sessionStorage.setItem(name, radio.value));
  }
}

const SHORTCUTS = [
  ['/', 'search, where there is one'],
  ['?', 'this list'],
  ['g then l, d, s, q, o', 'Live, Dashboard, SQL, Queries, Operate'],
];
const EDITOR_SHORTCUTS = [
  ['Ctrl Enter', 'run all, or what is selected (⌘ Enter)'],
  ['Shift Alt F', 'format'],
  ['Ctrl Space', 'complete'],
  ['Ctrl F', 'find in the editor'],
  ['Escape, Tab', 'leave the editor'],
  ['arrows, Enter, Ctrl C', 'in a result: move, show the whole value, copy (Shift selects)'],
];
const PLACES = { l: '/', d: '/dashboard', s: '/sql', q: '/queries', o: '/operate/rollups' };
const isTyping = (target) => target.closest?.('input, textarea, select, [contenteditable]:not([contenteditable=false])');

function showShortcuts() {
  const lines = [...SHORTCUTS, ...(document.body.dataset.page == 'sql' ? EDITOR_SHORTCUTS : [])];
  const list = el('table', { class: 'data' }, el('tbody', {}, ...lines.map(([keys, does]) => el('tr', {}, el('th', { scope: 'row', class: 'nowrap' }, el('kbd', {}, keys)), el('td', {}, does)))));
  ask('Keyboard', list, [['', 'Close']]);
}

function shortcuts() {
  let before = '';
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target) || find('dialog[open]')) return;
    const search = findAll('[data-search]').find((input) => input.checkVisibility());
    if (event.key == '/' && search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key == '?') {
      showShortcuts();
    } else if (before == 'g' && PLACES[event.key] && document.body.dataset.person) {
      location.href = PLACES[event.key];
    }
    before = event.key;
  });
}

export function shell() {
  theme();
  menus();
  clicks();
  tabs();
  panels();
  shortcuts();
}
