// Elements from data. Texts only ever become text: nothing here, or anywhere in the console, parses HTML.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

// Name and value pairs in one line.
export const facts = (pairs) =>
  el('dl', { class: 'facts' }, ...pairs.filter(([, value]) => value != null).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));

export function toast(text) {
  const node = el('div', { class: 'toast', role: 'status' }, text);
  document.body.append(node);
  setTimeout(() => node.remove(), 2500);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is only the old way.
    const area = el('textarea', { class: 'hidden-visually' });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  toast('Copied');
}

// A dialog that goes when it is closed. Resolves to the value of the button that closed it.
export function ask(title, content, buttons, className = '') {
  const { promise, resolve } = Promise.withResolvers?.() ?? withResolvers();
  const dialog = el(
    'dialog',
    { class: className, 'aria-label': title },
    el('h2', {}, title),
    ...[content].flat(),
    el('form', { method: 'dialog', class: 'row end' }, ...buttons.map(([value, label, kind = '']) => el('button', { value, class: kind }, label))),
  );
  dialog.addEventListener('close', () => {
    dialog.remove();
    resolve(dialog.returnValue);
  });
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}

function withResolvers() {
  const parts = {};
  parts.promise = new Promise((resolve) => (parts.resolve = resolve));
  return parts;
}
