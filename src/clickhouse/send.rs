//! Makes `ClickHouse` agree with PostgreSQL on some rows, by id.

use std::collections::HashMap;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::book::Batch;
use super::rows;
use super::table::{Table, milliseconds};
use super::{ClickHouseError, book};
use crate::entropy::{Entropy, random_id};
use crate::metrics::ClickHouseMetrics;

/// One insert: a few megabytes.
const IDS_MAX: usize = 10_000;
/// One insert makes a part for each day, and servers refuse more than a hundred at once.
const DAYS_MAX: usize = 50;
const DAY_MS: i64 = 86_400_000;
/// Rows in memory at once, and what the last of them is longer. A row has a few hundred bytes, or eight megabytes at most.
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
            if batch.is_new && !batch.is_retry {
                self.insert(ids, Some(&token)).await?;
            } else {
                self.agree(ids, batch.is_retry.then_some(&token)).await?;
            }
        }
        book::done_batch(self.client, batch.id).await
    }

    /// Makes what is there of these rows equal to PostgreSQL, by id and checksum. `token`: of an earlier attempt to insert them.
    pub async fn agree(&mut self, ids: &[Uuid], token: Option<&str>) -> Result<(), ClickHouseError> {
        // What is about to go is not there.
        self.until_deleted(DELETION_MAX).await?;
        let mut theirs = self.table.checksums(ids).await?;
        if theirs.is_empty() && token.is_some() {
            // Should the earlier insert be done after all, it is the same one. It may have been cut off where a row ends, too, and its
            // token stand for less: so it is looked again.
            self.insert(ids, token).await?;
            theirs = self.table.checksums(ids).await?;
        }
        let ours = rows::checksums(self.client, ids).await?;
        self.mend(&Differing::of(&ours, &theirs)).await
    }

    /// Deletes and inserts what differs.
    pub async fn mend(&mut self, differing: &Differing) -> Result<(), ClickHouseError> {
        self.delete(&differing.gone).await?;
        if differing.is_changed {
            // Else a row would be there as it was and as it is, for a moment.
            self.until_deleted(DELETION_MAX).await?;
        }
        for ids in slices(&differing.missing) {
            self.insert(ids, None).await?;
        }
        Ok(())
    }

    /// Inserts these rows as they are in PostgreSQL now, each piece as soon as it is read.
    pub async fn insert(&mut self, ids: &[Uuid], token: Option<&str>) -> Result<(), ClickHouseError> {
        let mut rows = rows::read(self.client, ids).await?;
        let mut whole = token;
        while let Some(piece) = rows.piece(BYTES_MAX).await? {
            // Where a piece ends depends on the rows: only one that has all of them would be the same again.
            if let Some(token) = whole.take().filter(|_| piece.is_last) {
                self.table.insert(token, piece.bytes).await?;
            } else {
                let own = random_id(self.entropy).map_err(|error| ClickHouseError::Unclear(error.to_string()))?;
                self.table.insert(&own.to_string(), piece.bytes).await?;
            }
            self.metrics.rows.increment(piece.rows);
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
    pub async fn until_deleted(&self, patience: Duration) -> Result<(), ClickHouseError> {
        let started = Instant::now();
        loop {
            let waiting = self.table.deletions().await?;
            if waiting == 0 {
                return Ok(());
            }
            if started.elapsed() >= patience {
                return Err(ClickHouseError::Deleting(format!("{waiting} of them")));
            }
            sleep(DELETION_POLL).await;
        }
    }
}

/// What has to be done to some rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// There, and not in PostgreSQL, or otherwise.
    pub gone: Vec<Uuid>,
    /// Not there as they are in PostgreSQL; in order.
    pub missing: Vec<Uuid>,
    /// Whether a row is among both.
    pub is_changed: bool,
}

impl Differing {
    /// By the checksums of both. `None`: there are several rows of that id, and they are not alike.
    pub fn of(ours: &HashMap<Uuid, u64>, theirs: &HashMap<Uuid, Option<u64>>) -> Self {
        let is_equal = |id: &Uuid| ours.get(id).is_some_and(|sum| theirs.get(id) == Some(&Some(*sum)));
        let gone: Vec<Uuid> = theirs.keys().filter(|id| !is_equal(id)).copied().collect();
        let mut missing: Vec<Uuid> = ours.keys().filter(|id| !is_equal(id)).copied().collect();
        missing.sort_unstable();
        let is_changed = gone.iter().any(|id| ours.contains_key(id));
        Self { gone, missing, is_changed }
    }
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
    fn what_is_otherwise_goes_and_comes() {
        let [same, changed, several, left, new] = [1, 2, 3, 4, 5].map(|n| id(1, n));
        let ours = HashMap::from([(same, 1), (changed, 2), (several, 3), (new, 5)]);
        let theirs = HashMap::from([(same, Some(1)), (changed, Some(9)), (several, None), (left, Some(4))]);
        let mut differing = Differing::of(&ours, &theirs);
        differing.gone.sort_unstable();
        assert_eq!(differing.gone, [changed, several, left]);
        assert_eq!(differing.missing, [changed, several, new]);
        assert!(differing.is_changed);
        let there = HashMap::from([(same, Some(1)), (left, Some(4))]);
        assert!(!Differing::of(&ours, &there).is_changed);
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
