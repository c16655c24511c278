import { init, track } from '@plausible-analytics/tracker';

init({ domain: weir.alias, endpoint: `${weir.url}/api/event`, captureOnLocalhost: true });
track('Signup', { props: { plan: 'team' }, callback: () => setTimeout(window.done, 300) });
