// Reload's ra.js comes with its server, in no package: these are its requests.
const send = (path, body) => new Promise((resolve) => {
  const request = new XMLHttpRequest();
  request.open('POST', `${weir.url}${path}?key=${weir.key}`);
  request.onload = resolve;
  request.send(JSON.stringify(body));
});
const page = { user_id: 'undefined', anonymous_id: 'anon-1', url: location.href, path: location.pathname, referrer: '', document_referrer: document.referrer, title: document.title, sent_at: String(Date.now()) };
(async () => {
  await send('/page/', page);
  await send('/event/', { event_name: 'signup', user_id: 7, organization_id: 3, plan: 'team' });
  await send('/metric/', [{ metric_name: 'app.load', value: 1.5, tags: { route: 'pricing' } }]);
  window.done();
})();
