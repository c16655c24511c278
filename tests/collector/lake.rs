//! Days in the lake: read by engines that are not ours, and compared with what PostgreSQL has. Whatever happens on the way,
//! nobody ever sees a row twice.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::{Child, Command};
use weir::clock::SystemClock;
use weir::config::Config;
use weir::database::Database;
use weir::flush::partitions::Partitions;
use weir::lake::settings::Lake;
use weir::lake::store::Store;
use weir::lake::{CONNECTIONS, Exporter, LakeError, Summary, Wanted};
use weir::metrics::LakeMetrics;
use weir::retention::{Action, Upkeep};

use crate::archive::{duckdb, whole_row};
use crate::retention::{attempt, day, event, keep, run, send, upkeep};
use crate::support::program::free_port;
use crate::support::{TestCollector, TestDatabase, collector, connect, eventually, tool};

/// Where the collector's own export begins, if it has one, is nobody's guess: tests export by hand.
fn exporter(config: &Config, url: &str) -> Exporter {
    let settings = Lake { url: url.to_owned(), ..Lake::default() };
    Exporter {
        database: Database::new(&config.database, CONNECTIONS).expect("a valid URL"),
        store: Store::open(&settings, &[]).expect("a valid URL"),
        settings,
        clock: Arc::new(SystemClock::default()),
        metrics: LakeMetrics::noop(),
        accounting: None,
        patience: Duration::from_secs(10),
    }
}

fn url(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

async fn export(exporter: &Exporter, wanted: Wanted) -> Summary {
    exporter.run(wanted).await.expect("exported").expect("nobody else is at it")
}

/// Rows of the source `app` beside those that were sent, in the way that whoever changes events has to go.
fn more(source: &str, ago: i64, rows: i64, name: &str) -> String {
    format!(
        "insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, is_bot, properties)
         select gen_random_uuid(), '{day} 11:00:00+00'::timestamptz + n * interval '1 millisecond', now(), '{source}', 'track', '{name}', false,
                jsonb_build_object('n', n, 'x', md5(n::text))
           from generate_series(1, {rows}) n;
         insert into weir.touched (hours) values (array[timestamptz '{day} 11:00:00+00'])",
        day = day(ago)
    )
}

async fn change(database: &TestDatabase, sql: &str) {
    database.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Every row of the days before today, as text, by id.
async fn in_postgres(database: &TestDatabase) -> Vec<String> {
    let row = whole_row("(extract(epoch from ?) * 1000000)::bigint", "abbrev(?)");
    database
        .rows(&format!("select {row} from analytics.events where occurred_at < current_date order by event_id"))
        .await
}

fn lake_table(dir: &Path) -> String {
    format!("read_parquet('{}/*/*/*.parquet', hive_partitioning = true)", dir.display())
}

/// `None` if this machine has no DuckDB.
async fn in_lake(dir: &Path) -> Option<Vec<String>> {
    duckdb(&format!("select {} from {} order by event_id", whole_row("epoch_us(?)", "?"), lake_table(dir))).await
}

/// How many rows there are of each day and source, by DuckDB: `3 web 2`.
async fn counted(dir: &Path) -> Option<Vec<String>> {
    let sql = format!(
        "select date_diff('day', date, current_date) || ' ' || source || ' ' || count(*) from {} group by date, source order by date, source",
        lake_table(dir)
    );
    duckdb(&sql).await
}

async fn statuses(database: &TestDatabase) -> Vec<String> {
    let sql =
        "select (now() at time zone 'UTC')::date - day, part, is_stale, exported_at is not null, dropped_at is not null
                 from weir.lake_days order by day, part";
    database.rows(sql).await
}

/// Three days of events: two that are over, with two sources, and today.
async fn days(change_config: impl FnOnce(&mut Config)) -> (TestDatabase, TestCollector, tempfile::TempDir) {
    let (database, collector, journal) = collector(|config| {
        config.privacy.ip = weir::config::IpPolicy::Full;
        change_config(config);
    })
    .await;
    let full = |ago: i64, n: u32| {
        format!(
            r#"{{"type":"page","name":"web-{ago}-{n}","id":"{ago}-{n}","timestamp":"{}T12:00:{n:02}.123456Z","visitor_id":"v{}","ip":"{}",
                "user_agent":"curl/8","url":"https://a.example/ä?utm_source=x&n={n}",
                "properties":{{"n":{n},"deep":[1.50,null,"\"\\\u00e9\n"],"big":12345678901234567890123}}}}"#,
            day(ago),
            n % 7,
            if n.is_multiple_of(2) { "203.0.113.9" } else { "2001:db8::1" }
        )
    };
    let mut events: Vec<String> = (0..10).map(|n| full(3, n)).chain((0..5).map(|n| full(4, n))).collect();
    events.push(event(0, "page", "today"));
    send(&collector, &events).await;
    database.until_stored(16).await;
    change(&database, &more("app", 3, 20, "app-3")).await;
    (database, collector, journal)
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_over_are_the_same_in_the_lake() {
    let (database, collector, _journal) = days(|_| {}).await;
    change(&database, "alter table analytics.events add column score numeric; update analytics.events set score = 0.50 where name = 'app-3'").await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    let summary = export(&lake, Wanted::Due).await;
    assert_eq!((summary.days.len(), summary.files, summary.rows, summary.removed), (2, 3, 35, 0));
    let names: Vec<String> = lake.store.list().await.expect("listed").into_iter().map(|listed| listed.key).collect();
    let name = |ago: i64, source: &str| format!("date={}/source={source}/events-1.parquet", day(ago));
    assert_eq!(names, [name(4, "web"), name(3, "app"), name(3, "web")]);
    assert_eq!(statuses(&database).await, ["4|1|f|t|f", "3|1|f|t|f"]);
    assert_eq!(lake.compare().await.expect("compared"), []);
    assert_eq!(export(&lake, Wanted::Changed).await, Summary::default(), "nothing is done twice");
    assert!(matches!(lake.run(Wanted::Day(day(0))).await, Err(LakeError::Open { .. })));
    assert!(matches!(lake.run(Wanted::Day(day(9))).await, Err(LakeError::NoDay { .. })));

    // A late event waits, and is there when it has waited; the object of its source is replaced, and so is the other.
    send(&collector, &[event(3, "page", "late")]).await;
    database.until_stored(37).await;
    assert_eq!(export(&lake, Wanted::Due).await, Summary::default());
    change(&database, "update weir.lake_marks set noted_at = now() - interval '25 hours'").await;
    let summary = export(&lake, Wanted::Due).await;
    assert_eq!((summary.files, summary.rows), (2, 31));
    assert_eq!(database.number("select count(*) from weir.lake_marks").await, 0);

    let Some(rows) = in_lake(dir.path()).await else { return };
    assert_eq!(rows, in_postgres(&database).await);
    let types = "typeof(event_id), typeof(occurred_at), typeof(is_bot), typeof(properties), typeof(ip), typeof(score), typeof(date), typeof(source)";
    let types =
        duckdb(&format!("select distinct {types} from {}", lake_table(dir.path()))).await.expect("asked before");
    assert_eq!(types, ["VARCHAR|TIMESTAMP WITH TIME ZONE|BOOLEAN|JSON|VARCHAR|VARCHAR|DATE|VARCHAR"]);

    // What somebody else did to the store is told, and mended where that can be.
    fs::write(dir.path().join(name(4, "web")), "short").expect("written");
    fs::remove_file(dir.path().join(name(3, "app"))).expect("removed");
    fs::write(dir.path().join("date=2020-01-01.parquet"), "").expect("written");
    let found = lake.compare().await.expect("compared").iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(found.contains("source=web/events-1.parquet: not as it was written: its day is exported again"), "{found}");
    assert!(found.contains("source=app/events-1.parquet: missing: its day is exported again"), "{found}");
    assert!(found.contains("date=2020-01-01.parquet: not written by weir"), "{found}");
    fs::remove_file(dir.path().join("date=2020-01-01.parquet")).expect("removed");
    assert_eq!(export(&lake, Wanted::Due).await.rows, 36);
    assert_eq!(lake.compare().await.expect("compared"), []);
    assert_eq!(in_lake(dir.path()).await.expect("asked before"), in_postgres(&database).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_objects_nobody_sees_a_row_twice() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    // A file where a directory has to be: the export ends between the objects of one day, as when its process dies.
    let blocked = dir.path().join(format!("date={}/source=web", day(3)));
    fs::create_dir_all(blocked.parent().expect("a day")).expect("made");
    fs::write(&blocked, "").expect("written");
    let error = lake.run(Wanted::Due).await.expect_err("it cannot be written").to_string();
    assert!(error.contains("1 days could not be exported") && error.contains("source=web"), "{error}");
    assert_eq!(statuses(&database).await, ["4|1|f|t|f", "3|1|t|f|f"]);
    fs::remove_file(&blocked).expect("removed");
    let Some(rows) = counted(dir.path()).await else { return };
    assert_eq!(rows, ["4 web 5", "3 app 20"], "what is there is whole");
    export(&lake, Wanted::Due).await;
    assert_eq!(in_lake(dir.path()).await.expect("asked before"), in_postgres(&database).await);

    // The same with objects that are replaced; and one of a source which the day has no rows of any more.
    change(&database, &more("app", 3, 2, "more")).await;
    change(&database, &more("web", 3, 2, "more")).await;
    change(&database, &more("zoo", 3, 1, "more")).await;
    let staging = blocked.join("events-1.new");
    fs::create_dir(&staging).expect("made");
    lake.run(Wanted::Changed).await.expect_err("it cannot be written");
    assert_eq!(counted(dir.path()).await.expect("asked before"), ["4 web 5", "3 app 22", "3 web 10"]);
    fs::remove_dir(&staging).expect("removed");
    export(&lake, Wanted::Due).await;
    assert_eq!(counted(dir.path()).await.expect("asked before"), ["4 web 5", "3 app 22", "3 web 12", "3 zoo 1"]);
    let gone = format!(
        "delete from analytics.events where source = 'zoo'; insert into weir.touched (hours) values (array[timestamptz '{} 11:00:00+00'])",
        day(3)
    );
    change(&database, &gone).await;
    assert_eq!(export(&lake, Wanted::Changed).await.removed, 1);
    assert_eq!(in_lake(dir.path()).await.expect("asked before"), in_postgres(&database).await);
    assert_eq!(lake.compare().await.expect("compared"), []);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_read_once_for_each_four_sources() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    for source in ["a", "b", "c", "d"] {
        change(&database, &more(source, 3, 3, source)).await;
    }
    // By PostgreSQL's statistics. A connection may keep its own for seconds, and leaves them when it ends at the latest: so nobody is
    // connected whenever they are read, but for this test's connection, which is told to leave them.
    collector.stop().await;
    let is_told = database.number("select count(*) from pg_proc where proname = 'pg_stat_force_next_flush'").await == 1;
    let scans = async || {
        if !is_told {
            eprintln!("SKIPPED the number of scans: PostgreSQL 14 cannot be told to leave its statistics");
            return None;
        }
        let others = "select count(*) from pg_stat_activity
                       where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
        database.until(others, 0).await;
        change(&database, "select pg_stat_force_next_flush()").await;
        let table = |ago: i64| format!("events_{}", day(ago).strftime("%Y%m%d"));
        let sql = format!(
            "select seq_scan from pg_stat_user_tables where relname in ('{}', '{}') order by relname desc",
            table(3),
            table(4)
        );
        let scans: Vec<i64> = database.rows(&sql).await.iter().map(|row| row.parse().expect("a number")).collect();
        Some(<[i64; 2]>::try_from(scans).expect("two days"))
    };
    let before = scans().await;
    let summary = export(&lake, Wanted::Due).await;
    assert_eq!((summary.files, summary.rows), (7, 47));
    lake.database.close();
    assert_eq!(scans().await, before.map(|[third, fourth]| [third + 2, fourth + 1]));
    let Some(rows) = in_lake(dir.path()).await else { return };
    assert_eq!(rows, in_postgres(&database).await);
    let expected = ["4 web 5", "3 a 3", "3 app 20", "3 b 3", "3 c 3", "3 d 3", "3 web 10"];
    assert_eq!(counted(dir.path()).await.expect("asked before"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_meanwhile_is_exported_later() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    let rows = "select sum(rows)::bigint from weir.lake_files";
    // Before the day is known: it is entered only when whoever did not see it has ended.
    let other = connect(&database.url).await;
    other.batch_execute("begin").await.expect("begun");
    other.batch_execute(&more("app", 3, 1, "before")).await.expect("inserted");
    let waits = "select count(*) from pg_locks where relation = 'weir.lake_days'::regclass and not granted";
    let (summary, ()) = tokio::join!(export(&lake, Wanted::Due), async {
        eventually("the export waits", async || database.number(waits).await == 1).await;
        other.batch_execute("commit").await.expect("committed");
    });
    assert_eq!(summary.rows, 36, "the row was waited for");

    // When it is known, and not marked: the transaction's own mark comes with its rows.
    other.batch_execute("begin").await.expect("begun");
    other.batch_execute(&more("app", 3, 1, "unmarked")).await.expect("inserted");
    assert_eq!(export(&lake, Wanted::Changed).await, Summary::default());
    other.batch_execute("commit").await.expect("committed");
    export(&lake, Wanted::Changed).await;
    assert_eq!(database.number(rows).await, 37);

    // When it is marked by somebody else: that mark stays until the rows are there.
    change(&database, &more("app", 3, 1, "marks")).await;
    other.batch_execute("begin").await.expect("begun");
    other.batch_execute(&more("app", 3, 1, "relies on the mark")).await.expect("inserted");
    assert_eq!(database.number("select count(*) from weir.lake_marks").await, 1, "one mark does for both");
    export(&lake, Wanted::Changed).await;
    assert_eq!(database.number(rows).await, 38);
    other.batch_execute("commit").await.expect("committed");
    assert_eq!(database.number("select count(*) from weir.lake_marks").await, 1, "it is still there");
    export(&lake, Wanted::Changed).await;
    assert_eq!(database.number(rows).await, 39);
    assert_eq!(database.number("select count(*) from weir.lake_marks").await, 0);

    // What was touched may be put together into one row: that is no change.
    change(
        &database,
        "insert into weir.touched (hours, noted_at) select hours, now() - interval '1 minute' from weir.touched",
    )
    .await;
    assert_eq!(database.number("select count(*) from weir.lake_marks").await, 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_dropped_when_the_lake_has_it_and_what_comes_later_is_another_part() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    let upkeep = Upkeep { has_lake: true, ..upkeep(&collector.config, keep("2 days", &[])) };
    assert_eq!(run(&upkeep).await, [], "nothing is in the lake yet");
    export(&lake, Wanted::Due).await;
    // A late event keeps its day, and is not to wait any longer.
    send(&collector, &[event(3, "page", "late")]).await;
    database.until_stored(37).await;
    let dropped = run(&upkeep).await;
    assert_eq!(dropped.iter().map(|step| (step.action, step.rows)).collect::<Vec<_>>(), [(Action::Dropped, 5)]);
    let expected = {
        export(&lake, Wanted::Due).await;
        in_postgres(&database).await
    };
    assert_eq!(expected.len(), 31);
    // One that is detached, and changed before it is dropped: what the lake has is compared with what is dropped.
    change(
        &database,
        &format!("update weir.lake_files set rows = rows - 1 where day = '{}' and source = 'web'", day(3)),
    )
    .await;
    let error = attempt(&upkeep).await.expect_err("the lake has fewer rows").to_string();
    assert!(error.contains("has 31 rows and the lake 30"), "{error}");
    assert_eq!(run(&upkeep).await, [], "it is kept until it is exported again");
    assert_eq!(export(&lake, Wanted::Due).await.rows, 31, "from the table that is detached");
    assert_eq!(run(&upkeep).await.len(), 1);
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);

    // What comes now is in a table of its own.
    send(&collector, &[event(3, "page", "very late")]).await;
    database.until_stored(2).await;
    // The collector has not heard that the partition is gone.
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let mut client = weir.client().await.expect("connected");
    Partitions::default().ensure_ahead(&mut client, Timestamp::now(), 7).await.expect("looked after");
    assert_eq!(run(&upkeep).await, []);
    export(&lake, Wanted::Due).await;
    assert_eq!(run(&upkeep).await.len(), 1);
    assert_eq!(statuses(&database).await, ["4|1|f|t|t", "3|1|f|t|t", "3|2|f|t|t"]);
    assert_eq!(export(&lake, Wanted::Changed).await, Summary::default());
    assert_eq!(lake.compare().await.expect("compared"), []);
    let Some(rows) = counted(dir.path()).await else { return };
    assert_eq!(rows, ["4 web 5", "3 app 20", "3 web 12"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_deletes_goes_from_the_lake_too() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lake = exporter(&collector.config, &url(dir.path()));
    export(&lake, Wanted::Due).await;
    let rules = keep("30 days", &[(None, Some("page"), "2 days")]);
    let upkeep = Upkeep { has_lake: true, ..upkeep(&collector.config, rules) };
    run(&upkeep).await;
    export(&lake, Wanted::Changed).await;
    assert_eq!(database.number("select coalesce(sum(rows), 0)::bigint from weir.lake_files").await, 20);
    let Some(rows) = counted(dir.path()).await else { return };
    assert_eq!(rows, ["3 app 20"]);
    collector.stop().await;
}

async fn weir(database: &TestDatabase, url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).env("DATABASE_URL", &database.url).env("WEIR_LAKE__URL", url).kill_on_drop(true);
    command.output().await.expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_the_settings_do_not_name_is_waited_for_until_it_is_stopped() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = url(dir.path());
    let elsewhere = upkeep(&collector.config, keep("2 days", &[]));
    assert!(!elsewhere.has_lake);
    // A store that cannot be written yet is one, too.
    let blocked = dir.path().join(format!("date={}", day(3)));
    fs::write(&blocked, "").expect("written");
    assert!(!weir(&database, &url, &["lake", "export"]).await.status.success());
    let dropped = run(&elsewhere).await;
    assert_eq!(dropped.iter().map(|step| (step.action, step.rows)).collect::<Vec<_>>(), [(Action::Dropped, 5)]);
    assert_eq!(run(&elsewhere).await, [], "the lake lacks the other day");
    // What was detached waits as well.
    let (named, date) = (day(3).strftime("%Y%m%d").to_string(), day(3));
    let expired = format!("expired_{named}_0123456789abcdef");
    for statement in [
        format!("alter table analytics.events detach partition analytics.events_{named}"),
        format!("alter table analytics.events_{named} set schema weir"),
        format!("alter table weir.events_{named} rename to {expired}"),
        format!("update weir.lake_days set detached = 'weir.{expired}' where detached is null and day = '{date}'"),
    ] {
        change(&database, &statement).await;
    }
    assert_eq!(run(&elsewhere).await, []);
    let status = text(&weir(&database, "", &["lake", "status"]).await);
    assert!(status.contains(&format!(": {url}; somebody with lake.url was at work")), "{status}");

    let told = text(&weir(&database, "", &["doctor"]).await);
    assert!(told.contains(&format!("a lake is in use ({url}), and lake.url is not set here")), "{told}");
    let refused = weir(&database, &url, &["lake", "stop"]).await;
    assert!(!refused.status.success() && text(&refused).contains("lake.url is set here"), "{}", text(&refused));
    assert_eq!(run(&elsewhere).await, []);
    let stopped = text(&weir(&database, "", &["lake", "stop"]).await);
    assert!(stopped.contains("is no longer in use") && stopped.contains("note: somebody"), "{stopped}");
    assert_eq!(run(&elsewhere).await.len(), 1);
    let stopped = text(&weir(&database, "", &["lake", "stop"]).await);
    assert!(stopped.contains("no lake is in use"), "{stopped}");

    // A lake from before that was noted is one.
    let migration = include_str!("../../schema/migrations/V21__lake_and_imports.sql");
    let seed = migration.lines().find(|line| line.starts_with("insert into weir.lake (url)")).expect("noted");
    change(&database, seed).await;
    let status = text(&weir(&database, "", &["lake", "status"]).await);
    assert!(status.contains(": one from before weir noted its URL;"), "{status}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_forgotten_is_gone_from_the_lake() {
    let (database, collector, _journal) = days(|_| {}).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = url(dir.path());
    let exported = weir(&database, &url, &["lake", "export"]).await;
    assert!(exported.status.success(), "{}", text(&exported));
    assert!(text(&exported).starts_with("2 days exported: 3 files with 35 rows"), "{}", text(&exported));
    let theirs = format!("select count(*) from {} where visitor_id = 'v3'", lake_table(dir.path()));
    let before = duckdb(&theirs).await;
    assert!(before.is_none_or(|count| count == ["2"]));
    // Another late event waits, and goes with them.
    send(&collector, &[event(4, "page", "late")]).await;
    database.until_stored(37).await;
    let forgotten = weir(&database, &url, &["forget", "--visitor", "v3"]).await;
    assert!(forgotten.status.success(), "{}", text(&forgotten));
    assert!(text(&forgotten).contains("the lake: 2 days exported: 3 files with 34 rows"), "{}", text(&forgotten));
    let status = weir(&database, &url, &["lake", "status", "--check"]).await;
    assert!(text(&status).contains("2 days and parts, 0 of them not whole"), "{}", text(&status));
    assert!(text(&status).contains("the store is as it was written"), "{}", text(&status));
    if let Some(count) = duckdb(&theirs).await {
        assert_eq!(count, ["0"]);
        assert_eq!(in_lake(dir.path()).await.expect("asked before"), in_postgres(&database).await);
    }
    // Where the command knows no lake, collectors follow without waiting for anything.
    let lake = exporter(&collector.config, &url);
    let forgotten = weir(&database, "", &["forget", "--visitor", "v4"]).await;
    assert!(forgotten.status.success(), "{}", text(&forgotten));
    assert_eq!(export(&lake, Wanted::Due).await.files, 3);
    assert_eq!(lake.compare().await.expect("compared"), []);
    // Where the lake cannot be written, that is no success.
    send(
        &collector,
        &[r#"{"type":"page","name":"x","visitor_id":"v9","timestamp":"TIME"}"#
            .replace("TIME", &format!("{}T12:00:00Z", day(3)))],
    )
    .await;
    database.until_stored(34).await;
    let staging = dir.path().join(format!("date={}/source=web/events-1.new", day(3)));
    fs::create_dir(&staging).expect("made");
    let refused = weir(&database, &url, &["forget", "--visitor", "v9"]).await;
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("the lake may still have the person"), "{}", text(&refused));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_exports_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (database, collector, journal) = days(|_| {}).await;
    let (mut config, keys) = collector.stop().await;
    config.lake.url = url(dir.path());
    let collector = TestCollector::start_with(config, keys).await.expect("it starts");
    database.until("select count(*) from weir.lake_days where not is_stale", 2).await;
    let metrics = crate::support::http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains("weir_lake_rows_total 35"), "{metrics}");
    let Some(rows) = in_lake(dir.path()).await else { return };
    assert_eq!(rows, in_postgres(&database).await);
    collector.stop().await;
    drop(journal);
}

/// A store with S3's API on this machine, which ends with the test.
struct Bucket {
    endpoint: String,
    _server: Child,
}

impl Bucket {
    async fn start() -> Option<Self> {
        let python = tool("WEIR_TEST_MOTO")?;
        let port = free_port();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]).kill_on_drop(true);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let server = command.spawn().expect("it starts");
        let address = ([127, 0, 0, 1], port).into();
        eventually("the bucket is made", async || {
            if tokio::net::TcpStream::connect(address).await.is_err() {
                return false;
            }
            let answer = crate::support::http::send(address, "PUT", "/events", &[], b"").await;
            answer.status == 200
        })
        .await;
        Some(Self { endpoint: format!("http://127.0.0.1:{port}"), _server: server })
    }

    fn exporter(&self, config: &Config, key: &str) -> Exporter {
        let mut exporter = exporter(config, "s3://events/a/lake");
        exporter.settings.endpoint.clone_from(&self.endpoint);
        "eu-central-1".clone_into(&mut exporter.settings.region);
        let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        exporter.store = Store::open(&exporter.settings, &environment).expect("opened");
        exporter
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_has_the_same_days() {
    let Some(bucket) = Bucket::start().await else { return };
    let (database, collector, _journal) = days(|_| {}).await;
    // More than one part: what cannot be compressed.
    let large = more("app", 4, 60_000, "large")
        .replace("md5(n::text)", "(select string_agg(md5((n * 10 + m)::text), '') from generate_series(1, 10) m)");
    change(&database, &large).await;
    let lake = bucket.exporter(&collector.config, "key");
    let summary = export(&lake, Wanted::Due).await;
    assert_eq!((summary.files, summary.rows), (4, 60_035));
    assert!(summary.bytes > 9_000_000, "{summary:?}");
    assert_eq!(lake.compare().await.expect("compared"), []);
    change(&database, &more("app", 3, 1, "late")).await;
    assert_eq!(export(&lake, Wanted::Changed).await.rows, 31);
    assert_eq!(lake.compare().await.expect("compared"), [], "the newest objects are those in the books");

    // What is in the bucket is fetched, and asked.
    let dir = tempfile::tempdir().expect("a directory");
    for listed in lake.store.list().await.expect("listed") {
        let bytes = lake.store.range(&listed.key, 0, listed.stored.bytes).await.expect("read");
        let path = dir.path().join(&listed.key);
        fs::create_dir_all(path.parent().expect("a source")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    if let Some(rows) = counted(dir.path()).await {
        assert_eq!(rows, ["4 app 60000", "4 web 5", "3 app 21", "3 web 10"]);
        let sum = "sum(cast(properties ->> 'n' as bigint)), min(event_id), max(event_id)";
        let here = database
            .rows(
                &format!("select {sum} from analytics.events where occurred_at < current_date")
                    .replace("event_id)", "event_id::text)"),
            )
            .await;
        assert_eq!(duckdb(&format!("select {sum} from {}", lake_table(dir.path()))).await.expect("asked before"), here);
    }
    // By ClickHouse itself, through S3's API.
    if let Some(python) = std::env::var_os("WEIR_TEST_CHDB") {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/clickhouse.py");
        let table = format!("s3('{}/events/a/lake/**/*.parquet', 'key', 'secret', 'Parquet')", bucket.endpoint);
        let sql = format!(
            "select source, toString(date), count(), sum(JSONExtractInt(properties, 'n')), toString(min(occurred_at)), min(event_id), max(event_id)
               from {table} group by source, date order by source, date settings use_hive_partitioning = 1, session_timezone = 'UTC'"
        );
        let output = Command::new(python).arg(script).arg(sql).output().await.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let here = "select source, occurred_at::date, count(*), sum((properties ->> 'n')::bigint),
                           to_char(min(occurred_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), min(event_id::text), max(event_id::text)
                      from analytics.events where occurred_at < current_date group by 1, 2 order by 1, 2";
        let rows: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        assert_eq!(rows, database.rows(here).await);
    }
    collector.stop().await;
}
