//! Daily partitions of `analytics.events`: made ahead by the clock, and on demand for imports.
//!
//! A leaf is made as a table of its own and then attached: attaching takes a lock that readers and writers of the parent
//! do not notice, creating a partition in place does not. Attaching scans the default partition under an exclusive lock,
//! which is why that one stays empty.
//!
//! Retention takes partitions away, and another process may not have heard of it yet: a late row of such a day finds only
//! the default partition. It is safe and visible there, and moves into a partition of its own with the next upkeep.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::FlushError;
use crate::clock::{Day, day_of};
use crate::database::advisory;
use crate::database::distribute::{self, Standing};
use crate::journal::segment::Frames;
use crate::row;

const LIST: &str = include_str!("sql/partitions_list.sql");
const IS_ATTACHED: &str = include_str!("sql/partitions_is_attached.sql");
const STRAYS: &str = include_str!("sql/partitions_strays.sql");
/// Advisory lock of making partitions and of taking them away: "part" in ASCII.
pub(crate) const PARTITION_LOCK: i64 = 0x7061_7274;
/// Waiting longer for a lock would make others queue behind us. Longer than the second after which PostgreSQL ends an
/// autovacuum that is in the way.
pub(crate) const LOCK_TIMEOUT_MS: u32 = 2_000;

/// The partitions known to exist.
#[derive(Debug, Default)]
pub struct Partitions {
    days: Mutex<BTreeSet<Day>>,
}

impl Partitions {
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Forgets what is known: after a failover the database may know less.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Looks which partitions there are, makes those from today to `days_ahead` days ahead, and those of rows that lie in
    /// the default partition.
    pub async fn ensure_ahead(
        &self,
        client: &mut ClientWrapper,
        now: Timestamp,
        days_ahead: u16,
    ) -> Result<(), FlushError> {
        let today = day_of(now);
        self.make(client, (today..=today + Day::from(days_ahead)).collect()).await?;
        let mut strays = BTreeSet::new();
        for row in client.query_typed(STRAYS, &[]).await? {
            strays.insert(row.try_get("day")?);
        }
        if strays.is_empty() {
            return Ok(());
        }
        // They are where everyone finds them: that they cannot move is no reason to stop anything.
        if let Err(error) = self.make(client, strays).await {
            tracing::warn!(%error, "rows of analytics.events_default could not move into partitions of their own");
        }
        Ok(())
    }

    /// Makes the partitions that the frames' tuples need.
    pub async fn ensure_for(&self, client: &mut ClientWrapper, frames: &Frames) -> Result<(), FlushError> {
        let mut needed = BTreeSet::new();
        for frame in frames.iter().filter(|frame| frame.header.tuples > 0) {
            let span = frame.header.first_day..=frame.header.last_day;
            // An import may touch a few days years apart: only then each tuple is looked at.
            if span.clone().take(DAYS_AT_ONCE_MAX).count() < DAYS_AT_ONCE_MAX {
                needed.extend(span);
                continue;
            }
            let times = row::tuples(frame.tuples).map_while(|tuple| row::occurred_at(tuple.ok()?).ok());
            needed.extend(times.map(day_of));
        }
        self.ensure(client, needed).await
    }

    /// Makes those of these days that are missing.
    pub async fn ensure(&self, client: &mut ClientWrapper, mut needed: BTreeSet<Day>) -> Result<(), FlushError> {
        needed = needed.difference(&self.lock()).copied().collect();
        if needed.is_empty() { Ok(()) } else { self.make(client, needed).await }
    }

    /// Makes those of `needed` that the database has not, and remembers all that it has.
    async fn make(&self, client: &mut ClientWrapper, needed: BTreeSet<Day>) -> Result<(), FlushError> {
        let existing = listed(client.query_typed(LIST, &[]).await?)?;
        // Most often there is nothing to do, and no lock to wait for.
        if needed.is_subset(&existing) {
            *self.lock() = existing;
            return Ok(());
        }
        for day in needed.difference(&existing) {
            make_one(client, *day).await?;
        }
        *self.lock() = existing.union(&needed).copied().collect();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Day>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction for each: while it lasts, whoever reads all days waits for the default partition, and behind the lock for a
/// partition there is nobody for longer than that.
async fn make_one(client: &mut ClientWrapper, day: Day) -> Result<(), FlushError> {
    let is_distributed = matches!(distribute::standing(client).await?, Standing::By(_));
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("set local lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
    advisory::wait(&transaction, PARTITION_LOCK).await?;
    // Somebody else may have made it meanwhile.
    let table = format!("analytics.{}", name(day));
    if !transaction.query_typed_one(IS_ATTACHED, &[(&table, Type::TEXT)]).await?.try_get("is_attached")? {
        // One statement each: Citus hands the text that it comes in on, whole.
        for statement in create(day, is_distributed) {
            transaction.batch_execute(&statement).await?;
        }
        tracing::info!(partition = name(day), "partition made");
    }
    Ok(transaction.commit().await?)
}

/// A frame that spans fewer days gets them all: they are needed soon anyway.
const DAYS_AT_ONCE_MAX: usize = 3;

fn listed(rows: Vec<Row>) -> Result<BTreeSet<Day>, FlushError> {
    let mut days = BTreeSet::new();
    for row in rows {
        days.extend(day_of_name(row.try_get("name")?));
    }
    Ok(days)
}

fn date(day: Day) -> Date {
    const EPOCH: Date = Date::constant(1970, 1, 1);
    EPOCH.checked_add(i64::from(day).days()).unwrap_or(Date::MAX)
}

fn name(day: Day) -> String {
    format!("events_{}", date(day).strftime("%Y%m%d"))
}

fn day_of_name(name: &str) -> Option<Day> {
    let date = Date::strptime("%Y%m%d", name.strip_prefix("events_")?).ok()?;
    Some(day_of(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
}

/// Rows that strayed into the default partition go along. The locks are those that attaching takes, in its order; the one that
/// readers notice as late as can be.
fn create(day: Day, is_distributed: bool) -> Vec<String> {
    let (name, from, to) = (name(day), date(day), date(day + 1));
    let within = format!("occurred_at >= '{from} 00:00:00+00' and occurred_at < '{to} 00:00:00+00'");
    let attach = format!(
        "alter table analytics.events attach partition analytics.{name} for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00')"
    );
    let mut statements = vec![
        "lock table only analytics.events in share update exclusive mode".to_owned(),
        format!("create table analytics.{name} (like analytics.events including all)"),
        format!("create unique index {name}_event_id on analytics.{name} (event_id)"),
        "lock table only analytics.events_default in access exclusive mode".to_owned(),
    ];
    if is_distributed {
        // Attached empty: Citus would leave the rows that it finds where they are, and copy them.
        statements.extend([
            format!(
                "create temporary table weir_strays on commit drop as select * from only analytics.events_default where {within}"
            ),
            format!("delete from only analytics.events_default where {within}"),
            attach,
            format!("insert into analytics.{name} select * from weir_strays"),
            "drop table weir_strays".to_owned(),
        ]);
    } else {
        // Before it is attached, and gets triggers that people may have made: these have seen the rows come.
        statements.extend([
            format!(
                "with strayed as (delete from only analytics.events_default where {within} returning *) insert into analytics.{name} select * from strayed"
            ),
            attach,
        ]);
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_days_agree() {
        for day in [-1, 0, 20_779, 30_000] {
            assert_eq!(day_of_name(&name(day)), Some(day));
        }
        assert_eq!(name(20_779), "events_20261122");
        assert_eq!(day_of_name("events_default"), None);
    }

    #[test]
    fn the_statement_is_as_reviewed() {
        insta::assert_snapshot!(create(20_779, false).join(";\n"));
        insta::assert_snapshot!("distributed", create(20_779, true).join(";\n"));
    }
}
