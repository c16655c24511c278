//! A plain mutator: what libFuzzer does blindly, from a seed, wherever Rust runs.

use crate::split_mix::SplitMix64;

/// Chooses bytes.
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }
}

/// No input grows beyond this, or runs would get slower and slower.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Changes of one mutation: at least one, seldom many.
const CHANGES_MAX: usize = 6;
/// Longest part that is removed, repeated, or taken from another input.
const PART_BYTES_MAX: usize = 64;

/// One of the corpus, changed in a few places.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>], dictionary: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).cloned().unwrap_or_default();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(random, &mut bytes, corpus, dictionary);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    let end = bytes.len().min(at + 1 + random.below(PART_BYTES_MAX));
    match random.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let byte = random.next() as u8;
            bytes.insert(at, byte);
        }
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, part));
        }
        4 => {
            let other = random.pick(corpus).map(Vec::as_slice).unwrap_or_default();
            let from = random.below(other.len() + 1);
            let until = other.len().min(from + random.below(PART_BYTES_MAX));
            drop(bytes.splice(at..at, other[from..until].iter().copied()));
        }
        5 => {
            let other = random.pick(corpus).map(Vec::as_slice).unwrap_or_default();
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => {
            let token = random.pick(dictionary).cloned().unwrap_or_default();
            drop(bytes.splice(at..at, token));
        }
    }
}

/// The tokens of a libFuzzer dictionary: lines of `"text"`, with `\\`, `\"` and `\xAB`.
pub fn dictionary(text: &str) -> Vec<Vec<u8>> {
    text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).map(unescaped).collect()
}

fn unescaped(token: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = token.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (byte, after) {
            (b'\\', [b'x', hex @ ..]) => {
                let (hex, after) = hex.split_at(2);
                rest = after;
                let hex = std::str::from_utf8(hex).expect("two digits");
                u8::from_str_radix(hex, 16).expect("two digits")
            }
            (b'\\', [escaped, after @ ..]) => {
                rest = after;
                *escaped
            }
            _ => byte,
        });
    }
    bytes
}
