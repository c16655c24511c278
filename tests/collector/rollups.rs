//! Rollups: from a file to a table that follows the events, whatever happens to either.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use weir::database::Database;
use weir::flush::quarantine;
use weir::rollup::library::Library;
use weir::rollup::run::run;
use weir::rollup::runner::reconcile;
use weir::rollup::{RollupError, plan};

use crate::support::program::Collector;
use crate::support::rollups::{
    assert_exact, catalog, define, engine, known, library, make_partitions, settle, touch_all, verdict, write,
};
use crate::support::{TestDatabase, citus, collector, eventually, first_source, http};

const VISITORS: &str = "-- kind: incremental
-- every: 1s
-- bucket: day
-- unique: bucket
-- keep: 20 years
-- description: Visitors of each day.
select bucket, count(distinct visitor_id) as visitors from events group by 1
";

/// Hours of events that nobody was told of.
const UNTOLD: &str = "select count(*) from analytics.events
    where date_trunc('hour', occurred_at, 'UTC') not in (select unnest(hours) from weir.touched)";

async fn add_events(database: &TestDatabase, values: &str) {
    let sql = format!(
        "insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, path, visitor_id, referrer_host, is_bot)
         select gen_random_uuid(), at::timestamptz, now(), 'web', kind, name, path, visitor, referrer, coalesce(is_bot, false)
           from (values {values}) v (at, visitor, kind, path, name, referrer, is_bot)"
    );
    database.client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    touch_all(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_into_the_table_tells_its_hours() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let event = |id: &str, name: &str, hours_ago: u32| {
        format!(r#"{{"name":"{name}","id":"{id}","timestamp":{}}}"#, now_ms() - i64::from(hours_ago) * 3_600_000)
    };
    let body: Vec<String> = (0..30).map(|n| event(&n.to_string(), "a", n)).collect();
    collector.post(&format!("[{}]", body.join(","))).await;
    database.until_stored(30).await;
    assert_eq!(database.number(UNTOLD).await, 0, "a plain flush");
    assert!(database.number("select max(cardinality(hours))::bigint from weir.touched").await >= 29);

    let refuse = "alter table analytics.events add constraint names_are_short check (length(name) < 5)";
    for statement in ["truncate weir.touched", refuse] {
        database.client.batch_execute(statement).await.expect("refuses");
    }
    collector.post(&format!("[{},{}]", event("x", "far too long", 50), event("y", "b", 70))).await;
    database.until_accounted(32, 31, 0, 1).await;
    let told = "select count(*) from weir.touched, unnest(hours) hour
        where hour = date_trunc('hour', (select occurred_at from analytics.events where name = 'b'), 'UTC')";
    assert_eq!(database.number(told).await, 1, "a flush that sorts out rows");

    let mend = "truncate weir.touched; alter table analytics.events drop constraint names_are_short";
    database.client.batch_execute(mend).await.expect("mended");
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    assert_eq!(quarantine::replay(&weir, None).await.expect("replayed").stored, 1);
    let told = "select count(*) from weir.touched, unnest(hours) hour
        where hour = date_trunc('hour', (select occurred_at from analytics.events where name = 'far too long'), 'UTC')";
    assert_eq!(database.number(told).await, 1, "a replay");
    collector.stop().await;
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_is_in_the_rollups_and_a_new_file_works_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (database, collector, _journal) = collector(|config| {
        config.rollup.concurrency = 2;
        dir.path().clone_into(&mut config.rollup.dir);
    })
    .await;
    let page = |visitor: &str| {
        let url = "https://shop.example/pricing";
        format!(r#"{{"url":"{url}","visitor_id":"{visitor}","user_agent":"{BROWSER}"}}"#)
    };
    collector.post(&format!("[{},{},{}]", page("a"), page("b"), page("a"))).await;
    let there =
        "select count(*) from pg_class where relname in ('page_views_hourly', 'visitors_daily', 'sources_daily')";
    database.until(there, 3).await;
    database.until("select coalesce(sum(page_views), 0)::bigint from analytics.page_views_hourly", 3).await;
    database.until("select coalesce(sum(visitors), 0)::bigint from analytics.visitors_daily", 2).await;
    database
        .until("select coalesce(sum(visits), 0)::bigint from analytics.sources_daily where referred_by = 'direct'", 2)
        .await;

    write(dir.path(), "mine", VISITORS);
    database.until("select count(*) from pg_class where relname = 'mine'", 1).await;
    database.until("select coalesce(sum(visitors), 0)::bigint from analytics.mine", 2).await;
    collector.post(&page("c")).await;
    database.until("select coalesce(sum(visitors), 0)::bigint from analytics.mine", 3).await;

    let mut text = String::new();
    eventually("metrics tell of it", async || {
        text = http::get(collector.admin, "/metrics", &[]).await.text();
        text.contains(r#"weir_rollup_last_success_timestamp_seconds{rollup="mine"}"#)
    })
    .await;
    assert!(text.contains("weir_rollup_leader 1"), "{text}");
    assert!(text.contains(r#"weir_rollup_lag_seconds{rollup="mine"}"#), "{text}");
    assert!(text.contains(r#"weir_rollup_run_seconds_count{rollup="mine"}"#), "{text}");
    assert!(text.contains(r#"weir_rollup_rows_total{rollup="mine"}"#), "{text}");
    collector.stop().await;
}

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

#[tokio::test(flavor = "multi_thread")]
async fn what_postgresql_says_of_a_definition_is_told_with_its_line_and_a_cure() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    let dir = tempfile::tempdir().expect("a directory");
    let incremental = "-- kind: incremental\n-- every: 5m\n-- bucket: day\n";
    for (name, text) in [
        ("syntax", format!("{incremental}select bucket,\n       count(*\n  from events group by 1")),
        (
            "column",
            format!(
                "{incremental}select bucket,\n       count(distinct visitor) as visitors\n  from events\n group by 1"
            ),
        ),
        ("table_there_is_not", format!("{incremental}select bucket from evens")),
        ("two_statements", format!("{incremental}select bucket from events; drop table analytics.events")),
        ("no_bucket", format!("{incremental}select count(*) as events from events")),
        ("bad_bucket", format!("{incremental}select bucket::date as bucket, 1 as one from events")),
        ("unique_is_not_there", format!("{incremental}-- unique: bucket, source\nselect bucket, 1 as one from events")),
        ("whole", format!("{incremental}select date_trunc('day', occurred_at) as bucket from analytics.events")),
        ("behind_a_view", format!("{incremental}select e.bucket, p.user_id from events e, people p")),
        ("nothing", format!("{incremental}select now() as bucket")),
        ("circle_one", "-- kind: view\nselect * from circle_two".to_owned()),
        ("circle_two", "-- kind: view\nselect * from circle_one".to_owned()),
        ("fine", format!("{incremental}select bucket, source from events -- a remark")),
        ("finer", "-- kind: incremental\n-- every: 5m\n-- bucket: hour\nselect bucket, source from fine".to_owned()),
        ("of_a_view", "-- kind: incremental\n-- every: 5m\n-- bucket: day\nselect bucket from over_fine".to_owned()),
        ("over_fine", "-- kind: view\nselect bucket from fine".to_owned()),
    ] {
        write(dir.path(), name, &text);
    }
    let verdict = verdict(&engine, &library(dir.path())).await;
    let good: Vec<&str> = verdict.good.iter().map(|checked| checked.definition.name.as_str()).collect();
    assert_eq!(good, ["fine", "over_fine"]);
    let told = RollupError::Definitions(verdict.problems).to_string();
    insta::assert_snapshot!(told.replace(&format!("{}/", dir.path().display()), ""));
    let left =
        database.number("select count(*) from pg_class where relname like 'weir\\_window%' or relname = 'fine'").await;
    assert_eq!(left, 0, "a check leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_rollups_are_what_plain_sql_gives() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-08", 16).await;
    let fill = |salt: u32| {
        format!(
            "insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, visitor_id, user_id, host, path,
                    referrer_host, utm_source, device, is_bot, properties)
             select gen_random_uuid(), at, at, case when d[1] < 0.8 then 'web' else 'app' end,
                    case when d[2] < 0.6 then 'page' when d[2] < 0.7 then 'click' when d[2] < 0.8 then 'track'
                         when d[2] < 0.9 then 'web_vitals' when d[2] < 0.95 then 'engagement' else 'identify' end,
                    'n' || (d[3] * 5)::int, case when d[4] < 0.9 then 'v' || n / 12 % 60 end,
                    case when d[5] < 0.2 then 'u' || n / 12 % 60 end, 'shop.example', '/' || (d[6] * 9)::int,
                    case when d[7] < 0.3 then 'www.google.com' when d[7] < 0.5 then 'shop.example' end,
                    case when d[8] < 0.2 then 'mail' end, case when d[1] < 0.5 then 'mobile' else 'desktop' end, d[9] < 0.1,
                    jsonb_build_object('lcp', (d[1] * 4000)::int, 'cls', d[2], 'inp', case when d[3] < 0.5 then to_jsonb('no'::text)
                        else to_jsonb((d[4] * 300)::int) end)
               from (select n, array(select abs(hashint8extended(n * 16 + i, {salt}) % 10007) / 10007.0 from generate_series(1, 9) i) as d,
                            timestamptz '2026-11-09 18:00:00+00' + n / 12 * interval '17 minutes' + n % 12 * interval '9 minutes' as at
                       from generate_series(0, 12000) n) e"
        )
    };
    database.client.batch_execute(&fill(1)).await.expect("filled");
    let shipped = Library { dir: "/nowhere".into(), with_shipped: true };
    define(&engine, &shipped).await;
    // Again, as collectors do that start later: what one reads of another may be there from before.
    define(&engine, &shipped).await;
    settle(&engine).await;
    assert_exact(&database, &engine, "first filling").await;
    // More of the same days, and some of it goes.
    database.client.batch_execute(&fill(2)).await.expect("filled");
    database.client.batch_execute("delete from analytics.events where visitor_id = 'v7'").await.expect("deleted");
    // No index has room for what anyone may send.
    let long = "insert into analytics.events (event_id, occurred_at, received_at, source, kind, visitor_id, host, path, utm_source, is_bot)
        select gen_random_uuid(), '2026-11-12 10:00Z', now(), 'web', kind, 'long', 'shop.example', '/' || text, text, false
          from (select string_agg(md5(i::text), '') as text from generate_series(1, 200) i) t, (values ('page'), ('web_vitals')) k (kind)";
    database.client.batch_execute(long).await.expect("stored");
    touch_all(&database).await;
    settle(&engine).await;
    assert_exact(&database, &engine, "late events and a deletion").await;
    for known in catalog(&engine).await {
        let rows = database.number(&format!("select count(*) from analytics.{}", known.name)).await;
        assert!(rows > 2, "{} has {rows} rows", known.name);
    }
    assert_eq!(database.number("select count(*) from analytics.sessions where visitor_id = 'v7'").await, 0);
    let over_midnight = "select count(*) from analytics.sessions
        where (started_at + duration_s * interval '1 s')::date > started_at::date";
    assert!(database.number(over_midnight).await > 0, "no visit goes past midnight");
}

/// Where clocks change at midnight, a day has another beginning.
#[tokio::test(flavor = "multi_thread")]
async fn each_bucket_ends_where_the_next_begins() {
    let database = TestDatabase::new().await;
    engine(&database).await;
    for zone in ["UTC", "America/New_York", "America/Santiago", "Africa/Cairo", "Asia/Beirut", "Asia/Kolkata"] {
        for unit in ["hour", "day", "week", "month"] {
            let gaps = format!(
                "select count(*) from (
                     select bucket, lead(bucket) over (order by bucket) as next
                       from (select distinct date_trunc('{unit}', hour, '{zone}') as bucket
                               from generate_series(timestamptz '2026-01-01', '2026-12-31', '1 hour') hour) b) c
                  where weir.bucket_end('{unit}', bucket, '{zone}') <> next"
            );
            assert_eq!(database.number(&gaps).await, 0, "{unit} in {zone}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_counted_as_the_documentation_says() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-19", 4).await;
    add_events(
        &database,
        "('2026-11-20 10:00Z', 'a', 'page',  '/',        null, 'www.google.com', false),
         ('2026-11-20 10:30Z', 'a', 'page',  '/pricing', null, null,  false),
         ('2026-11-20 11:00:01Z', 'a', 'page', '/docs',  null, 'news.example', false),
         ('2026-11-20 11:00:05Z', 'a', 'engagement', '/docs', 'engagement', null, false),
         ('2026-11-20 23:50Z', 'b', 'page',  '/',        null, null,  false),
         ('2026-11-21 00:10Z', 'b', 'track', '/',    'signup', null,  false),
         ('2026-11-20 12:00Z', 'r', 'page',  '/',        null, null,  true),
         ('2026-11-20 12:00Z', null, 'page', '/',        null, null,  false)",
    )
    .await;
    let shipped = Library { dir: "/nowhere".into(), with_shipped: true };
    define(&engine, &shipped).await;
    settle(&engine).await;
    let sessions = "select bucket at time zone 'UTC', visitor_id, duration_s, events, page_views, is_bounce, entry_page, exit_page,
        referred_by from analytics.sessions order by started_at";
    insta::assert_snapshot!(database.rows(sessions).await.join("\n"), @r"
    2026-11-20 00:00:00|a|1800|2|2|f|/|/pricing|google.com
    2026-11-20 00:00:00|a|0|1|1|t|/docs|/docs|news.example
    2026-11-20 00:00:00|b|1200|2|1|f|/|/|direct
    ");
    let days = "select bucket at time zone 'UTC', visitors, page_views, visits, round(bounce_rate::numeric, 3), visit_duration_s
        from analytics.visitors_daily order by 1";
    insta::assert_snapshot!(database.rows(days).await.join("\n"), @r"
    2026-11-20 00:00:00|2|5|3|0.333|1000
    2026-11-21 00:00:00|1|0|0||
    ");
    let sources = "select bucket at time zone 'UTC', referred_by, visits from analytics.sources_daily order by 1, 2";
    insta::assert_snapshot!(database.rows(sources).await.join("\n"), @r"
    2026-11-20 00:00:00|direct|1
    2026-11-20 00:00:00|google.com|1
    2026-11-20 00:00:00|news.example|1
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_is_rebuilt_and_what_depends_on_it_stays() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-19", 3).await;
    let dir = tempfile::tempdir().expect("a directory");
    let library = library(dir.path());
    write(dir.path(), "visitors", VISITORS);
    add_events(&database, "('2026-11-20 10:00Z', 'a', 'page', '/', 'n', null, false)").await;
    define(&engine, &library).await;
    settle(&engine).await;
    let reader = format!("{}_reader", database.name);
    let admin = crate::support::connect(&crate::support::superuser_url()).await;
    admin.batch_execute(&format!("create role {reader}")).await.expect("a role");
    database
        .client
        .batch_execute(&format!(
            "create view public.above as select bucket, visitors * 2 as double from analytics.visitors;
             create materialized view public.far_above as select sum(double) as sum from public.above;
             create unique index far_above_sum on public.far_above (sum);
             create index visitors_by_number on analytics.visitors (visitors);
             comment on view public.above is 'Twice as many.';
             comment on column public.above.double is 'Two of each.';
             grant select on analytics.visitors, public.above, public.far_above to {reader};
             grant select (bucket) on public.above to public"
        ))
        .await
        .expect("made");
    let belongings = format!(
        "select c.relname, c.relkind, obj_description(c.oid), col_description(c.oid, 2),
                has_table_privilege('{reader}', c.oid, 'select'), has_column_privilege('public', c.oid, 'bucket', 'select'),
                (select string_agg(indexrelid::regclass::text, ' ' order by 1) from pg_index where indrelid = c.oid
                    and indexrelid::regclass::text !~ 'rollup_[0-9]+_')
           from pg_class c where relname in ('visitors', 'above') union all
         select c.relname, c.relkind, obj_description(c.oid), null, has_table_privilege('{reader}', c.oid, 'select'), null,
                (select string_agg(indexrelid::regclass::text, ' ') from pg_index where indrelid = c.oid)
           from pg_class c where relname = 'far_above' order by 1"
    );
    let before = database.rows(&belongings).await;
    assert_eq!(before.len(), 3, "{before:?}");
    let old = database.rows("select 'analytics.visitors'::regclass::oid").await;

    write(dir.path(), "visitors", &VISITORS.replace("as visitors", "as visitors, count(*) as events"));
    define(&engine, &library).await;
    assert!(catalog(&engine).await.iter().any(|known| known.is_building), "the old one is there meanwhile");
    assert_eq!(database.rows("select visitors from analytics.visitors").await, ["1"]);
    let building = catalog(&engine).await.into_iter().find(|known| known.is_building).expect("building");
    // Whatever is marked while they are exchanged stays marked.
    add_events(&database, "('2026-11-20 11:00Z', 'a', 'page', '/', 'n', null, false)").await;
    weir::rollup::dispatch::dispatch(&engine).await.expect("dispatched");
    assert!(run(&engine, &building, None).await.expect("run").is_exchanged);
    settle(&engine).await;
    assert_ne!(database.rows("select 'analytics.visitors'::regclass::oid").await, old);
    assert_eq!(database.rows("select visitors, events from analytics.visitors").await, ["1|2"]);
    assert_eq!(database.rows(&belongings).await, before);
    assert_eq!(database.rows("select sum from public.far_above").await, ["2"]);

    // A column that a view needs goes: nothing happens, and the reason is told.
    write(dir.path(), "visitors", &VISITORS.replace("count(distinct visitor_id) as visitors", "count(*) as events"));
    define(&engine, &library).await;
    let building = catalog(&engine).await.into_iter().find(|known| known.is_building).expect("building");
    let stuck = run(&engine, &building, None).await.expect_err("the view stands in the way").to_string();
    insta::assert_snapshot!(stuck, @r#"the new visitors cannot take the place of the old one, which stays: `CREATE INDEX visitors_by_number ON analytics.visitors USING btree (visitors)` is refused (column "visitors" does not exist): change what it is about, or drop that"#);
    assert_eq!(database.rows("select visitors, events from analytics.visitors").await, ["1|2"]);
    assert_eq!(database.rows(&belongings).await, before);
    let kept = known(&engine, "visitors").await;
    assert!(kept.columns.contains(&"visitors".to_owned()));
    admin.batch_execute(&format!("drop owned by {reader}")).await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_costs_no_table() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    let dir = tempfile::tempdir().expect("a directory");
    let library = library(dir.path());
    write(dir.path(), "visitors", VISITORS);
    define(&engine, &library).await;
    assert!(matches!(plan::drop_rollup(&engine, "nobody").await, Err(RollupError::Missing(_))));
    fs::remove_file(dir.path().join("visitors.sql")).expect("removed");
    let reconciled = reconcile(&engine, &library).await.expect("reconciled");
    assert!(reconciled.messages[0].0.contains("its file is gone"), "{:?}", reconciled.messages);
    assert!(!known(&engine, "visitors").await.is_defined);
    write(dir.path(), "visitors", VISITORS);
    define(&engine, &library).await;
    assert!(known(&engine, "visitors").await.is_defined);
    // A file that cannot be read as it is means no less.
    write(dir.path(), "visitors", "-- kind: cube\nselect 1");
    reconcile(&engine, &library).await.expect("reconciled");
    assert!(known(&engine, "visitors").await.is_defined);
    plan::drop_rollup(&engine, "visitors").await.expect("dropped");
    assert_eq!(database.number("select count(*) from pg_class where relname = 'visitors'").await, 0);
    // A relation that is somebody else's is left alone.
    database.client.batch_execute("create table analytics.visitors (a int)").await.expect("made");
    write(dir.path(), "visitors", VISITORS);
    let reconciled = reconcile(&engine, &library).await.expect("reconciled");
    assert!(reconciled.messages[0].0.contains("is no rollup"), "{:?}", reconciled.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_has_dropped_is_kept_in_rollups_also_when_they_are_rebuilt() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-18", 4).await;
    let dir = tempfile::tempdir().expect("a directory");
    let library = library(dir.path());
    write(dir.path(), "visitors", VISITORS);
    add_events(
        &database,
        "('2026-11-18 10:00Z', 'a', 'page', '/', 'n', null, false), ('2026-11-20 10:00Z', 'b', 'page', '/', 'n', null, false)",
    )
    .await;
    define(&engine, &library).await;
    settle(&engine).await;
    database
        .client
        .batch_execute("update weir.frozen set before = '2026-11-19Z'; drop table analytics.events_20261118")
        .await
        .expect("dropped");
    let touch =
        "insert into weir.touched (hours) values (array['2026-11-18 10:00Z'::timestamptz, '2026-11-20 10:00Z'])";
    database.client.batch_execute(touch).await.expect("touched");
    weir::rollup::dispatch::dispatch(&engine).await.expect("dispatched");
    let ran = run(&engine, &known(&engine, "visitors").await, None).await.expect("run");
    assert_eq!((ran.frozen, ran.buckets), (1, 1));
    let rows = "select bucket at time zone 'UTC', visitors from analytics.visitors order by 1";
    let expected = ["2026-11-18 00:00:00|1", "2026-11-20 00:00:00|1"];
    assert_eq!(database.rows(rows).await, expected);
    write(dir.path(), "visitors", &VISITORS.replace("as visitors", "as visitors, count(*) as events"));
    define(&engine, &library).await;
    settle(&engine).await;
    assert_eq!(database.rows(rows).await, expected);
    let events = "select coalesce(events::text, 'unknown') from analytics.visitors order by bucket";
    assert_eq!(database.rows(events).await, ["unknown", "1"]);
    let noted = "select sum(frozen)::bigint from weir.rollup_runs where name = 'visitors'";
    assert_eq!(database.number(noted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_rollup_stays_as_it_was_and_costs_no_other() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-19", 3).await;
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "visitors", VISITORS);
    let text = VISITORS.replace("count(distinct visitor_id) as visitors", "sum(name::int) as sum");
    write(dir.path(), "sums", &text);
    let misaligned =
        VISITORS.replace("bucket, count(distinct visitor_id) as visitors", "occurred_at as bucket, 1 as one");
    write(dir.path(), "misaligned", &misaligned.replace(" group by 1", ""));
    define(&engine, &library(dir.path())).await;
    add_events(&database, "('2026-11-20 10:00Z', 'a', 'page', '/', '7', null, false)").await;
    weir::rollup::dispatch::dispatch(&engine).await.expect("dispatched");
    run(&engine, &known(&engine, "sums").await, None).await.expect("run");
    add_events(
        &database,
        "('2026-11-20 11:00Z', 'b', 'page', '/', 'seven', null, false), ('2026-11-19 11:00Z', 'b', 'page', '/', '5', null, false)",
    )
    .await;
    weir::rollup::dispatch::dispatch(&engine).await.expect("dispatched");
    run(&engine, &known(&engine, "sums").await, None).await.expect_err("seven is no number");
    run(&engine, &known(&engine, "visitors").await, None).await.expect("run");
    let error = run(&engine, &known(&engine, "misaligned").await, None).await.expect_err("no bucket begins there");
    assert!(error.to_string().contains("bucket_begins_a_day"), "{error}");
    // The day before waits for nobody.
    assert_eq!(database.rows("select sum from analytics.sums order by bucket").await, ["5", "7"]);
    assert_eq!(database.rows("select visitors from analytics.visitors order by bucket").await, ["1", "2"]);
    let sums = known(&engine, "sums").await;
    assert_eq!((sums.failures, sums.dirty), (1, 1));
    assert!(sums.error.expect("an error").contains("invalid input syntax"), "the reason is kept");
    let runs = "select outcome from weir.rollup_runs where name = 'sums' order by run_id";
    assert_eq!(database.rows(runs).await, ["done", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_one_that_looks_after_rollups_is_killed_another_does() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journals = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "visitors", VISITORS);
    let path = dir.path().to_str().expect("a path");
    let collectors = [0, 1].map(|n| {
        Collector::new(&database.url, journals[n].path())
            .with("WEIR_ROLLUP__DIR", path)
            .with("WEIR_ROLLUP__SHIPPED", "false")
    });
    let first = collectors[0].start_ready().await;
    eventually("it looks after rollups", async || collectors[0].metric("weir_rollup_leader").await == Some(1.0)).await;
    let second = collectors[1].start_ready().await;
    eventually("the other one stands by", async || collectors[1].metric("weir_rollup_leader").await == Some(0.0)).await;
    first.signal(Signal::KILL);
    first.ended().await;
    let authorization = format!("authorization: Bearer {key}");
    let headers = [authorization.as_str(), "content-type: application/json"];
    let answer = http::post(collectors[1].public, "/v1/events", &headers, br#"{"name":"a","visitor_id":"v"}"#).await;
    assert_eq!(answer.status, 200);
    database.until("select count(*) from pg_class where relname = 'visitors'", 1).await;
    database.until("select coalesce(sum(visitors), 0)::bigint from analytics.visitors", 1).await;
    assert_eq!(collectors[1].metric("weir_rollup_leader").await, Some(1.0));
    second.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_they_do() {
    let database = TestDatabase::new().await;
    let _engine = engine(&database).await;
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "visitors", VISITORS);
    add_partition_of_today(&database).await;
    let weir = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("rollup")
            .args(arguments)
            .env("DATABASE_URL", &database.url)
            .env("WEIR_ROLLUP__DIR", dir.path())
            .env("WEIR_ROLLUP__SHIPPED", "false")
            .env("WEIR_DATA_DIR", dir.path().join("none"))
            .output()
            .expect("it runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    };
    let (is_good, text) = weir(&["plan"]);
    assert!(is_good && text == "create   visitors (incremental by day)\n", "{text}");
    let (is_good, text) = weir(&["run"]);
    assert!(
        is_good
            && (text.contains("visitors: 1 buckets, 1 rows")
                || (citus::url().is_some() && text.contains("buckets, 1 rows"))),
        "{text}"
    );
    let (is_good, text) = weir(&["plan"]);
    assert!(is_good && text == "nothing is to be done\n", "{text}");
    let (is_good, text) = weir(&["rebuild", "visitors"]);
    assert!(is_good && text.contains("visitors is rebuilt"), "{text}");
    let (is_good, text) = weir(&["list"]);
    assert!(is_good && text.contains("visitors\tincremental by day, every 1s\tup to date\tlast run"), "{text}");
    // One that reads another's column, which is there only when that one is rebuilt: as after an upgrade.
    write(dir.path(), "visitors", &VISITORS.replace(" from events", ", count(*) as events from events"));
    let busiest =
        VISITORS.replace("count(distinct visitor_id) as visitors from events", "max(events) as events from visitors");
    write(dir.path(), "busiest", &busiest);
    let (is_good, text) = weir(&["run"]);
    assert!(is_good && text.contains("busiest: ") && !text.contains("does not exist"), "{text}");
    assert_eq!(database.number("select sum(events)::bigint from analytics.busiest").await, 1);
    fs::remove_file(dir.path().join("busiest.sql")).expect("removed");
    let (is_good, text) = weir(&["drop", "busiest"]);
    assert!(is_good, "{text}");
    let (is_good, text) = weir(&["drop", "visitors"]);
    assert!(!is_good && text.contains("remove its file first"), "{text}");
    write(dir.path(), "visitors", &VISITORS.replace("visitor_id", "visitor"));
    let (is_good, text) = weir(&["check"]);
    assert!(!is_good && text.contains("visitors.sql:7: column \"visitor\" does not exist"), "{text}");
    fs::remove_file(dir.path().join("visitors.sql")).expect("removed");
    let (is_good, text) = weir(&["drop", "visitors"]);
    assert!(is_good && text == "analytics.visitors is dropped\n", "{text}");
    let (is_good, text) = weir(&["rebuild", "visitors"]);
    assert!(!is_good && text.contains("there is no rollup visitors"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_dispatches_what_was_touched_stays_short() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    let touch = "insert into weir.touched (hours)
        select array[timestamptz '2026-11-20Z' + n % 30 * interval '1 hour'] from generate_series(1, 10001) n";
    database.client.batch_execute(touch).await.expect("touched");
    weir::rollup::dispatch::compact(&engine).await.expect("compacted");
    assert_eq!(database.rows("select count(*), max(cardinality(hours)) from weir.touched").await, ["1|30"]);
    weir::rollup::dispatch::compact(&engine).await.expect("compacted");
    assert_eq!(database.number("select count(*) from weir.touched").await, 1);
}

async fn add_partition_of_today(database: &TestDatabase) {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    make_partitions(database, &today, 2).await;
    add_events(database, &format!("('{today} 00:10Z', 'a', 'page', '/', 'n', null, false)")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funnel_goes_step_by_step() {
    let database = TestDatabase::new().await;
    let _engine = engine(&database).await;
    make_partitions(&database, "2026-11-19", 4).await;
    add_events(
        &database,
        "('2026-11-20 10:00Z', 'a', 'page',  '/pricing/team', null, null, false),
         ('2026-11-20 10:05Z', 'a', 'track', null, 'signup',   null, false),
         ('2026-11-20 10:09Z', 'a', 'track', null, 'purchase', null, false),
         ('2026-11-20 10:00Z', 'b', 'track', null, 'signup',   null, false),
         ('2026-11-20 10:05Z', 'b', 'page',  '/pricing/a_b',   null, null, false),
         ('2026-11-20 10:00Z', 'c', 'page',  '/pricing/x', null, null, false),
         ('2026-11-21 11:00Z', 'c', 'track', null, 'signup',   null, false),
         ('2026-11-20 10:00Z', 'd', 'page',  '/pricing/x', null, null, true)",
    )
    .await;
    let funnel = |steps: &str, rest: &str| {
        format!(
            "select step, what, visitors, of_first, of_previous from analytics.funnel(array[{steps}], '2026-11-20Z', '2026-11-22Z'{rest})"
        )
    };
    let steps = "'/pricing/*', 'signup', 'purchase'";
    assert_eq!(database.rows(&funnel(steps, "")).await.len(), 3);
    let rows = database.rows(&funnel(steps, "")).await;
    assert_eq!(rows[0], "1|/pricing/*|3|1|1");
    assert!(rows[1].starts_with("2|signup|1|0.333") && rows[2].starts_with("3|purchase|1|0.333"), "{rows:?}");
    let rows = database.rows(&funnel(steps, ", '2 days'")).await;
    assert!(rows[1].starts_with("2|signup|2|"), "{rows:?}");
    assert_eq!(database.rows(&funnel("'/pricing/a_b'", "")).await, ["1|/pricing/a_b|1|1|1"]);
    assert_eq!(database.rows(&funnel("'/pricing/ab'", "")).await[0].split('|').nth(2), Some("0"));
    database.client.query("select * from analytics.funnel('{}', now())", &[]).await.expect_err("no steps");
}
