//! JSON that a parser has accepted, and the values within it, found by quotes and brackets alone.

use serde_json::value::RawValue;

use super::json::{end_of_short_string, mend_escapes};
use super::object::Texts;
use super::{DecodeError, EVENTS_MAX};

/// JSON that a parser has accepted: a value of any type, without space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(pub(super) &'a str);

impl<'a> Json<'a> {
    pub fn parse(text: &'a str) -> Result<Self, DecodeError> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| DecodeError::NotJson(error.to_string()))?;
        Ok(Self(raw.get()))
    }

    /// JSON that came as text within JSON, or in another wrapping: if it is any.
    pub fn embedded(text: &'a str, texts: &'a Texts) -> Option<Self> {
        Self::parse(Self::mended(text, texts)).ok()
    }

    /// Text that may be such JSON, made safe for PostgreSQL.
    pub fn mended(text: &'a str, texts: &'a Texts) -> &'a str {
        texts.text(mend_escapes(text).0)
    }

    pub fn get(self) -> &'a str {
        self.0
    }

    /// The text of a string that holds no escapes.
    pub(super) fn plain(self) -> Option<&'a str> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        memchr::memchr(b'\\', inner.as_bytes()).is_none().then_some(inner)
    }

    /// An array's items.
    pub fn items(self) -> Result<Vec<Json<'a>>, DecodeError> {
        if !self.0.starts_with('[') {
            return Err(DecodeError::NotJson("expected an array of events".to_owned()));
        }
        let items: Vec<_> = Parts::of(self).take(EVENTS_MAX + 1).collect();
        if items.len() > EVENTS_MAX {
            return Err(DecodeError::TooManyEvents(Parts::of(self).count()));
        }
        Ok(items)
    }

    /// An array's items; what is none is its own only item.
    pub fn items_or_one(self) -> Result<Vec<Json<'a>>, DecodeError> {
        if self.0.starts_with('[') { self.items() } else { Ok(vec![self]) }
    }
}

/// The values directly inside an array; of an object its names, too.
pub(super) struct Parts<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn of(json: Json<'a>) -> Self {
        Self { text: json.0, at: 1 }
    }

    /// The next byte that is no space, comma or colon.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// The name that is the next value, and whether it holds escapes.
    pub(super) fn name(&mut self) -> Option<(&'a str, bool)> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at;
        let (end, has_escapes) = end_of_short_string(self.text.as_bytes(), start);
        self.at = end;
        Some((self.text.get(start..end)?, has_escapes))
    }

    /// Goes into the next value, if that is an object.
    pub(super) fn enter_object(&mut self) -> bool {
        let is_object = self.peek() == Some(b'{');
        self.at += usize::from(is_object);
        is_object
    }

    /// Goes out of an object that has ended.
    pub(super) fn leave(&mut self) {
        self.at += 1;
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        self.peek()?;
        let start = self.at;
        self.at = end_of_value(self.text.as_bytes(), start)?;
        self.text.get(start..self.at).map(Json)
    }
}

/// The index after the value that begins at `start`; `None` where the array or object ends instead.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => Some(end_of_short_string(bytes, start).0),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, start);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = end_of_short_string(bytes, at).0;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b'}' | b']' => None,
        _ => {
            let length = bytes[start..]
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
            Some(length.map_or(bytes.len(), |length| start + length))
        }
    }
}
