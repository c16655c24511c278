//! Definitions before PostgreSQL: each becomes a temporary view, in a transaction that is rolled back. So PostgreSQL says what
//! is wrong with a SELECT, and its catalog says what that reads. One that reads another is tried again once that one is
//! made: which gives the order.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::types::Type;

use super::definition::{Bucket, Definition, Kind, Problem};
use super::library::Definitions;
use super::{RollupError, begin, literal, quoted};
use crate::database::Database;

const READS: &str = include_str!("sql/reads.sql");
const COLUMNS: &str = include_str!("sql/columns.sql");
const COLUMNS_CURE: &str = "schema/README.md has the columns of events";
/// Temporary views that stand for what a run sees of events.
const WINDOWS: [&str; 3] = ["events", "page_views", "clicks"];

/// A definition that PostgreSQL understands.
#[derive(Debug, Clone)]
pub struct Checked {
    pub definition: Definition,
    pub columns: Vec<String>,
    /// Whether events, through its window, are among what it reads.
    pub reads_events: bool,
    /// Rollups that it reads.
    pub upstream: Vec<String>,
}

/// What a check comes to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Each after those that it reads.
    pub good: Vec<Checked>,
    /// Names whose definitions cannot be used as they are.
    pub bad: Vec<String>,
    pub problems: Vec<Problem>,
}

/// What became of one attempt.
enum Attempt {
    Made(Box<Checked>),
    /// It reads something that is not there.
    Lacking(Problem),
    Refused(Vec<Problem>),
}

/// Checks all definitions together.
///
/// # Errors
/// Only of the database; what is wrong with definitions is in the verdict.
pub async fn check(database: &Database, definitions: Definitions) -> Result<Verdict, RollupError> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
    transaction
        .batch_execute("set local search_path = pg_temp, analytics; set local client_min_messages = warning")
        .await?;
    let mut verdict = Verdict { good: Vec::new(), bad: definitions.bad, problems: definitions.problems };
    let kinds: BTreeMap<String, Kind> = definitions.good.iter().map(|d| (d.name.clone(), d.kind)).collect();
    let mut waiting = definitions.good;
    // Others are mostly made of the incremental ones.
    waiting.sort_by_key(|definition| std::cmp::Reverse(definition.kind));
    loop {
        let before = waiting.len();
        let mut lacking = Vec::new();
        for definition in waiting {
            match attempt(&transaction, &definition, &kinds, &verdict.good).await? {
                Attempt::Made(checked) => verdict.good.push(*checked),
                Attempt::Lacking(problem) => lacking.push((definition, problem)),
                Attempt::Refused(problems) => {
                    verdict.bad.push(definition.name);
                    verdict.problems.extend(problems);
                }
            }
        }
        if lacking.len() == before {
            for (definition, problem) in lacking {
                verdict.bad.push(definition.name);
                verdict.problems.push(problem);
            }

            break;
        }
        waiting = lacking.into_iter().map(|(definition, _)| definition).collect();
    }
    transaction.rollback().await?;
    Ok(verdict)
}

async fn attempt(
    transaction: &Transaction<'_>,
    definition: &Definition,
    kinds: &BTreeMap<String, Kind>,
    made: &[Checked],
) -> Result<Attempt, RollupError> {
    const UNDO: &str = "rollback to savepoint weir_check; release savepoint weir_check";
    transaction.batch_execute("savepoint weir_check").await?;
    if let Some(bucket) = definition.bucket {
        make_windows(transaction, bucket, &definition.timezone).await?;
    }
    let scratch = format!("pg_temp.{}", quoted(&definition.name));
    let before = format!("create view {scratch} as select * from (\n");
    let view = format!("{before}{}\n) q", definition.body);
    if let Err(error) = transaction.execute_typed(&view, &[]).await {
        let Some(refusal) = error.as_db_error() else { return Err(error.into()) };
        let problem = told(definition, refusal, before.chars().count());
        let is_lacking = *refusal.code() == SqlState::UNDEFINED_TABLE;
        transaction.batch_execute(UNDO).await?;
        return Ok(if is_lacking { Attempt::Lacking(problem) } else { Attempt::Refused(vec![problem]) });
    }
    let checked = examine(transaction, definition, &scratch, kinds, made).await?;
    match &checked {
        Attempt::Made(_) => {
            hide_windows(transaction, definition).await?;
            transaction.batch_execute("release savepoint weir_check").await?;
        }
        _ => transaction.batch_execute(UNDO).await?,
    }
    Ok(checked)
}

/// `events` and its like with the column `bucket`.
async fn make_windows(transaction: &Transaction<'_>, bucket: Bucket, timezone: &str) -> Result<(), RollupError> {
    let (unit, zone) = (bucket.unit(), literal(timezone));
    transaction
        .batch_execute(&format!(
            "create temporary view events as
                 select date_trunc('{unit}', occurred_at, {zone}) as bucket, * from analytics.events;
             create temporary view page_views as select * from events where kind = 'page';
             create temporary view clicks as select * from events where kind = 'click'"
        ))
        .await?;
    Ok(())
}

/// Others, of kinds that see all events, must find those of `analytics`.
async fn hide_windows(transaction: &Transaction<'_>, definition: &Definition) -> Result<(), RollupError> {
    if definition.bucket.is_none() {
        return Ok(());
    }
    for window in WINDOWS {
        let hidden = quoted(&hidden_name(window, &definition.name));
        transaction.batch_execute(&format!("alter view pg_temp.{window} rename to {hidden}")).await?;
    }
    Ok(())
}

/// As in reads.sql. Names are at most 63 characters long.
fn hidden_name(window: &str, rollup: &str) -> String {
    let mut name = format!("weir_window_{}_{rollup}", &window[..1]);
    name.truncate(63);
    name
}

/// What is read of one relation.
struct Read {
    schema: String,
    name: String,
    is_scratch: bool,
    reads_all_events: bool,
}

async fn examine(
    transaction: &Transaction<'_>,
    definition: &Definition,
    scratch: &str,
    kinds: &BTreeMap<String, Kind>,
    made: &[Checked],
) -> Result<Attempt, RollupError> {
    let mut columns = Vec::new();
    for row in transaction.query_typed(COLUMNS, &[(&scratch, Type::TEXT)]).await? {
        columns.push((row.try_get::<_, String>("name")?, row.try_get::<_, String>("type")?));
    }
    let mut reads = Vec::new();
    for row in transaction.query_typed(READS, &[(&scratch, Type::TEXT)]).await? {
        reads.push(Read {
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            is_scratch: row.try_get("is_scratch")?,
            reads_all_events: row.try_get("reads_all_events")?,
        });
    }
    let is_window =
        |read: &Read| definition.bucket.is_some() && read.is_scratch && WINDOWS.contains(&read.name.as_str());
    let reads_events = reads.iter().any(is_window);
    let upstream: BTreeSet<String> = reads
        .iter()
        .filter(|read| !is_window(read) && (read.is_scratch || read.schema == "analytics"))
        .filter(|read| kinds.contains_key(&read.name) && read.name != definition.name)
        .map(|read| read.name.clone())
        .collect();
    let line = definition.body_line;
    // As it is now, from an earlier definition perhaps: what that will be is not known before it is checked.
    let is_made = |name: &str| made.iter().any(|other| other.definition.name == name);
    if let Some(name) = upstream.iter().find(|name| !is_made(name)) {
        let message = format!("it reads {name}, which cannot be made");
        return Ok(Attempt::Lacking(definition.problem(line, message, format!("mend {name} first"))));
    }
    let mut problems = Vec::new();
    let mut problem = |message: String, cure: String| problems.push(definition.problem(line, message, cure));
    for column in &definition.unique {
        if !columns.iter().any(|(name, _)| name == column) {
            problem(
                format!("the SELECT has no column `{column}`, which `unique` names"),
                "select it, or leave it out".into(),
            );
        }
    }
    if let Some(bucket) = definition.bucket {
        match columns.iter().find(|(name, _)| name == "bucket") {
            None => {
                let cure = "select `bucket`, a column of events that weir adds, and group by it";
                problem("the SELECT has no column `bucket`".into(), cure.into());
            }
            Some((_, kind)) if kind != "timestamp with time zone" => {
                let cure = "select the `bucket` of events as it is";
                problem(format!("`bucket` is of type {kind}, not timestamp with time zone"), cure.into());
            }
            Some(_) => {}
        }
        for read in reads.iter().filter(|read| !is_window(read) && read.reads_all_events) {
            // The temporary views of incremental rollups end at their windows, and so are not among these.
            let (message, cure) = if read.schema == "analytics" && read.name == "events" {
                let cure = "write `events` without a schema, of which a run sees only what it needs";
                ("analytics.events would be read whole in every run".to_owned(), cure)
            } else {
                let cure =
                    "read `events`, `page_views`, `clicks` or an incremental rollup, or use `kind: materialized`";
                (format!("{} looks at all events, in every run", read.name), cure)
            };
            problem(message, cure.into());
        }
        for name in upstream.iter().filter(|name| kinds.get(*name) != Some(&Kind::Incremental)) {
            let cure = "read only events and incremental rollups, or use `kind: materialized`";
            problem(format!("{name} is not incremental: nothing tells which of its buckets have changed"), cure.into());
        }
        let mut follows = reads_events;
        for other in made.iter().filter(|other| upstream.contains(&other.definition.name)) {
            let Some(finer) = other.definition.bucket else { continue };
            follows = true;
            if finer > bucket || other.definition.timezone != definition.timezone {
                let name = &other.definition.name;
                let message = format!("the buckets of {name} do not lie within those of this one");
                problem(
                    message,
                    format!("use `bucket: {}` and `timezone: {}`", finer.unit(), other.definition.timezone),
                );
            }
        }
        if !follows && reads.iter().all(|read| is_window(read) || !read.reads_all_events) {
            let cure = "read `events` or an incremental rollup, or use `kind: materialized`";
            problem("nothing that it reads tells when to compute it anew".into(), cure.into());
        }
    }
    if !problems.is_empty() {
        return Ok(Attempt::Refused(problems));
    }
    Ok(Attempt::Made(Box::new(Checked {
        definition: definition.clone(),
        columns: columns.into_iter().map(|(name, _)| name).collect(),
        reads_events,
        upstream: upstream.into_iter().collect(),
    })))
}

/// PostgreSQL's words, on the file's line; `before` characters stand before the body.
fn told(definition: &Definition, refusal: &DbError, before: usize) -> Problem {
    let at = match refusal.position() {
        Some(ErrorPosition::Original(position)) => (*position as usize).saturating_sub(1 + before),
        _ => 0,
    };
    let lines = definition.body.chars().take(at).filter(|c| *c == '\n').count();
    let cure = match (refusal.hint(), refusal.code()) {
        (Some(hint), _) => hint.to_owned(),
        (None, code) if *code == SqlState::UNDEFINED_TABLE => {
            "name a table of analytics, another rollup without its schema, or a table with its schema".to_owned()
        }
        (None, code) if *code == SqlState::UNDEFINED_COLUMN => COLUMNS_CURE.to_owned(),
        (None, code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "grant weir's role what it lacks".to_owned(),
        _ => "mend the SELECT here; psql says the same of it".to_owned(),
    };
    definition.problem(definition.body_line + lines, refusal.message(), cure)
}
