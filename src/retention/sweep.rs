//! Days of which some events are over and others are not: rows go by rule, a stretch of the heap a transaction.

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use tokio_postgres::types::{ToSql, Type};

use super::listing::Leaf;
use super::policy::{Policy, Rule};
use super::{Action, RetentionError, Run, Step, begin, lake, note};
use crate::clickhouse::book as clickhouse;

const DELETE: &str = include_str!("sql/rule_delete.sql");
const COUNT: &str = include_str!("sql/rule_count.sql");
const IS_SWEPT: &str = include_str!("sql/swept_is.sql");
const NOTE_SWEPT: &str = include_str!("sql/swept_note.sql");
/// One transaction reads and deletes so much: 8 MB, some 20,000 rows, well under a second.
const BLOCKS_AT_ONCE: usize = 1_024;

impl Run<'_> {
    /// Deletes what is over of one day, unless nothing has changed since that was done.
    pub(super) async fn sweep(&mut self, policy: &Policy, leaf: &Leaf, day: Date) -> Result<(), RetentionError> {
        let (date, rules) = (day.to_string(), policy.fingerprint(day));
        // The heap's size too, in case the statistics were reset.
        let seen: [(&(dyn ToSql + Sync), Type); 4] =
            [(&date, Type::TEXT), (&rules, Type::TEXT), (&leaf.inserted, Type::INT8), (&leaf.blocks, Type::INT8)];
        if self.client.query_typed_one(IS_SWEPT, &seen).await?.try_get("swept")? {
            return Ok(());
        }
        let mut rows = 0;
        for (rule, earlier) in policy.over_on(day) {
            rows += self.delete(leaf, day, rule, earlier).await?;
        }
        if rows > 0 && self.drop_if_empty(leaf, day).await? {
            return Ok(());
        }
        self.client.execute_typed(NOTE_SWEPT, &seen).await?;
        Ok(())
    }

    async fn delete(&mut self, leaf: &Leaf, day: Date, rule: &Rule, earlier: &[Rule]) -> Result<i64, RetentionError> {
        let sql = DELETE.replace("{table}", &leaf.name);
        let (sources, kinds) = columns(earlier);
        let mut sum = 0;
        for from in (0..=leaf.blocks).step_by(BLOCKS_AT_ONCE) {
            let to = from + BLOCKS_AT_ONCE as i64;
            self.still_elected().await?;
            let transaction = begin(self.client).await?;
            let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
                (&rule.source, Type::TEXT),
                (&rule.kind, Type::TEXT),
                (&sources, Type::TEXT_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (&from, Type::INT8),
                (&to, Type::INT8),
            ];
            let rows: i64 = transaction.query_typed_one(&sql, &parameters).await?.try_get("rows")?;
            if rows > 0 {
                note(&transaction, &self.started, day, Action::Deleted.name(), &rule.name, rows, "").await?;
                lake::note_changed(&transaction, day).await?;
                clickhouse::mark_day(&transaction, day).await?;
            }
            transaction.commit().await?;
            sum += rows;
        }
        if sum > 0 {
            self.done(leaf, Action::Deleted, day, &rule.name, sum);
        }
        Ok(sum)
    }

    /// Whether it was empty, and is gone. It may stay, if others hold it: it costs nothing but its name.
    async fn drop_if_empty(&mut self, leaf: &Leaf, day: Date) -> Result<bool, RetentionError> {
        // Most often it is not, and that takes no lock to see.
        let any = format!("select exists (select 1 from only {} limit 1)", leaf.name);
        if self.client.query_typed_one(&any, &[]).await?.try_get(0)? {
            return Ok(false);
        }
        // The lake has its rows still, and is to follow.
        if !self.is_in_lake(day, None).await? {
            return Ok(false);
        }
        match self.try_detach(leaf, day, true).await {
            Ok(Some(detached)) => self.finish(&detached).await.map(|()| true),
            Err(error) if !error.is_lock_timeout() => Err(error),
            _ => Ok(false),
        }
    }
}

/// What [`Run::sweep`] would delete of one day.
pub(super) async fn plan(
    client: &mut ClientWrapper,
    policy: &Policy,
    leaf: &Leaf,
    day: Date,
) -> Result<Vec<Step>, RetentionError> {
    let sql = COUNT.replace("{table}", &leaf.name);
    let mut steps = Vec::new();
    for (rule, earlier) in policy.over_on(day) {
        let (sources, kinds) = columns(earlier);
        let transaction = begin(client).await?;
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&rule.source, Type::TEXT),
            (&rule.kind, Type::TEXT),
            (&sources, Type::TEXT_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
        ];
        let rows = transaction.query_typed_one(&sql, &parameters).await?.try_get("rows")?;
        if rows > 0 {
            steps.push(Step { action: Action::Deleted, day, rule: rule.name.clone(), rows });
        }
    }
    Ok(steps)
}

fn columns(rules: &[Rule]) -> (Vec<Option<&str>>, Vec<Option<&str>>) {
    rules.iter().map(|rule| (rule.source.as_deref(), rule.kind.as_deref())).unzip()
}
