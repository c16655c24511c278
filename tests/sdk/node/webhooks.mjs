// Signs as the services do, by their own packages, and sends to a collector.
import Stripe from 'stripe';
import { sign } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import { Webhook as Svix } from 'svix';

const { WEIR_URL, WEIR_SECRET } = process.env;
const send = async (source, body, headers, expected) => {
  const answer = await fetch(`${WEIR_URL}/v1/webhook/${source}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
  if (answer.status !== expected) throw new Error(`${source}: ${answer.status} ${await answer.text()}, not ${expected}`);
};
const nowS = Math.floor(Date.now() / 1000);
const text = 'é\u2028😀';

// As with all packages that only sign and verify: no request is made to Stripe.
const stripe = new Stripe('sk_test_none');
const invoice = JSON.stringify({ id: 'evt_1', object: 'event', type: 'invoice.paid', created: nowS, data: { text } }, null, 2);
const header = (timestamp, secret = WEIR_SECRET) => ({ 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: invoice, secret, timestamp }) });
await send('stripe', invoice, header(), 200);
await send('stripe', invoice, header(nowS - 10), 200);
await send('stripe', invoice, header(nowS - 400), 401);
await send('stripe', invoice, header(nowS, 'whsec_another'), 401);
await send('stripe', `${invoice} `, header(), 401);

const push = JSON.stringify({ ref: 'refs/heads/main', text });
const github = (signature) => ({ 'x-github-event': 'push', 'x-github-delivery': 'd1', 'x-hub-signature-256': signature });
await send('github', push, github(await sign(WEIR_SECRET, push)), 200);
await send('github', push, github(await sign(`${WEIR_SECRET}!`, push)), 401);

const contact = JSON.stringify({ type: 'contact.created', timestamp: new Date(nowS * 1000).toISOString(), data: { text } });
for (const [prefix, hook] of [['webhook', new Webhook(WEIR_SECRET)], ['svix', new Svix(WEIR_SECRET)]]) {
  const signed = (at) => ({ [`${prefix}-id`]: `msg_${prefix}`, [`${prefix}-timestamp`]: `${Math.floor(at / 1000)}`, [`${prefix}-signature`]: hook.sign(`msg_${prefix}`, new Date(at), contact) });
  await send('standard', contact, signed(Date.now()), 200);
  await send('standard', contact, signed(Date.now() - 10_000), 200);
  await send('standard', contact, signed(Date.now() - 400_000), 401);
}
console.log('sent');
