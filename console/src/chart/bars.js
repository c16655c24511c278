// Bars for uPlot: beside each other, or one on the other.

const SHARE_OF_SLOT = 0.76;
const WIDTH_MAX_PX = 72;

// The `nth` of `of` series beside each other; with `of` 0, all are at one place, above the values `below`.
export function grouped(nth, of, below) {
  return (u, seriesAt, first, last) => {
    const [xs, ys] = [u.data[0], u.data[seriesAt]];
    let step = Infinity;
    for (let at = 1; at < xs.length; at++) step = Math.min(step, xs[at] - xs[at - 1]);
    if (step == Infinity) step = 1;
    const slot = Math.abs(u.valToPos(xs[0] + step, 'x', true) - u.valToPos(xs[0], 'x', true));
    const all = Math.max(1, Math.min(slot * SHARE_OF_SLOT, WIDTH_MAX_PX * devicePixelRatio));
    const width = of ? all / of : all;
    const path = new Path2D();
    for (let at = first; at <= last; at++) {
      if (ys[at] == null) continue;
      const middle = u.valToPos(xs[at], 'x', true);
      const left = of ? middle - all / 2 + nth * width : middle - all / 2;
      const top = u.valToPos(ys[at], 'y', true);
      const bottom = u.valToPos(below ? below[at] : 0, 'y', true);
      path.rect(left, Math.min(top, bottom), Math.max(1, width - (width > 4 ? 1 : 0)), Math.abs(bottom - top));
    }
    return { fill: path, stroke: null };
  };
}
