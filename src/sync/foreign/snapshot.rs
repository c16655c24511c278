//! The rows of all foreign tables, copied into tables of their own. Readers have the old rows until the new ones are all there.

use tokio_postgres::types::{ToSql, Type};

use super::{Bridge, ForeignError, Parameter, begin, told};
use crate::database::dependents::{capture, make_again, take_away};
use crate::sync::postgres::{literal, quoted};

/// Of each source.
const RUNS_KEPT: i64 = 200;

impl Bridge {
    /// Copies all tables, each in a transaction of its own; one that fails costs no other. Returns how many rows.
    pub async fn snapshot(&self) -> Result<u64, ForeignError> {
        let client = self.local.client().await?;
        // Only one runs at a time: what still runs was cut off.
        let lost = "update sync.runs set outcome = 'lost', finished_at = clock_timestamp()
                     where source = $1 and outcome = 'running'";
        client.execute_typed(lost, &[(&self.name, Type::TEXT)]).await?;
        let sql = "insert into sync.runs (source) values ($1) returning run_id";
        let run: i64 = client.query_typed_one(sql, &[(&self.name, Type::TEXT)]).await?.try_get(0)?;
        drop(client);
        let (mut rows, mut failed) = (0, Vec::new());
        for table in self.live_tables().await? {
            match self.snapshot_table(&table).await {
                Ok(copied) => rows += copied,
                Err(error) => {
                    let reason = match &error {
                        ForeignError::Local(crate::database::DatabaseError::Query(error)) => told(error),
                        other => other.to_string(),
                    };
                    tracing::warn!(source = self.name, table, reason, "a table is not copied: it stays as it was");
                    failed.push(format!("{table}: {reason}"));
                }
            }
        }
        let outcome = if failed.is_empty() { "done" } else { "failed" };
        let error = (!failed.is_empty()).then(|| failed.join("\n"));
        let sql = "update sync.runs set finished_at = clock_timestamp(), seen_at = clock_timestamp(), outcome = $2,
                          rows = $3, error = $4 where run_id = $1";
        let values: [Parameter<'_>; 4] =
            [(&run, Type::INT8), (&outcome, Type::TEXT), (&(rows as i64), Type::INT8), (&error, Type::TEXT)];
        self.local.client().await?.execute_typed(sql, &values).await?;
        let prune = "delete from sync.runs where source = $1 and run_id <=
                         (select run_id from sync.runs where source = $1 order by run_id desc offset $2 limit 1)";
        let values: [Parameter<'_>; 2] = [(&self.name, Type::TEXT), (&RUNS_KEPT, Type::INT8)];
        self.local.client().await?.execute_typed(prune, &values).await?;
        match error {
            Some(error) => Err(ForeignError::Settings(error)),
            None => Ok(rows),
        }
    }

    async fn snapshot_table(&self, table: &str) -> Result<u64, ForeignError> {
        let live = format!("{}.{}", quoted(&self.live_schema()), quoted(table));
        let kept = format!("{}.{}", quoted(&self.schema), quoted(table));
        let mut client = self.local.client().await?;
        let transaction = client.transaction().await?;
        // As long as it takes.
        begin(&transaction, 0).await?;
        let columns = "select string_agg(format('%I', attname), ', ' order by attnum),
                              string_agg(format('%I %s', attname, replace(format_type(atttypid, atttypmod), 'sync.foreign_text', 'text')), ', ' order by attnum)
                         from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";
        let of = async |name: &String| {
            let row = transaction.query_typed_one(columns, &[(name as &(dyn ToSql + Sync), Type::TEXT)]).await?;
            Ok::<(Option<String>, Option<String>), tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?))
        };
        let (names, wanted) = of(&live).await?;
        let (_, found) = of(&kept).await?;
        let sql = "select obj_description(to_regclass($1), 'pg_class') is not distinct from $2";
        let values: [Parameter<'_>; 2] = [(&kept, Type::TEXT), (&self.mark(), Type::TEXT)];
        if found.is_some() && !transaction.query_typed_one(sql, &values).await?.try_get::<_, bool>(0)? {
            let reason = format!("{kept} is here already, and not of this source: rename it");
            return Err(ForeignError::Settings(reason));
        }
        let names = names.unwrap_or_default();
        let insert = format!("insert into {kept} ({names}) select {names} from {live}");
        let create = format!(
            "create table {kept} ({}); comment on table {kept} is {}",
            wanted.clone().unwrap_or_default(),
            literal(&self.mark())
        );
        let rows = if found.is_none() {
            transaction.batch_execute(&create).await?;
            transaction.execute_typed(&insert, &[]).await?
        } else if found == wanted {
            transaction.batch_execute(&format!("delete from {kept}")).await?;
            transaction.execute_typed(&insert, &[]).await?
        } else {
            let captured = capture(&transaction, std::slice::from_ref(&kept), false, "").await?;
            let (below, views): (Vec<_>, Vec<_>) = captured.into_iter().partition(|relation| relation.depth == 0);
            take_away(&transaction, &views).await?;
            transaction.batch_execute(&format!("drop table {kept}")).await?;
            transaction.batch_execute(&create).await?;
            let rows = transaction.execute_typed(&insert, &[]).await?;
            for statement in below.iter().flat_map(|table| &table.after) {
                transaction.batch_execute("savepoint weir_snapshot").await?;
                let end = match transaction.batch_execute(statement).await {
                    Ok(()) => "release savepoint weir_snapshot",
                    Err(_) => "rollback to savepoint weir_snapshot",
                };
                transaction.batch_execute(end).await?;
            }
            make_again(&transaction, &views).await?;
            rows
        };
        transaction.commit().await?;
        Ok(rows)
    }
}
