// gtag.js comes from Google's servers alone: these are its requests.
const shared = new URLSearchParams({ v: '2', tid: weir.alias, gtm: '45je', _p: '1', cid: '123.456', ul: 'de-ch', sr: '1920x1080', sid: '1763805600', sct: '1', seg: '0', dl: location.href, dr: document.referrer, dt: document.title, _s: '1' });
navigator.sendBeacon(`${weir.url}/g/collect?${shared}&en=page_view&_et=8`);
navigator.sendBeacon(`${weir.url}/g/collect?${shared}`, 'en=scroll&epn.percent_scrolled=90&_et=12\r\nen=signup&ep.plan=team');
setTimeout(window.done, 300);
