// Pages of which a part follows what happens: sources, and the message that the database is away.
import { find, findAll } from './dom.js';
import { clock, count, duration } from './format.js';
import { poll, request } from './http.js';

const INTERVAL_MS = 2000;
// So recent an event means that the source is sending.
const ARRIVING_MS = 60_000;

export function sources() {
  poll(
    INTERVAL_MS,
    async () => {
      const { now_ms, sources } = await request('/operate/sources/data');
      for (const { source, is_enabled, last_event_ms, events_last_minute } of sources) {
        const row = findAll('#sources tbody tr').find((row) => row.dataset.source == source);
        if (!row) continue;
        const since_ms = last_event_ms == null ? null : now_ms - last_event_ms;
        const [state, kind, rate] = !is_enabled
          ? ['disabled', '', '']
          : since_ms == null
            ? ['nothing yet', 'warn dot', '']
            : since_ms < ARRIVING_MS
              ? ['arriving', 'good dot', `${count(events_last_minute)} a minute`]
              : ['quiet', 'warn dot', `none for ${duration(since_ms)}`];
        const badge = find('[data-arriving]', row);
        badge.className = `badge ${kind}`;
        badge.textContent = state;
        find('[data-rate]', row).textContent = rate;
        find('[data-last]', row).textContent = last_event_ms == null ? 'never' : clock(last_event_ms);
      }
    },
    // The next look may succeed; the page still says what it said.
    () => {},
  );
}

export function message() {
  const { retryS } = document.body.dataset;
  if (retryS) setTimeout(() => location.reload(), Number(retryS) * 1000);
}
