//! What is older than it may be kept goes, in whole days and by rules; nothing else does, whatever happens meanwhile.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use weir::clock::{Clock, SystemClock};
use weir::config::{Config, Retention, RetentionRule};
use weir::database::Database;
use weir::entropy::SystemEntropy;
use weir::flush::partitions::Partitions;
use weir::metrics::RetentionMetrics;
use weir::retention::{Action, RetentionError, Step, Upkeep};
use weir::sources;

use crate::support::program::Collector;
use crate::support::{
    PATIENCE, TestCollector, TestDatabase, citus, collector, config, connect, eventually, http, superuser_url,
};

const DETACHED: &str = "select count(*) from pg_class where relnamespace = 'weir'::regnamespace and relname like 'expired_%' and relkind = 'r'";
const STRAYS: &str = "select count(*) from only analytics.events_default";
/// Stored less removed is what is there, of every source.
const BOOKS: &str = "select count(*) from weir.accounting a
    left join (select source, count(*) as rows from analytics.events group by source) e on e.source = a.source
    where unexplained <> 0
       or stored - coalesce((select sum(rows) from weir.removed r where r.source = a.source), 0) <> coalesce(e.rows, 0)";

pub fn day(ago: i64) -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date().checked_sub(ago.days()).expect("a date")
}

/// At noon so many days ago.
pub fn event(ago: i64, kind: &str, name: &str) -> String {
    format!(r#"{{"type":"{kind}","name":"{name}","timestamp":"{}T12:00:00Z"}}"#, day(ago))
}

pub fn keep(events: &str, rules: &[(Option<&str>, Option<&str>, &str)]) -> Retention {
    let rule = |(source, kind, keep): &(Option<&str>, Option<&str>, &str)| RetentionRule {
        source: source.map(str::to_owned),
        kind: kind.map(str::to_owned),
        keep: keep.parse().expect("a period"),
    };
    let events = events.parse().expect("a period");
    Retention { events, rules: rules.iter().map(rule).collect(), archive_dir: None, person_indexes: false }
}

pub fn upkeep(config: &Config, settings: Retention) -> Upkeep {
    Upkeep {
        database: Database::new(&config.database, 2).expect("a valid URL"),
        settings,
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        partitions: Arc::default(),
        metrics: RetentionMetrics::noop(),
        has_lake: config.lake.is_set(),
    }
}

pub async fn run(upkeep: &Upkeep) -> Vec<Step> {
    attempt(upkeep).await.expect("it goes well")
}

/// A run that is not another's: the collector begins with one of its own.
pub async fn attempt(upkeep: &Upkeep) -> Result<Vec<Step>, RetentionError> {
    let started = std::time::Instant::now();
    loop {
        if let Some(ended) = upkeep.run().await.transpose() {
            return ended;
        }
        assert!(started.elapsed() < PATIENCE, "somebody else is at it all the time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn step(action: Action, ago: i64, rule: &str, rows: i64) -> Step {
    Step { action, day: day(ago), rule: rule.to_owned(), rows }
}

pub async fn send(collector: &TestCollector, events: &[String]) {
    let answer = collector.post(&format!("[{}]", events.join(","))).await;
    assert_eq!(answer.json()["accepted"], events.len(), "{}", answer.text());
}

async fn names(database: &TestDatabase) -> String {
    database.rows("select string_agg(name, ' ' order by name) from analytics.events").await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn days_go_by_the_longest_rule_and_events_by_their_own() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let app = sources::add(&weir, "app", &[]).await.expect("added").secret_key;
    let mut sent = 0;
    for (key, source) in [(&collector.keys.secret_key, "web"), (&app, "app")] {
        for ago in [0, 9, 11, 31, 44, 46] {
            for kind in ["page", "click"] {
                let body = event(ago, kind, &format!("{source}-{kind}-{ago}"));
                let authorization = format!("authorization: Bearer {key}");
                let headers = [authorization.as_str(), "content-type: application/json"];
                eventually("the key is known", async || {
                    http::post(collector.address, "/v1/events", &headers, body.as_bytes()).await.status == 200
                })
                .await;
                sent += 1;
            }
        }
    }
    database.until_stored(sent).await;

    let settings = keep("30 days", &[(None, Some("click"), "10 days"), (Some("app"), None, "45 days")]);
    let upkeep = upkeep(&collector.config, settings);
    let planned = upkeep.plan().await.expect("planned");
    let done = run(&upkeep).await;
    let expected = [
        step(Action::Dropped, 46, "events", 4),
        step(Action::Deleted, 44, r#"kind="click""#, 2),
        step(Action::Deleted, 44, "events", 1),
        step(Action::Deleted, 31, r#"kind="click""#, 2),
        step(Action::Deleted, 31, "events", 1),
        step(Action::Deleted, 11, r#"kind="click""#, 2),
    ];
    assert_eq!(done, expected);
    assert_eq!(planned, expected, "what was planned is what was done");
    assert_eq!(
        names(&database).await,
        "app-click-0 app-click-9 app-page-0 app-page-11 app-page-31 app-page-44 app-page-9 web-click-0 web-click-9 \
         web-page-0 web-page-11 web-page-9"
    );
    database.until(BOOKS, 0).await;
    let booked = database.rows("select source, reason, rows from weir.removed order by source").await;
    assert_eq!(booked, ["app|retention|5", "web|retention|7"]);
    let frozen =
        database.rows("select to_char(before at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from weir.frozen").await;
    assert_eq!(frozen, [format!("{} 00:00", day(10))]);
    let noted = "select action, sum(rows) from weir.retention_runs group by 1 order by 1";
    assert_eq!(database.rows(noted).await, ["deleted|8", "detached|0", "dropped|4"]);

    // Nothing is done twice, and nothing is forgotten because it was done once.
    assert_eq!(run(&upkeep).await, []);
    send(&collector, &[event(11, "click", "late"), event(11, "page", "late-page")]).await;
    database.until_stored(14).await;
    eventually("what came late goes, too", async || {
        run(&upkeep).await == [step(Action::Deleted, 11, r#"kind="click""#, 1)]
    })
    .await;
    database.until(BOOKS, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_have_emptied_is_dropped() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(20, "click", "a"), event(21, "page", "b")]).await;
    database.until_stored(2).await;
    let upkeep = upkeep(&collector.config, keep("forever", &[(None, Some("click"), "10 days")]));
    let steps = run(&upkeep).await;
    assert_eq!(steps, [step(Action::Deleted, 20, r#"kind="click""#, 1), step(Action::Dropped, 20, "events", 0)]);
    let gone = format!("select count(*) from pg_class where relname = 'events_{}'", day(20).strftime("%Y%m%d"));
    assert_eq!(database.number(&gone).await, 0);
    assert_eq!(names(&database).await, "b");
    database.until(BOOKS, 0).await;
    collector.stop().await;
}

/// The right clock, and how far this one is ahead of it.
struct WrongClock(SignedDuration);

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_removes_nothing() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(30, "page", "last that is kept"), event(32, "page", "over")]).await;
    database.until_stored(2).await;
    let mut upkeep = upkeep(&collector.config, keep("30 days", &[]));
    for hours in [-25, 25, 24 * 365] {
        upkeep.clock = Arc::new(WrongClock(SignedDuration::from_hours(hours)));
        let error = attempt(&upkeep).await.expect_err("the clocks differ");
        assert!(matches!(error, RetentionError::Clocks { .. }), "{error}");
        upkeep.plan().await.expect_err("the clocks differ");
    }
    assert_eq!(database.number("select count(*) from analytics.events").await, 2);
    // Within a day the one that is behind decides.
    upkeep.clock = Arc::new(WrongClock(SignedDuration::from_hours(23)));
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 32, "events", 1)]);
    assert_eq!(names(&database).await, "last that is kept");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_everything_stays() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(7_000, "page", "a")]).await;
    database.until_stored(1).await;
    let upkeep = upkeep(&collector.config, Retention::default());
    assert_eq!(run(&upkeep).await, []);
    assert_eq!(database.rows("select before from weir.frozen").await, ["-infinity"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_of_a_dropped_day_is_taken_and_goes_with_the_next_run() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(40, "page", "first")]).await;
    database.until_stored(1).await;
    let upkeep = upkeep(&collector.config, keep("30 days", &[]));
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 40, "events", 1)]);
    // The collector has not heard of it: another process did it.
    send(&collector, &[event(40, "page", "late")]).await;
    database.until_stored(1).await;
    assert_eq!(database.number(STRAYS).await, 1);
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let partitions = Partitions::default();
    partitions
        .ensure_ahead(&mut weir.client().await.expect("connected"), Timestamp::now(), 7)
        .await
        .expect("looked after");
    assert_eq!(database.number(STRAYS).await, 0);
    let leaf = database
        .rows("select substring(tableoid::regclass::text from '^analytics.events_[0-9]{8}') from analytics.events")
        .await;
    assert_eq!(leaf, [format!("analytics.events_{}", day(40).strftime("%Y%m%d"))]);
    // What knows of it makes the day's partition at once.
    send(&collector, &[event(40, "page", "later")]).await;
    database.until_stored(2).await;
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 40, "events", 2)]);
    database.until_accounted(3, 3, 0, 0).await;
    database.until(BOOKS, 0).await;
    collector.stop().await;
}

/// Events of 40 and 50 days ago, and of today, and nobody who runs.
async fn filled() -> (TestDatabase, Config, sources::KeyPair, tempfile::TempDir) {
    let (database, collector, journal) = collector(|_| {}).await;
    let events: Vec<String> = (0..90).map(|n| event([0, 40, 50][n % 3], "page", &format!("{n}"))).collect();
    send(&collector, &events).await;
    database.until_stored(90).await;
    let (config, keys) = collector.stop().await;
    (database, config, keys, journal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_detaching_and_dropping_loses_nothing_and_leaves_nothing() {
    let (database, _config, keys, journal) = filled().await;
    let archive = tempfile::tempdir().expect("a directory");
    let program = Collector::new(&database.url, journal.path())
        .with("WEIR_RETENTION__EVENTS", "30 days")
        .with("WEIR_RETENTION__ARCHIVE_DIR", archive.path().to_str().expect("text"));
    // It cannot book what it drops.
    let holder = connect(&database.url).await;
    holder.batch_execute("begin; lock table weir.removed in share mode").await.expect("held");
    let process = program.start_ready().await;
    database.until(DETACHED, 1).await;
    database.until("select count(*) from weir.retention_runs where action = 'archived'", 1).await;
    process.kill().await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 60, "one day is detached");
    assert_eq!(database.number(DETACHED).await, 1, "and not dropped");
    holder.batch_execute("rollback").await.expect("let go");
    // Meanwhile there is a collector that keeps everything and has no archive: it drops nothing, and takes a late event.
    let other = TestCollector::start_with(config(&database.url, journal.path()), keys).await.expect("starts");
    eventually("it has looked", async || {
        let metrics = http::get(other.admin, "/metrics", &[]).await.text();
        metrics.contains("\nweir_retention_failures_total 1\n")
    })
    .await;
    send(&other, &[event(50, "page", "late")]).await;
    database.until_stored(61).await;
    other.stop().await;
    assert_eq!(database.number(DETACHED).await, 1, "it is still there");

    let process = program.start_ready().await;
    database.until_stored(30).await;
    database.until(DETACHED, 0).await;
    database.until(BOOKS, 0).await;
    let dropped = "select sum(rows)::bigint from weir.retention_runs where action = 'dropped'";
    database.until(dropped, 61).await;
    process.terminate().await;
    let files = weir::retention::archive::files(archive.path()).expect("listed");
    assert_eq!(files.len(), 3, "two days, one of them twice: {files:?}");
    let leftovers = std::fs::read_dir(archive.path()).expect("a directory").flat_map(|day| {
        std::fs::read_dir(day.expect("readable").path())
            .expect("a directory")
            .map(|file| file.expect("readable").path())
    });
    assert_eq!(leftovers.count(), 3, "nothing but whole files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_holds_detaching_off_and_events_go_on() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(40, "page", "old")]).await;
    database.until_stored(1).await;
    let analyst = connect(&database.url).await;
    analyst.batch_execute("begin; select count(*) from analytics.events").await.expect("asked");
    let settings = keep("30 days", &[]);
    let (one, two) = (upkeep(&collector.config, settings.clone()), upkeep(&collector.config, settings));
    let first = tokio::spawn(async move { attempt(&one).await });
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%detach%'";
    eventually("it waits for the analyst", async || database.number(waits).await > 0).await;
    let busy = first.await.expect("no panic").expect_err("the analyst is still reading");
    assert!(matches!(busy, RetentionError::Busy { .. }), "{busy}");
    send(&collector, &[event(0, "page", "new")]).await;
    database.until_stored(2).await;
    analyst.batch_execute("commit").await.expect("answered");
    assert_eq!(run(&two).await, [step(Action::Dropped, 40, "events", 1)]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_before_every_rollup_has_heard_of_it() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(40, "page", "old")]).await;
    database.until_stored(1).await;
    let rollup = connect(&database.url).await;
    rollup.batch_execute("begin; select before from weir.frozen").await.expect("read");
    let upkeep = upkeep(&collector.config, keep("30 days", &[]));
    let running = tokio::spawn(async move { (attempt(&upkeep).await, upkeep) });
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%weir.frozen%'";
    eventually("it waits for the rollup", async || database.number(waits).await > 0).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
    rollup.batch_execute("commit").await.expect("done");
    let (first, upkeep) = running.await.expect("no panic");
    // On a machine that stood still it has given up meanwhile.
    let steps = if let Ok(steps) = first { steps } else { run(&upkeep).await };
    assert_eq!(steps, [step(Action::Dropped, 40, "events", 1)]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_the_old_floor_go_though_rollups_let_no_new_one_come() {
    let (database, config, _keys, _journal) = filled().await;
    let told = format!("update weir.frozen set before = '{} 00:00:00+00'", day(45));
    database.client.batch_execute(&told).await.expect("told");
    // As if its lock had been waited for in vain, without the waiting.
    let busy = "create function public.busy() returns trigger language plpgsql as
                    $$ begin raise exception 'a rollup holds it' using errcode = 'lock_not_available'; end $$;
                create trigger busy before update on weir.frozen for each row execute function public.busy()";
    database.client.batch_execute(busy).await.expect("made");
    let upkeep = upkeep(&config, keep("30 days", &[]));
    let error = attempt(&upkeep).await.expect_err("the rollup is never done");
    assert!(matches!(error, RetentionError::Floor { .. }), "{error}");
    let left = "select distinct occurred_at::date::text from analytics.events order by 1";
    assert_eq!(database.rows(left).await, [day(40).to_string(), day(0).to_string()]);
    database.client.batch_execute("drop trigger busy on weir.frozen").await.expect("gone");
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 40, "events", 30)]);
    database.until(BOOKS, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_removes() {
    let (database, config, _keys, _journal) = filled().await;
    let other = connect(&database.url).await;
    other.batch_execute("begin; select pg_advisory_xact_lock(x'72657465'::bigint)").await.expect("elected");
    let upkeep = upkeep(&config, keep("30 days", &[]));
    assert_eq!(upkeep.run().await.expect("no error"), None);
    assert_eq!(database.number("select count(*) from analytics.events").await, 90);
    other.batch_execute("rollback").await.expect("over");
    assert_eq!(run(&upkeep).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_someone_added_and_a_view_that_someone_made_are_no_trouble_or_told() {
    let (database, config, _keys, _journal) = filled().await;
    let leaf = format!("analytics.events_{}", day(50).strftime("%Y%m%d"));
    database
        .client
        .batch_execute(&format!(
            "alter table analytics.events add column note text; create view public.mine as select * from {leaf}"
        ))
        .await
        .expect("made");
    let upkeep = upkeep(&config, keep("30 days", &[]));
    let error = attempt(&upkeep).await.expect_err("a view needs it").to_string();
    assert!(error.contains("depend"), "{error}");
    // It is out of the events already, and goes when nobody needs it any more.
    assert_eq!(database.number(DETACHED).await, 1);
    database.client.batch_execute("drop view public.mine").await.expect("dropped");
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 50, "events", 30), step(Action::Dropped, 40, "events", 30)]);
    database.until(BOOKS, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_have_made_of_one_day_goes_with_it() {
    let (database, config, _keys, _journal) = filled().await;
    let leaf = format!("analytics.events_{}", day(50).strftime("%Y%m%d"));
    let (weir, alice) = (&database.name, format!("alice_{}", database.name));
    let superuser = connect(&superuser_url()).await;
    superuser.batch_execute(&format!("create role {alice} login; grant {alice} to {weir}")).await.expect("made");
    let theirs = format!("create schema {alice} authorization {alice}; grant usage on schema analytics to {alice}");
    database.client.batch_execute(&theirs).await.expect("made");
    let person = connect(&database.url.replacen(&format!("{weir}:"), &format!("{alice}:"), 1)).await;
    let made = format!(
        "create view {alice}.one as select * from {leaf}; create view {alice}.of_one as select * from {alice}.one;
         create table {alice}.row (event {leaf}); create view {alice}.all_days as select 1 as a from analytics.events"
    );
    person.batch_execute(&made).await.expect("anybody may");
    let upkeep = upkeep(&config, keep("30 days", &[]));
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 50, "events", 30), step(Action::Dropped, 40, "events", 30)]);
    let left = format!("select count(*) from pg_class where relnamespace = '{alice}'::regnamespace and relkind = 'v'");
    assert_eq!(database.number(&left).await, 1, "the view on all days stays");
    database.until(BOOKS, 0).await;
    database.client.batch_execute(&format!("drop owned by {alice} cascade")).await.expect("dropped");
    superuser.batch_execute(&format!("drop role {alice}")).await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_and_prunes() {
    let (database, _config, _keys, _journal) = filled().await;
    let weir = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(arguments)
            .env("DATABASE_URL", &database.url)
            .env("WEIR_RETENTION__EVENTS", "45 days")
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let listed: serde_json::Value = serde_json::from_str(&weir(&["partitions", "--exact", "--json"])).expect("JSON");
    let of = |ago: i64| {
        let day = day(ago).to_string();
        let partitions = listed.as_array().expect("a list");
        partitions.iter().find(|partition| partition["day"] == day.as_str()).expect("it is there").clone()
    };
    let seen = |ago: i64| {
        let partition = of(ago);
        (partition["status"].clone(), partition["rows"].clone(), partition["kept_until"].clone())
    };
    assert_eq!(seen(50), ("over".into(), 30.into(), day(4).to_string().into()));
    assert_eq!(seen(40), ("closed".into(), 30.into(), day(-6).to_string().into()));
    assert_eq!(seen(0), ("open".into(), 30.into(), day(-46).to_string().into()));
    assert_eq!(seen(-7).0, "ahead");
    assert!(of(40)["heap_bytes"].as_i64() > Some(0) && of(40)["index_bytes"].as_i64() > Some(0), "{}", of(40));
    let table = weir(&["partitions"]);
    assert!(table.lines().any(|line| line.starts_with(&day(50).to_string()) && line.contains("over")), "{table}");
    assert!(table.lines().last().is_some_and(|line| line.starts_with("sum")), "{table}");

    let planned = weir(&["partitions", "prune", "--dry-run"]);
    assert!(planned.starts_with(&format!("{}  30 events would be dropped  (events)\n", day(50))), "{planned}");
    assert_eq!(database.number("select count(*) from analytics.events").await, 90);
    assert_eq!(weir(&["partitions", "prune"]), format!("{}  30 events dropped  (events)\n", day(50)));
    assert_eq!(database.number("select count(*) from analytics.events").await, 60);
    assert_eq!(weir(&["partitions", "prune"]), "nothing is over\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_over_get_indexes_that_find_a_person() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let of = |ago: i64| {
        let person =
            format!(r#""name":"{ago}","visitor_id":"device","user_id":"alice","timestamp":"{}T12:00:00Z""#, day(ago));
        format!("{{{person}}}")
    };
    send(&collector, &[of(40), of(2), of(1)]).await;
    database.until_stored(3).await;
    let leaf = |ago: i64| format!("events_{}", day(ago).strftime("%Y%m%d"));
    // What an attempt leaves that is cut short: here it is a value that nobody can divide by.
    let cut_short =
        format!("create unique index concurrently {0}_visitor on analytics.{0} ((1 / (length(kind) - 5)))", leaf(2));
    database.client.batch_execute(&cut_short).await.expect_err("division by zero");
    // Of yours: one that has only some visitors does not do, and one that has all users does.
    for index in [
        "some_of_them on analytics.{} (visitor_id) where kind = 'page'",
        "theirs_user on analytics.{} (user_id, kind) where user_id is not null",
    ] {
        let index = format!("create index {}", index.replace("{}", &leaf(1)));
        database.client.batch_execute(&index).await.expect("made");
    }
    let mut settings = keep("30 days", &[]);
    settings.person_indexes = true;
    let upkeep = upkeep(&collector.config, settings);
    assert_eq!(run(&upkeep).await, [step(Action::Dropped, 40, "events", 1)]);
    let made = "select c.relname from pg_index x join pg_class c on c.oid = x.indexrelid
                 where c.relname ~ '_(visitor|user)$' and x.indisvalid order by 1";
    let visitor = |ago: i64| format!("{}_visitor", leaf(ago));
    let all = [format!("{}_user", leaf(2)), visitor(2), visitor(1), "theirs_user".to_owned()];
    assert_eq!(database.rows(made).await, all, "of no day that is not over");
    assert_eq!(run(&upkeep).await, []);
    let used = format!(
        "set enable_seqscan = off; set enable_indexscan = off;
         explain select * from analytics.{} e
          where e.user_id = any (array (select 'alice')) or (e.user_id is null and e.visitor_id = any (array (select 'device')))",
        leaf(1)
    );
    let plan = database.rows(&used).await.join("\n");
    // Workers do not hear of these settings.
    assert!(citus::url().is_some() || (plan.contains(&visitor(1)) && plan.contains("theirs_user")), "{plan}");
    assert_eq!(database.number("select count(*) from analytics.person_events('alice')").await, 2);
    collector.stop().await;
}
