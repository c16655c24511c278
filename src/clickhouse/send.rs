//! Makes `ClickHouse` agree with PostgreSQL on some rows, by id.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::book::Batch;
use super::rows::{self, Encoded};
use super::table::{Table, milliseconds};
use super::{ClickHouseError, book};
use crate::entropy::{Entropy, random_id};
use crate::metrics::ClickHouseMetrics;

/// One insert: a few megabytes.
const IDS_MAX: usize = 10_000;
/// One insert makes a part for each day, and servers refuse more than a hundred at once.
const DAYS_MAX: usize = 50;
const DAY_MS: i64 = 86_400_000;
/// Rows in memory at once. A row has a few hundred bytes, or eight megabytes at most.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a deletion is waited for before rows are looked for that it may still take away.
const DELETION_MAX: Duration = Duration::from_secs(10 * 60);
const DELETION_POLL: Duration = Duration::from_millis(200);

/// What is needed to send.
pub struct Sender<'a> {
    pub client: &'a mut ClientWrapper,
    pub table: &'a Table,
    pub metrics: &'a ClickHouseMetrics,
    pub entropy: &'a dyn Entropy,
}

impl Sender<'_> {
    /// Sends a batch that was taken, and removes it from the book.
    pub async fn batch(&mut self, batch: &Batch) -> Result<(), ClickHouseError> {
        for (place, ids) in slices(&batch.ids).into_iter().enumerate() {
            let token = format!("{}-{place}", batch.id);
            if !batch.is_new || batch.is_retry && !self.table.has_tokens() {
                self.agree(ids).await?;
                continue;
            }
            self.insert(ids, Some(&token)).await?;
            if batch.is_retry {
                // The earlier one may have been cut off where a row ends: then its token stands for less.
                self.agree(ids).await?;
            }
        }
        book::done_batch(self.client, batch.id).await
    }

    /// Sends what is missing of these, and has deleted what is there and not in PostgreSQL.
    pub async fn agree(&mut self, ids: &[Uuid]) -> Result<(), ClickHouseError> {
        // What is about to go is not there.
        self.until_deleted().await?;
        let present = self.table.present(ids).await?;
        let (there, missing): (Vec<Uuid>, Vec<Uuid>) = ids.iter().copied().partition(|id| present.contains(id));
        if !there.is_empty() {
            let existing = rows::existing(self.client, &there).await?;
            self.delete(&difference(&there, &existing)).await?;
        }
        if missing.is_empty() { Ok(()) } else { self.insert(&missing, None).await }
    }

    /// Inserts these rows as they are in PostgreSQL now.
    pub async fn insert(&mut self, ids: &[Uuid], token: Option<&str>) -> Result<(), ClickHouseError> {
        let mut pieces = rows::read(self.client, ids, BYTES_MAX).await?;
        // Where a piece ends depends on the rows, so it has no name that it would have again.
        let token = token.filter(|_| pieces.len() == 1);
        for Encoded { bytes, ids } in pieces.drain(..) {
            let rows = ids.len() as u64;
            if let Some(token) = token {
                self.table.insert(token, bytes).await?;
            } else {
                let own = random_id(self.entropy).map_err(|error| ClickHouseError::Unclear(error.to_string()))?;
                self.table.insert(&own.to_string(), bytes).await?;
            }
            self.metrics.rows.increment(rows);
        }
        Ok(())
    }

    pub async fn delete(&mut self, ids: &[Uuid]) -> Result<(), ClickHouseError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.table.delete(ids).await?;
        self.metrics.deleted.increment(ids.len() as u64);
        Ok(())
    }

    /// Waits until every deletion that was accepted is carried out.
    pub async fn until_deleted(&self) -> Result<(), ClickHouseError> {
        let started = Instant::now();
        loop {
            let waiting = self.table.deletions().await?;
            if waiting == 0 {
                return Ok(());
            }
            if started.elapsed() >= DELETION_MAX {
                return Err(ClickHouseError::Deleting(format!("{waiting} of them")));
            }
            sleep(DELETION_POLL).await;
        }
    }
}

fn difference(ids: &[Uuid], without: &HashSet<Uuid>) -> Vec<Uuid> {
    ids.iter().copied().filter(|id| !without.contains(id)).collect()
}

/// Cuts a batch into inserts, by its ids alone: it is cut the same each time. `ids` are in order, and so are their days.
fn slices(ids: &[Uuid]) -> Vec<&[Uuid]> {
    let mut slices = Vec::new();
    let (mut start, mut days, mut day) = (0, 0, None);
    for (place, id) in ids.iter().enumerate() {
        let its = Some(milliseconds(*id) / DAY_MS);
        if its != day && days == DAYS_MAX || place - start == IDS_MAX {
            slices.push(&ids[start..place]);
            (start, days, day) = (place, 0, None);
        }
        if its != day {
            (days, day) = (days + 1, its);
        }
    }
    if start < ids.len() {
        slices.push(&ids[start..]);
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(day: u128, n: u128) -> Uuid {
        Uuid::from_u128((day * 86_400_000) << 80 | n)
    }

    #[test]
    fn an_insert_has_bounds() {
        assert!(slices(&[]).is_empty());
        let one_day: Vec<Uuid> = (0..25_000).map(|n| id(1, n)).collect();
        assert_eq!(slices(&one_day).iter().map(|slice| slice.len()).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
        let many_days: Vec<Uuid> = (0..120).flat_map(|day| [id(day, 1), id(day, 2)]).collect();
        assert_eq!(slices(&many_days).iter().map(|slice| slice.len()).collect::<Vec<_>>(), [100, 100, 40]);
        assert_eq!(slices(&many_days).concat(), many_days);
    }
}
