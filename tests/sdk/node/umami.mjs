import { Umami } from '@umami/node';

const { WEIR_URL, WEIR_ALIAS } = process.env;
const umami = new Umami({ websiteId: WEIR_ALIAS, hostUrl: WEIR_URL });
const page = { website: WEIR_ALIAS, hostname: 'shop.example', url: '/pricing?utm_source=newsletter', title: 'Pricing', referrer: 'https://news.example/', language: 'de-CH', screen: '1920x1080' };
const answers = [
  await umami.send(page),
  await umami.track({ ...page, name: 'order-completed', data: { total: 49.5 } }),
  await umami.identify({ email: 'alice@example.com' }),
];
for (const answer of answers) if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
