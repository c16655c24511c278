// Numbers, sizes and times as people read them.

export const count = (value) => value.toLocaleString('en-US');

export function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} m ${Math.round((ms % 60_000) / 1000)} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
  return `${Math.floor(minutes / 1440)} d`;
}

// Of a time, or of milliseconds since 1970. All of the console is in UTC, as days of the database are.
const utc = (options) => (time) => new Date(time).toLocaleString('en-GB', { timeZone: 'UTC', ...options });
export const moment = utc({ day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });
export const day = utc({ day: 'numeric', month: 'short' });
export const clock = utc({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const minute = utc({ hour: '2-digit', minute: '2-digit' });

// What a result's column holds, by PostgreSQL's name of its type, short or long.
const NUMBERS = /^(int[248]|smallint|integer|bigint|numeric|decimal|float[48]|real|double precision|oid)\b/;
const TIMES = /^(date|timestamp(tz)?|timestamp with(out)? time zone)\b/;
export const kindOf = (type) => (/\[\]$/.test(type) ? 'text' : NUMBERS.test(type) ? 'number' : TIMES.test(type) ? 'time' : /^jsonb?$/.test(type) ? 'json' : 'text');

// Seconds since 1970 of PostgreSQL's text of a moment, as UTC where it names no zone; null where it is none.
export function seconds(text) {
  if (text == null) return null;
  const iso = text.replace(' ', 'T').replace(/([+-]\d\d)(:?)(\d\d)?$/, (all, hours, _, minutes) => (text.includes(':') ? `${hours}:${minutes ?? '00'}` : all));
  const ms = Date.parse(/T/.test(iso) && !/(Z|[+-]\d\d:\d\d)$/.test(iso) ? `${iso}Z` : iso);
  return Number.isNaN(ms) ? null : ms / 1000;
}
