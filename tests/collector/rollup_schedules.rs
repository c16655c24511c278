//! Random schedules: transactions like flushes commit out of order or not at all, people are deleted, runs die in the midst,
//! definitions change, and all of it at once. When everything is at rest, each rollup is what plain SQL gives over all events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use weir::database::Database;
use weir::rollup::catalog::Known;
use weir::rollup::definition::Kind;
use weir::rollup::library::Library;
use weir::rollup::run::run;
use weir::rollup::{dispatch, plan};

use crate::support::chance::{Chance, rounds};
use crate::support::rollups::{
    assert_exact, catalog, define, engine, library, make_partitions, settle, verdict, write,
};
use crate::support::{TestDatabase, connect, superuser_url};

/// `WEIR_ROLLUP_SCHEDULES=1000` asks for more.
const SCHEDULES: u64 = 25;
const DAYS: u64 = 4;
/// Before and after two midnights, from the first event that there can be, 22:00 UTC: transactions meet in buckets, and visits go
/// from one day into the next by transactions that know only one of both.
const MOMENTS_S: [u64; 4] = [5_700, 7_300, 92_400, 93_700];
const MOMENT_LENGTH_S: u64 = 1_200;
/// How long a run reads events: long enough for others to commit meanwhile.
const PAUSE_S: f64 = 0.002;

fn definitions(dir: &std::path::Path) {
    let header = |bucket: &str, more: &str| format!("-- kind: incremental\n-- every: 1s\n-- bucket: {bucket}\n{more}");
    write(
        dir,
        "hours",
        &format!(
            "{}select bucket, source, count(*) as events, count(distinct visitor_id) as visitors, max(name) as latest
               from events, (select pg_sleep({PAUSE_S})) p group by 1, 2",
            // Half an hour off: two of its hours for each of ours.
            header("hour", "-- timezone: Asia/Kolkata\n"),
        ),
    );
    write(
        dir,
        "days",
        &format!(
            "{}select bucket, percentile_disc(0.5) within group (order by name) as middle, count(*) as events
               from page_views, (select pg_sleep({PAUSE_S})) p group by 1",
            header("day", "-- timezone: America/New_York\n-- unique: bucket\n"),
        ),
    );
    write(
        dir,
        "visits",
        &format!(
            "{}with steps as (
                 select *, (occurred_at <= lag(occurred_at) over v + interval '30 minutes') is not true as begins
                   from events window v as (partition by visitor_id order by occurred_at, event_id)),
             numbered as (
                 select *, count(*) filter (where begins) over (partition by visitor_id order by occurred_at, event_id) as visit
                   from steps)
             select (array_agg(bucket order by occurred_at, event_id))[1] as bucket, visitor_id, min(occurred_at) as started_at,
                    count(*) as events
               from numbered group by visitor_id, visit",
            header("day", "-- look-back: 30 minutes\n-- look-ahead: 3 hours\n"),
        ),
    );
    write(
        dir,
        "visit_days",
        &format!(
            "{}select bucket, count(*) as visits, sum(events)::bigint as events, max(started_at) as latest from visits group by 1",
            header("day", ""),
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_schedule_rollups_are_what_plain_sql_gives() {
    let database = TestDatabase::new().await;
    // No server is killed here, so nothing needs to wait for the disk.
    let hasten = format!("alter role {} set synchronous_commit = off", database.name);
    database.client.batch_execute(&hasten).await.expect("set");
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-18", DAYS as u32 + 2).await;
    let dir = tempfile::tempdir().expect("a directory");
    definitions(dir.path());
    let library = library(dir.path());
    define(&engine, &library).await;
    let mut chance = Chance::told();
    let schedules = rounds("WEIR_ROLLUP_SCHEDULES", SCHEDULES);
    let mut rebuilt = 0;
    for schedule in 0..schedules {
        reset(&database, &engine).await;
        rebuilt += u64::from(one_schedule(&database, &engine, &library, &mut chance).await);
        settle(&engine).await;
        assert_exact(&database, &engine, &format!("schedule {schedule}")).await;
        let left = database.number("select count(*) from weir.touched").await;
        assert_eq!(left, 0, "what was touched is dispatched and gone");
    }
    let runs = database.number("select max(run_id) from weir.rollup_runs").await;
    eprintln!("{schedules} schedules, {runs} runs, {rebuilt} rebuilds: missing 0, extra 0");
}

/// Runs that were cut off may still be under way: their locks are waited for.
async fn reset(database: &TestDatabase, engine: &Database) {
    let known = catalog(engine).await;
    let tables = ["analytics.events", "weir.touched", "weir.rollup_dirty"].map(str::to_owned);
    let sql: Vec<String> = tables
        .into_iter()
        .chain(known.iter().map(Known::relation))
        .map(|table| format!("delete from {table};"))
        .collect();
    let sql = sql.concat();
    database.client.batch_execute(&sql).await.expect("empty again");
}

/// Whether a rollup was rebuilt meanwhile.
async fn one_schedule(database: &TestDatabase, engine: &Database, library: &Library, chance: &mut Chance) -> bool {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..3 {
        writers.push(tokio::spawn(write_events(database.url.clone(), writer, chance.branch())));
    }
    let mut runners = Vec::new();
    for _ in 0..2 {
        runners.push(tokio::spawn(compute(engine.clone(), Arc::clone(&is_over), chance.branch())));
    }
    let is_rebuilding = chance.happens(20);
    if is_rebuilding {
        sleep(Duration::from_millis(chance.between(0, 20))).await;
        let verdict = verdict(engine, library).await;
        let checked = &verdict.good[chance.between(0, verdict.good.len() as u64 - 1) as usize];
        // A lock may be held for longer than it is waited for: then there is no rebuild.
        let _ = plan::make(engine, checked, true).await;
    }
    if chance.happens(30) {
        sleep(Duration::from_millis(chance.between(0, 30))).await;
        let admin = connect(&superuser_url()).await;
        // Those of the engine, whatever they are at.
        let kill =
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and application_name = 'weir'";
        admin.query(kill, &[&database.name]).await.expect("killed");
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    is_over.store(true, Ordering::Relaxed);
    for runner in runners {
        runner.await.expect("no panic");
    }
    is_rebuilding
}

/// Transactions like flushes and deletions; some are rolled back, some commit late.
async fn write_events(url: String, writer: u64, mut chance: Chance) {
    let client = connect(&url).await;
    for _ in 0..chance.between(3, 8) {
        client.batch_execute("begin").await.expect("begun");
        if chance.happens(15) {
            let sql = format!(
                "with gone as (delete from analytics.events where visitor_id = 'v{}' returning occurred_at)
                 insert into weir.touched (hours)
                 select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')) from gone having count(*) > 0",
                chance.between(0, 3)
            );
            client.batch_execute(&sql).await.expect("deleted");
        } else {
            let rows = chance.between(1, 8);
            let mut values = Vec::new();
            let around_s = MOMENTS_S[chance.between(0, MOMENTS_S.len() as u64 - 1) as usize];
            for _ in 0..rows {
                let at_s = if chance.happens(90) {
                    around_s + chance.between(0, MOMENT_LENGTH_S)
                } else {
                    chance.between(0, DAYS * 86_400)
                };
                let kind = if chance.happens(70) { "page" } else { "track" };
                values.push(format!(
                    "(gen_random_uuid(), timestamptz '2026-11-18 22:00:00+00' + interval '{at_s} s', now(), 's{writer}', '{kind}',
                      'n{}', 'v{}', false)",
                    chance.between(0, 99),
                    chance.between(0, 3)
                ));
            }
            let sql = format!(
                "with added as (
                     insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, visitor_id, is_bot)
                     values {} returning occurred_at)
                 insert into weir.touched (hours)
                 select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')) from added",
                values.join(", ")
            );
            client.batch_execute(&sql).await.expect("written");
        }
        sleep(Duration::from_micros(chance.between(0, 8_000))).await;
        client.batch_execute(if chance.happens(15) { "rollback" } else { "commit" }).await.expect("ended");
        // Runs take longer than this: some come in between.
        sleep(Duration::from_millis(chance.between(0, 40))).await;
    }
}

/// What a runner does, until told to end; often cut off in the midst.
async fn compute(engine: Database, is_over: Arc<AtomicBool>, mut chance: Chance) {
    while !is_over.load(Ordering::Relaxed) {
        let patience = Duration::from_micros(if chance.happens(40) { chance.between(100, 9_000) } else { 5_000_000 });
        // Whatever becomes of it, what is left has to be enough.
        let _ = timeout(patience, async {
            dispatch::dispatch(&engine).await?;
            let mut known = weir::rollup::catalog::all(&engine).await?;
            known.retain(|known| known.kind == Kind::Incremental && (known.dirty > 0 || known.is_building));
            if known.is_empty() {
                sleep(Duration::from_millis(1)).await;
                return Ok(());
            }
            let rollup = &known[chance.between(0, known.len() as u64 - 1) as usize];
            run(&engine, rollup, Some(Duration::from_millis(chance.between(0, 20)))).await.map(|_| ())
        })
        .await;
    }
}
