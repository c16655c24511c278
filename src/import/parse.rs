//! Records to rows, on threads of their own: decoded, enriched and encoded as what is received is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::flat::{Mapping, Names, Rest};
use super::format::Format;
use super::identity::content_id;
use super::split::{Block, Record, Shape};
use super::{ImportError, exports, flat, ga4};
use crate::clock::Day;
use crate::decode::object::{Json, Object, Texts};
use crate::decode::translate::Translation;
use crate::decode::{Refusal, mend_escapes};
use crate::enrich::{Enricher, RequestFacts, is_importable};
use crate::event::Event;
use crate::flush::hours::Hours;
use crate::flush::store::Position;
use crate::priority::make_way;
use crate::retention::policy::Policy;
use crate::sources::{KeyKind, WriteKey};

/// Columns of a table; PostgreSQL's own have no more.
const FIELDS_MAX: usize = 1_600;

/// A record that cannot become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub line: u64,
    pub reason: String,
    /// What all of this kind have in common.
    pub label: &'static str,
    /// As it stands in the file; one that is too long is not kept.
    pub record: Vec<u8>,
}

/// Why a record becomes no row.
enum NoRow {
    /// The caller did not want it.
    Outside,
    /// With what all of this kind have in common.
    Refused(&'static str, String),
}

/// What a block became.
#[derive(Debug, Default)]
pub struct Parsed {
    pub tuples: Vec<u8>,
    /// Each tuple's id, and where it ends.
    pub index: Vec<(Uuid, u32)>,
    pub hours: Hours,
    pub days: BTreeSet<Day>,
    pub refused: Vec<Refused>,
    pub read: u64,
    /// Records that the caller did not want.
    pub outside: u64,
    pub end: Position,
}

/// How the records of one file become rows.
pub struct Parser {
    pub enricher: Arc<Enricher>,
    pub key: WriteKey,
    pub format: Format,
    pub shape: Shape,
    /// Of a table.
    pub header: Vec<String>,
    pub mapping: Mapping,
    /// What happened then or later is left out.
    pub until: Option<Timestamp>,
    /// What retention would remove at once is refused.
    pub policy: Policy,
    pub now: Timestamp,
}

/// Work for a thread.
pub struct Job {
    pub block: Block,
    pub parser: Arc<Parser>,
    pub reply: oneshot::Sender<Parsed>,
}

/// Starts the threads; they end with the last sender of jobs.
pub fn start(threads: usize, runtime: &Handle) -> Result<Sender<Job>, ImportError> {
    // What waits here is work for a moment: the bound on memory is that of blocks in order.
    let (jobs, waiting) = crossbeam_channel::bounded::<Job>(2 * threads);
    for _ in 0..threads {
        let (waiting, runtime): (Receiver<Job>, Handle) = (waiting.clone(), runtime.clone());
        let work = move || {
            // PostgreSQL's one process is what an import waits for, and it may be on this machine.
            make_way();
            for Job { block, parser, reply } in waiting {
                // Whoever asked may have failed meanwhile.
                let _ = reply.send(parser.parse(&block, &runtime));
            }
        };
        let spawned = thread::Builder::new().name("weir-import".to_owned()).spawn(work);
        spawned.map_err(|_| ImportError::Thread("weir-import"))?;
    }
    Ok(jobs)
}

/// The key that imports are as good as: what they say of addresses, agents and times long gone is believed.
pub fn key_of(source: &str) -> WriteKey {
    WriteKey::new(source.into(), KeyKind::Secret, Arc::new([]))
}

impl Parser {
    pub fn parse(&self, block: &Block, runtime: &Handle) -> Parsed {
        let mut parsed = Parsed { read: block.read(), end: block.end, ..Parsed::default() };
        for line in &block.too_long {
            let reason = "the record is longer than 1 MiB, or its end is missing".to_owned();
            parsed.refused.push(Refused { line: *line, reason, label: "too_long", record: Vec::new() });
        }
        // Texts live as long as the block: one arena for all.
        let texts = Texts::default();
        let mut names = Names::new(&self.mapping);
        let mut fields = None;
        parsed.tuples.reserve(block.text.len());
        parsed.index.reserve(block.records.len());
        for record in &block.records {
            let text = block.record(*record);
            match self.row(text, *record, &texts, &mut names, &mut fields, runtime, &mut parsed) {
                Ok(()) => {}
                Err(NoRow::Outside) => parsed.outside += 1,
                Err(NoRow::Refused(label, reason)) => {
                    parsed.refused.push(Refused { line: record.line, reason, label, record: text.to_vec() });
                }
            }
        }
        parsed
    }

    #[expect(clippy::too_many_arguments, reason = "what a block's records share, and one of them")]
    fn row(
        &self,
        text: &[u8],
        record: Record,
        texts: &Texts,
        names: &mut Names<'_>,
        fields: &mut Option<Fields>,
        runtime: &Handle,
        parsed: &mut Parsed,
    ) -> Result<(), NoRow> {
        let told = |refusal: Refusal| NoRow::Refused(refusal.label(), refusal.to_string());
        let content = text;
        let text = std::str::from_utf8(text).map_err(|error| {
            NoRow::Refused("not_utf8", format!("not UTF-8 (first bad byte at {})", error.valid_up_to()))
        })?;
        let mended;
        let text = if matches!(self.shape, Shape::Csv { .. }) {
            text
        } else {
            mended = mend_escapes(text).0;
            mended.as_ref()
        };
        let mut translation = Translation::new(texts);
        let mut not_json = None;
        translation.event(|native| {
            if matches!(self.shape, Shape::Csv { .. }) {
                let fields = fields.get_or_insert_with(|| Fields::new(self.shape));
                let row = fields.object(text, &self.header, texts)?;
                match self.format {
                    Format::Plausible => return exports::plausible(native, row, texts),
                    Format::Umami => exports::umami(native, row, texts),
                    _ => flat::event(native, row, names, Rest::Properties, texts),
                }
                return Ok(());
            }
            let json = match Json::parse(texts.keep(text)) {
                Ok(json) => json,
                Err(error) => {
                    not_json = Some(error.to_string());
                    return Err(Refusal::NotJson(error.to_string()));
                }
            };
            match self.format {
                Format::Segment => exports::segment(native, json),
                Format::Posthog => exports::posthog(native, json, texts),
                Format::Ga4 => ga4::event(native, json, texts),
                Format::Plausible => exports::plausible(native, Object::parse(json)?, texts),
                Format::Umami => {
                    exports::umami(native, Object::parse(json)?, texts);
                    Ok(())
                }
                Format::Ndjson | Format::Csv => {
                    flat::event(native, Object::parse(json)?, names, Rest::Context, texts);
                    Ok(())
                }
            }
        });
        if let Some(reason) = not_json {
            return Err(NoRow::Refused("not_json", reason));
        }
        let mut event = translation.single().unwrap_or(Err(Refusal::NoNameNorUrl)).map_err(told)?;
        let at = self.time_of(&event)?;
        if event.message_id.is_none() {
            event.message_id = Some(content_id(content, record.ordinal).into());
        }
        self.encode(&event, at, runtime, parsed).map_err(told)
    }

    /// When it happened: a guess would put history on today.
    fn time_of(&self, event: &Event<'_>) -> Result<Timestamp, NoRow> {
        let Some(time) = event.timestamp else {
            let reason = "there is no timestamp: an import must say when each event happened".to_owned();
            return Err(NoRow::Refused("no_time", reason));
        };
        let Some(at) = time.at.filter(|at| is_importable(*at, self.now)) else {
            let reason = format!("the timestamp {} is more than 20 years ago, or lies in the future", time.raw);
            return Err(NoRow::Refused("time_out_of_range", reason));
        };
        if self.until.is_some_and(|until| at >= until) {
            return Err(NoRow::Outside);
        }
        let day = at.to_zoned(TimeZone::UTC).date();
        if !self.policy.keeps(day, &self.key.source, &event.kind) {
            let reason = format!("{day} is no longer kept: [retention] would remove the event at once");
            return Err(NoRow::Refused("expired", reason));
        }
        Ok(at)
    }

    fn encode(&self, event: &Event<'_>, at: Timestamp, runtime: &Handle, parsed: &mut Parsed) -> Result<(), Refusal> {
        let request = RequestFacts { received_at: self.now, is_import: true, ..RequestFacts::default() };
        let agent = event
            .user_agent
            .is_some()
            .then(|| runtime.block_on(self.enricher.agent(event, self.key.kind, &request)))
            .flatten();
        let (submitted, day) =
            self.enricher.encode(event, &self.key, &request, agent.as_deref(), &mut parsed.tuples)?;
        parsed.index.push((submitted.id, parsed.tuples.len() as u32));
        parsed.hours.note(at);
        parsed.days.insert(day);
        Ok(())
    }
}

/// Takes CSV records apart.
pub struct Fields {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    pub fn new(shape: Shape) -> Self {
        let delimiter = if let Shape::Csv { delimiter } = shape { delimiter } else { b',' };
        let reader = ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        Self { reader, text: Vec::new(), ends: vec![0; FIELDS_MAX] }
    }

    /// The fields of one record.
    pub fn read(&mut self, record: &str) -> Result<impl Iterator<Item = &str>, Refusal> {
        self.reader.reset();
        // Fields never become longer than they stand there.
        self.text.resize(record.len().max(1), 0);
        let (mut text, mut ends) = (0, 0);
        let mut input = record.as_bytes();
        loop {
            let (result, read, written, ended) =
                self.reader.read_record(input, &mut self.text[text..], &mut self.ends[ends..]);
            input = &input[read..];
            text += written;
            ends += ended;
            match result {
                // Once more, with nothing: that is the end of the record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record | ReadRecordResult::End => break,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(Refusal::NotJson(format!("the record has more than {FIELDS_MAX} fields")));
                }
            }
        }
        let whole = std::str::from_utf8(&self.text[..text]).unwrap_or_default();
        let starts = std::iter::once(0).chain(self.ends[..ends].iter().copied());
        Ok(starts.zip(&self.ends[..ends]).map(|(start, end)| whole.get(start..*end).unwrap_or_default()))
    }

    fn object<'a>(&mut self, record: &str, header: &'a [String], texts: &'a Texts) -> Result<Object<'a>, Refusal> {
        let mut object = Object::default();
        let mut count = 0;
        for (at, field) in self.read(record)?.enumerate() {
            count += 1;
            if let Some(name) = header.get(at).filter(|_| !field.is_empty()) {
                object.push(name.as_str(), texts.value(texts.keep(field)));
            }
        }
        if count != header.len() {
            return Err(Refusal::BadField {
                field: "the record",
                reason: format!("it has {count} fields, and the header {}", header.len()),
            });
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_record() {
        let mut fields = Fields::new(Shape::Csv { delimiter: b';' });
        for (record, expected) in [
            ("a;b", &["a", "b"][..]),
            ("\"x\n\"\"y\"\"\";;5\" disk;\"\"", &["x\n\"y\"", "", "5\" disk", ""]),
            ("é;\"ü;\"", &["é", "ü;"]),
            (";", &["", ""]),
            ("\"never closed;b", &["never closed;b"]),
        ] {
            let read: Vec<String> = fields.read(record).expect("fields").map(str::to_owned).collect();
            assert_eq!(read, expected, "{record}");
        }
        assert!(fields.read(&";".repeat(FIELDS_MAX + 1)).is_err());
    }
}
