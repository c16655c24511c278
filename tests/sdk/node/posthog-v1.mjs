globalThis.posthogOptions = { captureMode: 'v1' };
await import('./posthog.mjs');
