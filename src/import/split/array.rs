//! Items of a JSON array, over any number of lines.

use memchr::{memchr2, memchr3};

use super::Found;

/// An item of an array: what stands before and behind it is skipped.
pub(super) fn item(rest: &[u8], is_end: bool) -> Found {
    let between =
        rest.iter().take_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']')).count();
    if between == rest.len() {
        return if rest.is_empty() { Found::More } else { Found::Nothing { next: between } };
    }
    let start = between;
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        // Of what is no object, only where it ends is of interest: it is refused.
        let Some(offset) = rest.get(at..).and_then(|rest| next_mark(rest, depth)) else {
            let end = rest.len();
            return if is_end { Found::Record { start, end, next: end } } else { Found::More };
        };
        at += offset;
        match rest[at] {
            b'"' => match end_of_string(rest, at) {
                Some(end) => at = end,
                None if is_end => return Found::Record { start, end: rest.len(), next: rest.len() },
                None => return Found::More,
            },
            b'{' => {
                depth += 1;
                at += 1;
            }
            b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
                if depth == 0 {
                    return Found::Record { start, end: at, next: at };
                }
            }
            // A comma or bracket at depth 0.
            _ => return Found::Record { start, end: start + rest[start..at].trim_ascii_end().len(), next: at },
        }
    }
}

fn next_mark(rest: &[u8], depth: usize) -> Option<usize> {
    if depth > 0 {
        return memchr3(b'"', b'{', b'}', rest);
    }
    rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b',' | b']'))
}

fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
