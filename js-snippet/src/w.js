// The browser side of weir: sees page views, clicks on marked elements and the
// page's own events, and sends them in small batches to the collector that
// served this file. `npm run build` makes ../w.js of it.
(() => {
  // A batch holds about this many UTF-16 code units at most. Each takes at most
  // 3 bytes, so a batch stays below the 64 KiB that a browser allows to all the
  // beacons and keepalive requests in flight together. (An event that is larger
  // by itself is sent alone.)
  const MAX_BATCH = 20000;
  const BATCH_DELAY = 100;
  const MAX_RETRIES = 7; // these take between 5 and 11 minutes

  const { dataset, src } = document.currentScript || 0;
  // Calls made before this script ran, or while the page is prerendered.
  const calls = (window.weir || 0).q || [];
  let call = (args) => calls.push(args);
  const queue = [];
  let timer; // of the next flush: the batch delay or a back-off
  let busy = 0; // requests not answered yet
  let failures = 0; // since a request was last answered well
  let url; // of the current page view
  let referrer; // of the current page view

  // Nothing in here may ever break the page.
  const guard = (fn) => (...args) => {
    try {
      return fn(...args);
    } catch (e) {}
  };

  // Capturing on window hears of events anywhere in the page, also of those
  // that don't bubble or that the page stops.
  const on = (type, listener) => addEventListener(type, guard(listener), true);

  // Not crypto.randomUUID, which plain http pages don't have.
  const uuid = () => 'xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx'.replace(/x/g, () =>
    (crypto.getRandomValues(new Uint8Array(1))[0] % 16).toString(16)
  );

  // The fragment is no part of a page's address and may hold a secret, unless
  // the page says that it routes by it.
  const currentUrl = () => location.href.replace(dataset.hash == null ? /#.*/ : '', '');

  // Done late, as routers change the title some time after the URL.
  const setTitles = () => queue.forEach((event) => {
    event.title = event.title || document.title;
  });

  const add = (type, name, properties) => {
    queue.push({
      type,
      name,
      id: uuid(),
      timestamp: Date.now(),
      url: currentUrl(),
      referrer,
      // A copy, since the page may go on to change its object.
      properties: properties && JSON.parse(JSON.stringify({ ...properties })),
      screen: screen.width + 'x' + screen.height,
      language: navigator.language,
    });
    // A hidden page may be gone before a timer fires.
    timer = timer || (document.hidden ? flush(busy) : setTimeout(flush, BATCH_DELAY));
  };

  // Sends a batch, or everything if the page is leaving. A beacon is the surest
  // to outlive the page, but doesn't tell what became of it. So while the page
  // stays, fetch is used, and a batch that failed is sent again, ids and all.
  const flush = guard((leaving) => {
    clearTimeout(timer);
    timer = 0;
    setTitles();
    while (queue[0] && (leaving || !busy)) {
      const events = [];
      let size = 0;
      while (
        queue[0] &&
        ((size += JSON.stringify(queue[0]).length) < MAX_BATCH || !events[0])
      ) events.push(queue.shift());

      // A string goes as text/plain, which needs no CORS preflight.
      const endpoint = dataset.endpoint || new URL('v1/events', src).href;
      const body = JSON.stringify({ key: dataset.key, events });
      if (leaving && guard(() => navigator.sendBeacon(endpoint, body))()) continue;

      // The error of a fetch that got no answer has no status.
      const done = guard(({ status = 500 }) => {
        busy--;
        if (!/408|429|5../.test(status)) failures = 0;
        else if (failures < MAX_RETRIES) {
          failures++;
          queue.unshift(...events);
        }
        clearTimeout(timer);
        timer = (failures || queue[0]) &&
          setTimeout(flush, (1 + Math.random()) * BATCH_DELAY * 3 ** failures);
      });
      busy++;
      fetch(endpoint, {
        method: 'POST',
        body,
        credentials: 'omit',
        keepalive: body.length < MAX_BATCH + 1000,
      }).then(done, done);
    }
  });

  // `persisted` is only ever true in the pageshow event of a page that the
  // back/forward cache brought back.
  const pageView = guard(({ persisted }) => {
    const next = currentUrl();
    if (next != url || persisted) {
      setTitles();
      referrer = url || document.referrer;
      url = next;
      add('page');
    }
  });

  const track = guard(([name, properties]) => {
    if (name) add('track', '' + name, properties);
  });

  const start = () => {
    call = track;
    pageView(0);
    calls.forEach(track);

    on('popstate', pageView);
    on('hashchange', pageView);
    on('pageshow', pageView);
    ['pushState', 'replaceState'].forEach((method) => {
      const original = history[method];
      history[method] = (...args) => {
        const result = original.apply(history, args);
        pageView(0);
        return result;
      };
    });

    on('click', (event) => {
      // Unlike closest(), this sees into open shadow roots.
      const element = event.composedPath().find((node) => (node.dataset || 0).weirEvent);
      if (element) {
        const properties = {};
        for (const { name, value } of element.attributes) {
          name.replace(/^data-weir-prop-(.+)/, (_, property) => properties[property] = value);
        }
        add('click', element.dataset.weirEvent, properties);
      }
    });

    on('pagehide', flush);
    on('visibilitychange', () => document.hidden && flush(1));
  };

  // Not if this script ran in this page before.
  if (calls.forEach) {
    window.weir = (...args) => call(args);
    // A page that kept the stub from before pushes to this.
    weir.q = { push: (args) => call(args) };

    if (guard(() => localStorage.weir_ignore)() != null) call = () => {};
    else if (document.prerendering) on('prerenderingchange', start);
    else start();
  }
})();
