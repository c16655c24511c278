// Umami's tracker comes with its server, in no package: these are its requests (umami-software/umami, src/tracker/index.js).
const payload = { website: weir.alias, screen: '1920x1080', language: 'de-CH', title: document.title, hostname: location.hostname, url: location.href, referrer: document.referrer };
const send = async (type, more) => {
  const answer = await fetch(`${weir.url}/api/send`, {
    keepalive: true,
    method: 'POST',
    body: JSON.stringify({ type, payload: { ...payload, ...more } }),
    headers: { 'Content-Type': 'application/json' },
    credentials: 'omit',
  });
  return answer.json();
};
(async () => {
  await send('event', {});
  await send('event', { name: 'signup', data: { plan: 'team' } });
  window.done();
})();
