import { Analytics } from '@segment/analytics-node';

const { WEIR_URL, WEIR_KEY } = process.env;
const analytics = new Analytics({ writeKey: WEIR_KEY, host: WEIR_URL, flushAt: 10 });
analytics.on('error', (error) => console.error(error));
const person = { userId: 'alice', anonymousId: 'anon-1' };
const context = {
  ip: '203.0.113.7',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0',
  locale: 'de-CH',
  page: { url: 'https://shop.example/pricing', path: '/pricing', title: 'Pricing', referrer: 'https://news.example/' },
  campaign: { source: 'newsletter', medium: 'mail', name: 'spring', term: 'weir', content: 'top' },
};
const timestamp = new Date('2026-11-20T10:00:00.123Z');
analytics.page({ anonymousId: 'anon-1', name: 'Pricing', category: 'Docs', properties: { url: 'https://shop.example/pricing' }, context, timestamp });
analytics.identify({ ...person, traits: { email: 'alice@example.com', plan: 'team' }, timestamp });
analytics.track({ ...person, event: 'Order Completed', properties: { total: 49.5, items: [1, 2] }, context, timestamp });
analytics.group({ ...person, groupId: 'acme', traits: { seats: 5 }, timestamp });
analytics.alias({ userId: 'alice', previousId: 'anon-1', timestamp });
analytics.screen({ ...person, name: 'Home', properties: { tab: 1 }, timestamp });
await analytics.closeAndFlush({ timeout: 20_000 });
