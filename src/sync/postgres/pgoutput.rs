//! What the plugin `pgoutput` writes, protocol version 1, which PostgreSQL has had since 10.
//!
//! ```text
//! B  lsn i64  time i64  xid i32                                begin: where its commit is
//! C  flags i8  commit i64  end i64  time i64                   commit
//! R  relid i32  schema s  name s  identity i8  n i16  { flags i8  name s  type i32  typmod i32 } * n
//! I  relid i32  N tuple
//! U  relid i32  [ K tuple | O tuple ]  N tuple
//! D  relid i32  K tuple | O tuple
//! T  n i32  flags i8  { relid i32 } * n                        truncate
//! Y  type, O  origin, M  message                               not needed here
//!
//! tuple  n i16  { n | u | t len i32 bytes } * n                null, unchanged and too long to be sent, text
//! ```
//!
//! Times are microseconds since 2000. What is malformed is an error: nothing of it is applied.

use bytes::{Buf, Bytes};

use super::lsn::Lsn;

/// Columns of a table at most.
const COLUMNS_MAX: usize = 1_600;
/// Tables that one statement truncates: more than any has.
const TRUNCATED_MAX: usize = 100_000;
/// 2000-01-01 in Unix time.
const EPOCH_US: i64 = 946_684_800_000_000;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Begin {
        commit: Lsn,
        at_us: i64,
        /// The lower half of its number.
        xid: u32,
    },
    Commit {
        end: Lsn,
        at_us: i64,
    },
    Relation(Relation),
    Insert {
        relid: u32,
        new: Tuple,
    },
    /// `old` is there if the key changed, or if all old values are sent.
    Update {
        relid: u32,
        old: Option<Old>,
        new: Tuple,
    },
    Delete {
        relid: u32,
        old: Old,
    },
    Truncate {
        relids: Vec<u32>,
    },
    /// Of no meaning here.
    Other,
}

/// A table as it is at this place in the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub relid: u32,
    pub columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub type_oid: u32,
}

/// The row that was, or what identifies it: then other columns are null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old(pub Tuple);

/// The values of a row, in the order of the relation's columns.
pub type Tuple = Vec<Value>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    /// As it was: it is long, and was not touched.
    Unchanged,
    Text(Bytes),
}

/// It is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the publisher's message cannot be read: {0}")]
pub struct Malformed(&'static str);

/// Reads one message, whole.
pub fn parse(mut data: Bytes) -> Result<Message, Malformed> {
    let data = &mut data;
    let message = match u8(data)? {
        b'B' => {
            let commit = Lsn(u64(data)?);
            let at_us = time(data)?;
            Message::Begin { commit, at_us, xid: u32(data)? }
        }
        b'C' => {
            u8(data)?;
            u64(data)?;
            Message::Commit { end: Lsn(u64(data)?), at_us: time(data)? }
        }
        b'R' => Message::Relation(relation(data)?),
        b'I' => {
            let relid = u32(data)?;
            tagged(data, b"N")?;
            Message::Insert { relid, new: tuple(data)? }
        }
        b'U' => {
            let relid = u32(data)?;
            let old = if tagged(data, b"KON")? == b'N' {
                None
            } else {
                let old = Old(tuple(data)?);
                tagged(data, b"N")?;
                Some(old)
            };
            Message::Update { relid, old, new: tuple(data)? }
        }
        b'D' => {
            let relid = u32(data)?;
            tagged(data, b"KO")?;
            Message::Delete { relid, old: Old(tuple(data)?) }
        }
        b'T' => {
            let count = u32(data)? as usize;
            u8(data)?;
            if count > TRUNCATED_MAX {
                return Err(Malformed("a truncate of too many tables"));
            }
            Message::Truncate { relids: (0..count).map(|_| u32(data)).collect::<Result<_, _>>()? }
        }
        b'Y' | b'O' | b'M' => return Ok(Message::Other),
        _ => return Err(Malformed("of an unknown kind")),
    };
    if data.has_remaining() { Err(Malformed("it goes on after its end")) } else { Ok(message) }
}

fn relation(data: &mut Bytes) -> Result<Relation, Malformed> {
    let relid = u32(data)?;
    text(data)?;
    text(data)?;
    u8(data)?;
    let count = count(data)?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        u8(data)?;
        let name = text(data)?;
        let type_oid = u32(data)?;
        u32(data)?;
        columns.push(RelationColumn { name, type_oid });
    }
    Ok(Relation { relid, columns })
}

fn tuple(data: &mut Bytes) -> Result<Tuple, Malformed> {
    let count = count(data)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(match u8(data)? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let length = u32(data)? as usize;
                if length > data.remaining() {
                    return Err(Malformed("a value is cut off"));
                }
                Value::Text(data.split_to(length))
            }
            _ => return Err(Malformed("a value of an unknown kind")),
        });
    }
    Ok(values)
}

fn count(data: &mut Bytes) -> Result<usize, Malformed> {
    let count = data.try_get_u16().map_err(|_| Malformed("it is cut off"))?;
    if usize::from(count) > COLUMNS_MAX { Err(Malformed("too many columns")) } else { Ok(usize::from(count)) }
}

fn tagged(data: &mut Bytes, tags: &[u8]) -> Result<u8, Malformed> {
    let tag = u8(data)?;
    if tags.contains(&tag) { Ok(tag) } else { Err(Malformed("a row of an unknown kind")) }
}

fn text(data: &mut Bytes) -> Result<String, Malformed> {
    let end = data.iter().position(|&byte| byte == 0).ok_or(Malformed("a name without an end"))?;
    let name = data.split_to(end);
    data.advance(1);
    String::from_utf8(name.to_vec()).map_err(|_| Malformed("a name is not UTF-8"))
}

fn time(data: &mut Bytes) -> Result<i64, Malformed> {
    Ok(u64(data)?.cast_signed().saturating_add(EPOCH_US))
}

fn u8(data: &mut Bytes) -> Result<u8, Malformed> {
    data.try_get_u8().map_err(|_| Malformed("it is cut off"))
}

fn u32(data: &mut Bytes) -> Result<u32, Malformed> {
    data.try_get_u32().map_err(|_| Malformed("it is cut off"))
}

fn u64(data: &mut Bytes) -> Result<u64, Malformed> {
    data.try_get_u64().map_err(|_| Malformed("it is cut off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Vec<u8> {
        b"U\0\0\x40\x01K\0\x02t\0\0\0\x011nN\0\x03t\0\0\0\x012un".to_vec()
    }

    #[test]
    fn an_update_with_a_new_key_and_an_untouched_value() {
        let message = parse(Bytes::from(update())).expect("good");
        let text = |text: &'static str| Value::Text(Bytes::from_static(text.as_bytes()));
        let expected = Message::Update {
            relid: 0x4001,
            old: Some(Old(vec![text("1"), Value::Null])),
            new: vec![text("2"), Value::Unchanged, Value::Null],
        };
        assert_eq!(message, expected);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_refused() {
        let whole = update();
        for end in 0..whole.len() {
            assert!(parse(Bytes::from(whole[..end].to_vec())).is_err(), "{end}");
        }
        let longer = [whole, vec![0]].concat();
        assert!(parse(Bytes::from(longer)).is_err());
    }

    #[test]
    fn a_relation_names_its_columns() {
        let data =
            b"R\0\0\x40\x01public\0users\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0plan\0\0\0\0\x19\xff\xff\xff\xff";
        let Message::Relation(relation) = parse(Bytes::from_static(data)).expect("good") else { panic!("no relation") };
        let columns: Vec<_> = relation.columns.iter().map(|column| (column.name.as_str(), column.type_oid)).collect();
        assert_eq!(columns, [("id", 23), ("plan", 25)]);
    }
}
