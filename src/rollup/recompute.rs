//! One step of a run of an incremental rollup: a bucket, or the hours of one day, in one transaction.

use std::time::{Duration, SystemTime};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::Type;

use super::catalog::{self, Known};
use super::definition::Bucket;
use super::{RollupError, begin, literal, pack, quoted};

const DROP_HOPELESS: &str = include_str!("sql/drop_hopeless_marks.sql");
const PICK: &str = include_str!("sql/pick.sql");
const TAKE: &str = include_str!("sql/take_marks.sql");
const MARK_DOWNSTREAM: &str = include_str!("sql/mark_downstream.sql");
/// No two runs of one rollup at once. Not taken, the row is another run's, or gone.
const LOCK: &str = "select rollup_id from weir.rollups where rollup_id = $1 for no key update skip locked";
/// Retention moves this before it drops anything: so it waits until what is read here is read.
const HOLD_RETENTION: &str = "select before from weir.frozen for share";

/// What a step came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Computed.
    pub buckets: u64,
    /// Written.
    pub rows: u64,
    /// Left as they are: retention has dropped their events.
    pub frozen: u64,
}

/// What a run sees of events, and of other rollups.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub bucket: Option<Bucket>,
    pub timezone: &'a str,
    pub reads_events: bool,
    pub upstream: &'a [String],
}

impl Windows<'_> {
    /// The `with` clause that stands for `events` and its like, limited to `range`: from, and until.
    pub fn sql(&self, known: &[Known], range: Option<(&str, &str)>) -> String {
        let unit = self.bucket.map_or("day", Bucket::unit);
        let zone = literal(self.timezone);
        let limit = |column: &str| {
            range.map_or_else(String::new, |(from, until)| {
                let (from, until) = (literal(from), literal(until));
                format!(" where {column} >= timestamptz {from} and {column} < timestamptz {until}")
            })
        };
        let mut parts = Vec::new();
        if self.reads_events {
            parts.push(format!(
                "events as not materialized (select date_trunc('{unit}', occurred_at, {zone}) as bucket, * from analytics.events{})",
                limit("occurred_at")
            ));
            for (name, kind) in [("page_views", "page"), ("clicks", "click")] {
                parts.push(format!("{name} as not materialized (select * from events where kind = '{kind}')"));
            }
        }
        for upstream in known.iter().filter(|known| !known.is_building && self.upstream.contains(&known.name)) {
            let others = upstream.columns.iter().filter(|column| *column != "bucket").map(|column| quoted(column));
            let columns: Vec<String> =
                std::iter::once(format!("date_trunc('{unit}', bucket, {zone}) as bucket")).chain(others).collect();
            parts.push(format!(
                "{} as not materialized (select {} from {}{})",
                quoted(&upstream.name),
                columns.join(", "),
                upstream.relation(),
                limit("bucket")
            ));
        }
        if parts.is_empty() { String::new() } else { format!("with {}", parts.join(",\n")) }
    }
}

/// Computes the next buckets of `rollup`, of those that changed only ones before `before`, a time or `infinity`; tells the first of
/// them in `picked`, where there is one, before anything can fail for its sake.
///
/// # Errors
/// [`RollupError::Busy`] when another process computes it. Then and after any other error everything is as before.
pub async fn step(
    client: &mut ClientWrapper,
    statement_timeout: Duration,
    rollup: &Known,
    before: &str,
    picked: &mut Option<String>,
) -> Result<Step, RollupError> {
    let transaction = client.transaction().await?;
    begin(&transaction, statement_timeout.as_millis(), &rollup.timezone).await?;
    // Nobody waits for the result of a process that has died.
    transaction.batch_execute("set local client_connection_check_interval = '5s'").await?;
    let id: &(dyn tokio_postgres::types::ToSql + Sync) = &rollup.id;
    if transaction.query_typed_opt(LOCK, &[(id, Type::INT8)]).await?.is_none() {
        return Err(RollupError::Busy(rollup.name.clone()));
    }
    transaction.query_typed(HOLD_RETENTION, &[]).await?;
    let frozen = transaction.query_typed_one(DROP_HOPELESS, &[(id, Type::INT8)]).await?.try_get::<_, i64>("frozen")?;
    let mut done = Step { frozen: frozen.cast_unsigned(), ..Step::default() };
    let Some(next) = transaction.query_typed_opt(PICK, &[(id, Type::INT8), (&before, Type::TEXT)]).await? else {
        transaction.commit().await?;
        return Ok(done);
    };
    let (first, until): (&str, &str) = (next.try_get("first")?, next.try_get("until")?);
    let range = (next.try_get("read_from")?, next.try_get("read_until")?);
    *picked = Some(first.to_owned());
    let relation = rollup.relation();
    let within = format!("bucket >= timestamptz {} and bucket < timestamptz {}", literal(first), literal(until));

    // What it reads may have been exchanged since its last step.
    let known = catalog::read(&*transaction).await?;
    // The order of these statements is what exactness stands on: see the module above.
    let marks = [(id, Type::INT8), (&first, Type::TEXT), (&until, Type::TEXT)];
    done.buckets = transaction.query_typed_one(TAKE, &marks).await?.try_get::<_, i64>("buckets")?.cast_unsigned();
    transaction.batch_execute(&format!("delete from {relation} where {within}")).await?;
    let windows = Windows {
        bucket: rollup.bucket,
        timezone: &rollup.timezone,
        reads_events: rollup.reads_events,
        upstream: &rollup.upstream,
    };
    let columns = rollup.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    // A bucket that is null is an error, and not left out.
    let windows = windows.sql(&known, Some(range));
    let select = format!("select {columns} from (\n{}\n) q where ({within}) is not false", rollup.body);
    done.rows = if rollup.is_packed {
        pack::write::pack(&transaction, &windows, &select, &relation, (first, until)).await?
    } else {
        transaction.execute_typed(&format!("{windows}\ninsert into {relation} ({columns}) {select}"), &[]).await?
    };
    if !rollup.is_building {
        let changed = format!(
            "select array_agg(b) from weir.buckets({}, {}, timestamptz {}, timestamptz {}) b",
            literal(rollup.bucket.map_or("day", Bucket::unit)),
            literal(&rollup.timezone),
            literal(first),
            literal(until)
        );
        let row = transaction.query_typed_one(&changed, &[]).await?;
        let changed: Vec<SystemTime> = row.try_get(0)?;
        transaction
            .execute_typed(MARK_DOWNSTREAM, &[(&rollup.name, Type::TEXT), (&changed, Type::TIMESTAMPTZ_ARRAY)])
            .await?;
    }
    transaction.commit().await?;
    Ok(done)
}
