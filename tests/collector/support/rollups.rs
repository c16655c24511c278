//! What tests of rollups share: an engine without a collector, and every rollup compared with plain SQL over all events.

use std::path::Path;

use weir::database::{Database, DatabaseError, migrate};
use weir::rollup::catalog::{self, Known};
use weir::rollup::check::{self, Verdict};
use weir::rollup::definition::Kind;
use weir::rollup::library::Library;
use weir::rollup::run::run;
use weir::rollup::runner::reconcile;
use weir::rollup::{RollupError, dispatch};

use super::TestDatabase;

/// Events of tests are written by hand.
const TOUCH: &str = "insert into weir.touched (hours)
    select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')) from analytics.events having count(*) > 0";

/// Connections to the test's database as a runner has them.
pub async fn engine(database: &TestDatabase) -> Database {
    let engine = Database::new(&super::settings(&database.url), 8).expect("a valid URL");
    migrate::run(&engine).await.expect("migrated");
    engine
}

/// Definitions in a directory only.
pub fn library(dir: &Path) -> Library {
    Library { dir: dir.to_owned(), with_shipped: false }
}

pub fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(format!("{name}.sql")), text).expect("written");
}

pub async fn verdict(engine: &Database, library: &Library) -> Verdict {
    check::check(engine, library.read()).await.expect("checked")
}

pub async fn catalog(engine: &Database) -> Vec<Known> {
    catalog::all(engine).await.expect("read")
}

pub async fn known(engine: &Database, name: &str) -> Known {
    let known = catalog(engine).await;
    known.into_iter().find(|known| known.name == name && !known.is_building).expect("known")
}

/// Brings definitions into force; all of them must be good.
pub async fn define(engine: &Database, library: &Library) {
    let reconciled = reconcile(engine, library).await.expect("reconciled");
    let problems: Vec<_> = reconciled.messages.iter().filter(|(_, is_error)| *is_error).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

/// Makes the hours of all events known as touched.
pub async fn touch_all(database: &TestDatabase) {
    database.client.batch_execute(TOUCH).await.expect("touched");
}

/// Computes until nothing waits. What others hold is waited for.
pub async fn settle(engine: &Database) {
    loop {
        match dispatch::dispatch(engine).await {
            Err(error) if is_passing(&error) => continue,
            result => result.expect("dispatched"),
        };
        let mut known = catalog(engine).await;
        known.retain(|known| known.dirty > 0 || known.is_building);
        if known.is_empty() {
            break;
        }
        for rollup in known {
            match run(engine, &rollup, None).await {
                Err(error) if is_passing(&error) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                result => drop(result.unwrap_or_else(|error| panic!("{}: {error}", rollup.name))),
            }
        }
    }
    for rollup in catalog(engine).await.iter().filter(|known| known.kind == Kind::Materialized) {
        run(engine, rollup, None).await.unwrap_or_else(|error| panic!("{}: {error}", rollup.name));
    }
}

/// A connection that was cut, or a lock that another one holds.
fn is_passing(error: &RollupError) -> bool {
    let is_cut = |error: &DatabaseError| error.sqlstate().is_none_or(|state| matches!(&state.code()[..2], "57" | "08"));
    error.is_passing() || matches!(error, RollupError::Database(error) if is_cut(error))
}

/// Rows of a rollup that plain SQL over all events does not give, and the other way round.
pub async fn differences(database: &TestDatabase, known: &Known, all: &[Known]) -> Vec<String> {
    // What is packed is no SQL's to tell: tests of the dashboard read it.
    if known.is_packed {
        return Vec::new();
    }
    let (body, columns) = (&known.body, known.columns.join(", "));
    let mut with = Vec::new();
    if let Some(bucket) = known.bucket {
        let start = |column| format!("date_trunc('{}', {column}, '{}') as bucket", bucket.unit(), known.timezone);
        with.push(format!("events as (select {}, * from analytics.events)", start("occurred_at")));
        with.push("page_views as (select * from events where kind = 'page')".to_owned());
        for upstream in all.iter().filter(|other| known.upstream.contains(&other.name)) {
            let others: Vec<&str> = upstream.columns.iter().map(String::as_str).filter(|c| *c != "bucket").collect();
            let name = &upstream.name;
            with.push(format!("{name} as (select {}, {} from analytics.{name})", start("bucket"), others.join(", ")));
        }
    }
    let with = if with.is_empty() { String::new() } else { format!("with {}", with.join(", ")) };
    let sql = format!(
        "set search_path = analytics;
         with plain as materialized ({with} select {columns} from (\n{body}\n) q),
              kept as materialized (select {columns} from analytics.{})
         select 'missing', m::text from (select * from plain except all select * from kept) m
         union all
         select 'extra', e::text from (select * from kept except all select * from plain) e",
        known.name
    );
    database.rows(&sql).await
}

/// Fails unless every rollup is what plain SQL gives.
pub async fn assert_exact(database: &TestDatabase, engine: &Database, what: &str) {
    let all = catalog(engine).await;
    for known in all.iter().filter(|known| known.kind != Kind::View && !known.is_building) {
        let differences = differences(database, known, &all).await;
        assert!(differences.is_empty(), "{what}: {} differs:\n{}", known.name, differences.join("\n"));
    }
}

/// Partitions of some days around 2026-11-20.
pub async fn make_partitions(database: &TestDatabase, first: &str, days: u32) {
    let sql = format!(
        "do $$ declare day date; begin
           for n in 0 .. {days} - 1 loop
             day := date '{first}' + n;
             execute format('create table if not exists analytics.events_%s partition of analytics.events
                 for values from (%L) to (%L)', to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
           end loop;
         end $$"
    );
    database.client.batch_execute(&sql).await.expect("partitions made");
}
