//! Stretches of time that may differ: both databases sum them up, and where the sums differ, their rows are gone through by id.

use std::time::Duration;

use uuid::Uuid;

use super::ClickHouseError;
use super::book::{self, Mark};
use super::rows::{self, first_id};
use super::send::{Differing, Sender};
use super::table::{HOUR_US, Range, milliseconds};

/// Rows that are compared at once: 24 bytes of each, from both sides.
const PAGE_ROWS: usize = 20_000;
/// Deletions are waited for so long before another range, or a batch, has its turn: mostly they take some seconds.
const DELETION_MAX: Duration = Duration::from_secs(20);

impl Sender<'_> {
    /// Goes one step on with a mark: what is bounded by a page, and a sum.
    pub async fn compare(&mut self, mark: &Mark) -> Result<(), ClickHouseError> {
        if mark.done_to.is_none() {
            // What is about to go is not there: sums with it would be believed.
            self.until_deleted(DELETION_MAX).await?;
            let theirs = self.table.sums(mark.range).await?;
            if theirs.is_empty() && mark.is_whole_day() {
                // All of it is missing: to sum up the whole day would tell nothing else.
                let hours = rows::hours(self.client, mark.range).await?;
                return book::divide_mark(self.client, mark, &hours).await;
            }
            let ours = rows::sums(self.client, mark.range).await?;
            if ours == theirs {
                return book::done_mark(self.client, mark).await;
            }
            if ours.is_empty() {
                self.table.delete_range(mark.range).await?;
                self.metrics.deleted.increment(theirs.values().map(|sum| sum.rows).sum());
                return book::done_mark(self.client, mark).await;
            }
            if mark.length_us() > HOUR_US {
                let mut hours: Vec<i64> = ours.keys().chain(theirs.keys()).copied().collect();
                hours.retain(|hour| ours.get(hour) != theirs.get(hour));
                hours.sort_unstable();
                hours.dedup();
                return book::divide_mark(self.client, mark, &hours).await;
            }
        }
        let after = mark.done_to.unwrap_or(first_id(mark.range.from_us));
        match self.page(mark.range, after).await? {
            Some(end) => book::move_mark(self.client, mark, end).await,
            None => book::done_mark(self.client, mark).await,
        }
    }

    /// Compares a page of rows behind `after`; returns how far that went, if there may be more.
    async fn page(&mut self, range: Range, after: Uuid) -> Result<Option<Uuid>, ClickHouseError> {
        let mut ours = rows::page(self.client, range, after, PAGE_ROWS).await?;
        let mut end = (ours.len() == PAGE_ROWS).then(|| ours.last().map(|(id, _)| *id)).flatten();
        // Only as far as ours go.
        let to_us = end.map_or(range.to_us, |end| (milliseconds(end) + 1) * 1_000);
        let narrow = Range { from_us: range.from_us.max(milliseconds(after) * 1_000), to_us: to_us.min(range.to_us) };
        let last = end.unwrap_or(first_id(range.to_us));
        let theirs = self.table.page(narrow, after, last, 2 * PAGE_ROWS).await?;
        if theirs.len() == 2 * PAGE_ROWS {
            end = theirs.last().map(|(id, _)| *id);
            ours.retain(|(id, _)| end.is_none_or(|end| *id <= end));
        }
        let differing = Differing::of(&ours.into_iter().collect(), &theirs.into_iter().collect());
        if !differing.missing.is_empty() {
            book::compared(self.client).await?;
        }
        self.mend(&differing).await?;
        Ok(end)
    }
}
