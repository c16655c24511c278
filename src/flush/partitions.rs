//! Daily partitions of `analytics.events`: made ahead by the clock, and on demand for imports.
//!
//! A leaf is made as a table of its own and then attached: attaching takes a lock that readers and writers of the parent
//! do not notice, creating a partition in place does not. Attaching scans the default partition under an exclusive lock,
//! which is why that one stays empty.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tokio_postgres::types::Type;

use super::FlushError;
use crate::clock::{Day, day_of};
use crate::journal::segment::Frames;
use crate::row;

const LIST: &str = include_str!("sql/partitions_list.sql");
/// Advisory lock of partition making: "part" in ASCII.
const PARTITION_LOCK: i64 = 0x7061_7274;
/// Waiting longer for a lock would make others queue behind us.
const LOCK_TIMEOUT_MS: u32 = 2_000;

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

    /// Makes the partitions from today to `days_ahead` days ahead.
    pub async fn ensure_ahead(
        &self,
        client: &mut ClientWrapper,
        now: Timestamp,
        days_ahead: u16,
    ) -> Result<(), FlushError> {
        let today = day_of(now);
        self.ensure(client, (today..=today + Day::from(days_ahead)).collect()).await
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

    async fn ensure(&self, client: &mut ClientWrapper, mut needed: BTreeSet<Day>) -> Result<(), FlushError> {
        needed = needed.difference(&self.lock()).copied().collect();
        if needed.is_empty() {
            return Ok(());
        }
        let transaction = client.transaction().await?;
        transaction.batch_execute(&format!("set local lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
        transaction.execute_typed("select pg_advisory_xact_lock($1)", &[(&PARTITION_LOCK, Type::INT8)]).await?;
        let mut existing = BTreeSet::new();
        for row in transaction.query_typed(LIST, &[]).await? {
            existing.extend(day_of_name(row.try_get("name")?));
        }
        for day in needed.difference(&existing) {
            transaction.batch_execute(&create(*day)).await?;
            tracing::info!(partition = name(*day), "partition made");
        }
        transaction.commit().await?;
        existing.extend(needed);
        *self.lock() = existing;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Day>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame that spans fewer days gets them all: they are needed soon anyway.
const DAYS_AT_ONCE_MAX: usize = 3;

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

fn create(day: Day) -> String {
    let (name, from, to) = (name(day), date(day), date(day + 1));
    format!(
        "create table analytics.{name} (like analytics.events including all);
         create unique index {name}_event_id on analytics.{name} (event_id);
         alter table analytics.events attach partition analytics.{name}
             for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00')"
    )
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
        insta::assert_snapshot!(create(20_779));
    }
}
