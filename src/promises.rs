//! What was promised, written into `weir.promises` by segment and source: one half of the conservation law in SQL.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::accounting::{Accounting, Balance, Entry};
use crate::database::{Database, DatabaseError};

const REPORT: &str = include_str!("sql/promises_report.sql");
const SETTLE: &str = include_str!("sql/promises_settle.sql");

/// The reports of one journal.
pub struct Promises {
    /// The journal's name.
    node: String,
    /// Segments found at start: this process answers for them.
    recovered: Vec<Uuid>,
    reported: BTreeMap<(Uuid, String), Balance>,
}

impl Promises {
    pub fn new(node: String, recovered: Vec<Uuid>) -> Self {
        Self { node, recovered, reported: BTreeMap::new() }
    }

    /// Of this journal's earlier segments, whose files are gone, all is settled.
    pub async fn settle_released(&self, database: &Database) -> Result<(), DatabaseError> {
        let client = database.client().await?;
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&self.node, Type::TEXT), (&self.recovered, Type::UUID_ARRAY)];
        client.execute_typed(SETTLE, &parameters).await?;
        Ok(())
    }

    /// The next report tells all, although nothing may have changed.
    pub fn repeat(&mut self) {
        self.reported.clear();
    }

    /// Writes what was promised, where it changed.
    pub async fn report(&mut self, database: &Database, accounting: &Accounting) -> Result<(), DatabaseError> {
        let entries = accounting.entries();
        let is_new = |entry: &&Entry| {
            let reported = self.reported.get(&(entry.segment, entry.source.clone()));
            entry.is_final || reported != Some(&entry.balance)
        };
        let changed: Vec<&Entry> = entries.iter().filter(is_new).collect();
        if !changed.is_empty() {
            let segments: Vec<Uuid> = changed.iter().map(|entry| entry.segment).collect();
            let sources: Vec<&str> = changed.iter().map(|entry| entry.source.as_str()).collect();
            let accepted: Vec<i64> = changed.iter().map(|entry| entry.balance.accepted.cast_signed()).collect();
            // What never arrived from a segment that is done with was lost to damage: nobody waits for it.
            let pending = |entry: &&Entry| if entry.is_final { 0 } else { entry.balance.pending().cast_signed() };
            let pending: Vec<i64> = changed.iter().map(pending).collect();
            let client = database.client().await?;
            client
                .execute_typed(
                    REPORT,
                    &[
                        (&self.node, Type::TEXT),
                        (&segments, Type::UUID_ARRAY),
                        (&sources, Type::TEXT_ARRAY),
                        (&accepted, Type::INT8_ARRAY),
                        (&pending, Type::INT8_ARRAY),
                    ],
                )
                .await?;
        }
        let is_final: BTreeSet<Uuid> =
            entries.iter().filter(|entry| entry.is_final).map(|entry| entry.segment).collect();
        self.reported = (entries.into_iter())
            .filter(|entry| !entry.is_final)
            .map(|entry| ((entry.segment, entry.source), entry.balance))
            .collect();
        accounting.forget(is_final);
        Ok(())
    }
}
