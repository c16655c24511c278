import { PostHog } from 'posthog-node';

const { WEIR_URL, WEIR_KEY } = process.env;
const client = new PostHog(WEIR_KEY, { host: WEIR_URL, flushAt: 10, disableGeoip: true, ...globalThis.posthogOptions });
client.on('error', (error) => console.error(error));
const timestamp = new Date('2026-11-20T10:00:00.123Z');
client.capture({ distinctId: 'alice', event: 'order completed', properties: { total: 49.5, $current_url: 'https://shop.example/pricing', $session_id: 'session-1' }, timestamp });
client.identify({ distinctId: 'alice', properties: { email: 'alice@example.com' } });
client.alias({ distinctId: 'alice', alias: 'anon-1' });
client.groupIdentify({ groupType: 'company', groupKey: 'acme', properties: { seats: 5 } });
await client.shutdown(20_000);
