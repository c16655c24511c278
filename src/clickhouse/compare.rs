//! Stretches of time that may differ: both databases sum them up, and where the sums differ, their rows are gone through by id.

use std::collections::HashMap;

use uuid::Uuid;

use super::ClickHouseError;
use super::book::{self, Mark};
use super::rows::{self, first_id};
use super::send::Sender;
use super::table::{HOUR_US, Range, milliseconds};

/// Rows that are compared at once: 24 bytes of each, from both sides.
const PAGE_ROWS: usize = 20_000;
/// Inserted at once.
const IDS_MAX: usize = 10_000;

impl Sender<'_> {
    /// Goes one step on with a mark: what is bounded by a page, and a sum.
    pub async fn compare(&mut self, mark: &Mark) -> Result<(), ClickHouseError> {
        if mark.done_to.is_none() {
            let theirs = self.table.sums(mark.range).await?;
            let ours = rows::sums(self.client, mark.range).await?;
            if ours == theirs {
                return book::done_mark(self.client, mark).await;
            }
            if ours.is_empty() {
                self.table.delete_range(mark.range).await?;
                self.metrics.deleted.increment(theirs.values().map(|sum| sum.rows).sum());
                return book::done_mark(self.client, mark).await;
            }
            if mark.range.to_us - mark.range.from_us > HOUR_US {
                let mut hours: Vec<i64> = ours.keys().chain(theirs.keys()).copied().collect();
                hours.retain(|hour| ours.get(hour) != theirs.get(hour));
                hours.sort_unstable();
                hours.dedup();
                return book::divide_mark(self.client, mark, &hours).await;
            }
            self.until_deleted().await?;
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
        let theirs: HashMap<Uuid, u64> = theirs.into_iter().collect();
        let wrong: Vec<Uuid> = ours.iter().filter(|(id, sum)| theirs.get(id) != Some(sum)).map(|(id, _)| *id).collect();
        let ours: HashMap<Uuid, u64> = ours.into_iter().collect();
        let gone: Vec<Uuid> = theirs.iter().filter(|(id, sum)| ours.get(id) != Some(sum)).map(|(id, _)| *id).collect();
        // Rows that are otherwise go first; what is inserted after that stays.
        self.delete(&gone).await?;
        if !wrong.is_empty() {
            book::compared(self.client).await?;
            for ids in wrong.chunks(IDS_MAX) {
                self.insert(ids, None).await?;
            }
        }
        Ok(end)
    }
}
