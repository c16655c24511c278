import posthog from 'posthog-js';

posthog.init(weir.key, { api_host: weir.url, defaults: '2025-05-24', autocapture: true, request_batching: true, disable_session_recording: true });
posthog.capture('order completed', { total: 49.5 });
posthog.identify('alice', { email: 'alice@example.com' });
// Clicks are looked for once the collector has said what it takes.
setTimeout(() => document.getElementById('buy').click(), 2000);
setTimeout(window.done, 6000);
