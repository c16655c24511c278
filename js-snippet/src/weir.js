// Sees page views and the page's own events, and sends them in small batches.
// FULL is set when building: with it, also what happens without being asked for.
import { capture } from './capture.js';

// UTF-16 code units of a batch. Each takes at most 3 bytes, so a batch stays
// below the 64 KiB that a browser allows to all the requests in flight together
// that may outlive their pages. (A larger event is sent alone.)
const BATCH = 2e4;
const BATCH_EVENTS = 64;
const BATCH_DELAY = 100; // ms
// What can't be sent is kept; of more events than this, the latest.
const KEPT = 500;
const BACK_OFF = 8; // so many times the wait grows threefold, to 11 to 22 min

// Nothing in here may ever break the page.
export const guard = (fn) => (...args) => {
  try {
    return fn(...args);
  } catch (e) {}
};

const on = (type, listener) => addEventListener(type, guard(listener));

// `options` are those of the README, `calls` those made before this ran.
export const init = (options, calls) => {
  // Where the browser forbids it, nothing outlives the page.
  const storage = guard(() => localStorage)() || {};

  let queue = [];
  let timer; // of the next flush: the batch delay or a back-off
  let busy; // a request is not answered yet
  let failures = 0; // since a request was last answered well
  let url; // of the current page view
  let referrer; // of the current page view
  let leave; // ends what is captured of it
  const isSeen = FULL && (!document.hidden || document.prerendering);

  // The fragment is no part of a page's address and may hold a secret, unless
  // the page says that it routes by it.
  const currentUrl = () => location.href.replace(options.hash == null ? /#.*/ : '', '');

  // Done late, as routers change the title some time after the URL.
  const setTitles = () => queue.forEach((event) => {
    event.title ||= document.title;
  });

  const add = (type, name, properties) => {
    if (storage.weir_consent == 0 || storage.weir_ignore) return;
    queue.push({
      type,
      name,
      // Not crypto.randomUUID, which plain http pages don't have.
      id: crypto.getRandomValues(new Uint32Array(4)).join(''),
      timestamp: Date.now(),
      url,
      referrer,
      user_id: storage.weir_user,
      // A copy, since the page may go on to change its object.
      properties: properties && JSON.parse(JSON.stringify({ ...properties })),
      screen: screen.width + 'x' + screen.height,
    });
    // A hidden page may be gone before a timer fires.
    timer ||= (document.hidden ? flush(1) : setTimeout(flush, BATCH_DELAY));
  };

  // Sends a batch, or everything if the page is leaving. What failed is sent
  // again, ids and all. A page that leaves while nothing gets through leaves its
  // events to the next one.
  const flush = guard((leaving) => {
    clearTimeout(timer);
    if (FULL && leaving) {
      // What is added now goes with the rest: not by a flush of its own.
      timer = leaving;
      leave?.();
    }
    timer = 0;
    if (options.consent != null && storage.weir_consent != 1) return;
    setTitles();
    queue.unshift(...JSON.parse(storage[options.key] || '[]'));
    delete storage[options.key];
    if (leaving && (failures || !navigator.onLine)) storage[options.key] = JSON.stringify(queue.splice(0));
    // A page that leaves waits for no answer. If it ever comes back, those that
    // were on their way may never be answered.
    busy = busy && !leaving;
    while (queue[0] && !busy) {
      let count = BATCH_EVENTS;
      let events, body;
      // A string goes as text/plain, which needs no CORS preflight.
      do {
        events = queue.slice(0, count);
        body = JSON.stringify({ key: options.key, events });
      } while (body[BATCH] && (count >>= 1));
      // The error of a fetch that got no answer has no status.
      const done = guard(({ status = 500 }) => {
        busy = 0;
        if (/408|429|5../.test(status)) {
          failures += failures < BACK_OFF;
          queue = [...events, ...queue].slice(-KEPT);
        } else failures = 0;
        clearTimeout(timer);
        timer = setTimeout(flush, (1 + Math.random()) * BATCH_DELAY * 3 ** failures);
      });
      fetch(options.endpoint, {
        method: 'POST',
        body,
        credentials: 'omit',
        keepalive: !body[BATCH],
      }).then(done, done);
      // Not before: a page's own fetch may throw.
      busy = !leaving;
      queue.splice(0, count || 1);
    }
  });

  // `persisted` is only ever true in the pageshow event of a page that the
  // back/forward cache brought back.
  const pageView = guard(({ persisted }) => {
    const next = currentUrl();
    if (next != url || persisted) {
      if (FULL) leave?.();
      setTitles();
      referrer = url || document.referrer;
      url = next;
      add('page');
    }
  });

  const commands = {
    __proto__: null,
    identify(id, traits) {
      if (id) storage.weir_user = id;
      add('identify', undefined, traits);
    },
    reset() {
      delete storage.weir_user;
    },
    consent(given) {
      storage.weir_consent = given ? 1 : 0;
      if (!given) {
        queue = [];
        delete storage[options.key];
        delete storage.weir_user;
      }
      flush();
    },
  };

  const call = guard(([name, ...args]) => {
    if (!url) calls.push([name, ...args]);
    else if (commands[name]) commands[name](...args);
    else if (name) add('track', name, ...args);
  });

  // A page counts when somebody looks at it: not while it is prerendered, nor in
  // a tab that was opened behind others.
  const start = () => {
    if (document.hidden || url) return;
    pageView(0);
    calls.forEach(call);

    on('popstate', pageView);
    on('pageshow', pageView);
    ['pushState', 'replaceState'].forEach((method) => {
      const original = history[method];
      history[method] = (...args) => {
        const result = original.apply(history, args);
        pageView(0);
        return result;
      };
    });
    on('pagehide', flush);
    on('online', () => flush());
    if (FULL) leave = guard(capture)(options, add, guard, isSeen);
  };

  on('visibilitychange', () => {
    start();
    flush(document.hidden);
  });
  start();

  const weir = (...args) => call(args);
  for (const name in commands) weir[name] = (...args) => call([name, ...args]);
  // A page that kept the stub from before pushes to this.
  weir.q = { push: call };
  return weir;
};
