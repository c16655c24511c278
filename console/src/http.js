// Requests to the console's server. What it refuses is thrown with the server's own words.
import { find } from './dom.js';

export class Refused extends Error {
  constructor(status, message, error = {}) {
    super(message);
    this.status = status;
    this.error = error;
  }
}

const WORDS = { 401: 'You are signed out.', 403: 'Your role may not do this.', 404: 'This is gone.', 503: 'The database is away.' };

// JSON, or an exception.
export async function request(path, { method = 'GET', body, signal } = {}) {
  const headers = { accept: 'application/json' };
  if (method != 'GET') {
    headers['x-csrf-token'] = find('meta[name=csrf]')?.content ?? '';
    headers['content-type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name == 'AbortError') throw error;
    throw new Refused(0, "The server can't be reached.");
  }
  const value = await answer.json().catch(() => undefined);
  if (!answer.ok) throw new Refused(answer.status, value?.error?.message ?? WORDS[answer.status] ?? `The server answered ${answer.status}.`, value?.error);
  if (value === undefined && answer.status != 204) throw new Refused(answer.status, 'The server answered something that is no JSON.');
  return value;
}

export const signInAgain = () => `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;

// Calls `act` each `interval_ms` while the page is visible, one call at a time; what it throws goes to `failed`.
export function poll(interval_ms, act, failed) {
  let timer;
  const next = () => (timer = setTimeout(step, interval_ms));
  async function step() {
    timer = undefined;
    if (document.hidden) return;
    try {
      await act();
    } catch (error) {
      failed(error);
    }
    next();
  }
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && timer === undefined) step();
  });
  next();
}
