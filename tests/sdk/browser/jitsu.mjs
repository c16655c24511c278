import { jitsuAnalytics } from '@jitsu/js';

// Its keys have two parts.
const analytics = jitsuAnalytics({ host: weir.url, writeKey: `${weir.key}:browser` });
(async () => {
  await analytics.page({ name: 'Pricing' });
  await analytics.identify('alice', { email: 'alice@example.com' });
  await analytics.track('Order Completed', { total: 49.5 });
  window.done();
})();
