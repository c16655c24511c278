import RudderAnalytics from '@rudderstack/rudder-sdk-node';

const { WEIR_URL, WEIR_KEY } = process.env;
const Client = RudderAnalytics.default ?? RudderAnalytics;
const client = new Client(WEIR_KEY, { dataPlaneUrl: WEIR_URL, flushAt: 3 });
const person = { userId: 'alice', anonymousId: 'anon-1' };
const timestamp = new Date('2026-11-20T10:00:00.123Z');
const sent = (call, message) => new Promise((resolve, reject) => client[call]({ timestamp, ...message }, (error) => (error ? reject(error) : resolve())));
await Promise.all([
  sent('track', { ...person, event: 'Order Completed', properties: { total: 49.5 } }),
  sent('identify', { ...person, traits: { email: 'alice@example.com' } }),
  sent('page', { ...person, name: 'Pricing', properties: { url: 'https://shop.example/pricing', title: 'Pricing' } }),
  client.flush(),
]);
