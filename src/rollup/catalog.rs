//! What the database knows of rollups: `weir.rollups`, with what waits to be computed.

use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};

use super::RollupError;
use super::definition::{Bucket, Kind};
use crate::database::Database;
use crate::schedule::Schedule;

const READ: &str = include_str!("sql/catalog.sql");

/// One relation that is looked after.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "a row of the catalog, column by column")]
pub struct Known {
    pub id: i64,
    pub name: String,
    pub kind: Kind,
    /// Not in its place yet: the one there is kept true until this is filled.
    pub is_building: bool,
    /// Whether its file is still there.
    pub is_defined: bool,
    pub hash: String,
    pub body: String,
    pub bucket: Option<Bucket>,
    pub timezone: String,
    pub look_back_s: i64,
    pub look_ahead_s: i64,
    pub unique: Vec<String>,
    pub columns: Vec<String>,
    /// As written.
    pub every: String,
    pub keep: Option<String>,
    pub description: Option<String>,
    pub reads_events: bool,
    /// Its rows are made by [`super::pack`].
    pub is_packed: bool,
    /// Rollups that it reads.
    pub upstream: Vec<String>,
    /// Of its last run.
    pub started: Option<Timestamp>,
    pub succeeded: Option<Timestamp>,
    /// In a row.
    pub failures: i32,
    pub error: Option<String>,
    /// Buckets that wait.
    pub dirty: u64,
    /// Of these, buckets of the first filling.
    pub fill: u64,
    /// How long the oldest change waits.
    pub lag_s: f64,
    /// The database's clock.
    pub now: Timestamp,
}

impl Known {
    fn of(row: &Row) -> Result<Self, RollupError> {
        let second = |name: &str| -> Result<Option<Timestamp>, RollupError> {
            Ok(row.try_get::<_, Option<i64>>(name)?.and_then(|second| Timestamp::from_second(second).ok()))
        };
        Ok(Self {
            id: row.try_get("rollup_id")?,
            name: row.try_get("name")?,
            // The table's checks allow no other.
            kind: Kind::of(row.try_get("kind")?).unwrap_or(Kind::View),
            is_building: row.try_get::<_, &str>("state")? == "building",
            is_defined: row.try_get("is_defined")?,
            hash: row.try_get("hash")?,
            body: row.try_get("body")?,
            bucket: row.try_get::<_, Option<&str>>("bucket")?.and_then(Bucket::of),
            timezone: row.try_get("timezone")?,
            look_back_s: row.try_get("look_back_s")?,
            look_ahead_s: row.try_get("look_ahead_s")?,
            unique: row.try_get("unique_columns")?,
            columns: row.try_get("columns")?,
            every: row.try_get("every")?,
            keep: row.try_get("keep")?,
            description: row.try_get("description")?,
            reads_events: row.try_get("reads_events")?,
            is_packed: row.try_get("is_packed")?,
            upstream: row.try_get("upstream")?,
            started: second("started_s")?,
            succeeded: second("succeeded_s")?,
            failures: row.try_get("failures")?,
            error: row.try_get("error")?,
            dirty: row.try_get::<_, i64>("dirty")?.cast_unsigned(),
            fill: row.try_get::<_, i64>("fill")?.cast_unsigned(),
            lag_s: row.try_get("lag_s")?,
            now: second("now_s")?.unwrap_or_default(),
        })
    }

    /// The relation, quoted.
    pub fn relation(&self) -> String {
        if self.is_building {
            format!("weir.rollup_{}", self.id)
        } else {
            format!("analytics.{}", super::quoted(&self.name))
        }
    }

    /// Whether a run is due.
    pub fn is_due(&self) -> bool {
        let schedule = Schedule::parse(&self.every, &self.timezone).unwrap_or(Schedule::Never);
        let has_work = match self.kind {
            Kind::View => false,
            Kind::Materialized => true,
            Kind::Incremental => self.dirty > 0 || self.is_building,
        };
        // What is being filled goes on at once.
        let is_filling = (self.fill > 0 || self.is_building) && self.failures == 0;
        has_work && (is_filling || schedule.is_due(self.started, self.failures, self.now))
    }
}

/// All of them, in the order in which they were made.
pub async fn all(database: &Database) -> Result<Vec<Known>, RollupError> {
    read(&**database.client().await?).await
}

/// As [`all`], as a transaction sees them.
pub async fn read(client: &impl GenericClient) -> Result<Vec<Known>, RollupError> {
    client.query_typed(READ, &[]).await?.iter().map(Known::of).collect()
}
