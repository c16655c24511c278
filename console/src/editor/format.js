// Lays out SQL. It is fetched when somebody asks for it first.
import { formatDialect, postgresql } from 'sql-formatter';

const OPTIONS = {
  dialect: postgresql,
  keywordCase: 'lower',
  functionCase: 'lower',
  paramTypes: { custom: [{ regex: String.raw`\{\{\s*\w+\s*\}\}` }] },
};

export const format = (sql) => formatDialect(sql, OPTIONS);
