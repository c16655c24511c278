//! Brings the lake up to what the database has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::book::{self, Known, Status, Taken};
use super::settings::Lake;
use super::store::Store;
use super::upload::{self, Sent, Written};
use super::{LAKE_LOCK, LakeError, key};
use crate::accounting::Accounting;
use crate::clock::Clock;
use crate::columnar::copy::Reading;
use crate::database::{Database, advisory};
use crate::metrics::LakeMetrics;
use crate::retention::listing::{self, Leaf};
use crate::rollup::budget::BUSY_EVENTS;

const DATABASE_NOW: &str = "select (extract(epoch from now()) * 1000000)::bigint";
/// While events wait for the flush, a thousand rows are read so often: it has the disk and the processor first.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// After so many days in a row that failed, the cause is not in the days.
const FAILURES_MAX: usize = 3;

/// What is to be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What is new, what was cut short, and what has waited long enough with late events.
    Due,
    /// That, and all that has changed.
    Changed,
    /// This day, whether it has changed or not.
    Day(Date),
}

/// Everything that exporting needs.
pub struct Exporter {
    /// Of [`super::CONNECTIONS`] connections.
    pub database: Database,
    pub settings: Lake,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub metrics: LakeMetrics,
    /// How many events wait for the flush; `None`: nobody is to make way for.
    pub accounting: Option<Arc<Accounting>>,
    /// How long to wait for another process that is at it.
    pub patience: Duration,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub days: BTreeSet<Date>,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Objects of sources that their day has no rows of any more.
    pub removed: u64,
}

impl Exporter {
    /// Exports what is wanted; `None`: another process is at it.
    pub async fn run(&self, wanted: Wanted) -> Result<Option<Summary>, LakeError> {
        let mut guard = self.database.client().await?;
        let Some(elected) = advisory::elect_within(&mut guard, LAKE_LOCK, self.patience).await? else {
            return Ok(None);
        };
        let mut client = self.database.client().await?;
        let result = self.export(&mut client, &elected, wanted).await;
        // Nothing was written in it: its end gives up the lock.
        let _ = elected.rollback().await;
        self.tell(&client).await?;
        result.map(Some)
    }

    async fn export(
        &self,
        client: &mut ClientWrapper,
        elected: &Transaction<'_>,
        wanted: Wanted,
    ) -> Result<Summary, LakeError> {
        let now = self.now(client).await?;
        self.enter(client, now).await?;
        let known = book::days(client, self.settings.late_after_hours).await?;
        let is_wanted = |known: &Known| match wanted {
            Wanted::Day(day) => known.day == day,
            _ if matches!(known.status, Status::Waiting | Status::Stale) => true,
            Wanted::Due => known.is_due,
            Wanted::Changed => known.status == Status::Changed,
        };
        let there: BTreeSet<Date> = known.iter().filter(|known| known.is_here()).map(|known| known.day).collect();
        if let Wanted::Day(day) = wanted
            && !there.contains(&day)
        {
            let hours = self.settings.close_after_hours;
            return Err(if self.is_over(day, now) { LakeError::NoDay { day } } else { LakeError::Open { day, hours } });
        }
        let days: BTreeSet<Date> =
            known.iter().filter(|known| known.is_here() && is_wanted(known)).map(|known| known.day).collect();
        let mut summary = Summary::default();
        let (mut failed, mut in_a_row, mut first) = (0, 0, None);
        for day in days {
            match self.export_day(client, elected, day, &mut summary).await {
                Ok(()) => in_a_row = 0,
                // It cost the lock, or the connection: there is nothing to go on with.
                Err(error @ LakeError::Database(_)) if client.is_closed() || still_elected(elected).await.is_err() => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%day, %error, "a day could not be exported to the lake: it is tried again");
                    (failed, in_a_row) = (failed + 1, in_a_row + 1);
                    first.get_or_insert((day, error));
                    if in_a_row >= FAILURES_MAX {
                        break;
                    }
                }
            }
        }
        match first {
            Some((day, source)) => Err(LakeError::Days { failed, day, source: Box::new(source) }),
            None => Ok(summary),
        }
    }

    async fn export_day(
        &self,
        client: &mut ClientWrapper,
        elected: &Transaction<'_>,
        day: Date,
        summary: &mut Summary,
    ) -> Result<(), LakeError> {
        let taken = book::take(client, day).await?;
        self.database.events_are_committed(&**client).await?;
        for taken in taken {
            self.export_part(client, elected, &taken, summary).await?;
        }
        summary.days.insert(day);
        Ok(())
    }

    async fn export_part(
        &self,
        client: &mut ClientWrapper,
        elected: &Transaction<'_>,
        taken: &Taken,
        summary: &mut Summary,
    ) -> Result<(), LakeError> {
        let Taken { day, part, .. } = *taken;
        let table = taken.detached.clone().unwrap_or_else(|| living_table(day));
        let (mut rows, mut there) = (0, Vec::new());
        loop {
            let reading = Reading { table: &table, by_source_but: Some(&there), uuid_as_text: true };
            let said = move |source: &str| {
                vec![("weir.day", day.to_string()), ("weir.source", source.to_owned()), ("weir.part", part.to_string())]
            };
            let key = |source: &str| key(day, source, part);
            let mut scanned = upload::scan(client, reading, &self.store, key, said, || self.make_way()).await?;
            let found: Vec<String> = scanned.sent.iter().map(|sent| sent.source.clone()).collect();
            let published = self.publish(client, elected, taken, &found, &mut scanned.sent, summary).await;
            for unseen in scanned.sent {
                unseen.abort().await;
            }
            rows += published?;
            there.extend(found);
            if scanned.is_last {
                break;
            }
        }
        for source in taken.vanished(client, &there).await? {
            still_elected(elected).await?;
            self.store.remove(&key(day, &source, part)).await?;
            taken.removed(client, &source).await?;
            summary.removed += 1;
        }
        taken.done(client).await?;
        tracing::info!(%day, part, rows, files = there.len(), "a day is in the lake");
        Ok(())
    }

    /// Puts objects in their places, one after the other; what is left of them when that fails is still in `sent`.
    async fn publish(
        &self,
        client: &ClientWrapper,
        elected: &Transaction<'_>,
        taken: &Taken,
        sources: &[String],
        sent: &mut VecDeque<Sent<'_>>,
        summary: &mut Summary,
    ) -> Result<u64, LakeError> {
        taken.begin(client, sources).await?;
        let mut rows = 0;
        while !sent.is_empty() {
            still_elected(elected).await?;
            let Some(object) = sent.pop_front() else { break };
            let source = object.source.clone();
            let written = object.publish(&self.store).await?;
            taken.written(client, &source, &written).await?;
            self.count(&written, summary);
            rows += written.rows;
        }
        Ok(rows)
    }

    fn count(&self, written: &Written, summary: &mut Summary) {
        let bytes = written.stored.bytes;
        summary.files += 1;
        summary.rows += written.rows;
        summary.bytes += bytes;
        self.metrics.files.increment(1);
        self.metrics.rows.increment(written.rows);
        self.metrics.bytes.increment(bytes);
    }

    /// Enters days that are over, and notes which are gone.
    async fn enter(&self, client: &mut ClientWrapper, now: Timestamp) -> Result<(), LakeError> {
        let known = book::days(client, self.settings.late_after_hours).await?;
        let leaves = listing::leaves(client, false).await?;
        let mut parts = Vec::new();
        for leaf in &leaves {
            let Some(day) = leaf.day.filter(|day| self.is_over(*day, now)) else { continue };
            let detached = leaf.is_detached().then(|| leaf.name.clone());
            if !known.iter().any(|known| known.day == day && known.detached == detached) {
                parts.push((day, detached));
            }
        }
        if !parts.is_empty() {
            book::add(client, &parts).await?;
        }
        for known in known.iter().filter(|known| known.is_here()) {
            let is_its = |leaf: &Leaf| match &known.detached {
                Some(table) => leaf.name == *table,
                None => leaf.day == Some(known.day) && !leaf.is_detached(),
            };
            if !leaves.iter().any(is_its) {
                tracing::warn!(day = %known.day, part = known.part, "its partition is gone: the lake keeps what it has");
                book::gone(client, known).await?;
            }
        }
        Ok(())
    }

    fn is_over(&self, day: Date, now: Timestamp) -> bool {
        let closed = now.checked_sub(SignedDuration::from_hours(self.settings.close_after_hours.into()));
        closed.is_ok_and(|closed| day < closed.to_zoned(TimeZone::UTC).date())
    }

    /// By the clock here or the database's, whichever is behind: a clock that is ahead would close a day that goes on.
    async fn now(&self, client: &ClientWrapper) -> Result<Timestamp, LakeError> {
        let there_us: i64 = client.query_typed_one(DATABASE_NOW, &[]).await?.try_get(0)?;
        Ok(self.clock.now().min(Timestamp::from_microsecond(there_us).unwrap_or(Timestamp::MIN)))
    }

    async fn make_way(&self) {
        if self.accounting.as_ref().is_some_and(|accounting| accounting.pending() >= BUSY_EVENTS) {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// What waits, for `/metrics`.
    async fn tell(&self, client: &ClientWrapper) -> Result<(), LakeError> {
        let waiting: Vec<f64> = book::days(client, self.settings.late_after_hours)
            .await?
            .iter()
            .filter(|known| known.is_here())
            .filter_map(|known| known.waiting_s)
            .collect();
        self.metrics.waiting.set(waiting.len() as f64);
        self.metrics.waiting_seconds.set(waiting.into_iter().fold(0.0, f64::max));
        Ok(())
    }
}

/// Whoever lost the lock, with its connection, must not go on beside the next one.
async fn still_elected(elected: &Transaction<'_>) -> Result<(), LakeError> {
    Ok(elected.batch_execute("select 1").await?)
}

/// As retention and the flush call a day's partition.
fn living_table(day: Date) -> String {
    format!("analytics.events_{}", day.strftime("%Y%m%d"))
}
