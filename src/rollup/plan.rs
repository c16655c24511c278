//! What has to be done to make the database what the definitions say, and doing it.

use std::fmt;

use deadpool_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::catalog::{self, Known};
use super::check::{Checked, Verdict};
use super::definition::{Definition, Kind};
use super::recompute::Windows;
use super::{RollupError, begin, dispatch, literal, pack, quoted, swap};
use crate::database::Database;

const ADD: &str = include_str!("sql/add.sql");
const ADJUST: &str = include_str!("sql/adjust.sql");
const MARK_ALL: &str = include_str!("sql/mark_all.sql");

/// One thing to do.
#[derive(Debug)]
pub enum Step {
    /// There is none of the name.
    Create(Checked),
    /// The definition gives other rows: a new one is filled beside the old one.
    Rebuild(Checked),
    /// Only the schedule, the description or what is kept has changed.
    Adjust(Checked),
    /// Its file is gone: it stays, and is kept true, until `weir rollup drop`.
    Orphan(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(checked) => write!(f, "create   {}", told(&checked.definition)),
            Self::Rebuild(checked) => write!(f, "rebuild  {}: its definition has changed", told(&checked.definition)),
            Self::Adjust(checked) => write!(f, "adjust   {}: its settings have changed", told(&checked.definition)),
            Self::Orphan(name) => {
                write!(f, "keep     {name}: its file is gone; `weir rollup drop {name}` drops the relation")
            }
        }
    }
}

fn told(definition: &Definition) -> String {
    let by = definition.bucket.map_or_else(String::new, |bucket| format!(" by {}", bucket.unit()));
    format!("{} ({}{by})", definition.name, definition.kind.name())
}

/// What is to be done, in order: each after those that it reads.
pub fn plan(verdict: &Verdict, known: &[Known]) -> Vec<Step> {
    let mut steps = Vec::new();
    for checked in &verdict.good {
        let definition = &checked.definition;
        let of_name = |is_building| known.iter().find(|k| k.name == definition.name && k.is_building == is_building);
        let (live, building) = (of_name(false), of_name(true));
        let hash = definition.hash();
        // What is being built is what will be.
        match building.or(live) {
            None => steps.push(Step::Create(checked.clone())),
            Some(newest) if newest.hash != hash => steps.push(Step::Rebuild(checked.clone())),
            Some(newest) if is_adjusted(checked, newest) => steps.push(Step::Adjust(checked.clone())),
            Some(_) => {}
        }
    }
    let is_gone = |known: &&Known| {
        !verdict.good.iter().any(|checked| checked.definition.name == known.name) && !verdict.bad.contains(&known.name)
    };
    let gone = known.iter().filter(|known| !known.is_building).filter(is_gone);
    steps.extend(gone.map(|known| Step::Orphan(known.name.clone())));
    steps
}

fn is_adjusted(checked: &Checked, known: &Known) -> bool {
    let definition = &checked.definition;
    (&definition.every, &definition.timezone, &definition.keep, &definition.description, &checked.upstream)
        != (&known.every, &known.timezone, &known.keep, &known.description, &known.upstream)
        || !known.is_defined
}

/// Does one step.
pub async fn apply(database: &Database, step: &Step) -> Result<(), RollupError> {
    match step {
        Step::Create(checked) | Step::Rebuild(checked) => make(database, checked, false).await,
        Step::Adjust(checked) => adjust(database, checked).await,
        Step::Orphan(name) => {
            let client = database.client().await?;
            let sql = "update weir.rollups set is_defined = false where name = $1 and is_defined";
            client.execute_typed(sql, &[(name, Type::TEXT)]).await?;
            Ok(())
        }
    }
}

/// Makes the relation, empty and with all marks; where there is none of the name, in its place. What is there already, because
/// another process was first, is only made again if that `is_wanted`.
pub async fn make(database: &Database, checked: &Checked, is_wanted: bool) -> Result<(), RollupError> {
    let definition = &checked.definition;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let zone = if definition.bucket.is_some() { definition.timezone.as_str() } else { "UTC" };
    begin(&transaction, database.statement_timeout().as_millis(), zone).await?;
    dispatch::lock(&transaction).await?;
    let known = catalog::read(&*transaction).await?;
    let of_name = |is_building| known.iter().find(|k| k.name == definition.name && k.is_building == is_building);
    let newest = of_name(true).or(of_name(false));
    if !is_wanted && newest.is_some_and(|newest| newest.hash == definition.hash()) {
        return Ok(());
    }
    if let Some(abandoned) = of_name(true) {
        drop_relation(&transaction, abandoned).await?;
    }
    let live = of_name(false);
    if live.is_none() {
        let sql = "select to_regclass('analytics.' || quote_ident($1)) is not null";
        if transaction.query_typed_one(sql, &[(&definition.name, Type::TEXT)]).await?.try_get(0)? {
            return Err(RollupError::Taken(definition.name.clone()));
        }
    }
    let id = add(&transaction, checked).await?;
    let new = format!("weir.rollup_{id}");
    create(&transaction, definition, &known, checked, id).await?;
    if let Some(description) = &definition.description {
        let comment = format!("comment on {} {new} is {}", what(definition.kind), literal(description));
        transaction.batch_execute(&comment).await?;
    }
    if definition.kind == Kind::Incremental {
        mark_all(&transaction, checked, &known, id).await?;
    }
    // Views are filled as soon as they are made.
    if live.is_none() || definition.kind == Kind::View {
        swap::put_in_place(&transaction, &definition.name, id, live).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn add(transaction: &Transaction<'_>, checked: &Checked) -> Result<i64, RollupError> {
    let definition = &checked.definition;
    let row = transaction
        .query_typed_one(
            ADD,
            &[
                (&definition.name, Type::TEXT),
                (&definition.kind.name(), Type::TEXT),
                (&definition.hash(), Type::TEXT),
                (&definition.body, Type::TEXT),
                (&definition.bucket.map(super::definition::Bucket::unit), Type::TEXT),
                (&definition.timezone, Type::TEXT),
                (&(definition.look_back_s as f64), Type::FLOAT8),
                (&(definition.look_ahead_s as f64), Type::FLOAT8),
                (&definition.unique, Type::TEXT_ARRAY),
                (&checked.columns, Type::TEXT_ARRAY),
                (&definition.every, Type::TEXT),
                (&definition.keep, Type::TEXT),
                (&definition.description, Type::TEXT),
                (&checked.reads_events, Type::BOOL),
                (&checked.upstream, Type::TEXT_ARRAY),
                (&definition.is_packed, Type::BOOL),
            ],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// The relation `weir.rollup_ID` with its indexes.
async fn create(
    transaction: &Transaction<'_>,
    definition: &Definition,
    known: &[Known],
    checked: &Checked,
    id: i64,
) -> Result<(), RollupError> {
    let body = &definition.body;
    let unique: Vec<String> = definition.unique.iter().map(|column| quoted(column)).collect();
    let index = format!("create unique index rollup_{id}_unique on weir.rollup_{id} ({})", unique.join(", "));
    let statement = match definition.kind {
        Kind::View => format!("create view weir.rollup_{id} as\n{body}"),
        Kind::Materialized => format!("create materialized view weir.rollup_{id} as\n{body}\nwith no data"),
        Kind::Incremental if definition.is_packed => format!("create table weir.rollup_{id} {}", pack::write::COLUMNS),
        Kind::Incremental => {
            let windows = Windows {
                bucket: definition.bucket,
                timezone: &definition.timezone,
                reads_events: checked.reads_events,
                upstream: &checked.upstream,
            };
            let windows = windows.sql(known, None);
            format!("create table weir.rollup_{id} as {windows} select * from (\n{body}\n) q with no data")
        }
    };
    // One statement only: a body is a SELECT and nothing more.
    transaction.execute_typed(&statement, &[]).await.map_err(|error| refused(definition, error))?;
    if !unique.is_empty() {
        transaction.batch_execute(&index).await?;
    }
    if definition.is_packed {
        let after = pack::write::after(&format!("weir.rollup_{id}"), &format!("rollup_{id}_key"));
        transaction.batch_execute(&after).await?;
    }
    if let Some(bucket) = definition.bucket {
        let (unit, zone) = (bucket.unit(), literal(&definition.timezone));
        transaction
            .batch_execute(&format!(
                "alter table weir.rollup_{id} alter column bucket set not null,
                     add constraint bucket_begins_a_{unit} check (bucket = date_trunc('{unit}', bucket, {zone}))"
            ))
            .await?;
        if definition.unique.first().is_none_or(|first| first != "bucket") {
            transaction.batch_execute(&format!("create index rollup_{id}_bucket on weir.rollup_{id} (bucket)")).await?;
        }
    }
    Ok(())
}

fn refused(definition: &Definition, error: tokio_postgres::Error) -> RollupError {
    match error.as_db_error() {
        Some(refusal) if *refusal.code() != SqlState::LOCK_NOT_AVAILABLE => {
            let cure = "mend the SELECT, or what it reads";
            RollupError::Definitions(vec![definition.problem(definition.body_line, refusal.message(), cure)])
        }
        _ => error.into(),
    }
}

/// Marks for the first filling.
async fn mark_all(
    transaction: &Transaction<'_>,
    checked: &Checked,
    known: &[Known],
    id: i64,
) -> Result<(), RollupError> {
    transaction.execute_typed(MARK_ALL, &[(&id, Type::INT8)]).await?;
    for upstream in known.iter().filter(|k| !k.is_building && checked.upstream.contains(&k.name)) {
        let sql = format!(
            "insert into weir.rollup_dirty (rollup_id, bucket, is_fill)
             select distinct r.rollup_id, mark, true
               from weir.rollups r, (select distinct bucket as changed from {}) u,
                    weir.buckets(r.bucket, r.timezone, changed - r.look_ahead, changed + r.look_back + interval '1 microsecond')
                        as mark
              where r.rollup_id = $1
                and not exists (select 1 from weir.rollup_dirty d where d.rollup_id = r.rollup_id and d.bucket = mark)",
            upstream.relation()
        );
        transaction.execute_typed(&sql, &[(&id, Type::INT8)]).await?;
    }
    Ok(())
}

async fn adjust(database: &Database, checked: &Checked) -> Result<(), RollupError> {
    let definition = &checked.definition;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
    transaction
        .execute_typed(
            ADJUST,
            &[
                (&definition.name, Type::TEXT),
                (&definition.every, Type::TEXT),
                (&definition.keep, Type::TEXT),
                (&definition.description, Type::TEXT),
                (&checked.upstream, Type::TEXT_ARRAY),
                (&definition.timezone, Type::TEXT),
            ],
        )
        .await?;
    let description = definition.description.as_deref().map_or("null".to_owned(), literal);
    let relation = quoted(&definition.name);
    let comment = format!("comment on {} analytics.{relation} is {description}", what(definition.kind));
    transaction.batch_execute(&comment).await?;
    transaction.commit().await?;
    Ok(())
}

/// Drops a rollup, the relation and what is known of it. Whatever else depends on it keeps it there.
pub async fn drop_rollup(database: &Database, name: &str) -> Result<(), RollupError> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
    let known = catalog::read(&*transaction).await?;
    let mut of_name = known.iter().filter(|known| known.name == name).peekable();
    if of_name.peek().is_none() {
        return Err(RollupError::Missing(name.to_owned()));
    }
    for known in of_name {
        drop_relation(&transaction, known).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn drop_relation(transaction: &Transaction<'_>, known: &Known) -> Result<(), RollupError> {
    // Waits for a run that is under way.
    transaction.execute_typed("delete from weir.rollups where rollup_id = $1", &[(&known.id, Type::INT8)]).await?;
    transaction.batch_execute(&format!("drop {} if exists {}", what(known.kind), known.relation())).await?;
    Ok(())
}

/// As `drop` and `alter` call it.
pub(super) fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::View => "view",
        Kind::Materialized => "materialized view",
        Kind::Incremental => "table",
    }
}
