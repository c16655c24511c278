// The order of a column's texts by what they mean. Nulls are last, whichever way.

const collator = new Intl.Collator('en', { numeric: true });

// Numbers beyond 2^53 differ in digits that a double hasn't.
const whole = /^-?\d{16,}$/;

function number(one, other) {
  if (whole.test(one) && whole.test(other)) {
    const [left, right] = [BigInt(one), BigInt(other)];
    return left < right ? -1 : left > right ? 1 : 0;
  }
  // NaN is the greatest, as in PostgreSQL.
  const [left, right] = [Number(one), Number(other)];
  if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
  return left - right;
}

const plain = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
const KINDS = { number, time: plain };

export function compare(kind) {
  const by = KINDS[kind] ?? collator.compare;
  return (one, other, direction) => (one == null || other == null ? (one == null) - (other == null) : direction * by(one, other));
}
