import { AnalyticsBrowser } from '@segment/analytics-next';

const analytics = AnalyticsBrowser.load({ writeKey: weir.key, cdnURL: weir.url });
(async () => {
  await analytics.page('Pricing');
  await analytics.identify('alice', { email: 'alice@example.com' });
  await analytics.track('Order Completed', { total: 49.5 });
  window.done();
})();
