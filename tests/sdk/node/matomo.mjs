import MatomoTracker from 'matomo-tracker';

const { WEIR_URL, WEIR_ALIAS } = process.env;
const matomo = new MatomoTracker(WEIR_ALIAS, `${WEIR_URL}/matomo.php`, true);
matomo.on('error', (error) => console.error(error));
const page = { url: 'https://shop.example/pricing', action_name: 'Pricing', _id: '0123456789abcdef', urlref: 'https://news.example/', res: '1920x1080' };
matomo.track(page);
const answer = await new Promise((resolve) => {
  matomo.trackBulk([{ ...page, e_c: 'shop', e_a: 'buy', e_n: 'team', e_v: '7', uid: 'alice' }, { ...page, search: 'weir', search_count: 3 }], resolve);
});
const { tracked, invalid } = JSON.parse(answer);
if (tracked !== 2 || invalid !== 0) throw new Error(answer);
// Its connections would keep the process until the collector closes them.
process.exit();
