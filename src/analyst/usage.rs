//! What people's statements take, so that they can regulate themselves: by day in `weir.usage_days`, by week in
//! `analytics.usage`, which everybody reads.
//!
//! `pg_stat_statements` counts up for as long as the server runs, and forgets what is rare: so it is looked at every few
//! minutes, and what was added since is booked.

use deadpool_postgres::{ClientWrapper, Transaction};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::people::database_of;
use super::{AnalystError, names};
use crate::database::advisory;
use crate::database::text::quoted;

/// Who counts: "used" in ASCII.
pub(crate) const USAGE_LOCK: i64 = 0x7573_6564;
/// A relation that somebody holds is measured another time.
const LOCK_TIMEOUT_MS: u32 = 1_000;
const STATEMENT_TIMEOUT_MS: u32 = 30_000;
/// Two years of weeks can be compared.
const DAYS_KEPT: i32 = 800;

const TAKE: &str = include_str!("sql/usage_take.sql");
const BOOK: &str = include_str!("sql/usage_book.sql");
const SIZES: &str = include_str!("sql/usage_sizes.sql");
const SOURCE: &str = "
    select coalesce((select quote_ident(n.nspname) from pg_catalog.pg_extension e
                       join pg_catalog.pg_namespace n on n.oid = e.extnamespace
                      where e.extname = 'pg_stat_statements'), '') as schema,
           pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage') as may_read, current_user::text as role";
const WEEKS: &str = "
    select person, week::text as week, statements, exec_seconds, rows, blocks_read, blocks_hit, temp_bytes, schema_bytes,
           statements_change, exec_seconds_change, temp_bytes_change, schema_bytes_change
      from analytics.usage
     where week > (now() at time zone 'UTC')::date - 7 * $1
     order by week desc, exec_seconds desc nulls last, person";

/// A person's week. What is `None` was not measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Week {
    pub person: String,
    /// Its Monday.
    pub week: String,
    pub statements: Option<i64>,
    pub exec_seconds: Option<f64>,
    pub rows: Option<i64>,
    /// Blocks that were not in PostgreSQL's cache, and those that were.
    pub blocks_read: Option<i64>,
    pub blocks_hit: Option<i64>,
    /// Written to temporary files.
    pub temp_bytes: Option<i64>,
    /// At the week's end.
    pub schema_bytes: Option<i64>,
    /// Against the week before.
    pub statements_change: Option<i64>,
    pub exec_seconds_change: Option<f64>,
    pub temp_bytes_change: Option<i64>,
    pub schema_bytes_change: Option<i64>,
}

/// This week and those before it, `weeks` in all; the newest first, and in it who took most.
pub async fn usage(client: &Client, weeks: u16) -> Result<Vec<Week>, AnalystError> {
    let weeks = i32::from(weeks);
    let mut found = Vec::new();
    for row in client.query_typed(WEEKS, &[(&weeks, Type::INT4)]).await? {
        found.push(Week {
            person: row.try_get("person")?,
            week: row.try_get("week")?,
            statements: row.try_get("statements")?,
            exec_seconds: row.try_get("exec_seconds")?,
            rows: row.try_get("rows")?,
            blocks_read: row.try_get("blocks_read")?,
            blocks_hit: row.try_get("blocks_hit")?,
            temp_bytes: row.try_get("temp_bytes")?,
            schema_bytes: row.try_get("schema_bytes")?,
            statements_change: row.try_get("statements_change")?,
            exec_seconds_change: row.try_get("exec_seconds_change")?,
            temp_bytes_change: row.try_get("temp_bytes_change")?,
            schema_bytes_change: row.try_get("schema_bytes_change")?,
        });
    }
    Ok(found)
}

/// Whether statements are counted, and else what is missing, with its cure.
pub async fn missing(client: &Client) -> Result<Option<String>, AnalystError> {
    let source = source(client).await?;
    let preloaded = "select count(*) from pg_catalog.pg_settings where name = 'pg_stat_statements.max'";
    let is_loaded = client.query_typed_one(preloaded, &[]).await?.try_get::<_, i64>(0)? > 0;
    if source.schema.is_empty() || !is_loaded {
        let load =
            "put pg_stat_statements into shared_preload_libraries, restart PostgreSQL, and then, as a superuser here: ";
        let first = if is_loaded { "as a superuser here: " } else { load };
        return Ok(Some(format!(
            "statements are not counted: {first}create extension if not exists pg_stat_statements; grant pg_read_all_stats to {}",
            quoted(&source.role)
        )));
    }
    if !source.may_read {
        return Ok(Some(format!(
            "statements are not counted, because weir's role sees only its own: grant pg_read_all_stats to {}",
            quoted(&source.role)
        )));
    }
    Ok(None)
}

struct Source {
    /// Of the extension; empty: it is not there.
    schema: String,
    may_read: bool,
    role: String,
}

async fn source(client: &Client) -> Result<Source, AnalystError> {
    let row = client.query_typed_one(SOURCE, &[]).await?;
    Ok(Source { schema: row.try_get("schema")?, may_read: row.try_get("may_read")?, role: row.try_get("role")? })
}

/// Books what people took since it was last done, by whomever. What cannot be counted now is another time.
pub async fn count(client: &mut ClientWrapper) -> Result<(), AnalystError> {
    let group = names::analysts(&database_of(client).await?);
    if missing(client).await?.is_none() {
        let take = TAKE.replace("{schema}", &source(client).await?.schema);
        if let Some(transaction) = alone(client).await? {
            transaction.execute_typed(&take, &[(&group, Type::TEXT)]).await?;
            transaction.execute_typed(BOOK, &[]).await?;
            let older =
                "delete from weir.usage_statements where round < (select max(round) from weir.usage_statements)";
            transaction.execute_typed(older, &[]).await?;
            transaction.commit().await?;
        }
    }
    if let Some(transaction) = alone(client).await? {
        transaction.execute_typed(SIZES, &[(&group, Type::TEXT)]).await?;
        let over = "delete from weir.usage_days where day < (now() at time zone 'UTC')::date - $1::integer";
        transaction.execute_typed(over, &[(&DAYS_KEPT, Type::INT4)]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// A transaction, unless another process counts at this moment.
async fn alone(client: &mut ClientWrapper) -> Result<Option<Transaction<'_>>, AnalystError> {
    let transaction = client.transaction().await?;
    let settings = format!(
        "set local search_path = pg_catalog; set local lock_timeout = {LOCK_TIMEOUT_MS};
         set local statement_timeout = {STATEMENT_TIMEOUT_MS}"
    );
    transaction.batch_execute(&settings).await?;
    Ok(if advisory::try_take(&transaction, USAGE_LOCK).await? { Some(transaction) } else { None })
}
