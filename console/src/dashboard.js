// The dashboard's chart. All else there is the server's.
import { find, findAll } from './dom.js';

export async function dashboard() {
  const figures = findAll('figure[data-chart]');
  if (!figures.length) return;
  const { draw } = await import('#dist/chart.js');
  for (const figure of figures) draw(find('.plot', figure), { fill: true, ...JSON.parse(find('.chart-data', figure).textContent) });
}
