//! `weir forget`: a person is gone from every table, others are not, and whatever is left is told.

use std::process::Output;

use tokio::process::Command;

use crate::retention::{day, send};
use crate::support::{TestCollector, TestDatabase, collector, connect, eventually};

/// Everything that anyone in these tests does, at noon of the days before today.
async fn everyone(collector: &TestCollector, database: &TestDatabase) -> i64 {
    let event = |ago: i64, kind: &str, name: &str, visitor: &str, user: &str| {
        let ids = [("visitor_id", visitor), ("user_id", user)];
        let ids: String =
            ids.iter().filter(|id| !id.1.is_empty()).map(|(key, id)| format!(r#","{key}":"{id}""#)).collect();
        format!(r#"{{"type":"{kind}","name":"{name}"{ids},"timestamp":"{}T12:00:00Z"}}"#, day(ago))
    };
    let events = [
        event(3, "page", "alice before", "laptop", ""),
        event(2, "identify", "alice signs up", "laptop", "alice"),
        event(2, "track", "alice later", "laptop", "alice"),
        event(1, "track", "alice on phone", "phone", "alice"),
        event(1, "page", "alice out on phone", "phone", ""),
        event(1, "alias", "alice was", "alice-mail", "alice"),
        event(5, "track", "alice by mail", "", "alice-mail"),
        event(2, "track", "bob on laptop", "laptop", "bob"),
        event(2, "page", "carol", "tablet", ""),
        event(2, "track", "carol", "tablet", "carol"),
    ];
    send(collector, &events).await;
    database.until_stored(events.len() as i64).await;
    events.len() as i64
}

/// What a rollup engine, or an analyst, might keep in the schema `analytics`.
const ROLLUPS: &str = "
    create table analytics.sessions as select visitor_id, user_id, source, count(*) as events from analytics.events group by 1, 2, 3;
    create table analytics.devices as select visitor_id, count(*) as events from analytics.events where visitor_id is not null group by 1;
    create table analytics.customers as select user_id as user_id, count(*) as events from analytics.events where user_id is not null group by 1;
    create table analytics.days as select occurred_at::date as day, count(*) as events from analytics.events group by 1;
    create materialized view analytics.spend as select user_id, count(*) as events from analytics.events where user_id is not null group by 1";

async fn forget(database: &TestDatabase, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("forget").args(arguments).env("DATABASE_URL", &database.url).kill_on_drop(true);
    command.output().await.expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn names(database: &TestDatabase) -> Vec<String> {
    database.rows("select name from analytics.events order by name").await
}

const BOOKS: &str = "select stored - coalesce((select sum(rows) from weir.removed), 0)::bigint - (select count(*) from analytics.events)
    from weir.accounting where unexplained = 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_gone_from_every_table_and_nobody_else_is() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    database.client.batch_execute(ROLLUPS).await.expect("made");
    let refuse = "alter table analytics.events add constraint short check (length(name) < 30) not valid";
    database.client.batch_execute(refuse).await.expect("added");
    let long = "x".repeat(40);
    let refused =
        ["alice", "bob"].map(|user| format!(r#"{{"name":"{user} {long}","user_id":"{user}","visitor_id":"laptop"}}"#));
    send(&collector, &refused).await;
    database.until_accounted(12, 10, 0, 2).await;
    let days_before = database.rows("select * from analytics.days order by 1").await;
    let noted_before = database.number("select coalesce(max(id), 0) from weir.touched").await;

    let dry = text(&forget(&database, &["--user", "alice", "--dry-run"]).await);
    assert!(dry.contains("21 rows of 4 ids; nothing was changed"), "{dry}");
    assert_eq!(names(&database).await.len(), 10);

    let output = forget(&database, &["--user", "alice"]).await;
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("rows of 4 ids removed; counted again: 0 left"), "{told}");
    assert_eq!(names(&database).await, ["bob on laptop", "carol", "carol"]);
    assert_eq!(database.number("select count(*) from analytics.person_events('alice')").await, 0);
    assert_eq!(database.number("select count(*) from analytics.people where user_id = 'alice'").await, 0);
    assert_eq!(database.rows("select distinct user_id from analytics.identities order by 1").await, ["bob", "carol"]);
    let sessions = "select visitor_id, user_id from analytics.sessions order by 1, 2";
    assert_eq!(database.rows(sessions).await, ["laptop|bob", "tablet|carol", "tablet|"]);
    assert_eq!(database.rows("select visitor_id from analytics.devices").await, ["tablet"]);
    assert_eq!(database.rows("select user_id from analytics.customers order by 1").await, ["bob", "carol"]);
    assert_eq!(database.rows("select user_id from analytics.spend order by 1").await, ["bob", "carol"]);
    assert_eq!(database.rows("select * from analytics.days order by 1").await, days_before, "no person is in it");
    let noted = format!(
        "select distinct to_char(hour at time zone 'UTC', 'YYYY-MM-DD HH24') from weir.touched, unnest(hours) hour
                         where id > {noted_before} order by 1"
    );
    let hours: Vec<String> = [5, 3, 2, 1].iter().map(|ago| format!("{} 12", day(*ago))).collect();
    assert_eq!(database.rows(&noted).await, hours, "rollups know what to compute again");
    // The books still say that there was one.
    database.until_accounted(12, 10, 0, 2).await;
    database.until(BOOKS, 0).await;
    let quarantine = "select outcome, event::jsonb ->> 'user_id', length(tuple) > 0, message like '%short%' from weir.quarantine order by id";
    assert_eq!(database.rows(quarantine).await, ["forgotten||f|f", "quarantined|bob|t|t"]);
    let requests = "select kind, person, ids, finished_at is not null, rows > 0 from weir.forget_requests";
    assert_eq!(database.rows(requests).await, ["user||{}|t|t"], "nobody remembers who it was");

    // And as docs/retention.md empties old rows by hand.
    let documented =
        include_str!("../../docs/retention.md").split("```").find(|block| block.contains("update weir.quar"));
    let documented = documented.and_then(|block| block.strip_prefix("sql")).expect("it is there");
    database.client.batch_execute(&documented.replace("13 months", "0 months")).await.expect("emptied");
    assert_eq!(database.rows(quarantine).await, ["forgotten||f|f", "forgotten||f|f"]);
    database.until_accounted(12, 10, 0, 2).await;

    // Again: there is nobody.
    let output = forget(&database, &["--user", "alice"]).await;
    assert!(
        output.status.success() && text(&output).contains("0 rows of 1 ids removed; counted again: 0 left"),
        "{}",
        text(&output)
    );
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_is_everything_on_that_device_and_a_source_is_a_limit() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    let other = forget(&database, &["--visitor", "laptop", "--source", "shop"]).await;
    assert!(other.status.success(), "{}", text(&other));
    assert_eq!(names(&database).await.len(), 10, "it was never that source's");
    let output = forget(&database, &["--visitor", "laptop", "--source", "web"]).await;
    assert!(output.status.success(), "{}", text(&output));
    let left = ["alice by mail", "alice on phone", "alice out on phone", "alice was", "carol", "carol"];
    assert_eq!(names(&database).await, left);
    for bad in [&["--visitor", ""][..], &[], &["--visitor", "a", "--user", "b"]] {
        assert!(!forget(&database, bad).await.status.success(), "{bad:?}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_short_goes_on_where_the_events_can_no_longer_tell() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    database.client.batch_execute(ROLLUPS).await.expect("made");
    let trap = "create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'not yet'; end $$;
                create trigger refuse before delete on analytics.devices for each row execute function public.refuse()";
    database.client.batch_execute(trap).await.expect("made");
    let output = forget(&database, &["--user", "alice"]).await;
    assert!(!output.status.success() && text(&output).contains("not yet"), "{}", text(&output));
    assert_eq!(names(&database).await, ["bob on laptop", "carol", "carol"], "who the laptop was is known nowhere else");
    database.client.batch_execute("drop trigger refuse on analytics.devices").await.expect("gone");
    let output = forget(&database, &["--user", "alice"]).await;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(database.rows("select visitor_id from analytics.devices").await, ["tablet"]);
    assert_eq!(database.rows("select count(*), bool_and(person is null) from weir.forget_requests").await, ["1|t"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_told_and_no_success() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    database.client.batch_execute(ROLLUPS).await.expect("made");
    let keeper = "create function public.keep() returns trigger language plpgsql as $$ begin return null; end $$;
                  create trigger keep before delete on analytics.customers for each row execute function public.keep()";
    database.client.batch_execute(keeper).await.expect("made");
    let output = forget(&database, &["--user", "alice"]).await;
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("counted again: 2 left"), "{}", text(&output));
    let open = "select person, finished_at is null from weir.forget_requests";
    assert_eq!(database.rows(open).await, ["alice|t"], "it is not done");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_on_its_way_is_waited_for() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    // Flushes wait, and everything else goes on.
    let holder = connect(&database.url).await;
    holder.batch_execute("begin; lock table only analytics.events in share mode").await.expect("held");
    send(&collector, &[r#"{"name":"alice now","visitor_id":"phone"}"#.to_owned()]).await;
    database.until("select coalesce(sum(pending), 0)::bigint from weir.promises", 1).await;
    let url = database.url.clone();
    let forgetting = tokio::spawn(async move {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["forget", "--user", "alice"]).env("DATABASE_URL", url).kill_on_drop(true);
        command.output().await.expect("it runs")
    });
    eventually("all that was there is gone", async || names(&database).await.len() == 3).await;
    holder.batch_execute("rollback").await.expect("let go");
    let output = forgetting.await.expect("no panic");
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("8 rows of 4 ids removed"), "{}", text(&output));
    assert_eq!(names(&database).await, ["bob on laptop", "carol", "carol"]);
    database.until(BOOKS, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_that_is_being_computed_is_waited_for() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    database.client.batch_execute(ROLLUPS).await.expect("made");
    // As one does that computes a bucket anew.
    let rollup = connect(&database.url).await;
    rollup.batch_execute("begin; delete from analytics.devices").await.expect("held");
    let url = database.url.clone();
    let forgetting = tokio::spawn(async move {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["forget", "--user", "alice"]).env("DATABASE_URL", url).kill_on_drop(true);
        command.output().await.expect("it runs")
    });
    let waits =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%analytics.devices%'";
    eventually("it waits for the rollup", async || database.number(waits).await > 0).await;
    eventually("it gives way", async || database.number(waits).await == 0).await;
    eventually("and waits again", async || database.number(waits).await > 0).await;
    rollup.batch_execute("rollback").await.expect("let go");
    let output = forgetting.await.expect("no panic");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(database.rows("select visitor_id from analytics.devices").await, ["tablet"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_under_way_bring_nobody_back() {
    let (database, collector, _journal) = collector(|_| {}).await;
    everyone(&collector, &database).await;
    database.client.batch_execute(ROLLUPS).await.expect("made");
    // One is being filled for the first time.
    let filled = "
        insert into weir.rollups (rollup_id, name, kind, state, hash, body, timezone, reads_events)
            overriding system value values (7777, 'people_daily', 'view', 'building', '', '', 'UTC', true);
        create table weir.rollup_7777 as select visitor_id, user_id from analytics.events";
    database.client.batch_execute(filled).await.expect("made");
    // Another has read the events, and not yet written what it made of them.
    let rollup = connect(&database.url).await;
    rollup.batch_execute("begin; select before from weir.frozen for share").await.expect("held");
    let url = database.url.clone();
    let forgetting = tokio::spawn(async move {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["forget", "--user", "alice"]).env("DATABASE_URL", url).kill_on_drop(true);
        command.output().await.expect("it runs")
    });
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%weir.frozen%'";
    eventually("it waits for the rollup", async || database.number(waits).await > 0).await;
    rollup.batch_execute("insert into analytics.devices values ('phone', 2); commit").await.expect("written");
    let output = forgetting.await.expect("no panic");
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("weir.rollup_7777"), "{}", text(&output));
    assert_eq!(database.rows("select visitor_id from analytics.devices").await, ["tablet"]);
    let building = "select visitor_id, user_id from weir.rollup_7777 order by 1, 2";
    assert_eq!(database.rows(building).await, ["laptop|bob", "tablet|carol", "tablet|"]);
    collector.stop().await;
}
