// What was typed survives a reload, and being signed out: it is kept by person and page, until it is the server's.
import { find } from '../dom.js';
import { draftName, store } from '../shell.js';

const DELAY_MS = 300;

export function draft(textarea) {
  const from = new URLSearchParams(location.search);
  const page = ['query', 'result', 'version'].filter((name) => from.has(name)).map((name) => `${name}=${from.get(name)}`).join('&');
  const name = draftName(`${location.pathname}?${page}`);
  let servers = textarea.defaultValue;
  let timer;
  const kept = store(name);
  const note = find('#draft');
  if (kept != null && kept != servers) {
    textarea.value = kept;
    note.hidden = false;
  }
  let latest = textarea.value;
  const write = () => {
    clearTimeout(timer);
    timer = undefined;
    store(name, latest == servers ? null : latest);
  };
  addEventListener('pagehide', () => timer && write());
  return {
    keep(text) {
      latest = text;
      clearTimeout(timer);
      timer = setTimeout(write, DELAY_MS);
    },
    // The server has this text now.
    settled(text) {
      servers = latest = text;
      write();
      note.hidden = true;
    },
    // To what the server gave, at the person's word.
    onDrop(act) {
      find('#drop-draft').addEventListener('click', () => {
        latest = servers;
        write();
        note.hidden = true;
        act(servers);
      });
    },
  };
}
