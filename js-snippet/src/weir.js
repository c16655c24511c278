// Sees page views and the page's own events, and sends them in small batches.
// FULL is set when building: with it, also what happens without being asked for.
import { capture } from './capture.js';

// UTF-16 code units of a batch, and of all that is in flight when a page leaves.
// Each takes at most 3 bytes, so they stay below the 64 KiB that a browser allows
// to all requests together that may outlive their pages. (A larger event is sent
// alone, by a page that stays.)
const BATCH = 2e4;
const BATCH_EVENTS = 64;
const BATCH_DELAY = 100; // ms
// Of more events than this that wait, here or in the storage, the latest are kept.
const KEPT = 500;
const BACK_OFF = 8; // so many times the wait grows threefold, to 11 to 22 min

// Nothing in here may ever break the page.
export const guard = (fn) => (...args) => {
  try {
    return fn(...args);
  } catch (e) {}
};

// `options` are those of the README, `calls` those made before this ran.
export const init = (options, calls) => {
  const on = addEventListener;
  // Where the browser forbids it, nothing outlives the page.
  const storage = guard(() => localStorage)() || {};

  let queue = [];
  let timer; // of the next flush: the batch delay or a back-off
  let flight = 0; // code units sent and not answered yet
  let failures = 0; // since a request was last answered well
  let url; // of the current page view
  let referrer; // of the current page view
  let leave; // ends what is captured of it
  let user; // named by identify, not yet stored
  const isSeen = FULL && (!document.hidden || document.prerendering);

  // The fragment is no part of a page's address and may hold a secret, unless
  // the page says that it routes by it.
  const currentUrl = () => location.href.replace(options.hash == null ? /#.*/ : '', '');

  // Done late, as routers change the title some time after the URL.
  const setTitles = () => queue.forEach((event) => {
    event.title ||= document.title;
  });

  const add = (type, properties, name) => {
    queue = [...queue, {
      type,
      name,
      screen: screen.width + 'x' + screen.height,
      // Not crypto.randomUUID, which plain http pages don't have.
      id: crypto.getRandomValues(new Uint32Array(4)).join(''),
      timestamp: Date.now(),
      url,
      referrer,
      user_id: user || storage.weir_user,
      // A copy, since the page may go on to change its object.
      properties: properties && JSON.parse(JSON.stringify({ ...properties })),
    }].slice(-KEPT);
    // A hidden page may be gone before a timer fires.
    timer ||= (document.hidden ? flush(1) : setTimeout(flush, BATCH_DELAY));
  };

  // Sends a batch, or all that the browser's quota allows if the page is leaving.
  // What failed is sent again, ids and all. What a page that leaves can't send, it
  // leaves to the next one.
  const flush = guard((leaving) => {
    clearTimeout(timer);
    if (FULL && leaving) {
      // What is added now goes with the rest: not by a flush of its own.
      timer = leaving;
      leave?.();
    }
    timer = 0;
    setTitles();
    // Deleted first, as it may not be what was stored.
    const kept = storage[options.key];
    delete storage[options.key];
    // Refused, perhaps in another tab: this forgets all.
    if (storage.weir_consent == 0 || storage.weir_ignore) return commands.reset(queue = []);
    queue = [...JSON.parse(kept || '[]'), ...queue].slice(-KEPT);
    if (options.consent != null && storage.weir_consent != 1) return;
    // A full storage throws.
    user &&= guard(() => {
      storage.weir_user = user;
    })();
    while (queue[0] && (leaving || !flight)) {
      const events = queue.slice(0, BATCH_EVENTS);
      let body, isLarge;
      // A string goes as text/plain, which needs no CORS preflight.
      do {
        body = JSON.stringify({ key: options.key, events });
        isLarge = body.length + flight > BATCH;
      } while (isLarge && events[1] && (events.length >>= 1));
      const done = (answer) => {
        flight = 0;
        // Undefined where there was none.
        if (/u|408|429|5../.test(answer?.status)) {
          failures += failures < BACK_OFF;
          queue = [...events, ...queue].slice(-KEPT);
        } else failures = 0;
        clearTimeout(timer);
        // No timer for nothing: the next view would go with it, before a router
        // has set its title. And a hidden page may be gone before one fires.
        timer = queue[0] && (document.hidden ? flush(1) : setTimeout(flush, (1 + Math.random()) * BATCH_DELAY * 3 ** failures));
      };
      if (leaving && (isLarge || failures || !navigator.onLine)) {
        // Throws where the storage is full.
        storage[options.key] = JSON.stringify(queue);
        queue = [];
      } else {
        fetch(options.endpoint, {
          method: 'POST',
          body,
          credentials: 'omit',
          keepalive: !isLarge,
        }).then(done, done);
        // Not before: a page's own fetch may throw.
        flight += body.length;
        queue.splice(0, events.length);
      }
    }
  });

  // `persisted` is only ever true in the pageshow event of a page that the
  // back/forward cache brought back.
  const pageView = guard(({ persisted }) => {
    const next = currentUrl();
    if (next != url || persisted) {
      // What was on its way when the page left may never be answered.
      flight *= !persisted;
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
      user = id || user;
      add('identify', traits);
    },
    reset() {
      user = 0;
      delete storage.weir_user;
    },
    consent(given) {
      storage.weir_consent = given ? 1 : 0;
      flush();
    },
  };

  const call = guard(([name, first, second]) => {
    if (!url) calls.push([name, first, second]);
    else if (commands[name]) commands[name](first, second);
    else if (name) add('track', first, name);
  });

  // A page counts when somebody looks at it: not while it is prerendered, nor in
  // a tab that was opened behind others.
  const start = () => {
    if (document.hidden || url) return;
    pageView(0);
    calls.forEach(call);

    on('popstate', pageView);
    on('pageshow', pageView);
    // A page may have frozen it.
    ['pushState', 'replaceState'].forEach(guard((method) => {
      const original = history[method];
      history[method] = (...args) => {
        const result = original.apply(history, args);
        pageView(0);
        return result;
      };
    }));
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
  for (const name in commands) weir[name] = weir.bind(0, name);
  // A page that kept the stub from before pushes to this.
  weir.q = { push: call };
  return weir;
};
