//! JSON made safe for PostgreSQL before it is parsed.
//!
//! `serde_json` decides what is JSON. This file adds what it does not promise: a depth limit below its own, numbers that
//! `numeric` can hold, and escapes that `jsonb` accepts (`\u0000` and lone surrogates become U+FFFD).

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};

use super::{DEPTH_MAX, EVENT_BYTES_MAX, Refusal};

/// Characters of one number. `numeric` holds 131,072 digits before the point but only 16,383 after it.
const NUMBER_CHARS_MAX: usize = 1_000;
/// An exponent makes PostgreSQL write out that many digits.
const EXPONENT_MAX: u32 = 1_000;

/// What is looked at at once.
pub(super) const WORD_BYTES: usize = 8;

/// Of a string that is not searched by vectors.
const SHORT_STRING_BYTES: usize = 32;

/// Checks the first JSON value in `text` against the limits and returns where it ends.
///
/// What is not JSON passes unnoticed or ends early: the parser that follows will say so.
pub fn scan(text: &str) -> Result<usize, Refusal> {
    scan_up_to(text, EVENT_BYTES_MAX)
}

/// The same of a value that may be `bytes_max` long.
pub(super) fn scan_up_to(text: &str, bytes_max: usize) -> Result<usize, Refusal> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Refusal::TooDeep);
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
                if depth == 0 {
                    return limit_length(at, bytes_max);
                }
            }
            b'0'..=b'9' => at = end_of_number(bytes, at)?,
            _ => at += 1,
        }
    }
    limit_length(at, bytes_max)
}

fn limit_length(bytes: usize, bytes_max: usize) -> Result<usize, Refusal> {
    if bytes > bytes_max { Err(Refusal::TooLong(bytes)) } else { Ok(bytes) }
}

/// The index after the string that opens at `start`, or the end of the text.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    end_of_long_string(bytes, start + 1)
}

/// The same for names and values, which are mostly short, and whether there are escapes: beginning a search by vectors costs
/// more time than looking at some bytes eight by eight.
pub(super) fn end_of_short_string(bytes: &[u8], start: usize) -> (usize, bool) {
    let (mut at, mut has_escapes) = (start + 1, false);
    // A string with escapes has many of them, as JSON within JSON has: a search would begin again and again.
    while at <= start + SHORT_STRING_BYTES || has_escapes {
        let Some(word) = bytes.get(at..at + WORD_BYTES).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes)
        else {
            break;
        };
        let found = equal(word, b'"') | equal(word, b'\\');
        if found == 0 {
            at += WORD_BYTES;
            continue;
        }
        at += found.trailing_zeros() as usize / 8;
        if bytes[at] == b'"' {
            return (at + 1, has_escapes);
        }
        has_escapes = true;
        at += 2;
    }
    let end = end_of_long_string(bytes, at);
    (end, has_escapes || memchr(b'\\', &bytes[at.min(end)..end]).is_some())
}

/// The highest bit of each byte of `word` that is `byte`; perhaps also of ones behind such a byte. See "Determine if a word
/// has a byte equal to n" of Sean Eron Anderson's "Bit Twiddling Hacks".
pub(super) const fn equal(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let zero_where_equal = word ^ (ONES * byte as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHEST
}

fn end_of_long_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += offset;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, Refusal> {
    let length =
        bytes[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')).count();
    let number = &bytes[start..start + length];
    if length > NUMBER_CHARS_MAX {
        return Err(Refusal::NumberTooLarge);
    }
    if let Some(e) = memchr2(b'e', b'E', number) {
        let exponent = number[e + 1..]
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
        if exponent > EXPONENT_MAX {
            return Err(Refusal::NumberTooLarge);
        }
    }
    Ok(start + length)
}

/// Replaces `\u0000` and lone surrogates, which PostgreSQL cannot hold, by `\ufffd`; returns how many.
///
/// Works on the text because backslashes occur in JSON only inside strings, and each escape is consumed whole, so an
/// escaped backslash followed by `u0000` stays what it is.
pub fn mend_escapes(text: &str) -> (Cow<'_, str>, usize) {
    if memmem::find(text.as_bytes(), b"\\u").is_none() {
        return (Cow::Borrowed(text), 0);
    }
    let bytes = text.as_bytes();
    let mut mended = String::new();
    let (mut copied, mut at, mut count) = (0, 0, 0);
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        let start = at + offset;
        at = start + 2;
        let Some(unit) = code_unit(bytes, start) else {
            continue;
        };
        at = start + 6;
        let lone = match unit {
            0xd800..=0xdbff => match code_unit(bytes, at) {
                Some(0xdc00..=0xdfff) => {
                    at += 6;
                    false
                }
                _ => true,
            },
            0 | 0xdc00..=0xdfff => true,
            _ => false,
        };
        if lone {
            mended.push_str(&text[copied..start]);
            mended.push_str("\\ufffd");
            copied = start + 6;
            count += 1;
        }
    }
    if count == 0 {
        return (Cow::Borrowed(text), 0);
    }
    mended.push_str(&text[copied..]);
    (Cow::Owned(mended), count)
}

/// The value of the escape `\uXXXX` that starts at `at`, if one does.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if &escape[..2] != b"\\u" || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn short_strings_end_where_others_do(before in "[a!#\\u{80}]{0,3}", inside in r"([a!#\u{7f}\u{a2}\u{22}]|\\.|\\\\){0,60}", after in ".{0,10}") {
            let text = format!("{before}\"{inside}\"{after}");
            let (end, has_escapes) = end_of_short_string(text.as_bytes(), before.len());
            prop_assert_eq!(end, end_of_string(text.as_bytes(), before.len()), "{}", text);
            prop_assert_eq!(has_escapes, text[before.len()..end].contains('\\'), "{}", text);
        }
    }

    #[test]
    fn depth_is_limited_exactly() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(scan(&nested(DEPTH_MAX)), Ok(2 * DEPTH_MAX));
        assert_eq!(scan(&nested(DEPTH_MAX + 1)), Err(Refusal::TooDeep));
        assert_eq!(scan(&"[".repeat(1_000_000)), Err(Refusal::TooDeep));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(100), "{".repeat(100));
        assert_eq!(scan(&text), Ok(text.len()));
    }

    #[test]
    fn numbers_that_numeric_cannot_hold_are_refused() {
        for fine in ["[1e5]", "[-1.5E-300]", "[123456789012345678901234567890]", "[true,false]"] {
            assert_eq!(scan(fine), Ok(fine.len()), "{fine}");
        }
        let digits = format!("[0.{}]", "1".repeat(20_000));
        for bad in ["[1e400000]", "[1e-400000]", "[1E99999999999999999999]", &digits] {
            assert_eq!(scan(bad), Err(Refusal::NumberTooLarge), "{bad}");
        }
    }

    #[test]
    fn the_end_of_the_first_value_is_found() {
        assert_eq!(scan(r#"{"a":{}} {"b":1}"#), Ok(8));
    }

    #[test]
    fn escapes_that_jsonb_refuses_are_mended() {
        for (from, to, times) in [
            (r#""a\u0000b""#, r#""a\ufffdb""#, 1),
            (r#""\\u0000""#, r#""\\u0000""#, 0),
            (r#""\\\u0000""#, r#""\\\ufffd""#, 1),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#, 0),
            (r#""\ud83d""#, r#""\ufffd""#, 1),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#, 2),
            (r#""\uD83Dx\u00e9""#, r#""\ufffdx\u00e9""#, 1),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, 1),
            (r#""\u00"#, r#""\u00"#, 0),
        ] {
            assert_eq!(mend_escapes(from), (Cow::Borrowed(to), times), "{from}");
        }
    }
}
