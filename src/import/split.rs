//! Bytes to records: lines, a JSON array's items, or CSV's records, a few hundred at a time.
//!
//! Where a record ends is told without parsing it. Each block knows the position behind it and the checksum of all bytes up to
//! there, which is what the ledger keeps.

mod array;
mod lines;

use std::io::{self, Read};

use memchr::memchr;

use super::identity::Ordinals;
use crate::flush::store::Position;

/// A block's records: few enough that their days, each a partition, fit PostgreSQL's table of locks, whatever their order.
pub const BLOCK_RECORDS_MAX: usize = 200;
/// A block's text, but for one record more.
pub const BLOCK_BYTES_MAX: usize = 512 * 1024;
/// One record. Events are far shorter ([`crate::decode::EVENT_BYTES_MAX`]), but some exports say much that is not kept.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How records stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Lines,
    /// Items of one JSON array, over any number of lines.
    Array,
    Csv {
        delimiter: u8,
    },
}

/// One record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub start: u32,
    pub end: u32,
    pub line: u64,
    /// Its number among equal ones.
    pub ordinal: u32,
}

/// Records that follow each other.
#[derive(Debug, Default)]
pub struct Block {
    pub text: Vec<u8>,
    pub records: Vec<Record>,
    /// Lines of records that are too long to be looked at.
    pub too_long: Vec<u64>,
    pub end: Position,
}

impl Block {
    pub fn read(&self) -> u64 {
        (self.records.len() + self.too_long.len()) as u64
    }

    pub fn record(&self, record: Record) -> &[u8] {
        self.text.get(record.start as usize..record.end as usize).unwrap_or_default()
    }
}

/// See the module.
pub struct Splitter {
    input: Box<dyn Read + Send>,
    shape: Shape,
    /// What was read; up to `at` it is done with.
    buffer: Vec<u8>,
    at: usize,
    is_end: bool,
    position: Position,
    line: u64,
    ordinals: Option<Ordinals>,
    /// Why reading ended, once the records before it were handed out.
    failed: Option<io::Error>,
}

/// Where the next record is, from the first byte that is not done with.
enum Found {
    Record {
        start: usize,
        end: usize,
        next: usize,
    },
    /// Space before the next one, or between them.
    Nothing {
        next: usize,
    },
    More,
}

impl Splitter {
    pub fn new(input: Box<dyn Read + Send>) -> Self {
        Self {
            input,
            shape: Shape::Lines,
            buffer: Vec::new(),
            at: 0,
            is_end: false,
            position: Position::default(),
            line: 1,
            ordinals: None,
            failed: None,
        }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// The first bytes, as many as there are up to `bytes`, without a byte order mark.
    pub fn head(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.buffer.len() < bytes && !self.is_end {
            self.fill()?;
        }
        if self.position.offset == 0 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default().get(..bytes).unwrap_or(&self.buffer[self.at..]))
    }

    /// From here on records are of this shape; whether equal ones are to be counted.
    pub fn shaped(&mut self, shape: Shape, counts_equal: bool) {
        self.shape = shape;
        self.ordinals = counts_equal.then(Ordinals::default);
    }

    /// The next record alone: a header.
    pub fn one(&mut self) -> io::Result<Option<Vec<u8>>> {
        let block = self.block_of(1, None)?;
        Ok(block.records.first().map(|record| block.record(*record).to_vec()))
    }

    /// Goes to where an earlier run ended; returns how many records are before it, or `None` where this is another file.
    pub fn skip_to(&mut self, position: Position) -> io::Result<Option<u64>> {
        let mut records = 0;
        while self.position.offset < position.offset {
            let block = self.block_of(BLOCK_RECORDS_MAX, Some(position.offset))?;
            if block.end.offset == position.offset {
                records += block.read();
                break;
            }
            if block.read() == 0 && self.is_done() {
                return Ok(None);
            }
            records += block.read();
        }
        Ok((self.position == position).then_some(records))
    }

    /// The next records. One without any is the last.
    pub fn block(&mut self) -> io::Result<Block> {
        self.block_of(BLOCK_RECORDS_MAX, None)
    }

    fn is_done(&self) -> bool {
        self.is_end && self.at >= self.buffer.len()
    }

    fn block_of(&mut self, records_max: usize, stop_at: Option<u64>) -> io::Result<Block> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut block = Block::default();
        while block.records.len() + block.too_long.len() < records_max
            && block.text.len() < BLOCK_BYTES_MAX
            && stop_at.is_none_or(|stop| self.position.offset < stop)
        {
            let rest = &self.buffer[self.at..];
            match find(self.shape, rest, self.is_end) {
                Found::Record { start, end, next } => {
                    let line = self.line + count_lines(&rest[..start]);
                    let content = &rest[start..end];
                    if content.len() > RECORD_BYTES_MAX {
                        block.too_long.push(line);
                    } else {
                        let ordinal = self.ordinals.as_mut().map_or(0, |ordinals| ordinals.next(content));
                        let start = block.text.len() as u32;
                        block.text.extend_from_slice(content);
                        block.records.push(Record { start, end: block.text.len() as u32, line, ordinal });
                    }
                    self.consume(next);
                }
                Found::Nothing { next } => self.consume(next),
                Found::More if self.is_end => break,
                // Where such an item ends nobody knows, and all that follows may be on the same line.
                Found::More if rest.len() > RECORD_BYTES_MAX && self.shape == Shape::Array => {
                    self.failed = Some(endless(self.position.offset));
                }
                Found::More if rest.len() > RECORD_BYTES_MAX => {
                    block.too_long.push(self.line);
                    self.failed = self.skip_line().err();
                }
                Found::More => self.failed = self.fill().err(),
            }
            if self.failed.is_some() {
                break;
            }
        }
        if let Some(error) = self.failed.take_if(|_| block.read() == 0) {
            return Err(error);
        }
        block.end = self.position;
        Ok(block)
    }

    /// Of a record that does not end only the first line is left out: it may be a quote that was never closed.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer[self.at..]) {
                self.consume(end + 1);
                return Ok(());
            }
            self.consume(self.buffer.len() - self.at);
            if self.is_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn consume(&mut self, bytes: usize) {
        let done = &self.buffer[self.at..self.at + bytes];
        self.line += count_lines(done);
        self.position.chain = crc32c::crc32c_append(self.position.chain, done);
        self.position.offset += bytes as u64;
        self.at += bytes;
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + read.as_ref().copied().unwrap_or(0));
        self.is_end = read? == 0;
        Ok(())
    }
}

fn endless(offset: u64) -> io::Error {
    let mib = RECORD_BYTES_MAX / (1024 * 1024);
    let reason = format!("the array's item at byte {offset} does not end within {mib} MiB: mend or remove it");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn find(shape: Shape, rest: &[u8], is_end: bool) -> Found {
    match shape {
        Shape::Lines => lines::line(memchr(b'\n', rest), rest, is_end, <[u8]>::trim_ascii),
        // A tab may be a field.
        Shape::Csv { delimiter } => lines::line(lines::csv_end(rest, delimiter, is_end), rest, is_end, |line| line),
        Shape::Array => array::item(rest, is_end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle(Vec<u8>, usize, usize);

    impl Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let left = &self.0[self.1..];
            let bytes = left.len().min(self.2).min(into.len());
            into[..bytes].copy_from_slice(&left[..bytes]);
            self.1 += bytes;
            Ok(bytes)
        }
    }

    fn splitter(text: &str, shape: Shape, step: usize) -> Splitter {
        let mut splitter = Splitter::new(Box::new(Trickle(text.as_bytes().to_vec(), 0, step)));
        splitter.shaped(shape, true);
        splitter
    }

    fn records(text: &str, shape: Shape, step: usize) -> Vec<(String, u64)> {
        let mut splitter = splitter(text, shape, step);
        let mut records = Vec::new();
        loop {
            let block = splitter.block().expect("memory");
            if block.read() == 0 {
                return records;
            }
            let text = |record: &Record| String::from_utf8_lossy(block.record(*record)).into_owned();
            records.extend(block.records.iter().map(|record| (text(record), record.line)));
        }
    }

    fn owned(records: &[(&str, u64)]) -> Vec<(String, u64)> {
        records.iter().map(|(text, line)| ((*text).to_owned(), *line)).collect()
    }

    #[test]
    fn records_of_every_shape_however_they_come() {
        let csv = Shape::Csv { delimiter: b',' };
        for step in [1, 2, 3, 7, 1_000] {
            let lines = records("{\"a\":1}\r\n\n  {\"b\":2} \n{", Shape::Lines, step);
            assert_eq!(lines, owned(&[("{\"a\":1}", 1), ("{\"b\":2}", 3), ("{", 4)]));
            let quoted = records("a,\"x\n\"\"y\"\"\n\",c\n1,5\" disk,3\n\"\",\"end\"", csv, step);
            assert_eq!(quoted, owned(&[("a,\"x\n\"\"y\"\"\n\",c", 1), ("1,5\" disk,3", 4), ("\"\",\"end\"", 5)]));
            let array = records("[\n {\"a\":\"]}\\\"\"},\n{\"b\":{\"c\":[1]}}, 7\n]\n", Shape::Array, step);
            assert_eq!(array, owned(&[("{\"a\":\"]}\\\"\"}", 2), ("{\"b\":{\"c\":[1]}}", 3), ("7", 3)]));
        }
    }

    #[test]
    fn what_does_not_end_costs_a_line_and_no_more() {
        let text = format!("1,\"never closed\n{}", "2,b\n".repeat(RECORD_BYTES_MAX / 4 + 10));
        let mut splitter = splitter(&text, Shape::Csv { delimiter: b',' }, 1 << 20);
        let block = splitter.block().expect("memory");
        assert_eq!((block.too_long.as_slice(), block.records.len()), (&[1][..], BLOCK_RECORDS_MAX - 1));
        assert_eq!(block.record(block.records[0]), b"2,b");
        assert_eq!(block.records[0].line, 2);
    }

    #[test]
    fn an_item_that_does_not_end_ends_the_file_and_hides_nothing_behind_it() {
        let text = format!(r#"[{{"a":1}},{{"b":"{}"}},{{"c":3}}]"#, "x".repeat(2 * RECORD_BYTES_MAX));
        let mut splitter = splitter(&text, Shape::Array, 1 << 18);
        let block = splitter.block().expect("what is before it");
        assert_eq!((block.records.len(), block.too_long.len()), (1, 0));
        let error = splitter.block().expect_err("nobody knows where the next one begins");
        assert!(error.to_string().contains("item at byte 8 "), "{error}");
    }

    #[test]
    fn what_was_read_before_an_error_is_handed_out_first() {
        struct Broken(Trickle);
        impl Read for Broken {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.read(into)? {
                    0 => Err(io::Error::other("the disk is gone")),
                    bytes => Ok(bytes),
                }
            }
        }
        let mut splitter = Splitter::new(Box::new(Broken(Trickle(b"a\nb\nc".to_vec(), 0, 3))));
        let block = splitter.block().expect("two lines");
        assert_eq!((block.records.len(), block.end.offset), (2, 4));
        assert!(splitter.block().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_run_goes_on_where_the_last_one_ended(lines in prop::collection::vec("[ab]{0,3}", 0..40), many in 1..30_usize, step in 1..50_usize) {
            let text = lines.join("\n");
            let whole = records(&text, Shape::Lines, step);
            let mut first = splitter(&text, Shape::Lines, step);
            let block = first.block_of(many, None).expect("memory");
            let mut second = splitter(&text, Shape::Lines, step);
            prop_assert_eq!(second.skip_to(block.end).expect("memory"), Some(block.read()));
            let rest = second.block().expect("memory");
            let ordinals: Vec<u32> = block.records.iter().chain(&rest.records).map(|record| record.ordinal).collect();
            let mut all = Ordinals::default();
            let expected: Vec<u32> = whole.iter().map(|(record, _)| all.next(record.as_bytes())).collect();
            prop_assert_eq!(ordinals, expected);
            let other = Position { chain: block.end.chain ^ 1, ..block.end };
            let mut third = splitter(&text, Shape::Lines, step);
            if block.end.offset > 0 {
                prop_assert_eq!(third.skip_to(other).expect("memory"), None);
            }
        }
    }
}
