//! What `weir.lake_days` and `weir.lake_files` say, and how it is changed.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::LakeError;
use super::upload::Written;
use crate::flush::partitions::LOCK_TIMEOUT_MS;

const DAYS: &str = include_str!("sql/days.sql");
const ADD: &str = include_str!("sql/day_add.sql");
const GONE: &str = include_str!("sql/day_gone.sql");
const TAKE: &str = include_str!("sql/day_take.sql");
const DONE: &str = include_str!("sql/day_done.sql");
const BEGIN_FILES: &str = include_str!("sql/file_begin.sql");
const FILE_DONE: &str = include_str!("sql/file_done.sql");
const VANISHED: &str = include_str!("sql/file_vanished.sql");
const REMOVED: &str = "delete from weir.lake_files where day = $1::text::date and part = $2 and source = $3";
/// Attempts to get the table alone, and the pause between them, in which flushes catch up.
const LOCK_ATTEMPTS_MAX: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// A part of a day, as it is in the books.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub day: Date,
    pub part: i32,
    /// The table that retention made of its partition.
    pub detached: Option<String>,
    pub status: Status,
    /// What changed has waited long enough, or is not to wait.
    pub is_due: bool,
    pub exported_at: Option<String>,
    /// Since when the store may lack something, if so.
    pub waiting_s: Option<f64>,
    pub files: i64,
    pub rows: i64,
    pub bytes: i64,
}

/// What the lake has of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was never there as a whole.
    Waiting,
    /// An export was cut short, or is under way.
    Stale,
    /// It was whole, and late events came, or a person was forgotten.
    Changed,
    Whole,
    /// Retention has dropped it from the database: its rows are in the lake alone.
    LakeAlone,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Stale => "stale",
            Self::Changed => "changed",
            Self::Whole => "whole",
            Self::LakeAlone => "lake-alone",
        }
    }
}

impl Known {
    /// Whether the database still has its rows.
    pub fn is_here(&self) -> bool {
        self.status != Status::LakeAlone
    }
}

/// An attempt to export a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub day: Date,
    pub part: i32,
    pub detached: Option<String>,
    attempt: i64,
}

/// All parts of all days.
pub async fn days(client: &ClientWrapper, late_hours: u32) -> Result<Vec<Known>, LakeError> {
    let hours = i32::try_from(late_hours).unwrap_or(i32::MAX);
    let mut days = Vec::new();
    for row in client.query_typed(DAYS, &[(&hours, Type::INT4)]).await? {
        let day: &str = row.try_get("day")?;
        // Days that no partition can have are none of ours.
        let Ok(day) = day.parse() else { continue };
        let exported_at: Option<String> = row.try_get("exported_at")?;
        let (is_dropped, is_stale, is_marked) =
            (row.try_get("is_dropped")?, row.try_get("is_stale")?, row.try_get("is_marked")?);
        days.push(Known {
            day,
            part: row.try_get("part")?,
            detached: row.try_get("detached")?,
            status: match exported_at {
                _ if is_dropped => Status::LakeAlone,
                None => Status::Waiting,
                Some(_) if is_stale => Status::Stale,
                Some(_) if is_marked => Status::Changed,
                Some(_) => Status::Whole,
            },
            is_due: row.try_get("is_due")?,
            exported_at,
            waiting_s: row.try_get("waiting_s")?,
            files: row.try_get("files")?,
            rows: row.try_get("rows")?,
            bytes: row.try_get("bytes")?,
        });
    }
    Ok(days)
}

/// Enters parts: days, each with the table that was detached, if it was. When it returns, every transaction that did not see
/// them has ended.
pub async fn add(client: &mut ClientWrapper, parts: &[(Date, Option<String>)]) -> Result<(), LakeError> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match try_add(client, parts).await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => tokio::time::sleep(LOCK_PAUSE).await,
            result => return Ok(result?),
        }
    }
    Err(LakeError::Busy { attempts: LOCK_ATTEMPTS_MAX })
}

async fn try_add(client: &mut ClientWrapper, parts: &[(Date, Option<String>)]) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // Who changes events looks at this table, and holds what it has looked at until its end.
    let lock =
        format!("set local lock_timeout = {LOCK_TIMEOUT_MS}; lock table weir.lake_days in access exclusive mode");
    transaction.batch_execute(&lock).await?;
    for (day, detached) in parts {
        transaction.execute_typed(ADD, &[(&day.to_string(), Type::TEXT), (detached, Type::TEXT)]).await?;
    }
    transaction.commit().await
}

/// The part's table is gone, and not by retention.
pub async fn gone(client: &ClientWrapper, known: &Known) -> Result<(), LakeError> {
    client
        .execute_typed(
            GONE,
            &[(&known.day.to_string(), Type::TEXT), (&known.part, Type::INT4), (&known.detached, Type::TEXT)],
        )
        .await?;
    Ok(())
}

/// Takes up a day: what is committed by now is read by what follows, and what is committed later is marked.
pub async fn take(client: &ClientWrapper, day: Date) -> Result<Vec<Taken>, LakeError> {
    let mut taken = Vec::new();
    for row in client.query_typed(TAKE, &[(&day.to_string(), Type::TEXT)]).await? {
        let (part, detached, attempt) = (row.try_get("part")?, row.try_get("detached")?, row.try_get("attempt")?);
        taken.push(Taken { day, part, detached, attempt });
    }
    taken.sort_by_key(|taken| taken.part);
    Ok(taken)
}

impl Taken {
    pub async fn begin(&self, client: &ClientWrapper, sources: &[String]) -> Result<(), LakeError> {
        self.change(client, BEGIN_FILES, &[(&sources, Type::TEXT_ARRAY)]).await?;
        Ok(())
    }

    /// An object is in its place.
    pub async fn written(&self, client: &ClientWrapper, source: &str, written: &Written) -> Result<(), LakeError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&source, Type::TEXT),
            (&written.rows.cast_signed(), Type::INT8),
            (&written.stored.bytes.cast_signed(), Type::INT8),
            (&written.stored.e_tag, Type::TEXT),
            (&self.attempt, Type::INT8),
        ];
        self.expect(self.change(client, FILE_DONE, &parameters).await?)
    }

    /// Sources of which there are objects, and no rows any more.
    pub async fn vanished(&self, client: &ClientWrapper, sources: &[String]) -> Result<Vec<String>, LakeError> {
        let day = self.day.to_string();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&day, Type::TEXT), (&self.part, Type::INT4), (&sources, Type::TEXT_ARRAY)];
        let rows = client.query_typed(VANISHED, &parameters).await?;
        Ok(rows.iter().map(|row| row.try_get("source")).collect::<Result<_, _>>()?)
    }

    pub async fn removed(&self, client: &ClientWrapper, source: &str) -> Result<(), LakeError> {
        self.change(client, REMOVED, &[(&source, Type::TEXT)]).await?;
        Ok(())
    }

    /// The whole part is in the store.
    pub async fn done(&self, client: &ClientWrapper) -> Result<(), LakeError> {
        self.expect(self.change(client, DONE, &[(&self.attempt, Type::INT8)]).await?)
    }

    async fn change(
        &self,
        client: &ClientWrapper,
        sql: &str,
        more: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<u64, LakeError> {
        let day = self.day.to_string();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&day, Type::TEXT), (&self.part, Type::INT4)];
        parameters.extend(more.iter().map(|(value, kind)| (*value, kind.clone())));
        Ok(client.execute_typed(sql, &parameters).await?)
    }

    fn expect(&self, changed: u64) -> Result<(), LakeError> {
        if changed == 1 { Ok(()) } else { Err(LakeError::Overtaken { day: self.day }) }
    }
}
