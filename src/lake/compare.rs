//! The store beside the books: what is missing, what is other than it was written, and what nobody here wrote.

use std::collections::BTreeMap;
use std::fmt;

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use tokio_postgres::types::Type;

use super::store::Stored;
use super::{Exporter, LakeError, key};

const FILES: &str = include_str!("sql/files.sql");
const AGAIN: &str = "update weir.lake_days set is_stale = true, stale_since = now() where day = $1::text::date and dropped_at is null and not is_stale";

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    pub kind: Kind,
    /// Whether the database still has its rows, so that it is written again.
    pub is_mended: bool,
    day: Option<Date>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Missing,
    /// Another object of that name is there.
    Other,
    /// No object of weir's. Readers count its rows.
    Foreign,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.kind, self.is_mended) {
            (Kind::Missing, true) => "missing: its day is exported again",
            (Kind::Missing, false) => "missing, and the database has its rows no more: restore it",
            (Kind::Other, true) => "not as it was written: its day is exported again",
            (Kind::Other, false) => "not as it was written, and the database has its rows no more: look at it",
            (Kind::Foreign, _) => "not written by weir, and readers count its rows: move it away",
        };
        write!(formatter, "{}: {what}", self.name)
    }
}

impl Exporter {
    /// Lists the store and compares it with the books; days that are not as they were written become stale.
    pub async fn compare(&self) -> Result<Vec<Difference>, LakeError> {
        let client = self.database.client().await?;
        let differences = self.differences(&client).await?;
        for day in differences.iter().filter(|found| found.is_mended).filter_map(|found| found.day) {
            client.execute_typed(AGAIN, &[(&day.to_string(), Type::TEXT)]).await?;
        }
        Ok(differences)
    }

    async fn differences(&self, client: &ClientWrapper) -> Result<Vec<Difference>, LakeError> {
        // The books before the store: what is written in between is a difference that the next look does not find.
        let rows = client.query_typed(FILES, &[]).await?;
        let mut there: BTreeMap<String, Stored> =
            self.store.list().await?.into_iter().map(|listed| (listed.key, listed.stored)).collect();
        let mut found = Vec::new();
        for row in rows {
            let (day, part, source): (&str, i32, &str) =
                (row.try_get("day")?, row.try_get("part")?, row.try_get("source")?);
            let Ok(day) = day.parse::<Date>() else { continue };
            let key = key(day, source, part);
            let is = there.remove(&key);
            let (bytes, e_tag): (Option<i64>, Option<String>) = (row.try_get("bytes")?, row.try_get("e_tag")?);
            // One that is being written, or was, is looked at when its day is whole.
            let Some(bytes) = bytes.filter(|_| matches!(row.try_get("is_stale"), Ok(false))) else { continue };
            let kind = match is {
                None => Kind::Missing,
                Some(is) if is.bytes.cast_signed() != bytes || is.e_tag.is_some() && is.e_tag != e_tag => Kind::Other,
                Some(_) => continue,
            };
            let is_mended = !row.try_get::<_, bool>("is_dropped")?;
            found.push(Difference { name: self.store.name(&key), kind, is_mended, day: Some(day) });
        }
        let foreign =
            |key: &String| Difference { name: self.store.name(key), kind: Kind::Foreign, is_mended: false, day: None };
        found.extend(there.keys().map(foreign));
        Ok(found)
    }
}
