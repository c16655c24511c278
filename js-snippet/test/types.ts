// Compiled by `npm test`, never run: what the types allow, and what they don't.
import weir from 'weir-js';
import full from 'weir-js/full';

weir.init({ key: 'pk_1', endpoint: new URL('https://collector.example/v1/events'), hash: true });
weir('signup', { plan: 'team', seats: 3, nested: { a: [1] } });
weir.identify(7, { email: 'a@example.com' });
weir.reset();
weir.consent(false);
full.init({ key: 'pk_1', endpoint: '/e', vitals: true, 404: true });

// @ts-expect-error an event has a name
weir();
// @ts-expect-error properties are an object
weir('signup', 'team');
// @ts-expect-error a key is needed
weir.init({ endpoint: '/e' });
// @ts-expect-error only the full one captures
weir.init({ key: 'pk_1', endpoint: '/e', vitals: true });
