import { newTracker, setUserId, trackPageView, trackSelfDescribingEvent, trackStructEvent } from '@snowplow/browser-tracker';

newTracker('sp', weir.url, { appId: weir.alias, platform: 'web', contexts: { webPage: true } });
setUserId('alice');
trackPageView({ title: 'Pricing' });
trackSelfDescribingEvent({ event: { schema: 'iglu:com.acme/order_completed/jsonschema/1-0-0', data: { total: 49.5 } } });
// What could not be sent goes with the next event.
setTimeout(() => {
  trackStructEvent({ category: 'shop', action: 'add-to-basket', label: 'web', value: 2 });
  setTimeout(window.done, 1500);
}, 2000);
