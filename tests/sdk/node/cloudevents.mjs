import { CloudEvent, HTTP } from 'cloudevents';

const { WEIR_URL, WEIR_KEY } = process.env;
const event = (id) => new CloudEvent({ id, source: '/billing', type: 'com.acme.paid', time: '2026-11-20T10:00:00.123Z', subject: 'alice', data: { total: 49.5 } });
const send = async ({ headers, body }) => {
  const answer = await fetch(`${WEIR_URL}/v1/cloudevents`, { method: 'POST', headers: { ...headers, authorization: `Bearer ${WEIR_KEY}` }, body });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
};
await send(HTTP.structured(event('1')));
await send(HTTP.binary(event('2')));
await send({ headers: { 'content-type': 'application/cloudevents-batch+json' }, body: JSON.stringify([event('2'), event('3')]) });
