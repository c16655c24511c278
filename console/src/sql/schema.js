// The tables beside the editor: what there is, how large, and what it means.
import { el, find } from '../dom.js';
import { bytes, count } from '../format.js';

// Names that PostgreSQL would fold or refuse are quoted.
export const quoted = (name) => (/^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

export function schemaTree(schemas, insert) {
  const tree = find('#schema-tree');
  const search = find('#schema-search');
  const toggle = find('#schema-toggle');
  toggle.addEventListener('click', () => {
    const isOpen = toggle.parentElement.classList.toggle('unfolded');
    toggle.setAttribute('aria-expanded', isOpen);
  });

  function draw() {
    const needle = search.value.trim().toLowerCase();
    const has = (text) => text?.toLowerCase().includes(needle);
    const spaces = schemas.flatMap((space) => {
      const tables = space.tables.filter(({ name, comment, columns }) => !needle || has(name) || has(comment) || has(`${space.schema}.${name}`) || columns.some((column) => has(column.name)));
      return tables.length ? [spaceNode(space, tables, needle, has)] : [];
    });
    tree.replaceChildren(...(spaces.length ? spaces : [el('p', { class: 'note' }, needle ? 'Nothing is called so.' : 'Your role may read no table.')]));
  }

  const spaceNode = ({ schema, comment }, tables, needle, has) => el(
    'details',
    { class: 'space', open: needle != '' || schema == 'analytics' || schemas.length == 1 },
    el('summary', {}, el('span', { class: 'name', title: schema }, schema), el('span', { class: 'size' }, count(tables.length))),
    el('div', {}, comment && el('p', { class: 'note' }, comment), ...tables.map((table) => tableNode(schema, table, needle, has))),
  );

  function tableNode(schema, { name, kind, comment, rows_estimate, bytes: size, columns }, needle, has) {
    const full = `${quoted(schema)}.${quoted(name)}`;
    const about = [kind, rows_estimate != null && `about ${count(rows_estimate)} rows`, size != null && bytes(size)].filter(Boolean).join(', ');
    // Columns are made when they are looked at: there may be thousands.
    const inside = el('div');
    const isFound = needle != '' && columns.some((column) => has(column.name));
    const node = el(
      'details',
      { class: 'table', open: isFound },
      el(
        'summary',
        { title: about },
        el('span', { class: 'name' }, name),
        el('span', { class: 'size' }, size ? bytes(size) : kind == 'table' ? '' : kind),
      ),
      inside,
    );
    const fill = () => {
      if (!node.open || inside.firstChild) return;
      inside.append(
        el('button', { type: 'button', class: 'column', title: `Insert ${full}`, onclick: () => insert(full) }, el('span', { class: 'name' }, full), el('span', { class: 'type' }, 'insert')),
        el('p', { class: 'note' }, [comment, about].filter(Boolean).join(' · ')),
        ...columns.map((column) => el(
          'button',
          { type: 'button', class: 'column', title: column.comment, onclick: () => insert(quoted(column.name)) },
          el('span', { class: 'name' }, column.name),
          el('span', { class: 'type' }, column.type),
        )),
      );
    };
    node.addEventListener('toggle', fill);
    fill();
    return node;
  }

  search.addEventListener('input', draw);
  draw();
}
