// What a page does without calling weir, each by an option: in w.full.js only.

// A page in a loop of errors is as well described by these.
const ERRORS = 20;
const FILES = /\.(csv|dmg|docx?|exe|gz|mp[34]|pdf|pptx?|xlsx?|zip)$/i;

// `add` adds an event; `isSeen` is false of a page that was loaded in a tab
// behind others, where times of painting mean nothing. Returns what is to be
// called when a page view ends or is hidden.
export const capture = (options, add, guard, isSeen) => {
  // Capturing on window hears of events anywhere in the page, also of those that
  // don't bubble or that the page stops.
  const on = (types, listener) =>
    types.split(' ').forEach((type) => addEventListener(type, guard(listener), true));

  const addMarked = (type, name, attributes, properties) => {
    for (const { name, value } of attributes) {
      name.replace(/^data-weir-prop-(.+)/, (_, property) => properties[property] = value);
    }
    add(type, properties, name);
  };

  // A middle click is an auxclick. Unlike closest(), a path sees into open shadow
  // roots. Only links have a host.
  on('click auxclick', (event) => {
    if (event.button > 1) return;
    event.composedPath().forEach((element) => {
      const name = element.dataset?.weirEvent;
      if (name && !element.elements) addMarked('click', name, element.attributes, {});
      const kind = 'download' in options && FILES.test(element.pathname) ? 'download' : element.host != location.host && 'outbound';
      if (element.host && element.href && kind in options) add('click', { url: element.href }, kind);
    });
  });

  // By attribute, as a form's properties may be its inputs. Never their values.
  on('submit', ({ target: { attributes } }) => {
    const value = (name) => attributes[name]?.value;
    const name = value('data-weir-event');
    if (name || 'forms' in options) {
      addMarked('submit', name || 'form', attributes, { id: value('id'), action: value('action') });
    }
  });

  let errors = 'errors' in options && ERRORS;
  on('error unhandledrejection', (event) => {
    const message = event.message || event.reason;
    if (message && errors-- > 0) {
      add('track', { message: '' + message, at: event.filename }, 'js_error');
    }
  });

  // Safari before 15 has none.
  const [navigation = {}] = performance.getEntriesByType('navigation');
  if (404 in options && navigation.responseStatus == 404) add('track', null, '404');

  // Core Web Vitals, as https://web.dev/articles/vitals defines them. Times are
  // since somebody looks at the page.
  const since = (time) => Math.max(0, time - (navigation.activationStart | 0) | 0);
  let vitals = 'vitals' in options && isSeen && { ttfb: navigation.responseStart && since(navigation.responseStart) };
  const interactions = {};
  let first; // when the current window of shifts began
  let last; // its latest shift
  let shifts; // its sum
  const listeners = {
    paint: (entry) => vitals.fcp = since(entry.startTime),
    'largest-contentful-paint': (entry) => vitals.lcp = since(entry.startTime),
    'layout-shift': (entry) => {
      if (entry.hadRecentInput) return;
      const time = entry.startTime;
      if (!(time - last < 1e3 && time - first < 5e3)) {
        first = time;
        shifts = 0;
      }
      last = time;
      shifts += entry.value;
      if (shifts > vitals.cls) vitals.cls = shifts;
    },
    event: (entry) => {
      const id = entry.interactionId;
      if (id) interactions[id] = Math.max(interactions[id] | 0, entry.duration);
    },
  };
  if (vitals) {
    PerformanceObserver.supportedEntryTypes.forEach((type) => {
      const listener = listeners[type];
      if (!listener) return;
      // Where shifts are seen, none is none. Durations of 16 ms are the least that is told.
      if (/shift/.test(type)) vitals.cls = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(guard(listener)))
        .observe({ type, buffered: true, durationThreshold: 0 });
    });
  }

  let engaged = 0; // ms of this page view
  let watched; // since when
  let depth = 0; // how far down it was seen, in percent
  const watch = () => {
    const now = Date.now();
    if (watched) engaged += now - watched;
    watched = 'engagement' in options && document.hasFocus() && now;
  };
  on('focus blur', watch);
  watch();

  // Sizes are asked for when the browser has just laid out the page, and before
  // the page hears of it: later it might have to do so again.
  const look = () => {
    depth = Math.max(depth, (scrollY + innerHeight) / document.documentElement.scrollHeight * 100 | 0);
  };
  on('click scroll', look);

  return () => {
    if (vitals) {
      const worst = Object.values(interactions).sort((a, b) => b - a);
      // One in fifty may be an outlier.
      vitals.inp = worst[performance.interactionCount / 50 | 0] || worst.pop();
      add('web_vitals', vitals, 'web_vitals');
      vitals = 0;
    }
    watch();
    if (engaged > 99) {
      if (!depth) look();
      add('engagement', { engaged_ms: engaged, scroll_depth: Math.min(100, depth) }, 'engagement');
      engaged = depth = 0;
    }
  };
};
