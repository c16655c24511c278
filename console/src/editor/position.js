// PostgreSQL counts characters from 1; JavaScript counts halves of some of them.

// The index in `text` of PostgreSQL's `position`.
export function codeUnits(text, position) {
  let at = 0;
  for (let left = position - 1; left > 0 && at < text.length; left--) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}
