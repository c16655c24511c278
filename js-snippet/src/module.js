// The npm package: one function that any module may import and call, on a server
// too, where it does nothing; and `init`, which the page calls once.
import { guard, init } from './weir.js';

const isPage = typeof document == 'object';
// Calls made before `init`; more than these mean that it is never called.
const CALLS = 500;
const calls = [];
let started;

const weir = (...args) => {
  if (started) started(...args);
  else if (isPage && calls.length < CALLS) calls.push(args);
};
['identify', 'reset', 'consent'].forEach((name) => (weir[name] = (...args) => weir(name, ...args)));
weir.init = guard((options) => {
  if (!isPage || started) return;
  // As attributes would be: there or not.
  const given = Object.entries(options).filter(([, value]) => value || value === '');
  started = init(Object.fromEntries(given), calls);
});

export default weir;
