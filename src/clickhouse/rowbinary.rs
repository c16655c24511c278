//! Rows as `ClickHouse` reads them from the body of an insert.
//!
//! ```text
//! row      = value × COLUMNS, one after the other, without anything between
//! value    = [is_null u8, where the column may be NULL; 1: that is all] bytes of its type
//! UUID     = u64 of its first eight bytes, u64 of the others           little endian
//! time     = i64, microseconds since 1970                              little endian
//! flag     = u8
//! text     = length as a variable-length integer (LEB128), then UTF-8
//! ```
//!
//! It says nothing of itself: columns and types are those that the insert names, in that order.

use std::error::Error;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type as Wire};
use uuid::Uuid;

use super::columns::{COLUMNS, Column, Type};
use crate::columnar::table::POSTGRES_EPOCH_US;

/// A value in PostgreSQL's binary format, whatever its type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Wire, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Wire) -> bool {
        true
    }
}

/// A value is not what PostgreSQL sends of its type.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("column {0} is not of the type that it has to be")]
    Value(&'static str),
    #[error("column {name}: {source}")]
    Read { name: &'static str, source: tokio_postgres::Error },
}

/// Appends a row of [`super::rows`]: every column of [`COLUMNS`], in that order. Returns its id.
pub fn encode(row: &Row, out: &mut Vec<u8>) -> Result<Uuid, EncodeError> {
    for (place, column) in COLUMNS.iter().enumerate() {
        let value: Option<Raw> =
            row.try_get(place).map_err(|source| EncodeError::Read { name: column.name, source })?;
        put(out, column, value.map(|value| value.0)).ok_or(EncodeError::Value(column.name))?;
    }
    row.try_get(0).map_err(|source| EncodeError::Read { name: COLUMNS[0].name, source })
}

/// One value; `None` where it is none of its type.
fn put(out: &mut Vec<u8>, column: &Column, value: Option<&[u8]>) -> Option<()> {
    let Some(value) = value else {
        out.push(1);
        return column.is_nullable.then_some(());
    };
    if column.is_nullable {
        out.push(0);
    }
    match column.kind {
        Type::Uuid => {
            let (first, second) = Uuid::from_slice(value).ok()?.as_u64_pair();
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&second.to_le_bytes());
        }
        Type::Time => {
            // Infinity stays what it is: the greatest or the least number.
            let us = match i64::from_be_bytes(value.try_into().ok()?) {
                i64::MIN => i64::MIN,
                us => us.saturating_add(POSTGRES_EPOCH_US),
            };
            out.extend_from_slice(&us.to_le_bytes());
        }
        Type::Flag => out.push(*value.first()?),
        Type::Word | Type::Text | Type::Inet | Type::Json => {
            put_length(out, value.len());
            out.extend_from_slice(value);
        }
    }
    Some(())
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        // The low seven bits, and the sign that there are more.
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(column: &Column, value: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        put(&mut out, column, value).map(|()| out)
    }

    /// The length back, by the definition of LEB128.
    fn length(bytes: &[u8]) -> (usize, usize) {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("an end");
        let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
        (value, end + 1)
    }

    #[test]
    fn values_are_those_of_the_format() {
        let column = |name: &str| COLUMNS.iter().find(|column| column.name == name).expect("a column");
        let id: Vec<u8> = (0..16).collect();
        assert_eq!(
            bytes(column("event_id"), Some(&id)).expect("a uuid"),
            [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]
        );
        let second = 1_000_000_i64.to_be_bytes();
        let expected = (946_684_801_000_000_i64).to_le_bytes();
        assert_eq!(bytes(column("occurred_at"), Some(&second)).expect("a time"), expected);
        assert_eq!(bytes(column("sent_at"), None).expect("a null"), [1]);
        assert_eq!(bytes(column("sent_at"), Some(&second)).expect("a time")[1..], expected);
        for end in [i64::MIN, i64::MAX] {
            let time = bytes(column("occurred_at"), Some(&end.to_be_bytes())).expect("a time");
            assert_eq!(time, end.to_le_bytes());
        }
        assert_eq!(bytes(column("is_bot"), Some(&[1])).expect("a flag"), [1]);
        assert_eq!(bytes(column("source"), Some(b"web")).expect("a word"), *b"\x03web");
        assert_eq!(bytes(column("name"), Some("é".as_bytes())).expect("a word"), *b"\0\x02\xc3\xa9");
        assert_eq!(bytes(column("source"), None), None, "it may not be null");
        assert_eq!(bytes(column("event_id"), Some(&[1])), None);
    }

    proptest! {
        #[test]
        fn text_of_any_length_is_found_again(text in proptest::collection::vec(any::<u8>(), 0..40_000)) {
            let out = bytes(&COLUMNS[4], Some(&text)).expect("text");
            let (value, at) = length(&out);
            prop_assert_eq!(value, text.len());
            prop_assert_eq!(&out[at..], &text[..]);
        }
    }
}
