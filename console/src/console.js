// The script of all pages: what each page needs besides the shell.
import { dashboard } from './dashboard.js';
import { findAll } from './dom.js';
import { live } from './live.js';
import { message, sources } from './operate.js';
import { takeOver } from './result/view.js';
import { shell } from './shell.js';
import { sqlPage } from './sql/page.js';

const PAGES = {
  live,
  dashboard,
  sql: sqlPage,
  result: () => findAll('.result').forEach((section) => takeOver(section)),
  'operate-sources': sources,
  message,
};

shell();
PAGES[document.body.dataset.page]?.();
