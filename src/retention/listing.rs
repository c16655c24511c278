//! The partitions of `analytics.events` as they stand in the catalog.

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use serde::Serialize;

use super::policy::Policy;
use super::shards;
use crate::database::DatabaseError;

const LEAVES: &str = include_str!("sql/leaves.sql");

/// A partition, or one that was detached and is not yet dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// With its schema.
    pub name: String,
    /// `None`: the default partition, or one that weir did not make.
    pub day: Option<Date>,
    /// `None` before PostgreSQL has looked.
    pub rows: Option<i64>,
    pub heap_bytes: i64,
    pub index_bytes: i64,
    /// Rows inserted, by PostgreSQL's statistics.
    pub(super) inserted: i64,
    pub(super) blocks: i64,
    /// It was detached by a process that archives.
    pub(super) is_to_be_archived: bool,
    is_detached: bool,
    is_stray: bool,
}

impl Leaf {
    pub fn is_detached(&self) -> bool {
        self.is_detached
    }

    pub(super) fn detached(&self, name: &str, is_to_be_archived: bool) -> Self {
        Self { name: name.to_owned(), is_detached: true, is_to_be_archived, ..self.clone() }
    }

    /// What it is on the day `today`.
    pub fn status(&self, policy: &Policy, today: Date) -> Status {
        match self.day {
            _ if self.is_detached => Status::Detached,
            None if self.is_stray => Status::Default,
            None => Status::Foreign,
            Some(day) if policy.whole_since().is_some_and(|since| day < since) => Status::Over,
            Some(day) if day > today => Status::Ahead,
            Some(day) if day == today => Status::Open,
            Some(_) => Status::Closed,
        }
    }

    /// The day on which it is dropped; `None`: some of its events stay for ever, or it is not retention's.
    pub fn kept_until(&self, policy: &Policy) -> Option<Date> {
        self.day.filter(|_| !self.is_detached).and_then(|day| policy.ends_on(day))
    }
}

/// Where a partition is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Of a day to come.
    Ahead,
    /// Today's.
    Open,
    /// Of a day that is over; late events still come.
    Closed,
    /// Older than any of its events are kept: dropped by the next run.
    Over,
    /// No longer part of the table; archived and dropped by the next run.
    Detached,
    /// Where rows lie for a moment that found no partition.
    Default,
    /// Not made by weir, and left alone.
    Foreign,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Over => "over",
            Self::Detached => "detached",
            Self::Default => "default",
            Self::Foreign => "foreign",
        }
    }
}

/// All of them by day; `is_exact`: with their rows counted instead of estimated, which reads them.
pub async fn leaves(client: &ClientWrapper, is_exact: bool) -> Result<Vec<Leaf>, DatabaseError> {
    let mut leaves = Vec::new();
    let mut has_citus = false;
    for row in client.query_typed(LEAVES, &[]).await? {
        let day: Option<&str> = row.try_get("day")?;
        has_citus = row.try_get("has_citus")?;
        leaves.push(Leaf {
            name: row.try_get("name")?,
            day: day.and_then(|day| Date::strptime("%Y%m%d", day).ok()),
            rows: row.try_get("rows")?,
            heap_bytes: row.try_get("heap_bytes")?,
            index_bytes: row.try_get("index_bytes")?,
            inserted: row.try_get("inserted")?,
            blocks: row.try_get("blocks")?,
            is_to_be_archived: row.try_get("to_be_archived")?,
            is_detached: row.try_get("detached")?,
            is_stray: row.try_get("stray")?,
        });
    }
    if has_citus {
        shards::measure(client, &mut leaves).await?;
    }
    if is_exact {
        for leaf in &mut leaves {
            let sql = format!("select count(*) from only {}", leaf.name);
            leaf.rows = Some(client.query_typed_one(&sql, &[]).await?.try_get(0)?);
        }
    }
    Ok(leaves)
}
