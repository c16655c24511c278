//! Daily partitions: ahead, on demand, and with several collectors at once.

use futures_util::future::join_all;

use crate::support::{TestCollector, TestDatabase, collector, config, connect, eventually};
use weir::database::{Database, migrate};
use weir::flush::partitions::Partitions;
use weir::sources::KeyPair;

const DEFAULT_ROWS: &str = "select count(*) from analytics.events_default";

#[tokio::test(flavor = "multi_thread")]
async fn a_week_is_ready_and_imports_make_their_own() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let ahead = "select count(*) from generate_series(0, 7) ahead
                 where to_regclass('analytics.events_' || to_char((now() at time zone 'UTC')::date + ahead::int, 'YYYYMMDD')) is not null";
    assert_eq!(database.number(ahead).await, 8);
    let old = ["2019-05-05T12:00:00Z", "2021-12-31T23:59:59.999Z", "2022-01-01T00:00:00Z", "2024-02-29T00:00:00Z"];
    let events: Vec<String> = old.iter().map(|at| format!(r#"{{"name":"old","timestamp":"{at}"}}"#)).collect();
    assert_eq!(collector.post(&format!("[{}]", events.join(","))).await.json()["accepted"], 4);
    database.until_stored(4).await;
    let leaves = database.rows("select substring(tableoid::regclass::text from '^analytics.events_[0-9]{8}') from analytics.events order by 1").await;
    assert_eq!(
        leaves,
        [
            "analytics.events_20190505",
            "analytics.events_20211231",
            "analytics.events_20220101",
            "analytics.events_20240229"
        ]
    );
    assert_eq!(database.number(DEFAULT_ROWS).await, 0);
    let unindexed = "select count(*) from pg_inherits i where inhparent = 'analytics.events'::regclass
                     and not exists (select from pg_index x join pg_attribute a on a.attrelid = x.indrelid and a.attnum = any (x.indkey)
                                     where x.indrelid = i.inhrelid and x.indisunique and a.attname = 'event_id')";
    assert_eq!(database.number(unindexed).await, 0);
    let metrics = crate::support::http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains("\nweir_partitions 12\n"), "{metrics}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_reach_back_thirty_days() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let days = "select to_char(now() at time zone 'UTC' - interval '29 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let at = database.rows(days).await.remove(0);
    collector.beacon(&format!(r#"{{"name":"a","timestamp":"{at}"}}"#), &[]).await;
    database.until_stored(1).await;
    assert_eq!(
        database.number("select extract(day from received_at - occurred_at)::bigint from analytics.events").await,
        29
    );
    assert_eq!(database.number(DEFAULT_ROWS).await, 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_collectors_start_at_once_on_an_empty_database() {
    let database = TestDatabase::new().await;
    let journals: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let keys = KeyPair { public_key: String::new(), secret_key: String::new() };
    let starts =
        journals.iter().map(|journal| TestCollector::start_with(config(&database.url, journal.path()), keys.clone()));
    let collectors: Vec<TestCollector> =
        join_all(starts).await.into_iter().map(|started| started.expect("starts")).collect();
    let weir = weir::database::Database::new(&collectors[0].config.database, 1).expect("a valid URL");
    let keys = weir::sources::add(&weir, "web", &[]).await.expect("added");
    for collector in &collectors {
        let body = format!(r#"{{"name":"a","key":"{}","timestamp":"2020-02-02T00:00:00Z"}}"#, keys.secret_key);
        crate::support::eventually("the key is known", async || {
            crate::support::http::post(collector.address, "/v1/events", &[], body.as_bytes()).await.status == 200
        })
        .await;
    }
    database.until_stored(4).await;
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/migrations")).expect("migrations");
    assert_eq!(database.number("select count(*) from weir.migrations").await, files.count() as i64);
    for collector in collectors {
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_is_made_by_itself_and_readers_wait_for_its_moment_only() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 2).expect("a valid URL");
    let mut client = weir.client().await.expect("connected");
    let (first, held) = (18_000, 18_002);
    // What is committed of a table that has the name of the third day's partition, nobody knows yet.
    let other = connect(&database.url).await;
    other.batch_execute("begin; create table analytics.events_20190416 ()").await.expect("made");
    let partitions = Partitions::default();
    let made = async {
        // It waits for two seconds at a time.
        while partitions.ensure(&mut client, (first..=held).collect()).await.is_err() {}
    };
    let seen = async {
        let waits = "select count(*) from pg_locks where not granted and pid in (select pid from pg_stat_activity where datname = current_database())";
        eventually("the third waits", async || database.number(waits).await > 0).await;
        // The first two are there, and whoever reads all days does not wait.
        let there = "select count(*) from pg_inherits where inhrelid in (to_regclass('analytics.events_20190414'), to_regclass('analytics.events_20190415'))";
        assert_eq!(database.number(there).await, 2);
        let reads = "set lock_timeout = '1s'; select count(*) from analytics.events; reset lock_timeout";
        database.client.batch_execute(reads).await.expect("nobody has the default partition");
        other.batch_execute("rollback").await.expect("ended");
    };
    tokio::join!(made, seen);
    assert_eq!(partitions.count(), 8 + 3);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_strayed_are_seen_by_triggers_once() {
    // Citus takes no triggers.
    let database = TestDatabase::on_one_server().await;
    let settings = weir::config::Database { url: database.url.clone(), ..weir::Config::default().database };
    let weir = Database::new(&settings, 2).expect("a valid URL");
    migrate::run(&weir).await.expect("migrated");
    let trigger = "create table public.seen (event_id uuid);
        create function public.see() returns trigger language plpgsql as $$ begin
            if exists (select from public.seen s where s.event_id = new.event_id) then return null; end if;
            insert into public.seen values (new.event_id);
            return new;
        end $$;
        create trigger see before insert on analytics.events for each row execute function public.see();
        insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
        select gen_random_uuid(), '2020-02-02 10:00Z', now(), 'web', 'page', false from generate_series(1, 20)";
    database.client.batch_execute(trigger).await.expect("stored");
    assert_eq!(database.number(DEFAULT_ROWS).await, 20);
    let mut client = weir.client().await.expect("connected");
    Partitions::default().ensure_ahead(&mut client, jiff::Timestamp::now(), 1).await.expect("looked after");
    assert_eq!(database.number("select count(*) from analytics.events_20200202").await, 20);
    assert_eq!(database.number(DEFAULT_ROWS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_time_reads_only_its_days() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let day = |ago: i64| crate::retention::day(ago);
    let old: Vec<String> = (0..60).map(|ago| crate::retention::event(ago, "page", "old")).collect();
    crate::retention::send(&collector, &old).await;
    database.until_stored(60).await;
    // What is known when the query is planned is not even looked at.
    for (table, from, to, leaves) in
        [("analytics.events", 40, 33, 7), ("analytics.page_views", 40, 39, 1), ("analytics.clicks", 59, 0, 59)]
    {
        let query = format!(
            "explain select * from {table} where occurred_at >= '{}' and occurred_at < '{}'",
            day(from),
            day(to)
        );
        let plan = database.rows(&query).await.join("\n");
        assert_eq!(plan.matches(" on events_").count(), leaves, "{query}:\n{plan}");
        assert!(!plan.contains("Subplans Removed"), "{plan}");
    }
    // What is known when it begins is not read.
    let recent = "explain select * from analytics.page_views where occurred_at > now() - interval '7 days'";
    let plan = database.rows(recent).await.join("\n");
    assert!(plan.contains("Subplans Removed: "), "{plan}");
    // Eight days of it, seven days ahead, and the default.
    assert!(plan.matches(" on events_").count() <= 16, "{plan}");
    collector.stop().await;
}
