//! Rows of a table into a Parquet file, a row group at a time.

use std::io::Write;
use std::mem;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type as Schema, TypePtr};
use tokio_postgres::binary_copy::BinaryCopyOutRow;
use tokio_postgres::types::Type as Wire;
use uuid::Uuid;

use super::{properties, put};

/// A row group is in memory until it is full: by rows, as readers like them, and by bytes.
const GROUP_ROWS_MAX: usize = 100_000;
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's time begins.
pub const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// One column, and its values in the row group under way.
pub struct Column {
    name: String,
    values: Values,
    /// For each row, whether it has a value.
    present: Vec<i16>,
}

enum Values {
    Uuid(Vec<FixedLenByteArray>),
    /// Microseconds.
    Time(Vec<i64>),
    Bool(Vec<bool>),
    Text {
        values: Vec<ByteArray>,
        is_json: bool,
    },
}

impl Column {
    /// A column of PostgreSQL's type `type_name`.
    pub fn new(name: &str, type_name: &str) -> Self {
        let values = match type_name {
            "uuid" => Values::Uuid(Vec::new()),
            "timestamp with time zone" => Values::Time(Vec::new()),
            "boolean" => Values::Bool(Vec::new()),
            other => Values::Text { values: Vec::new(), is_json: matches!(other, "json" | "jsonb") },
        };
        Self { name: name.to_owned(), values, present: Vec::new() }
    }

    /// The same one of another file.
    pub fn anew(&self) -> Self {
        let values = match self.values {
            Values::Uuid(_) => Values::Uuid(Vec::new()),
            Values::Time(_) => Values::Time(Vec::new()),
            Values::Bool(_) => Values::Bool(Vec::new()),
            Values::Text { is_json, .. } => Values::Text { values: Vec::new(), is_json },
        };
        Self { name: self.name.clone(), values, present: Vec::new() }
    }

    /// As what COPY BINARY is read.
    pub fn wire_type(&self) -> Wire {
        match self.values {
            Values::Uuid(_) => Wire::UUID,
            // Its bytes are those of a bigint.
            Values::Time(_) => Wire::INT8,
            Values::Bool(_) => Wire::BOOL,
            Values::Text { .. } => Wire::TEXT,
        }
    }

    fn schema(&self) -> Result<TypePtr> {
        let (physical, logical) = match self.values {
            Values::Uuid(_) => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)),
            Values::Time(_) => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Values::Bool(_) => (Physical::BOOLEAN, None),
            Values::Text { is_json: true, .. } => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Values::Text { is_json: false, .. } => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let length = if physical == Physical::FIXED_LEN_BYTE_ARRAY { 16 } else { -1 };
        let schema = Schema::primitive_type_builder(&self.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .with_length(length);
        Ok(Arc::new(schema.build()?))
    }

    /// Takes the row's value; returns about how many bytes it holds.
    fn push(&mut self, row: &BinaryCopyOutRow, place: usize) -> Result<usize> {
        let unread = |error: tokio_postgres::Error| ParquetError::External(Box::new(error));
        let bytes = match &mut self.values {
            Values::Uuid(values) => {
                let value: Option<Uuid> = row.try_get(place).map_err(unread)?;
                values.extend(value.map(|id| FixedLenByteArray::from(id.as_bytes().to_vec())));
                value.map(|_| mem::size_of::<FixedLenByteArray>() + 16)
            }
            Values::Time(values) => {
                let value: Option<i64> = row.try_get(place).map_err(unread)?;
                // Infinity stays what it is: the greatest or the least number.
                values.extend(value.map(|us| us.saturating_add(POSTGRES_EPOCH_US)));
                value.map(|_| 8)
            }
            Values::Bool(values) => {
                let value: Option<bool> = row.try_get(place).map_err(unread)?;
                values.extend(value);
                value.map(|_| 1)
            }
            Values::Text { values, .. } => {
                let value: Option<&str> = row.try_get(place).map_err(unread)?;
                values.extend(value.map(ByteArray::from));
                value.map(|text| mem::size_of::<ByteArray>() + text.len())
            }
        };
        self.present.push(i16::from(bytes.is_some()));
        Ok(bytes.unwrap_or(0))
    }

    /// Writes the row group's values, and forgets them.
    fn flush<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        let present = mem::take(&mut self.present);
        match &mut self.values {
            Values::Uuid(values) => put::<FixedLenByteArrayType, _>(group, &mem::take(values), &present),
            Values::Time(values) => put::<Int64Type, _>(group, &mem::take(values), &present),
            Values::Bool(values) => put::<BoolType, _>(group, &mem::take(values), &present),
            Values::Text { values, .. } => put::<ByteArrayType, _>(group, &mem::take(values), &present),
        }
    }
}

/// See the module.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    rows: u64,
    group_rows: usize,
    group_bytes: usize,
}

impl<W: Write + Send> Writer<W> {
    /// Begins a file; `said` is what it says of itself.
    pub fn new(file: W, columns: Vec<Column>, said: &[(&str, String)]) -> Result<Self> {
        let fields = columns.iter().map(Column::schema).collect::<Result<_>>()?;
        let schema = Schema::group_type_builder("events").with_fields(fields).build()?;
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties(said)))?;
        Ok(Self { file, columns, rows: 0, group_rows: 0, group_bytes: 0 })
    }

    pub fn push(&mut self, row: &BinaryCopyOutRow) -> Result<()> {
        for (place, column) in self.columns.iter_mut().enumerate() {
            self.group_bytes += column.push(row, place)?;
        }
        self.group_rows += 1;
        if self.group_rows == GROUP_ROWS_MAX || self.group_bytes >= GROUP_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Of the row group under way, about.
    pub fn gathered_bytes(&self) -> usize {
        self.group_bytes
    }

    /// Ends the row group under way.
    pub fn flush(&mut self) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            column.flush(&mut group)?;
        }
        group.close()?;
        self.rows += self.group_rows as u64;
        (self.group_rows, self.group_bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file; returns it, not yet synced, and how many rows it has.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.flush()?;
        Ok((self.file.into_inner()?, self.rows))
    }
}
