import { RudderAnalytics } from '@rudderstack/analytics-js/bundled';

const analytics = new RudderAnalytics();
analytics.load(weir.key, weir.url, { configUrl: weir.url, lockIntegrationsVersion: true, plugins: [] });
analytics.page('Pricing');
analytics.identify('alice', { email: 'alice@example.com' });
analytics.track('Order Completed', { total: 49.5 });
analytics.ready(() => setTimeout(window.done, 1500));
setTimeout(window.done, 4000);
