//! A rollup's definition: a file `NAME.sql`.
//!
//! ```text
//! -- kind: incremental              view | materialized | incremental
//! -- every: 5m                      how often at most: 30s, 5m, 1h; or cron, as '15 3 * * *'
//! -- timezone: Europe/Berlin        of cron and of buckets; absent: UTC
//! -- bucket: day                    hour | day | week | month; incremental only
//! -- look-back: 30 minutes          rows of a bucket depend on events up to so long before it; incremental only
//! -- look-ahead: 12 hours           and so long after it
//! -- unique: bucket, source         columns that name a row
//! -- keep: 2 years                  older buckets are deleted; absent: kept for ever; incremental only
//! -- packed: visits                weir packs the visits that the SELECT gives (pack/mod.rs); incremental only
//! -- description: for people        becomes the relation's comment
//! select ...                        one SELECT
//! ```
//!
//! The relation is `analytics.NAME`. Names without a schema are those of `analytics`; PostgreSQL parses the SELECT, and its
//! catalog tells what is read.
//!
//! **Incremental.** The SELECT reads `events` (or `page_views`, `clicks`) without a schema. These have one column more,
//! `bucket`, the start of the bucket that the event falls in, and a run sees in them only the events that the buckets it
//! computes may depend on. The SELECT has to give `bucket`, too; rows of other buckets are left out. So there is no range to
//! write, and none to get wrong; what is written is a plain SELECT over all events. Another incremental rollup can be read in
//! the same way, `bucket` included. Other tables may be joined, but a change in them computes nothing anew.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::header::Reader;
use super::pack;
use crate::schedule::Schedule;

/// A definition is written by hand.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;
/// What PostgreSQL allows, less what weir appends to make names of indexes.
const NAME_CHARS_MAX: usize = 48;

/// How a rollup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A view: computed when it is read.
    View,
    /// A materialized view: computed whole, on schedule.
    Materialized,
    /// A table: those buckets are computed whose events have changed.
    Incremental,
}

/// What an incremental rollup is computed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Hour,
    Day,
    Week,
    Month,
}

/// One file, read.
#[derive(Debug, Clone)]
pub struct Definition {
    pub name: String,
    /// For messages.
    pub file: PathBuf,
    pub kind: Kind,
    pub schedule: Schedule,
    /// The schedule as written.
    pub every: String,
    pub timezone: String,
    /// Of an incremental one.
    pub bucket: Option<Bucket>,
    pub look_back_s: i64,
    pub look_ahead_s: i64,
    pub unique: Vec<String>,
    /// An ISO 8601 duration.
    pub keep: Option<String>,
    /// Its rows are made by [`super::pack`].
    pub is_packed: bool,
    pub description: Option<String>,
    /// The SELECT, without a semicolon.
    pub body: String,
    /// The file's line on which it begins, from 1.
    pub body_line: usize,
}

/// What is wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    pub message: String,
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, message, cure } = self;
        write!(f, "{}:{line}: {message}: {cure}", file.display())
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Materialized => "materialized",
            Self::Incremental => "incremental",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        [Self::View, Self::Materialized, Self::Incremental].into_iter().find(|kind| kind.name() == name)
    }
}

impl Bucket {
    /// As `date_trunc` calls it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    pub fn of(unit: &str) -> Option<Self> {
        [Self::Hour, Self::Day, Self::Week, Self::Month].into_iter().find(|bucket| bucket.unit() == unit)
    }
}

impl Definition {
    /// Reads the text of `file`, whose name is the rollup's.
    ///
    /// # Errors
    /// All that is wrong with it, as far as can be told without PostgreSQL.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { file, problems: Vec::new() };
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if !is_name(&name) {
            let cure =
                format!("name the file by up to {NAME_CHARS_MAX} small letters, digits and underscores, and .sql");
            reader.problem(1, format!("`{name}` is no name for a table"), cure);
        }
        let (header, body_line, rest) = reader.split(text);
        let body = rest.trim_end().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if body.is_empty() {
            reader.problem(body_line, "there is no SELECT", "write one below the settings");
        }

        let kind = reader.kind(&header);
        let timezone = header.get("timezone").map_or("UTC", |(value, _)| value).to_owned();
        if let Some((value, line)) = header.get("timezone")
            && TimeZone::get(value).is_err()
        {
            reader.problem(line, format!("`{value}` is no time zone"), "use a name as Europe/Berlin or UTC");
        }
        let schedule = match header.get("every") {
            Some((value, line)) => Schedule::parse(value, &timezone).unwrap_or_else(|error| {
                let cure = "write `30s`, `5m` or `1h`, or cron's five fields as '15 3 * * *'";
                reader.problem(line, format!("`every: {value}` is no schedule ({error})"), cure);
                Schedule::Never
            }),
            None => Schedule::Never,
        };
        if kind != Kind::View && header.get("every").is_none() {
            reader.problem(1, "`every` is missing", "add `-- every: 5m`, say");
        }
        for (key, is_for) in [
            ("every", kind != Kind::View),
            ("unique", kind != Kind::View),
            ("packed", kind == Kind::Incremental),
            ("bucket", kind == Kind::Incremental),
            ("look-back", kind == Kind::Incremental),
            ("look-ahead", kind == Kind::Incremental),
            ("keep", kind == Kind::Incremental),
        ] {
            if let Some((_, line)) = header.get(key).filter(|_| !is_for) {
                reader.problem(line, format!("`{key}` means nothing to kind {}", kind.name()), "remove the line");
            }
        }
        let bucket = reader.bucket(&header, kind);
        let unique = reader.columns(&header);
        let is_packed = reader.packed(&header);
        let (look_back_s, look_ahead_s) = (reader.look(&header, "look-back"), reader.look(&header, "look-ahead"));
        let keep = reader.span(&header, "keep").map(|(span, _)| span.to_string());
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        Ok(Self {
            name,
            file: file.to_owned(),
            kind,
            schedule,
            every: header.get("every").map_or("", |(value, _)| value).to_owned(),
            timezone,
            bucket,
            look_back_s,
            look_ahead_s,
            unique,
            keep,
            is_packed,
            description: header.get("description").map(|(value, _)| value.to_owned()),
            body: body.to_owned(),
            body_line,
        })
    }

    /// Equal for definitions that give the same rows.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let bucket = self.bucket.map_or("", Bucket::unit);
        // Of a rollup without buckets the time zone is only that of cron.
        let timezone = if self.bucket.is_some() { self.timezone.as_str() } else { "" };
        let looks = format!("{} {}", self.look_back_s, self.look_ahead_s);
        let unique = self.unique.join(",");
        let packed = self.is_packed.then_some(pack::FORMAT);
        for part in [self.kind.name(), bucket, timezone, &looks, &unique, &self.body].into_iter().chain(packed) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Something is wrong with this file.
    pub fn problem(&self, line: usize, message: impl Into<String>, cure: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line, message: message.into(), cure: cure.into() }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-- kind: incremental
-- every: 5m
-- bucket: day
-- look-ahead: 12 hours
-- keep: 2 years
-- description: Visitors of each day: by source.

-- This is a remark.
select bucket, source, count(distinct visitor_id) as visitors
  from events
 group by 1, 2;
";

    fn parse(text: &str) -> Result<Definition, String> {
        let told = |problems: Vec<Problem>| problems.iter().map(|p| format!("{p}\n")).collect::<String>();
        Definition::parse(Path::new("rollups/visitors.sql"), text).map_err(told)
    }

    #[test]
    fn a_definition_is_read() {
        let definition = parse(GOOD).expect("a definition");
        assert_eq!((definition.name.as_str(), definition.kind), ("visitors", Kind::Incremental));
        assert_eq!((definition.bucket, definition.look_ahead_s), (Some(Bucket::Day), 12 * 3_600));
        assert_eq!(definition.keep.as_deref(), Some("P2Y"));
        assert_eq!(definition.description.as_deref(), Some("Visitors of each day: by source."));
        assert_eq!(definition.body_line, 9);
        assert!(definition.body.starts_with("select bucket") && definition.body.ends_with("by 1, 2"));
    }

    #[test]
    fn only_what_changes_rows_changes_the_hash() {
        let hash = |from: &str, to: &str| parse(&GOOD.replace(from, to)).expect("a definition").hash();
        let before = hash("", "");
        for (from, to) in [("5m", "1h"), ("2 years", "1 year"), ("of each", "of every"), ("a remark", "another")] {
            assert_eq!(hash(from, to), before, "{from} to {to}");
        }
        for (from, to) in [("bucket: day", "bucket: week"), ("12 hours", "13 hours"), ("distinct ", "")] {
            assert_ne!(hash(from, to), before, "{from} to {to}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_its_cure() {
        let mut told = String::new();
        for text in [
            "",
            "select 1",
            "-- kind: incremental\nselect 1",
            "-- kind: cube\n-- evry: 5m\nselect 1",
            "-- kind: view\n-- every: 5m\n-- bucket: day\nselect 1",
            "-- kind: materialized\n-- every: 61 * * * *\n-- timezone: Mars/North\nselect 1",
            "-- kind: materialized\n-- every: 1ms\n-- unique: a,,b\nselect 1",
            "-- kind: incremental\n-- every: 1m\n-- every: 2m\n-- bucket: minute\n-- look-back: 2 months\n-- keep: long\n-- mode: additive\nselect 1",
        ] {
            told.push_str(&[text, "\n=> ", &parse(text).expect_err("something is wrong"), "\n"].concat());
        }
        insta::assert_snapshot!(told);
    }
}
