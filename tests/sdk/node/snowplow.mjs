import { newTracker, buildPageView, buildSelfDescribingEvent, buildStructEvent } from '@snowplow/node-tracker';

const { WEIR_URL, WEIR_ALIAS } = process.env;
const tracker = newTracker(
  { namespace: 'sp', appId: WEIR_ALIAS, encodeBase64: true },
  { endpoint: WEIR_URL, eventMethod: 'post', bufferSize: 1, onRequestFailure: (failure) => console.error(failure) },
);
tracker.setUserId('alice');
tracker.setDomainUserId('anon-1');
tracker.setScreenResolution(1920, 1080);
tracker.setLang('de-CH');
const schema = 'iglu:com.acme/order_completed/jsonschema/1-0-0';
const context = [{ schema: 'iglu:com.acme/plan/jsonschema/1-0-0', data: { name: 'team' } }];
tracker.track(buildPageView({ pageUrl: 'https://shop.example/pricing', pageTitle: 'Pricing', referrer: 'https://news.example/' }), context);
tracker.track(buildSelfDescribingEvent({ event: { schema, data: { total: 49.5 } } }));
tracker.track(buildStructEvent({ category: 'shop', action: 'add-to-basket', label: 'web', property: 'pcs', value: 2 }));
// What failed is kept for the next time.
for (let time = 0; time < 3; time++) {
  await tracker.flush();
  await new Promise((resolve) => setTimeout(resolve, 1500));
}
