//! The columns of the table in `ClickHouse`: those of `analytics.events`, each with its type, listed once.
//!
//! ```text
//! PostgreSQL            ClickHouse                            RowBinary (rowbinary.rs)
//! uuid                  UUID                                  two UInt64, little endian
//! timestamptz           DateTime64(6, 'UTC'), or Int64:       Int64, little endian
//!                       microseconds since 1970
//! boolean               UInt8 or Bool                         a byte
//! text, few values      LowCardinality(String)                length and bytes
//! text, inet, jsonb     String, as PostgreSQL writes it       length and bytes
//! what may be NULL      Nullable(...)                         a byte before: 1 is NULL, and all
//! ```
//!
//! `DateTime64` came with version 20.3: servers before have the same numbers as `Int64`.
//!
//! A row's **checksum** is 60 bits of the MD5 of its columns as text, which both databases compute by themselves from what they
//! hold. It says that two rows are equal, in all columns.

use super::ClickHouseError;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Uuid,
    Time,
    Flag,
    /// Text of which there are few different ones.
    Word,
    Text,
    Inet,
    Json,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Type,
    pub is_nullable: bool,
}

const fn always(name: &'static str, kind: Type) -> Column {
    Column { name, kind, is_nullable: false }
}

const fn maybe(name: &'static str, kind: Type) -> Column {
    Column { name, kind, is_nullable: true }
}

/// In the order of the table in PostgreSQL.
pub const COLUMNS: [Column; 36] = [
    always("event_id", Type::Uuid),
    always("occurred_at", Type::Time),
    always("received_at", Type::Time),
    maybe("sent_at", Type::Time),
    always("source", Type::Word),
    always("kind", Type::Word),
    maybe("name", Type::Word),
    maybe("visitor_id", Type::Text),
    maybe("user_id", Type::Text),
    maybe("session_id", Type::Text),
    maybe("url", Type::Text),
    maybe("host", Type::Word),
    maybe("path", Type::Text),
    maybe("query", Type::Text),
    maybe("title", Type::Text),
    maybe("referrer", Type::Text),
    maybe("referrer_host", Type::Word),
    maybe("utm_source", Type::Word),
    maybe("utm_medium", Type::Word),
    maybe("utm_campaign", Type::Word),
    maybe("utm_term", Type::Word),
    maybe("utm_content", Type::Word),
    maybe("ip", Type::Inet),
    maybe("country", Type::Word),
    maybe("region", Type::Word),
    maybe("city", Type::Word),
    maybe("browser", Type::Word),
    maybe("browser_version", Type::Word),
    maybe("os", Type::Word),
    maybe("os_version", Type::Word),
    maybe("device", Type::Word),
    always("is_bot", Type::Flag),
    maybe("language", Type::Word),
    maybe("screen", Type::Word),
    maybe("properties", Type::Json),
    maybe("context", Type::Json),
];

/// How a table has its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    DateTime64,
    Int64,
}

impl Column {
    /// As it is declared where weir makes the table.
    pub fn declaration(&self, times: Times) -> String {
        let base = match (self.kind, times) {
            (Type::Uuid, _) => "UUID",
            (Type::Time, Times::DateTime64) => "DateTime64(6, 'UTC')",
            (Type::Time, Times::Int64) => "Int64",
            (Type::Flag, _) => "UInt8",
            (Type::Word | Type::Text | Type::Inet | Type::Json, _) => "String",
        };
        let base = if self.is_nullable { format!("Nullable({base})") } else { base.to_owned() };
        let whole = if self.kind == Type::Word { format!("LowCardinality({base})") } else { base };
        format!("{} {whole}", self.name)
    }

    /// Whether what is sent fits a column of type `declared`; if it holds a time, how.
    pub fn fit(&self, declared: &str) -> Option<Option<Times>> {
        let inner = |text: &str, outer: &str| {
            text.strip_prefix(outer).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')').map(str::to_owned))
        };
        let plain = inner(declared, "LowCardinality").unwrap_or_else(|| declared.to_owned());
        let base = match inner(&plain, "Nullable") {
            Some(base) if self.is_nullable => base,
            None if !self.is_nullable => plain,
            // The byte before the value would be missing, or one too many.
            _ => return None,
        };
        match self.kind {
            Type::Uuid => (base == "UUID").then_some(None),
            Type::Time if base == "Int64" => Some(Some(Times::Int64)),
            Type::Time => {
                (base == "DateTime64(6)" || base.starts_with("DateTime64(6,")).then_some(Some(Times::DateTime64))
            }
            Type::Flag => matches!(base.as_str(), "UInt8" | "Bool").then_some(None),
            Type::Word | Type::Text | Type::Inet | Type::Json => (base == "String").then_some(None),
        }
    }

    /// How it is read from PostgreSQL.
    pub fn read(&self) -> String {
        let name = self.name;
        match self.kind {
            // A cast would append /32 to an address.
            Type::Inet => format!("abbrev({name})"),
            Type::Json => format!("{name}::text"),
            Type::Uuid | Type::Time | Type::Flag | Type::Word | Type::Text => name.to_owned(),
        }
    }

    /// Its text for the checksum, in PostgreSQL.
    fn text_there(&self) -> String {
        let name = self.name;
        let text = match self.kind {
            Type::Uuid => format!("{name}::text"),
            // What has no end is the greatest number or the least, as in RowBinary.
            Type::Time => format!(
                "case {name} when 'infinity' then '{}' when '-infinity' then '{}' else (extract(epoch from {name}) * 1000000)::bigint::text end",
                i64::MAX,
                i64::MIN
            ),
            Type::Flag => format!("{name}::integer::text"),
            Type::Word | Type::Text | Type::Inet | Type::Json => self.read(),
        };
        format!(r"coalesce({text}, '\N')")
    }

    /// The same text, in `ClickHouse`.
    fn text_here(&self, times: Times) -> String {
        let name = self.name;
        let text = match self.kind {
            Type::Time => format!("toString({})", microseconds(name, times)),
            // A Bool's own text is a word.
            Type::Flag => format!("toString(toUInt8({name}))"),
            Type::Uuid | Type::Word | Type::Text | Type::Inet | Type::Json => format!("toString({name})"),
        };
        if self.is_nullable { format!(r"ifNull({text}, '\\N')") } else { text }
    }
}

/// A time as microseconds since 1970, in `ClickHouse`.
pub fn microseconds(expression: &str, times: Times) -> String {
    match times {
        Times::Int64 => expression.to_owned(),
        Times::DateTime64 => format!("toUnixTimestamp64Micro({expression})"),
    }
}

/// A moment, in `ClickHouse`, to be compared with a column.
pub fn moment(us: i64, times: Times) -> String {
    match times {
        Times::Int64 => us.to_string(),
        Times::DateTime64 => format!("fromUnixTimestamp64Micro({us}, 'UTC')"),
    }
}

/// A row's checksum in PostgreSQL, a bigint that is not negative.
pub fn checksum_there() -> String {
    let texts: Vec<String> = COLUMNS.iter().map(Column::text_there).collect();
    format!("('x' || left(md5(concat_ws(chr(31), {})), 15))::bit(60)::bigint", texts.join(", "))
}

/// The same in `ClickHouse`, a `UInt64`.
pub fn checksum_here(layout: &Layout) -> String {
    let texts: Vec<String> =
        COLUMNS.iter().zip(&layout.times).map(|(column, times)| column.text_here(*times)).collect();
    let md5 = format!("MD5(concat({}))", texts.join(r", '\x1F', "));
    format!("bitShiftRight(reinterpretAsUInt64(reverse(substring(toString({md5}), 1, 8))), 4)")
}

/// The columns as a table has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Of each column; where it holds no time, either.
    times: Vec<Times>,
}

impl Layout {
    /// Reads what `ClickHouse` says of its columns: name and type of each. `wanted`: how it can have times.
    pub fn of(declared: &[(String, String)], wanted: Times) -> Result<Self, ClickHouseError> {
        let mut times = Vec::with_capacity(COLUMNS.len());
        for column in &COLUMNS {
            let Some((_, declared)) = declared.iter().find(|(name, _)| name == column.name) else {
                return Err(ClickHouseError::NoColumn { declaration: column.declaration(wanted) });
            };
            let Some(fit) = column.fit(declared) else {
                let (name, found) = (column.name, declared.clone());
                return Err(ClickHouseError::WrongColumn { name, found, declaration: column.declaration(wanted) });
            };
            times.push(fit.unwrap_or(Times::Int64));
        }
        Ok(Self { times })
    }

    /// How the table has the time of events.
    pub fn occurred_at(&self) -> Times {
        COLUMNS
            .iter()
            .zip(&self.times)
            .find(|(column, _)| column.name == "occurred_at")
            .map_or(Times::DateTime64, |(_, times)| *times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    #[test]
    fn they_are_those_of_the_events() {
        let ours: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let events: Vec<&str> = row::COLUMNS.iter().map(|(name, _)| *name).collect();
        assert_eq!(ours, events);
        for (column, (_, kind)) in COLUMNS.iter().zip(row::COLUMNS) {
            let is_same = match column.kind {
                Type::Uuid => kind == row::Kind::Uuid,
                Type::Time => kind == row::Kind::Time,
                Type::Flag => kind == row::Kind::Bool,
                Type::Word | Type::Text => kind == row::Kind::Text,
                Type::Inet => kind == row::Kind::Inet,
                Type::Json => kind == row::Kind::Json,
            };
            assert!(is_same, "{}", column.name);
        }
    }

    #[test]
    fn what_weir_declares_fits() {
        for times in [Times::DateTime64, Times::Int64] {
            let declared: Vec<(String, String)> = COLUMNS
                .iter()
                .map(|column| column.declaration(times))
                .map(|text| {
                    text.split_once(' ').map(|(name, kind)| (name.to_owned(), kind.to_owned())).expect("a type")
                })
                .collect();
            let layout = Layout::of(&declared, times).expect("it fits");
            assert_eq!(layout.occurred_at(), times);
            let fewer = Layout::of(&declared[1..], times).expect_err("a column is missing");
            assert!(matches!(fewer, ClickHouseError::NoColumn { .. }));
            let mut other = declared;
            other[2].1 = "String".to_owned();
            let other = Layout::of(&other, times).expect_err("a type is another").to_string();
            assert!(other.contains("received_at as String") && other.contains("modify column received_at "), "{other}");
        }
    }

    #[test]
    fn what_would_be_read_otherwise_does_not_fit() {
        let (id, sent_at, kind) = (COLUMNS[0], COLUMNS[3], COLUMNS[5]);
        assert_eq!(id.fit("String"), None);
        assert_eq!(sent_at.fit("DateTime64(6, 'UTC')"), None, "it may be NULL");
        assert_eq!(sent_at.fit("Nullable(DateTime64(3))"), None);
        assert_eq!(sent_at.fit("Nullable(DateTime64(6, 'Europe/Berlin'))"), Some(Some(Times::DateTime64)));
        assert_eq!(kind.fit("String"), Some(None));
        assert_eq!(kind.fit("LowCardinality(Nullable(String))"), None);
    }
}
