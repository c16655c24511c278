//! Results as Parquet, with the types that PostgreSQL gave them where Parquet has the same.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type as Schema, TypePtr};

use crate::columnar::{properties, put};
use crate::console::run::rows::{Column, unpack};

const UNIX_EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// One column's values.
enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    /// Microseconds since 1970, in UTC or without a zone.
    Time(Vec<i64>, bool),
    /// Days since 1970.
    Day(Vec<i32>),
    Text(Vec<ByteArray>, bool),
}

impl Values {
    fn of(type_name: &str) -> Self {
        match type_name {
            "bool" => Self::Bool(Vec::new()),
            "int2" | "int4" | "int8" | "oid" => Self::Int(Vec::new()),
            "float4" | "float8" => Self::Double(Vec::new()),
            "timestamptz" => Self::Time(Vec::new(), true),
            "timestamp" => Self::Time(Vec::new(), false),
            "date" => Self::Day(Vec::new()),
            // A numeric has as many digits as it likes: as text none is lost.
            other => Self::Text(Vec::new(), matches!(other, "json" | "jsonb")),
        }
    }

    fn schema(&self, name: &str) -> Result<TypePtr> {
        let (physical, logical) = match self {
            Self::Bool(_) => (Physical::BOOLEAN, None),
            Self::Int(_) => (Physical::INT64, None),
            Self::Double(_) => (Physical::DOUBLE, None),
            Self::Time(_, is_utc) => (Physical::INT64, Some(LogicalType::timestamp(*is_utc, TimeUnit::MICROS))),
            Self::Day(_) => (Physical::INT32, Some(LogicalType::Date)),
            Self::Text(_, true) => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Self::Text(_, false) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let schema = Schema::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        Ok(Arc::new(schema.build()?))
    }

    /// Takes a value, unless Parquet cannot say it, as `infinity`, years before Christ, and another `datestyle`. Then false.
    fn push(&mut self, text: &str) -> bool {
        match self {
            Self::Bool(values) => values.push(text == "t"),
            Self::Int(values) => return text.parse().map(|value| values.push(value)).is_ok(),
            Self::Double(values) => return text.parse().map(|value| values.push(value)).is_ok(),
            Self::Time(values, true) => return utc_us(text).map(|value| values.push(value)).is_some(),
            Self::Time(values, false) => return local_us(text).map(|value| values.push(value)).is_some(),
            Self::Day(values) => return day(text).map(|value| values.push(value)).is_some(),
            Self::Text(values, _) => values.push(ByteArray::from(text)),
        }
        true
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, present: &[i16]) -> Result<()> {
        match self {
            Self::Bool(values) => put::<BoolType, _>(group, values, present),
            Self::Int(values) | Self::Time(values, _) => put::<Int64Type, _>(group, values, present),
            Self::Double(values) => put::<DoubleType, _>(group, values, present),
            Self::Day(values) => put::<Int32Type, _>(group, values, present),
            Self::Text(values, _) => put::<ByteArrayType, _>(group, values, present),
        }
    }
}

/// PostgreSQL writes `2026-11-26 10:00:00+01`, and the zone's minutes only where there are any.
fn utc_us(text: &str) -> Option<i64> {
    let zone_chars = text.len() - text.rfind(['+', '-'])?;
    let whole = if zone_chars == 3 { format!("{text}:00") } else { text.to_owned() };
    whole.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn local_us(text: &str) -> Option<i64> {
    let time: DateTime = text.parse().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

fn day(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    Some(date.since((jiff::Unit::Day, UNIX_EPOCH)).ok()?.get_days())
}

/// The file. A column with a value that its type cannot say in Parquet, as `infinity`, is one of texts. Where the result was
/// cut, the file's metadata say so, as `weir.cut`.
pub fn file(columns: &[Column], cut: Option<&str>, packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut types: Vec<&str> = columns.iter().map(|column| column.type_name.as_str()).collect();
    // The second time nothing is left that could fail: texts do not.
    loop {
        let mut values: Vec<(Values, Vec<i16>)> = types.iter().map(|name| (Values::of(name), Vec::new())).collect();
        let mut unsaid = vec![false; columns.len()];
        for row in unpack(packed)? {
            for ((value, (column, present)), unsaid) in row?.iter().zip(&mut values).zip(&mut unsaid) {
                let is_said = value.as_deref().is_none_or(|text| column.push(text));
                *unsaid |= !is_said;
                present.push(i16::from(value.is_some() && is_said));
            }
        }
        if !unsaid.contains(&true) {
            return write(columns, cut, &values).map_err(io::Error::other);
        }
        for (name, _) in types.iter_mut().zip(unsaid).filter(|(_, unsaid)| *unsaid) {
            *name = "text";
        }
    }
}

fn write(columns: &[Column], cut: Option<&str>, values: &[(Values, Vec<i16>)]) -> Result<Vec<u8>> {
    let names = unique(columns);
    let fields = names.iter().zip(values).map(|(name, (values, _))| values.schema(name)).collect::<Result<_>>()?;
    let schema = Schema::group_type_builder("result").with_fields(fields).build()?;
    let said: Vec<(&str, String)> = cut.map(|cut| ("weir.cut", cut.to_owned())).into_iter().collect();
    let properties = properties(&said);
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (values, present) in values {
        values.write(&mut group, present)?;
    }
    group.close()?;
    file.into_inner()
}

/// Of two columns with one name a reader would see only one.
fn unique(columns: &[Column]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in columns {
        let mut name = column.name.clone();
        let mut number = 1;
        while names.contains(&name) {
            number += 1;
            name = format!("{}_{number}", column.name);
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_writes_them() {
        for (text, expected) in [
            ("2026-11-26 10:00:00+00", Some("2026-11-26T10:00:00Z")),
            ("2026-11-26 10:00:00.25+05:30", Some("2026-11-26T04:30:00.25Z")),
            ("2026-11-26 10:00:00-03", Some("2026-11-26T13:00:00Z")),
            ("infinity", None),
            ("", None),
            ("é", None),
        ] {
            let expected: Option<Timestamp> = expected.map(|time| time.parse().expect("a time"));
            assert_eq!(utc_us(text), expected.map(Timestamp::as_microsecond), "{text}");
        }
        assert_eq!(day("1970-01-02"), Some(1));
        assert_eq!(day("1969-12-31"), Some(-1));
        assert_eq!(local_us("1970-01-01 00:00:01"), Some(1_000_000));
    }
}
