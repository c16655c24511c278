import Plausible from 'plausible-tracker';

const { trackPageview, trackEvent } = Plausible.default?.() ?? Plausible({ domain: weir.alias, apiHost: weir.url, trackLocalhost: true });
trackPageview();
trackEvent('Signup', { props: { plan: 'team' }, callback: () => window.done() });
