//! The rows of a result, as they are kept: zstd of lines, each a JSON array with a text or null for every column.
//!
//! The texts are PostgreSQL's own, so no digit of any type is lost, and lines can be read one by one.

use std::io::{self, BufRead, BufReader, Write};

use serde::{Deserialize, Serialize};
use zstd::stream::{Decoder, Encoder};

/// Quick, and a third to a tenth of the text.
const ZSTD_LEVEL: i32 = 3;

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// As `PostgreSQL` calls it, as `int8` or `timestamptz`.
    #[serde(rename = "type")]
    pub type_name: String,
}

impl Column {
    /// Whether its values are numbers, as far as their texts go: no formulas, and shown at the right.
    pub fn is_number(&self) -> bool {
        matches!(self.type_name.as_str(), "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "money" | "oid")
    }
}

/// How much of a result is kept.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub rows: u64,
    /// Before compression.
    pub bytes: u64,
}

/// The rows that were kept.
#[derive(Debug)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub row_count: u64,
    /// Before compression.
    pub byte_count: u64,
    /// Why there are more than these.
    pub cut: Option<String>,
    pub packed: Vec<u8>,
}

/// Takes rows one after the other.
pub struct Packer {
    columns: Vec<Column>,
    most: Most,
    row_count: u64,
    byte_count: u64,
    cut: Option<String>,
    line: Vec<u8>,
    encoder: Encoder<'static, Vec<u8>>,
}

impl Packer {
    pub fn new(columns: Vec<Column>, most: Most) -> io::Result<Self> {
        Ok(Self {
            columns,
            most,
            row_count: 0,
            byte_count: 0,
            cut: None,
            line: Vec::new(),
            encoder: Encoder::new(Vec::new(), ZSTD_LEVEL)?,
        })
    }

    /// Whether there is room for more.
    pub fn is_full(&self) -> bool {
        self.cut.is_some()
    }

    /// The statement was ended when there was no more room.
    pub fn was_ended(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.push_str(", and the statement was ended there: if a function in it wrote something, that is undone");
        }
    }

    fn cut_bytes(&mut self) {
        let mib = self.most.bytes as f64 / f64::from(1024 * 1024);
        self.cut = Some(format!("these are the first {} rows, {mib:.1} MiB: more are not kept", self.row_count));
    }

    /// Takes one more row, or notes that there are more than fit.
    pub fn push<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>> + Clone) -> io::Result<()> {
        if self.is_full() {
            return Ok(());
        }
        if self.row_count == self.most.rows {
            self.cut = Some(format!("these are the first {} rows: more are not kept", self.most.rows));
            return Ok(());
        }
        // Before it is copied: one value may have a gigabyte.
        let least: usize = values.clone().map(|value| value.map_or(4, str::len)).sum();
        if self.byte_count + least as u64 > self.most.bytes {
            self.cut_bytes();
            return Ok(());
        }
        self.line.clear();
        self.line.push(b'[');
        for (place, value) in values.enumerate() {
            if place > 0 {
                self.line.push(b',');
            }
            serde_json::to_writer(&mut self.line, &value)?;
        }
        self.line.extend_from_slice(b"]\n");
        if self.byte_count + self.line.len() as u64 > self.most.bytes {
            self.cut_bytes();
            return Ok(());
        }
        self.encoder.write_all(&self.line)?;
        self.row_count += 1;
        self.byte_count += self.line.len() as u64;
        Ok(())
    }

    pub fn finish(self) -> io::Result<Rows> {
        let Self { columns, row_count, byte_count, cut, encoder, .. } = self;
        Ok(Rows { columns, row_count, byte_count, cut, packed: encoder.finish()? })
    }
}

/// One row's values.
pub type Values = Vec<Option<String>>;

/// The rows that `packed` holds, one after the other.
pub fn unpack(packed: &[u8]) -> io::Result<impl Iterator<Item = io::Result<Values>>> {
    Ok(lines(packed)?.map(|line| Ok(serde_json::from_str(&line?)?)))
}

/// The same as lines of JSON.
pub fn lines(packed: &[u8]) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    Ok(BufReader::new(Decoder::new(packed)?).lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(most: Most, rows: &[&[Option<&str>]]) -> Rows {
        let columns = vec![Column { name: "a".to_owned(), type_name: "text".to_owned() }];
        let mut packer = Packer::new(columns, most).expect("a packer");
        for row in rows {
            packer.push(row.iter().copied()).expect("packed");
        }
        packer.finish().expect("packed")
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let strange = "\u{0}\"\\\n\u{2028}é🦀";
        let rows: [&[Option<&str>]; 3] = [&[Some(strange), None], &[Some(""), Some("null")], &[]];
        let packed = pack(Most { rows: 10, bytes: 1_000 }, &rows);
        assert_eq!((packed.row_count, packed.cut), (3, None));
        let found: Vec<Values> = unpack(&packed.packed).expect("zstd").map(|row| row.expect("a row")).collect();
        let expected: Vec<Values> =
            rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let row: &[Option<&str>] = &[Some("12345")];
        let all = pack(Most { rows: 2, bytes: 1_000 }, &[row, row]);
        assert_eq!((all.row_count, all.cut), (2, None), "exactly as many as fit are all");
        let cut = pack(Most { rows: 2, bytes: 1_000 }, &[row, row, row]);
        assert_eq!(cut.cut.as_deref(), Some("these are the first 2 rows: more are not kept"));
        let cut = pack(Most { rows: 9, bytes: 25 }, &[row, row, row]);
        assert_eq!((cut.row_count, cut.byte_count), (2, 20));
        assert!(cut.cut.is_some_and(|cut| cut.contains("first 2 rows")));
    }
}
