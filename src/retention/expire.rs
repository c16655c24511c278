//! Whole days: out of `analytics.events`, into the archive, and gone.
//!
//! A detached partition has a name of its own, `weir.expired_YYYYMMDD_<16 hex digits>`: a late row may have its day made
//! again at any moment, and its archive must never replace another one's. Nobody writes to it, so what was archived is what
//! is dropped.

use deadpool_postgres::Transaction;
use jiff::civil::Date;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::listing::Leaf;
use super::{Action, Attempts, RetentionError, Run, archive, begin, lake, note, policy};
use crate::clickhouse::book as clickhouse;
use crate::database::advisory;
use crate::flush::partitions::PARTITION_LOCK;

const DETACH: &str = include_str!("sql/detach.sql");
const INDEXES: &str = include_str!("sql/detach_indexes.sql");
const HOLDS_DAY: &str = include_str!("sql/holds_day.sql");
const COUNT: &str = include_str!("sql/expired_book.sql");
/// Should its day come again, nothing is known of it.
const FORGET_SWEPT: &str = "delete from weir.retention_swept where day = $1::text::date";

impl Run<'_> {
    /// Takes a partition away from the readers and writers of the parent. `None`: someone else has.
    pub(super) async fn detach(&mut self, leaf: &Leaf, day: Date) -> Result<Option<Leaf>, RetentionError> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_detach(leaf, day, false).await {
                Err(error) => attempts.pause(&leaf.name, error).await?,
                detached => return detached,
            }
        }
    }

    /// With `only_empty`, a partition with any row in it stays.
    pub(super) async fn try_detach(
        &mut self,
        leaf: &Leaf,
        day: Date,
        only_empty: bool,
    ) -> Result<Option<Leaf>, RetentionError> {
        let is_to_be_archived = self.archive_dir().is_some();
        let mut random = [0; 8];
        self.upkeep.entropy.fill(&mut random)?;
        let expired = format!("expired_{}_{:016x}", day.strftime("%Y%m%d"), u64::from_be_bytes(random));
        let transaction = begin(self.client).await?;
        // First, as who makes partitions does.
        advisory::wait(&transaction, PARTITION_LOCK).await?;
        let exists = "select to_regclass($1) is not null";
        if !transaction.query_typed_one(exists, &[(&leaf.name, Type::TEXT)]).await?.try_get(0)? {
            return Ok(None);
        }
        let statements = DETACH.replace("{leaf}", &leaf.name).replace("{expired}", &expired);
        if only_empty {
            // Neither through the parent, nor past it, does a row come any more; other days' partitions are not locked.
            let lock = format!("lock table only analytics.events, only {} in access exclusive mode", leaf.name);
            transaction.batch_execute(&lock).await?;
            let any = format!("select exists (select 1 from only {} limit 1)", leaf.name);
            if transaction.query_typed_one(&any, &[]).await?.try_get(0)? {
                return Ok(None);
            }
        }
        rename_indexes(&transaction, &leaf.name, &expired).await?;
        // The table's name without its schema.
        let bare = leaf.name.rsplit('.').next().unwrap_or(&leaf.name);
        // One by one: Citus hands the text that it comes in on, whole.
        for statement in statements.replace("{bare}", bare).split_inclusive(';') {
            transaction.batch_execute(statement).await?;
        }
        if is_to_be_archived {
            transaction.batch_execute(&format!("comment on table weir.{expired} is 'to be archived'")).await?;
        }
        let detached = leaf.detached(&format!("weir.{expired}"), is_to_be_archived);
        note(&transaction, &self.started, day, "detached", policy::REST, 0, &detached.name).await?;
        lake::note_detached(&transaction, day, &detached.name).await?;
        clickhouse::mark_day(&transaction, day).await?;
        transaction.commit().await?;
        self.upkeep.partitions.forget();
        tracing::info!(table = leaf.name, detached = detached.name, "partition detached");
        Ok(Some(detached))
    }

    /// Archives what was detached, if that is set, and drops it.
    pub(super) async fn finish(&mut self, leaf: &Leaf) -> Result<(), RetentionError> {
        let Some(day) = leaf.day else { return Ok(()) };
        self.still_elected().await?;
        if !self.is_in_lake(day, Some(&leaf.name)).await? {
            return Ok(());
        }
        let mut archived = None;
        if let Some(dir) = self.archive_dir() {
            let written = archive::write(self.client, &leaf.name, day, &dir).await?;
            if let Some(path) = &written.path {
                let path = path.display().to_string();
                let rows = written.rows.cast_signed();
                let transaction = begin(self.client).await?;
                note(&transaction, &self.started, day, Action::Archived.name(), policy::REST, rows, &path).await?;
                transaction.commit().await?;
                self.done(leaf, Action::Archived, day, policy::REST, rows);
            }
            archived = Some(written.rows);
        } else if leaf.is_to_be_archived {
            return Err(RetentionError::NoArchive { table: leaf.name.clone() });
        }
        let transaction = begin(self.client).await?;
        // A person may be forgotten in it at this moment.
        transaction.batch_execute(&format!("lock table {} in access exclusive mode", leaf.name)).await?;
        let rows = transaction.query_typed_one(&COUNT.replace("{table}", &leaf.name), &[]).await?.try_get("rows")?;
        if let Some(archived) = archived.filter(|archived| archived.cast_signed() != rows) {
            return Err(RetentionError::Miscounted { table: leaf.name.clone(), rows, archived });
        }
        if let Err(error) = lake::keep(self.upkeep.has_lake, &transaction, day, &leaf.name, rows).await {
            transaction.rollback().await?;
            lake::export_again(self.client, &leaf.name).await?;
            return Err(error);
        }
        note(&transaction, &self.started, day, Action::Dropped.name(), policy::REST, rows, &leaf.name).await?;
        transaction.execute_typed(FORGET_SWEPT, &[(&day.to_string(), Type::TEXT)]).await?;
        drop_day(&transaction, &leaf.name).await?;
        transaction.commit().await?;
        self.done(leaf, Action::Dropped, day, policy::REST, rows);
        Ok(())
    }
}

/// Drops a day's table, and with it what people have made of that day alone, who would otherwise keep what is to go, and all
/// later days. A view of weir's own role keeps it, and is told.
async fn drop_day(transaction: &Transaction<'_>, table: &str) -> Result<(), RetentionError> {
    let drop = format!("drop table {table}");
    transaction.batch_execute("savepoint weir_drop").await?;
    let Err(error) = transaction.batch_execute(&drop).await else { return Ok(()) };
    if error.code() != Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) {
        return Err(error.into());
    }
    transaction.batch_execute("rollback to savepoint weir_drop").await?;
    if transaction.query_typed_one(HOLDS_DAY, &[(&table, Type::TEXT)]).await?.try_get("is_held")? {
        return Err(error.into());
    }
    let what = error.as_db_error().and_then(|refusal| refusal.detail()).unwrap_or_default();
    tracing::warn!(table, what, "what people have made of one day alone goes with it");
    Ok(transaction.batch_execute(&format!("{drop} cascade")).await?)
}

/// Indexes move into the schema `weir` with their table, where those of the same day may lie from before.
async fn rename_indexes(transaction: &Transaction<'_>, leaf: &str, expired: &str) -> Result<(), RetentionError> {
    for (place, row) in transaction.query_typed(INDEXES, &[(&leaf, Type::TEXT)]).await?.iter().enumerate() {
        let index: &str = row.try_get("index")?;
        transaction.batch_execute(&format!("alter index {index} rename to {expired}_{place}")).await?;
    }
    Ok(())
}
