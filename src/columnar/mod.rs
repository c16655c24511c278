//! Rows as Parquet: what weir writes into files, whoever reads them.
//!
//! ```text
//! timestamptz  INT64, TIMESTAMP(MICROS, UTC)        boolean   BOOLEAN
//! jsonb        BYTE_ARRAY, JSON                     uuid      FIXED_LEN_BYTE_ARRAY(16), UUID, or text
//! all others   BYTE_ARRAY, STRING: as PostgreSQL writes them, inet and columns that were added to the table included
//! ```
//!
//! Every column is optional, compressed by zstd. A row group is in memory until it is full, so groups are bounded by bytes.
//!
//! [`copy`] reads a table, [`table`] encodes its rows; results of the console have types of their own, and share what is here.

pub mod copy;
pub mod table;

use std::io::Write;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedRowGroupWriter;

/// How every file is written, with what it says of itself.
pub fn properties(said: &[(&str, String)]) -> WriterProperties {
    let said: Vec<KeyValue> = said.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    WriterProperties::builder()
        .set_key_value_metadata(Some(said).filter(|said| !said.is_empty()))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// Writes one column of a row group: the values there are, and for each row whether it has one.
pub fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: &[i16],
) -> Result<()> {
    let missing = || ParquetError::General("the file has fewer columns".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, Some(present), None)?;
    column.close()
}
