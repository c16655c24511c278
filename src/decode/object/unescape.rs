//! The text of strings that a parser has accepted: JSON within JSON is read twice.

use crate::decode::json::{WORD_BYTES, equal};

/// The text of a string that a parser has accepted.
pub(super) fn unescaped(json: &str) -> Option<String> {
    let mut text = vec![0; json.len() + WORD_BYTES];
    let Some(length) = unescape(json, &mut text) else { return serde_json::from_str(json).ok() };
    text.truncate(length);
    String::from_utf8(text).ok()
}

/// Writes that text, and says how long it is, unless there are other escapes than the simple ones of which JSON within JSON
/// is full. `text` is longer than `json` by a word: words are copied whole, and what was too much of one is overwritten.
pub(super) fn unescape(json: &str, text: &mut [u8]) -> Option<usize> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let (mut from, mut to) = (0, 0);
    loop {
        if let Some(word) = inside.get(from..).and_then(|rest| rest.first_chunk::<WORD_BYTES>()) {
            text.get_mut(to..)?.first_chunk_mut::<WORD_BYTES>()?.copy_from_slice(word);
            let found = equal(u64::from_le_bytes(*word), b'\\');
            let plain = if found == 0 { WORD_BYTES } else { found.trailing_zeros() as usize / 8 };
            (from, to) = (from + plain, to + plain);
            if found == 0 {
                continue;
            }
        }
        let Some(byte) = inside.get(from) else { return Some(to) };
        let (byte, length) = match byte {
            b'\\' => (simple_escape(*inside.get(from + 1)?)?, 2),
            plain => (*plain, 1),
        };
        *text.get_mut(to)? = byte;
        (from, to) = (from + length, to + 1);
    }
}

const fn simple_escape(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' | b'/' => Some(letter),
        b'n' => Some(b'\n'),
        _ => None,
    }
}
