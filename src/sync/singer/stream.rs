//! A stream: its table, what its schema says, and records that wait for the next flush.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::message::Members;
use super::types::{ColumnType, Declared};
use super::value::{self, Misfit, NULL};

/// PostgreSQL's B-tree takes keys of up to a third of a page, 2,704 bytes, all columns together.
const KEY_BYTES_MAX: usize = 2_000;
/// So much of a value is told in a reason.
const VALUE_CHARS_MAX: usize = 80;
/// JSON's text of nothing.
const EMPTY: &str = "\"\"";

/// A column of a stream's table that a property goes to.
#[derive(Debug, Clone)]
pub struct Column {
    pub property: String,
    pub name: String,
    pub kind: ColumnType,
    /// `None`: the schema does not name it any more.
    pub declared: Option<Declared>,
}

/// Where a stream's rows go.
#[derive(Debug, Clone)]
pub struct Table {
    pub schema: String,
    pub relation: String,
    pub columns: Vec<Column>,
    /// Indexes into `columns`; empty: rows are only added.
    pub key: Vec<usize>,
}

/// What a SCHEMA says.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The whole, as it came: equal texts say the same.
    pub text: String,
    pub key: Vec<String>,
    /// The key's first, the others in the order of their names.
    pub properties: Vec<(String, Value)>,
}

impl Schema {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str, key: Vec<String>) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let properties: Vec<(String, Value)> = match schema.get("properties") {
            Some(Value::Object(properties)) => {
                properties.iter().map(|(name, property)| (name.clone(), referred(&schema, property))).collect()
            }
            _ => Vec::new(),
        };
        // The key's columns come first, as people write tables.
        let mut properties = properties;
        properties.sort_by_key(|(name, _)| key.iter().position(|key| key == name).unwrap_or(usize::MAX));
        if let Some(missing) = key.iter().find(|key| !properties.iter().any(|(name, _)| name == *key)) {
            return Err(format!("its key, {missing}, is not among its properties"));
        }
        Ok(Self { text: text.to_owned(), key, properties })
    }
}

/// What a property's schema refers to within the whole (`{"$ref": "#/definitions/money"}`); others stay as they are. References
/// within that are not followed: what they name is JSON to weir.
fn referred(whole: &Value, property: &Value) -> Value {
    let place = property.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    place.and_then(|place| whole.pointer(place)).unwrap_or(property).clone()
}

/// A record that waits.
#[derive(Debug)]
struct Entry {
    /// Where its text ends.
    end: usize,
    version: Option<i64>,
    extracted: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub struct Stream {
    pub schema: Schema,
    pub table: Table,
    /// Records' texts, one after the other.
    texts: String,
    entries: Vec<Entry>,
    /// So many of the records came before the last STATE.
    covered: usize,
    /// Versions before this are gone; and whether that was said before the last STATE.
    activated: Option<(i64, bool)>,
    /// Of this run's records.
    newest_version: Option<i64>,
    /// Versions before this are gone once the tap has ended well: it said so before any record of that version.
    held: Option<i64>,
}

/// The first records of a stream, and what comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub records: usize,
    /// Versions before this are gone.
    pub activated: Option<i64>,
}

impl Part {
    pub fn is_empty(self) -> bool {
        self.records == 0 && self.activated.is_none()
    }
}

/// Records as rows of COPY, and those that cannot be any.
#[derive(Debug, Default)]
pub struct Rows {
    pub bytes: Vec<u8>,
    /// Where each row ends, and which record it is.
    pub rows: Vec<(usize, usize)>,
    /// Records, with the reason.
    pub rejects: Vec<(usize, String)>,
}

/// Columns that have to be wider first.
pub type Wider = Vec<(usize, ColumnType)>;

impl Stream {
    pub fn new(schema: Schema, table: Table) -> Self {
        Self {
            schema,
            table,
            texts: String::new(),
            entries: Vec::new(),
            covered: 0,
            activated: None,
            newest_version: None,
            held: None,
        }
    }

    /// Keeps a record until the next flush.
    pub fn push(&mut self, record: &str, version: Option<i64>, extracted: Option<&str>) {
        self.texts.push_str(record);
        self.newest_version = self.newest_version.max(version);
        let extracted = extracted.and_then(value::time_of);
        self.entries.push(Entry { end: self.texts.len(), version, extracted });
    }

    /// Rows of versions before this one are gone, once all records before are written. Some taps say so at the beginning, too,
    /// when the rows of that version are yet to come: what they do not say again counts at their end.
    pub fn activate(&mut self, version: i64) {
        if self.newest_version >= Some(version) || self.held == Some(version) {
            self.activated = Some((version, false));
            self.held = None;
        } else {
            self.held = Some(version);
        }
    }

    /// The version that counts once the tap has ended well.
    pub fn held(&self) -> Option<i64> {
        self.held
    }

    /// Goes on for `before`, of which all is written, by another schema.
    pub fn follow(&mut self, before: &Self) {
        (self.newest_version, self.held) = (before.newest_version, before.held);
    }

    /// A STATE has come: it covers all that is here.
    pub fn cover(&mut self) {
        self.covered = self.entries.len();
        if let Some((_, is_covered)) = &mut self.activated {
            *is_covered = true;
        }
    }

    /// What a flush writes: with a STATE what it covers, else all.
    pub fn part(&self, has_state: bool) -> Part {
        let records = if has_state { self.covered } else { self.entries.len() };
        let activated = self.activated.filter(|(_, is_covered)| *is_covered || !has_state).map(|(version, _)| version);
        Part { records, activated }
    }

    /// Forgets what was written; returns how many bytes that were.
    pub fn drop_part(&mut self, part: Part) -> usize {
        let bytes = part.records.checked_sub(1).map_or(0, |last| self.entries[last].end);
        self.texts.drain(..bytes);
        self.entries.drain(..part.records);
        for entry in &mut self.entries {
            entry.end -= bytes;
        }
        self.covered = self.covered.saturating_sub(part.records);
        if part.activated.is_some() {
            self.activated = None;
        }
        bytes
    }

    /// A record's text.
    pub fn text(&self, record: usize) -> &str {
        let start = record.checked_sub(1).map_or(0, |before| self.entries[before].end);
        &self.texts[start..self.entries[record].end]
    }

    /// The first `records`, but for those in `left_out`, as rows of `_n`, the columns, `_extra`, `_version`, and
    /// `_extracted_at`.
    ///
    /// # Errors
    /// Columns are too narrow for values that the schema allows.
    pub fn encode(&self, records: usize, left_out: &HashMap<usize, String>) -> Result<Rows, Wider> {
        let places: HashMap<&str, usize> =
            self.table.columns.iter().enumerate().map(|(at, column)| (column.property.as_str(), at)).collect();
        let mut rows = Rows { bytes: Vec::with_capacity(self.texts.len()), ..Rows::default() };
        let mut wider = Wider::new();
        for (record, entry) in self.entries.iter().take(records).enumerate() {
            if let Some(reason) = left_out.get(&record) {
                rows.rejects.push((record, reason.clone()));
                continue;
            }
            let start = rows.bytes.len();
            match self.append(&mut rows.bytes, record, entry, &places) {
                Ok(()) => rows.rows.push((rows.bytes.len(), record)),
                Err(unfit) => {
                    rows.bytes.truncate(start);
                    match unfit {
                        Unfit::Reject(reason) => rows.rejects.push((record, reason)),
                        Unfit::Narrow(column, needs) => match wider.iter_mut().find(|(at, _)| *at == column) {
                            Some((_, kind)) => *kind = kind.widened(needs),
                            None => wider.push((column, self.table.columns[column].kind.widened(needs))),
                        },
                    }
                }
            }
        }
        if wider.is_empty() { Ok(rows) } else { Err(wider) }
    }

    fn append(
        &self,
        bytes: &mut Vec<u8>,
        record: usize,
        entry: &Entry,
        places: &HashMap<&str, usize>,
    ) -> Result<(), Unfit> {
        let members: Members =
            serde_json::from_str(self.text(record)).map_err(|error| Unfit::Reject(error.to_string()))?;
        let mut values = vec![None; self.table.columns.len()];
        let mut extra = Extra::default();
        for (name, value) in &members.0 {
            match places.get(name.as_ref()) {
                // The last one counts, as in most parsers.
                Some(&at) => values[at] = Some(*value),
                None => extra.add(name, value),
            }
        }
        bytes.extend_from_slice(record.to_string().as_bytes());
        for (column, value) in self.table.columns.iter().zip(&values) {
            bytes.push(b'\t');
            let Some(value) = value else {
                bytes.extend_from_slice(NULL);
                continue;
            };
            if let Err(misfit) = value::append(bytes, value, column.kind) {
                self.settle(column, value, &misfit)?;
                extra.add(&column.property, value);
                bytes.extend_from_slice(NULL);
            }
        }
        self.check_key(&values)?;
        bytes.push(b'\t');
        extra.append(bytes);
        bytes.push(b'\t');
        match entry.version {
            Some(version) => bytes.extend_from_slice(version.to_string().as_bytes()),
            None => bytes.extend_from_slice(NULL),
        }
        bytes.push(b'\t');
        match entry.extracted {
            Some(time) => bytes.extend_from_slice(time.to_string().as_bytes()),
            None => bytes.extend_from_slice(NULL),
        }
        bytes.push(b'\n');
        Ok(())
    }

    /// What becomes of a value that its column cannot hold: `Ok` if it goes to `_extra`.
    fn settle(&self, column: &Column, value: &str, misfit: &Misfit) -> Result<(), Unfit> {
        let Some(declared) = column.declared else { return Ok(()) };
        let at = self.table.columns.iter().position(|other| other.name == column.name).unwrap_or_default();
        // How many services write that there is no time or number. It must not cost the record, nor the column its type.
        if value == EMPTY && !self.table.key.contains(&at) {
            return Ok(());
        }
        // A time where dates were promised loses nothing by a column of times.
        let is_time = column.kind == ColumnType::Date && misfit.needs == ColumnType::Timestamptz;
        if declared.allows(misfit.given) || is_time {
            return Err(Unfit::Narrow(at, misfit.needs));
        }
        let shown: String = value.chars().take(VALUE_CHARS_MAX).collect();
        let (property, kind) = (&column.property, column.kind);
        Err(Unfit::Reject(format!("{property} is {shown}, which its schema does not allow ({kind})")))
    }

    fn check_key(&self, values: &[Option<&str>]) -> Result<(), Unfit> {
        let mut bytes = 0;
        for &at in &self.table.key {
            match values[at] {
                None | Some("null") => {
                    return Err(Unfit::Reject(format!("its key, {}, is null", self.table.columns[at].property)));
                }
                Some(value) => bytes += value.len(),
            }
        }
        if bytes > KEY_BYTES_MAX {
            return Err(Unfit::Reject(format!("its key is of {bytes} bytes; {KEY_BYTES_MAX} can be looked up")));
        }
        Ok(())
    }
}

enum Unfit {
    Reject(String),
    Narrow(usize, ColumnType),
}

/// Properties without a column, as one JSON object.
#[derive(Default)]
struct Extra(String);

impl Extra {
    fn add(&mut self, name: &str, value: &str) {
        // What is null is nowhere else either.
        if value == "null" {
            return;
        }
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(value);
    }

    fn append(mut self, bytes: &mut Vec<u8>) {
        if self.0.is_empty() {
            bytes.extend_from_slice(NULL);
            return;
        }
        self.0.push('}');
        value::escape(bytes, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(properties: &Value, key: &[&str]) -> Stream {
        let schema = json!({"properties": properties}).to_string();
        let key: Vec<String> = key.iter().map(|&key| key.to_owned()).collect();
        let schema = Schema::read(&schema, key.clone()).expect("a schema");
        let columns: Vec<Column> = schema
            .properties
            .iter()
            .filter_map(|(name, schema)| {
                let declared = Declared::of(schema);
                let kind = declared.column()?;
                Some(Column { property: name.clone(), name: name.clone(), kind, declared: Some(declared) })
            })
            .collect();
        let key = key.iter().map(|key| columns.iter().position(|column| column.property == *key).expect("there"));
        let table = Table { schema: "s".to_owned(), relation: "t".to_owned(), key: key.collect(), columns };
        Stream::new(schema, table)
    }

    #[test]
    fn a_record_is_a_row_and_strangers_are_kept() {
        let mut stream = stream(&json!({"a": {"type": "string"}, "id": {"type": "integer"}}), &["id"]);
        stream.push(r#"{"id":1,"a":"x","new":{"y":"\t"},"none":null}"#, Some(3), Some("2026-01-01T00:00:00Z"));
        stream.push(r#"{"id":2}"#, None, None);
        let rows = stream.encode(usize::MAX, &HashMap::new()).expect("all fit");
        let text = "0\t1\tx\t{\"new\":{\"y\":\"\\\\t\"}}\t3\t2026-01-01T00:00:00Z\n1\t2\t\\N\t\\N\t\\N\t\\N\n";
        assert_eq!(String::from_utf8(rows.bytes).expect("text"), text);
        assert_eq!(rows.rows.iter().map(|(_, record)| *record).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_the_schema_forbids_costs_only_its_own_record() {
        let mut stream = stream(&json!({"n": {"type": "integer"}, "id": {"type": ["null", "string"]}}), &["id"]);
        let long = format!(r#"{{"id":"{}","n":1}}"#, "x".repeat(3_000));
        for record in [r#"{"id":"a","n":"one"}"#, r#"{"id":"b","n":1}"#, r#"{"n":1}"#, r#"{"id":null}"#, &long] {
            stream.push(record, None, None);
        }
        let rows =
            stream.encode(usize::MAX, &HashMap::from([(1, "refused".to_owned())])).expect("nothing is too narrow");
        let reasons: Vec<_> = rows.rejects.iter().map(|(record, reason)| (*record, reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (0, r#"n is "one", which its schema does not allow (bigint)"#),
                (1, "refused"),
                (2, "its key, id, is null"),
                (3, "its key, id, is null"),
                (4, "its key is of 3002 bytes; 2000 can be looked up"),
            ]
        );
        assert!(rows.bytes.is_empty());
    }

    #[test]
    fn what_the_schema_allows_widens_the_column() {
        let time = json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]});
        let mut stream =
            stream(&json!({"n": {"type": "integer"}, "at": time, "day": {"type": "string", "format": "date"}}), &[]);
        stream.push(r#"{"n":99999999999999999999,"at":"soon","day":"2026-01-01T10:00:00Z"}"#, None, None);
        let wider = stream.encode(usize::MAX, &HashMap::new()).expect_err("too narrow");
        // One column a record at a time: the next try finds the next.
        assert_eq!(wider, [(0, ColumnType::Text)]);
        stream.table.columns[0].kind = ColumnType::Text;
        assert_eq!(stream.encode(usize::MAX, &HashMap::new()).expect_err("too narrow"), [(1, ColumnType::Timestamptz)]);
        stream.table.columns[1].kind = ColumnType::Timestamptz;
        assert_eq!(stream.encode(usize::MAX, &HashMap::new()).expect_err("too narrow"), [(2, ColumnType::Numeric)]);
    }

    #[test]
    fn an_empty_text_in_place_of_a_time_is_none() {
        let time = json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]});
        let properties =
            json!({"id": {"type": "integer"}, "n": {"type": "number"}, "at": time, "text": {"type": "string"}});
        let mut stream = stream(&properties, &["id"]);
        stream.push(r#"{"id":1,"n":"","at":"","text":""}"#, None, None);
        stream.push(r#"{"id":"","n":1}"#, None, None);
        let rows = stream.encode(usize::MAX, &HashMap::new()).expect("nothing is too narrow");
        assert_eq!(
            String::from_utf8(rows.bytes).expect("text"),
            "0\t1\t\\N\t\\N\t\t{\"at\":\"\",\"n\":\"\"}\t\\N\t\\N\n"
        );
        assert_eq!(rows.rejects, [(1, "id is \"\", which its schema does not allow (bigint)".to_owned())]);
    }

    #[test]
    fn what_is_no_longer_in_the_schema_is_not_judged() {
        let mut stream = stream(&json!({"n": {"type": "integer"}}), &[]);
        stream.table.columns[0].declared = None;
        stream.push(r#"{"n":"text"}"#, None, None);
        let rows = stream.encode(usize::MAX, &HashMap::new()).expect("it goes aside");
        assert!(String::from_utf8(rows.bytes).expect("text").starts_with("0\t\\N\t{\"n\":\"text\"}\t"));
    }

    #[test]
    fn a_state_covers_what_came_before_it() {
        let mut stream = stream(&json!({"n": {"type": "integer"}}), &[]);
        for n in 0..5 {
            stream.push(&format!(r#"{{"n":{n}}}"#), None, None);
            if n == 2 {
                stream.cover();
            }
        }
        stream.push(r#"{"n":5}"#, Some(9), None);
        stream.activate(9);
        let part = stream.part(true);
        assert_eq!(part, Part { records: 3, activated: None });
        assert_eq!(stream.encode(part.records, &HashMap::new()).expect("fits").rows.len(), 3);
        assert_eq!(stream.drop_part(part), 3 * r#"{"n":0}"#.len());
        assert_eq!((stream.text(0), stream.text(2)), (r#"{"n":3}"#, r#"{"n":5}"#));
        assert_eq!(stream.part(true), Part { records: 0, activated: None });
        let part = stream.part(false);
        assert_eq!(part, Part { records: 3, activated: Some(9) });
        stream.drop_part(part);
        assert!(stream.part(false).is_empty());
    }

    #[test]
    fn a_reference_within_the_schema_is_followed() {
        let text = r##"{"definitions":{"at":{"type":"string","format":"date-time"}},
            "properties":{"a":{"$ref":"#/definitions/at"},"b":{"$ref":"#/none"},"c":{"$ref":"other.json"}}}"##;
        let schema = Schema::read(text, Vec::new()).expect("a schema");
        let columns: Vec<_> = schema.properties.iter().map(|(_, schema)| Declared::of(schema).column()).collect();
        assert_eq!(columns, [Some(ColumnType::Timestamptz), Some(ColumnType::Jsonb), Some(ColumnType::Jsonb)]);
    }

    #[test]
    fn a_key_has_to_be_a_property() {
        assert!(Schema::read(r#"{"properties":{"a":{}}}"#, vec!["b".to_owned()]).is_err());
    }
}
