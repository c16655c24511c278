import { AnalyticsBrowser } from '@segment/analytics-next';

const options = { integrations: { 'Segment.io': { deliveryStrategy: { strategy: 'batching', config: { size: 2, timeout: 60_000 } } } } };
const analytics = AnalyticsBrowser.load({ writeKey: weir.key, cdnURL: weir.url }, options);
(async () => {
  await analytics.page('Pricing');
  await analytics.track('Order Completed', { total: 49.5 });
  window.done();
})();
