//! Which type a column has: by the stream's JSON schema, and never narrower than before.
//!
//! | JSON schema | column |
//! | --- | --- |
//! | `boolean` | `boolean` |
//! | `integer`; beyond 64 bits | `bigint`; `numeric` |
//! | `number`; `string` of format `singer.decimal` | `numeric`: all digits are kept |
//! | `string` of format `date-time`; `date`; any other | `timestamptz`; `date`; `text` |
//! | `object`, `array`, several kinds, or nothing said | `jsonb` |
//! | only `null` | none yet |
//!
//! A text or a time (`anyOf`, as Salesforce's tap says it) is a time for as long as all are. Integer widens to number, date
//! to time, one scalar and another to text, and whatever is nested to `jsonb`.

use std::fmt;

use serde_json::{Map, Value};

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Boolean,
    Bigint,
    Numeric,
    Date,
    Timestamptz,
    Text,
    Jsonb,
}

impl ColumnType {
    pub const ALL: [Self; 7] =
        [Self::Boolean, Self::Bigint, Self::Numeric, Self::Date, Self::Timestamptz, Self::Text, Self::Jsonb];

    /// As PostgreSQL's `format_type` calls it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::Timestamptz => "timestamp with time zone",
            Self::Text => "text",
            Self::Jsonb => "jsonb",
        }
    }

    /// The type of that name, if it is one of these.
    pub fn named(sql: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.sql() == sql)
    }

    /// The narrowest that holds what both hold.
    pub fn widened(self, other: Self) -> Self {
        match (self, other) {
            (same, equal) if same == equal => same,
            (Self::Jsonb, _) | (_, Self::Jsonb) => Self::Jsonb,
            (Self::Bigint | Self::Numeric, Self::Bigint | Self::Numeric) => Self::Numeric,
            (Self::Date | Self::Timestamptz, Self::Date | Self::Timestamptz) => Self::Timestamptz,
            _ => Self::Text,
        }
    }

    /// The value of a column of this type in another that is wider; times as RFC 3339, as they came.
    pub fn cast(self, column: &str, to: Self) -> String {
        match (self, to) {
            (Self::Timestamptz, Self::Text) => {
                format!("to_char({column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            }
            (Self::Timestamptz, Self::Jsonb) => {
                format!("to_jsonb(to_char({column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))")
            }
            (Self::Date, Self::Timestamptz) => format!("{column}::timestamp at time zone 'UTC'"),
            (_, Self::Jsonb) => format!("to_jsonb({column})"),
            _ => format!("{column}::{}", to.sql()),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sql())
    }
}

/// What a property may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of each other: a set")]
pub struct Declared {
    boolean: bool,
    integer: bool,
    number: bool,
    date: bool,
    time: bool,
    text: bool,
    nested: bool,
    /// Nothing is said, or something that is not looked into.
    any: bool,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    Boolean,
    Integer,
    Number,
    Text,
    Nested,
}

impl Declared {
    /// Reads a property's schema.
    pub fn of(schema: &Value) -> Self {
        let mut declared = Self::default();
        declared.add(schema, 0);
        declared
    }

    fn add(&mut self, schema: &Value, depth: usize) {
        /// Deeper ones are not meant for people either.
        const DEPTH_MAX: usize = 8;
        const NAMES_KINDS: [&str; 6] = ["type", "enum", "anyOf", "oneOf", "allOf", "$ref"];
        let Some(schema) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
            self.any = true;
            return;
        };
        let mut is_said = false;
        for kinds in ["anyOf", "oneOf", "allOf"] {
            for branch in schema.get(kinds).and_then(Value::as_array).into_iter().flatten() {
                // One that all have to agree with may be about something else, as a length.
                if kinds == "allOf" && !NAMES_KINDS.iter().any(|name| branch.get(name).is_some()) {
                    continue;
                }
                is_said = true;
                self.add(branch, depth + 1);
            }
        }
        match schema.get("type") {
            Some(Value::String(kind)) => self.add_kind(kind, schema),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).for_each(|kind| self.add_kind(kind, schema));
            }
            _ if is_said => {}
            _ => match schema.get("enum").and_then(Value::as_array) {
                Some(values) if values.iter().all(|value| value.is_string() || value.is_null()) => self.text = true,
                _ => self.any = true,
            },
        }
    }

    fn add_kind(&mut self, kind: &str, schema: &Map<String, Value>) {
        match kind {
            "null" => {}
            "boolean" => self.boolean = true,
            "integer" => {
                let is_large =
                    |bound: &str| schema.get(bound).is_some_and(|bound| bound.is_number() && bound.as_i64().is_none());
                self.integer = true;
                self.number |= is_large("maximum") || is_large("minimum");
            }
            "number" => self.number = true,
            "string" => match schema.get("format").and_then(Value::as_str) {
                Some("date-time") => self.time = true,
                Some("date") => self.date = true,
                // A number as text, so that no parser rounds it: PipelineWise's taps and the Meltano SDK.
                Some("singer.decimal" | "x-singer.decimal") => self.number = true,
                _ => self.text = true,
            },
            "object" | "array" => self.nested = true,
            _ => self.any = true,
        }
    }

    /// The type of its column; `None` where it is only ever null.
    pub fn column(self) -> Option<ColumnType> {
        let is_text = self.text || self.date || self.time;
        let is_number = self.number || self.integer;
        if self.any || self.nested || u8::from(is_text) + u8::from(is_number) + u8::from(self.boolean) > 1 {
            return Some(ColumnType::Jsonb);
        }
        match self {
            Self { boolean: true, .. } => Some(ColumnType::Boolean),
            Self { number: true, .. } => Some(ColumnType::Numeric),
            Self { integer: true, .. } => Some(ColumnType::Bigint),
            Self { time: true, .. } => Some(ColumnType::Timestamptz),
            Self { date: true, .. } => Some(ColumnType::Date),
            Self { text: true, .. } => Some(ColumnType::Text),
            _ => None,
        }
    }

    /// Whether a value of that kind may come, whatever the column's type is by now.
    pub fn allows(self, given: Given) -> bool {
        self.any
            || match given {
                Given::Boolean => self.boolean,
                Given::Integer => self.integer || self.number,
                Given::Number => self.number,
                // Of a text that has to be a time, and is none, nothing is known.
                Given::Text => self.text,
                Given::Nested => self.nested,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_by_schema() {
        for (schema, column) in [
            (json!({"type": "string"}), Some(ColumnType::Text)),
            (json!({"type": ["null", "string"], "format": "date-time"}), Some(ColumnType::Timestamptz)),
            (json!({"type": ["string"], "format": "date"}), Some(ColumnType::Date)),
            (json!({"type": ["string"], "format": "uuid"}), Some(ColumnType::Text)),
            (json!({"type": ["null", "integer"]}), Some(ColumnType::Bigint)),
            (json!({"type": "integer", "maximum": 9_223_372_036_854_775_807_u64}), Some(ColumnType::Bigint)),
            (json!({"type": "integer", "maximum": 18_446_744_073_709_551_615_u64}), Some(ColumnType::Numeric)),
            (json!({"type": ["integer", "number"]}), Some(ColumnType::Numeric)),
            (json!({"type": "boolean"}), Some(ColumnType::Boolean)),
            (json!({"type": ["null", "object"], "properties": {}}), Some(ColumnType::Jsonb)),
            (json!({"type": "array", "items": {"type": "string"}}), Some(ColumnType::Jsonb)),
            (json!({"type": ["string", "integer"]}), Some(ColumnType::Jsonb)),
            (json!({}), Some(ColumnType::Jsonb)),
            (json!(true), Some(ColumnType::Jsonb)),
            (json!({"type": "null"}), None),
            (json!({"type": ["null", "string"], "format": "singer.decimal"}), Some(ColumnType::Numeric)),
            (json!({"allOf": [{"type": "string"}, {"maxLength": 5}]}), Some(ColumnType::Text)),
            (json!({"allOf": [{"$ref": "#/a"}]}), Some(ColumnType::Jsonb)),
            (json!({"enum": ["a", null]}), Some(ColumnType::Text)),
            (
                json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]}),
                Some(ColumnType::Timestamptz),
            ),
            (json!({"anyOf": [{"type": "object"}, {"type": "null"}]}), Some(ColumnType::Jsonb)),
            (json!({"oneOf": [{"type": "integer"}, {"type": "null"}]}), Some(ColumnType::Bigint)),
        ] {
            assert_eq!(Declared::of(&schema).column(), column, "{schema}");
        }
    }

    #[test]
    fn widening_never_narrows() {
        for one in ColumnType::ALL {
            for other in ColumnType::ALL {
                let wide = one.widened(other);
                assert_eq!(wide, other.widened(one));
                assert_eq!(wide.widened(one), wide, "{one} and {other} make {wide}");
            }
        }
        assert_eq!(ColumnType::Bigint.widened(ColumnType::Text), ColumnType::Text);
        assert_eq!(ColumnType::Date.widened(ColumnType::Timestamptz), ColumnType::Timestamptz);
        assert_eq!(ColumnType::Text.widened(ColumnType::Jsonb), ColumnType::Jsonb);
    }
}
