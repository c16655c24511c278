//! Records that end with a line: NDJSON's, and CSV's, which may have line breaks of their own.

use memchr::{memchr, memchr2};

use super::Found;

/// A record whose line ends at `end`, or with the file.
pub(super) fn line(end: Option<usize>, rest: &[u8], is_end: bool, trimmed: fn(&[u8]) -> &[u8]) -> Found {
    let (end, next) = match end {
        Some(end) => (end, end + 1),
        None if is_end && !rest.is_empty() => (rest.len(), rest.len()),
        None => return Found::More,
    };
    let whole = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let content = trimmed(whole);
    if content.is_empty() {
        return Found::Nothing { next };
    }
    let start = if content.len() == whole.len() { 0 } else { whole.len() - whole.trim_ascii_start().len() };
    Found::Record { start, end: start + content.len(), next }
}

/// Where the line break is that ends a CSV record: a quote counts only where a field begins, as for RFC 4180.
pub(super) fn csv_end(bytes: &[u8], delimiter: u8, is_end: bool) -> Option<usize> {
    let (mut at, mut is_start) = (0, true);
    loop {
        match bytes.get(at)? {
            b'"' if is_start => {
                at += 1;
                loop {
                    at += memchr(b'"', &bytes[at..])? + 1;
                    match bytes.get(at) {
                        Some(b'"') => at += 1,
                        None if !is_end => return None,
                        _ => break,
                    }
                }
                is_start = false;
            }
            b'\n' => return Some(at),
            byte if *byte == delimiter => {
                is_start = true;
                at += 1;
            }
            _ => {
                is_start = false;
                at += memchr2(delimiter, b'\n', &bytes[at..])?;
            }
        }
    }
}
