//! `ClickHouse` has what PostgreSQL has: every row, each once, whatever ends in between, and what is taken away there is gone here.

mod differing;
mod failing_over;
mod places;
mod waiting;

use std::net::SocketAddr;

use weir::clickhouse::columns::{COLUMNS, Type};
use weir::clickhouse::{difference, task};
use weir::config::Config;
use weir::database::Database;

use crate::retention::{day, send};
use crate::support::chance::Chance;
use crate::support::clickhouse::{ClickHouse, Kind, LossyWay, PASSWORD};
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::{TestCollector, TestDatabase, collector, config, eventually, first_source};

/// Every column as text, as PostgreSQL has it.
fn here() -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|column| match column.kind {
            Type::Time => format!("(extract(epoch from {}) * 1000000)::bigint", column.name),
            Type::Flag => format!("{}::integer", column.name),
            Type::Inet => format!("abbrev({})", column.name),
            _ => format!("{}::text", column.name),
        })
        .collect();
    format!("select {} from analytics.events order by event_id", columns.join(", "))
}

/// The same in `ClickHouse`, each row as often as it is there.
fn there(kind: &Kind, how: &str) -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|column| match column.kind {
            Type::Time if kind.has_tokens() => format!("toUnixTimestamp64Micro({})", column.name),
            _ => column.name.to_owned(),
        })
        .collect();
    format!("select {} from events {} order by toString(event_id)", columns.join(", "), how)
}

/// Waits until `ClickHouse` was told everything, and has carried it out.
async fn settled(database: &TestDatabase, clickhouse: &ClickHouse) {
    let waiting = "select coalesce((select events_named + ranges_marked from weir.clickhouse_status where failing_since is null), -1)::bigint";
    database.until(waiting, 0).await;
    let deleting = "select count() from system.mutations where table = 'events' and not is_done";
    eventually("deletions are carried out", async || clickhouse.number(deleting).await == 0).await;
}

/// Both have the same rows, all columns alike, none twice: read in full, and by the checksums of both.
async fn equal(database: &TestDatabase, clickhouse: &ClickHouse, kind: &Kind) -> usize {
    equal_by(database, clickhouse, kind, "").await
}

async fn equal_by(database: &TestDatabase, clickhouse: &ClickHouse, kind: &Kind, how: &str) -> usize {
    settled(database, clickhouse).await;
    let ours = database.rows(&here()).await;
    let theirs = clickhouse.rows(&there(kind, how)).await;
    assert_eq!(ours.len(), theirs.len(), "the number of rows: {kind:?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    checksums(database, clickhouse, true).await;
    ours.len()
}

/// Whether the checksums of all days are equal.
async fn checksums(database: &TestDatabase, clickhouse: &ClickHouse, is_equal: bool) {
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let pool = Database::new(&settings, 1).expect("a valid URL");
    let (mut client, table) = task::look(&pool, &clickhouse.settings()).await.expect("both answer");
    let table = table.expect("it is there");
    let days = database.rows("select distinct (occurred_at at time zone 'UTC')::date from analytics.events").await;
    let mut all = true;
    for date in days {
        let day = difference::of_day(&mut client, &table, date.parse().expect("a day")).await.expect("summed up");
        assert!(day.postgres.rows > 0, "{day:?}");
        all &= day.is_equal();
        assert!(!is_equal || day.is_equal(), "{day:?}");
    }
    assert_eq!(all, is_equal);
}

async fn following(clickhouse: &ClickHouse) -> (TestDatabase, TestCollector, tempfile::TempDir) {
    following_at(clickhouse.address).await
}

/// By another way to one.
async fn following_at(address: SocketAddr) -> (TestDatabase, TestCollector, tempfile::TempDir) {
    collector(|config| config.clickhouse = ClickHouse::settings_at(address)).await
}

/// Waits until flushes name their rows.
async fn followed(database: &TestDatabase) {
    database.until("select count(*) from weir.clickhouse_status where is_followed", 1).await;
}

/// Events that have everything in them that could be read wrongly.
fn odd_events() -> Vec<String> {
    let long = "é".repeat(20_000);
    vec![
        format!(
            r#"{{"name":"all","id":"odd","timestamp":"{}T23:59:59.999999Z","user_id":"u\t1","visitor_id":"\\N","session_id":"s","url":"https://a.example/p?q=1&utm_source=x","title":"a 'quoted' \"title\"\nand more","referrer":"https://b.example/","language":"de","screen":"1x1","properties":{{"z":1e3,"a":{{"b":[1,null,"\u00e9\\"]}},"a ":1.50}},"context":{{"x":"y"}},"ip":"203.0.113.9","sent_at":"2026-01-01T00:00:00.000001Z"}}"#,
            day(1)
        ),
        format!(r#"{{"name":"six","timestamp":"{}T00:00:00Z","ip":"2001:db8::1"}}"#, day(2)),
        format!(r#"{{"name":"long","properties":{{"text":"{long}"}},"timestamp":"{}T12:00:00Z"}}"#, day(3)),
        r#"{"name":"now"}"#.to_owned(),
        r#"{"url":"https://a.example/"}"#.to_owned(),
        r#"{"name":"bot","user_agent":"Googlebot/2.1 (+http://www.google.com/bot.html)"}"#.to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_equal_and_what_goes_there_goes_here() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        // There is a history before there is a ClickHouse.
        let (database, first, journal) = collector(|_| {}).await;
        send(&first, &odd_events()).await;
        let history = odd_events().len() as i64;
        database.until_stored(history).await;
        let (mut config, keys) = first.stop().await;
        config.clickhouse = clickhouse.settings();
        let collector = TestCollector::start_with(config, keys).await.expect("it starts");
        followed(&database).await;
        eventually("the history is there", async || {
            clickhouse.number("select count() from system.tables where database = 'default' and name = 'events'").await
                == 1
                && clickhouse.number("select count() from events").await == history
        })
        .await;
        assert_eq!(equal(&database, &clickhouse, &kind).await as i64, history);

        // What comes is there, named by its ids: no hour is compared for it, but by the first flush, which hears that it is followed.
        send(&collector, &[r#"{"name":"first"}"#.to_owned()]).await;
        let history = history + 1;
        database.until_stored(history).await;
        settled(&database, &clickhouse).await;
        let numbered: Vec<String> = (0..300)
            .map(|n| {
                format!(
                    r#"{{"name":"n","user_id":"{}","id":"{n}","timestamp":"{}T11:00:00.{n:03}Z"}}"#,
                    n % 3,
                    day(1 + n % 4)
                )
            })
            .collect();
        let last =
            "select coalesce(max(last_value), 0) from pg_sequences where sequencename = 'clickhouse_marks_id_seq'";
        let marked = database.number(last).await;
        send(&collector, &numbered).await;
        database.until_stored(history + 300).await;
        assert_eq!(equal(&database, &clickhouse, &kind).await as i64, history + 300);
        assert_eq!(database.number(last).await, marked, "nothing was marked");
        // Sent again after the collector has forgotten them: known, and nothing is doubled.
        let (config, keys) = collector.stop().await;
        let _ = std::fs::remove_dir_all(&config.journal.dir);
        let collector = TestCollector::start_with(config, keys).await.expect("it starts");
        let again: Vec<String> = numbered.iter().cloned().chain([r#"{"name":"new"}"#.to_owned()]).collect();
        send(&collector, &again).await;
        database.until_stored(history + 301).await;
        assert_eq!(equal(&database, &clickhouse, &kind).await as i64, history + 301);

        // A person is forgotten, a row is changed by hand, one is taken away by hand, a day goes.
        let forgotten = collector_command(&database, &["forget", "--user", "1"]).await;
        assert!(forgotten.contains("100 rows"), "{forgotten}");
        let by_hand =
            "with changed as (update analytics.events set title = 'mended' where user_id = '2' returning occurred_at),
                            gone as (delete from analytics.events where name = 'six' returning occurred_at)
             insert into weir.touched (hours)
             select array_agg(date_trunc('hour', occurred_at, 'UTC')) from (table changed union all table gone) rows";
        database.client.batch_execute(by_hand).await.expect("changed");
        let rows = equal(&database, &clickhouse, &kind).await as i64;
        assert_eq!(rows, history + 301 - 100 - 1);
        assert_eq!(clickhouse.number("select count() from events where user_id = '1'").await, 0);
        assert_eq!(clickhouse.number("select count() from events where title = 'mended'").await, 100);
        collector_command(&database, &["partitions", "prune"]).await;
        let kept = equal(&database, &clickhouse, &kind).await as i64;
        assert!(kept < rows, "days went");
        assert_eq!(clickhouse.number("select count() from events").await, kept);

        // What the table lacks is told, and found; also where the same rows were inserted before.
        clickhouse.execute("alter table events delete where name = 'new' or title = 'mended'").await;
        settled(&database, &clickhouse).await;
        checksums(&database, &clickhouse, false).await;
        collector_command(&database, &["clickhouse", "resend", "all"]).await;
        assert_eq!(equal(&database, &clickhouse, &kind).await as i64, kept);
        clickhouse.execute("drop table events").await;
        let (config, keys) = collector.stop().await;
        let collector = TestCollector::start_with(config, keys).await.expect("it starts");
        eventually("the table is made again", async || {
            clickhouse.number("select count() from system.tables where database = 'default' and name = 'events'").await
                == 1
                && clickhouse.number("select count() from events").await == kept
        })
        .await;
        assert_eq!(equal(&database, &clickhouse, &kind).await as i64, kept);
        collector.stop().await;
        drop(journal);
    }
}

async fn collector_command(database: &TestDatabase, arguments: &[&str]) -> String {
    let (is_success, text) = command_with(database, arguments, &[]).await;
    assert!(is_success, "{text}");
    text
}

/// Whether it ended well, and what it said.
async fn command_with(database: &TestDatabase, arguments: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .args(arguments)
        .env("DATABASE_URL", &database.url)
        .env("WEIR_RETENTION__EVENTS", "2 days")
        .envs(settings.iter().copied())
        .kill_on_drop(true);
    let output = command.output().await.expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_and_answers_that_are_lost_cost_and_double_nothing() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let way = LossyWay::to(clickhouse.address).await;
        let (database, collector, _journal) = following_at(way.address).await;
        followed(&database).await;
        // Nothing is inserted again that is seen to be there.
        for (round, (answers, inserts)) in [(1, 0), (1, 0), (0, 2)].into_iter().enumerate() {
            let (sent, lost) = (100 * (round as i64 + 1), way.lost() + answers + inserts);
            way.lose_answers(answers);
            way.lose_inserts(inserts);
            let events: Vec<String> = (0..100).map(|n| format!(r#"{{"name":"{round} {n}"}}"#)).collect();
            send(&collector, &events).await;
            database.until_stored(sent).await;
            eventually("answers are lost", async || way.lost() == lost).await;
            // (Without `final`.)
            assert_eq!(equal(&database, &clickhouse, &kind).await as i64, sent, "{kind:?}");
        }
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_is_done_after_it_was_repeated_adds_nothing() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let way = LossyWay::to(clickhouse.address).await;
        let (database, collector, _journal) = following_at(way.address).await;
        followed(&database).await;
        // Else the first events are compared by their hour.
        send(&collector, &[r#"{"name":"first"}"#.to_owned()]).await;
        database.until_stored(1).await;
        settled(&database, &clickhouse).await;
        way.keep_insert();
        let events: Vec<String> = (0..100).map(|n| format!(r#"{{"name":"{n}"}}"#)).collect();
        send(&collector, &events).await;
        database.until_stored(101).await;
        eventually("the insert is on its way", async || way.lost() == 1).await;
        assert_eq!(equal(&database, &clickhouse, &kind).await, 101, "{kind:?}");
        way.deliver(clickhouse.address).await;
        // An old server has them twice until it merges, and shows one where it is asked for.
        let how = if kind.has_tokens() { "" } else { "final" };
        assert_eq!(equal_by(&database, &clickhouse, &kind, how).await, 101, "{kind:?}");
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_either_is_equal_afterwards() {
    let mut chance = Chance::told();
    for kind in Kind::all() {
        let mut clickhouse = ClickHouse::start(&kind).await;
        let database = TestDatabase::new().await;
        let keys = first_source(&database.url).await;
        let journal = tempfile::tempdir().expect("a directory");
        let url = format!("http://{}", clickhouse.address);
        let program = Collector::new(&database.url, journal.path())
            .with("WEIR_CLICKHOUSE__URL", &url)
            .with("WEIR_CLICKHOUSE__PASSWORD", PASSWORD)
            .with("WEIR_CLICKHOUSE__INTERVAL_MS", "50");
        let mut process = program.start_ready().await;
        followed(&database).await;
        let clients = Clients::start(&[program.public], &keys.secret_key, &Habits::default(), &mut chance);
        for round in 0..6 {
            let before = clients.taken();
            eventually("events are taken", async || clients.taken() > before + 300).await;
            if round % 2 == 0 {
                process.kill().await;
                process = program.start_ready().await;
            } else {
                // Last, because what a new collector writes first is compared by the hour, and what was lost before is found.
                clickhouse.kill().await;
                // Nobody but ClickHouse notices.
                let before = clients.taken();
                eventually("events are taken meanwhile", async || clients.taken() > before + 300).await;
                clickhouse.start_again().await;
            }
        }
        let record = clients.finish().await;
        record.until_exact(&database.client).await;
        // An insert that was on its way as its sender was killed may be done later, and be there twice until parts are merged.
        let rows = equal_by(&database, &clickhouse, &kind, "final").await;
        assert!(rows > 1_000, "{rows}");
        process.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_away_only_hours_are_kept_and_why_is_told() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let mut clickhouse = ClickHouse::start(&kind).await;
    let (database, collector, _journal) = following(&clickhouse).await;
    followed(&database).await;
    settled(&database, &clickhouse).await;
    clickhouse.kill().await;
    // As after five minutes.
    database.client.batch_execute("update weir.clickhouse_sink set named_until = '-infinity'").await.expect("changed");
    for n in 1..=40 {
        send(&collector, &[format!(r#"{{"name":"a","timestamp":"{}T10:00:00Z"}}"#, day(1))]).await;
        database.until_stored(n).await;
    }
    // One flush may have begun before; and the follower may have taken up a mark.
    let (named, marked) = ("select count(*) from weir.clickhouse_named", "select count(*) from weir.clickhouse_marks");
    let waiting = (database.number(named).await, database.number(marked).await);
    assert!(waiting.0 <= 1 && (1..=2).contains(&waiting.1), "{waiting:?}");
    database
        .until(
            "select count(*) from weir.clickhouse_status where error like 'no answer from ClickHouse:%is it running%'",
            1,
        )
        .await;
    let told = collector_command(&database, &["clickhouse", "status"]).await;
    assert!(told.contains("failing since"), "{told}");
    assert_eq!(collector.post(r#"{"name":"b"}"#).await.status, 200);
    clickhouse.start_again().await;
    database.until_stored(41).await;
    assert_eq!(equal(&database, &clickhouse, &kind).await, 41);

    // A password that is none.
    let (mut config, keys) = collector.stop().await;
    config.clickhouse.password = "other".to_owned();
    let collector = TestCollector::start_with(config, keys).await.expect("it starts all the same");
    database
        .until("select count(*) from weir.clickhouse_status where error like '%WEIR_CLICKHOUSE__PASSWORD%'", 1)
        .await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_hour_is_gone_through_page_by_page() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&database.url, journal.path());
    config.clickhouse = clickhouse.settings();
    let collector = TestCollector::start(config).await;
    send(&collector, &[format!(r#"{{"name":"a","timestamp":"{}T10:00:00Z"}}"#, day(1))]).await;
    database.until_stored(1).await;
    equal(&database, &clickhouse, &kind).await;
    // Half of them at one moment, so that only their ids tell them apart.
    let fill = format!(
        "insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
         select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                at, now(), 'web', 'page', false
           from (select n, timestamptz '{}T10:00:00Z' + n % 2 * n * interval '40 milliseconds' as at from generate_series(1, 50000) n) rows",
        day(1)
    );
    let touch = format!("insert into weir.touched (hours) values (array[timestamptz '{}T10:00:00Z'])", day(1));
    database.client.batch_execute(&format!("begin; {fill}; {touch}; commit")).await.expect("filled");
    assert_eq!(equal(&database, &clickhouse, &kind).await, 50_001);
    // Some are gone, some are otherwise, some are missing.
    clickhouse.execute("alter table events delete where reinterpretAsUInt8(reverse(toString(event_id))) % 3 = 0").await;
    let change = "update analytics.events set title = 'b' where event_id::text like '%a'; delete from analytics.events where event_id::text like '%7'";
    database.client.batch_execute(&format!("begin; {change}; {touch}; commit")).await.expect("changed");
    let rows = equal(&database, &clickhouse, &kind).await;
    assert!((40_000..50_000).contains(&rows), "{rows}");
    collector.stop().await;
}
