//! The settings at the top of a definition ([`super::definition`] has the format): read one by one, so that all that is wrong
//! can be told at once.

use std::path::Path;
use std::str::FromStr;

use jiff::Span;

use super::definition::{Bucket, Kind, Problem};

/// Each event dirties all buckets within; farther looks belong into a materialized rollup.
const LOOK_DAYS_MAX: i64 = 31;

/// The settings of a header, as written, with their lines.
#[derive(Default)]
pub(super) struct Header<'a>(Vec<(&'a str, &'a str, usize)>);

impl<'a> Header<'a> {
    const KNOWN: [&'static str; 10] =
        ["kind", "every", "timezone", "bucket", "look-back", "look-ahead", "unique", "keep", "packed", "description"];

    pub fn get(&self, key: &str) -> Option<(&'a str, usize)> {
        self.0.iter().find(|(known, ..)| *known == key).map(|(_, value, line)| (*value, *line))
    }
}

/// Collects what is wrong while a file is read.
pub(super) struct Reader<'a> {
    pub file: &'a Path,
    pub problems: Vec<Problem>,
}

impl Reader<'_> {
    pub fn problem(&mut self, line: usize, message: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem { file: self.file.to_owned(), line, message: message.into(), cure: cure.into() });
    }

    /// The header, the line behind it, and what follows.
    pub fn split<'a>(&mut self, text: &'a str) -> (Header<'a>, usize, &'a str) {
        let mut header = Header::default();
        let mut rest = text;
        let mut number = 1;
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let trimmed = line.trim();
            if !trimmed.is_empty() && !trimmed.starts_with("--") {
                break;
            }
            if let Some((key, value)) = setting(trimmed) {
                if key == "mode" {
                    let cure = "leave the line out: every run computes whole buckets, which is exact for any SELECT";
                    self.problem(number, "there are no modes", cure);
                } else if !Header::KNOWN.contains(&key) {
                    let cure = format!(
                        "known are {}; a comment must not begin with a word and a colon",
                        Header::KNOWN.join(", ")
                    );
                    self.problem(number, format!("`{key}` is no setting"), cure);
                } else if header.get(key).is_some() {
                    self.problem(number, format!("`{key}` is set twice"), "remove one of the two");
                } else {
                    header.0.push((key, value, number));
                }
            }
            rest = after;
            number += 1;
        }
        (header, number, rest)
    }

    pub fn kind(&mut self, header: &Header<'_>) -> Kind {
        let Some((value, line)) = header.get("kind") else {
            self.problem(1, "`kind` is missing", "begin with `-- kind: incremental`, `materialized` or `view`");
            return Kind::View;
        };
        let kind = Kind::of(value);
        if kind.is_none() {
            self.problem(line, format!("`{value}` is no kind"), "use view, materialized or incremental");
        }
        kind.unwrap_or(Kind::View)
    }

    pub fn bucket(&mut self, header: &Header<'_>, kind: Kind) -> Option<Bucket> {
        let Some((value, line)) = header.get("bucket") else {
            if kind == Kind::Incremental {
                self.problem(1, "`bucket` is missing", "add `-- bucket: day`, or hour, week, month");
            }
            return None;
        };
        let bucket = Bucket::of(value);
        if bucket.is_none() {
            self.problem(line, format!("`{value}` is no bucket"), "use hour, day, week or month");
        }
        bucket
    }

    pub fn columns(&mut self, header: &Header<'_>) -> Vec<String> {
        let Some((value, line)) = header.get("unique") else { return Vec::new() };
        let columns: Vec<String> = value.split(',').map(|column| column.trim().to_owned()).collect();
        if columns.iter().any(String::is_empty) {
            self.problem(line, "a column's name is missing", "separate columns by one comma each");
        }
        columns
    }

    pub fn packed(&mut self, header: &Header<'_>) -> bool {
        let Some((value, line)) = header.get("packed") else { return false };
        if value != "visits" {
            self.problem(line, format!("`{value}` cannot be packed"), "write `-- packed: visits`, or remove the line");
        }
        if let Some((_, line)) = header.get("unique") {
            self.problem(line, "`unique` means nothing to rows that weir packs", "remove the line");
        }
        true
    }

    pub fn span(&mut self, header: &Header<'_>, key: &str) -> Option<(Span, usize)> {
        let (value, line) = header.get(key)?;
        let span = Span::from_str(value).ok().filter(|span| span.is_positive());
        if span.is_none() {
            self.problem(line, format!("`{value}` is no length of time"), "write one as `30 minutes` or `2 years`");
        }
        span.map(|span| (span, line))
    }

    pub fn look(&mut self, header: &Header<'_>, key: &str) -> i64 {
        let Some((span, line)) = self.span(header, key) else { return 0 };
        let days_max = LOOK_DAYS_MAX * 86_400;
        let seconds = seconds(span).filter(|seconds| *seconds <= days_max);
        if seconds.is_none() {
            let cure = "use minutes, hours or days; what needs more is `kind: materialized`";
            self.problem(line, format!("`{key}` is longer than {LOOK_DAYS_MAX} days"), cure);
        }
        seconds.unwrap_or(0)
    }
}

/// `-- key: value`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start_matches('-').trim_start().split_once(':')?;
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    is_word.then_some((key, value.trim()))
}

/// Of a span without months and years.
fn seconds(span: Span) -> Option<i64> {
    if span.get_years() != 0 || span.get_months() != 0 {
        return None;
    }
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Some(duration.as_secs())
}
