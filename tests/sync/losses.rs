//! Rows that a copy would miss, and harm that would be done while one runs.

use weir::sync::postgres::setup;

use super::pair::Pair;
use super::support::{PATIENCE, TestDatabase, connect, eventually};

const TWO: &str = "create table users (id int primary key, name text);
    create table orders (id int primary key, total int);
    insert into users select i, 'user ' || i from generate_series(1, 100) i;
    insert into orders select i, i from generate_series(1, 100) i";

/// A row that is written now is here: whatever was committed there before was read.
async fn until_read(pair: &Pair, id: i32) {
    pair.do_there(&format!("insert into orders values ({id}, 0)")).await;
    pair.here.until(&format!("select count(*) from shop.orders where id = {id}"), 1).await;
}

/// The second one begins after the first one, and so after now.
async fn two_looks(pair: &Pair) {
    for _ in 0..2 {
        let checked = pair.here.rows("select coalesce(checked_at, '-infinity') from sync.replications").await;
        let sql = format!("select count(*) from sync.replications where checked_at > '{}'", checked[0]);
        let started = std::time::Instant::now();
        while pair.here.number(&sql).await != 1 {
            if started.elapsed() > PATIENCE {
                let who = "select pid, usename, datname, backend_type, state, wait_event_type, wait_event, backend_xid, backend_xmin, left(query, 200)
                    from pg_stat_activity where pid <> pg_backend_pid() and datname is not null";
                let admin = pair.server.admin().await;
                let there = admin.simple_query(who).await.expect("asked");
                panic!("nobody looked; there: {there:#?}\nhere: {:#?}", pair.here.rows(who).await);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

async fn state(pair: &Pair, table: &str) -> Vec<String> {
    pair.here.rows(&format!("select state from sync.tables where remote = 'public.{table}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_open_when_its_table_was_published_is_not_missed() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    pair.halt().await;
    pair.do_there("create table later (id int primary key, line text)").await;
    let open = connect(&pair.app.url).await;
    open.batch_execute("begin; insert into later select i, 'open' from generate_series(1, 50) i").await.expect("begun");
    pair.run();
    pair.app.until("select count(*) from pg_publication_tables where tablename = 'later'", 1).await;
    // The stream goes on meanwhile.
    until_read(&pair, 1001).await;
    until_read(&pair, 1002).await;
    assert_eq!(state(&pair, "later").await, ["copy"]);
    open.batch_execute("insert into later values (51, 'more'); commit").await.expect("committed");
    pair.until_same(3).await;
    assert_eq!(pair.here.number("select count(*) from shop.later").await, 51);
    pair.halt().await;
}

/// A standby that is waited for, and is not there: commits are in the stream, and nobody there sees them.
async fn wait_for_standby(pair: &Pair, waits: bool) {
    let admin = pair.server.admin().await;
    let names = if waits { "nobody" } else { "" };
    admin.batch_execute(&format!("alter system set synchronous_standby_names = '{names}'")).await.expect("set");
    admin.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    eventually("the setting is known", async || {
        let client = pair.server.admin().await;
        let row = client.query_one("show synchronous_standby_names", &[]).await.expect("asked");
        row.get::<_, String>(0) == names
    })
    .await;
}

/// Commits, which does not return.
async fn commit_unseen(pair: &Pair, sql: &'static str) -> tokio::task::JoinHandle<()> {
    let client = connect(&pair.app.url).await;
    client.batch_execute("set synchronous_commit = on").await.expect("set");
    tokio::spawn(async move { client.batch_execute(sql).await.expect("committed at last") })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_its_standby_is_not_missed() {
    let mut pair = Pair::new(TWO).await;
    pair.server.admin().await.batch_execute("alter role weir set synchronous_commit = local").await.expect("set");
    pair.do_there("set synchronous_commit = local").await;
    pair.start().await;
    pair.until_same(2).await;
    wait_for_standby(&pair, true).await;

    // Read before the copy is asked for.
    let first = commit_unseen(&pair, "insert into users values (1001, 'unseen')").await;
    pair.here.until("select count(*) from shop.users where id = 1001", 1).await;
    let engine = pair.engine();
    setup::resync_table(&engine.source, &engine.local, "public.users").await.expect("asked for");
    until_read(&pair, 1001).await;
    two_looks(&pair).await;
    until_read(&pair, 1002).await;
    assert_eq!(state(&pair, "users").await, ["copy"]);
    wait_for_standby(&pair, false).await;
    first.await.expect("no panic");
    pair.until_same(2).await;

    // And read while the copy waits for something else.
    let open = connect(&pair.app.url).await;
    open.batch_execute("begin; insert into orders values (5000, 1)").await.expect("begun");
    setup::resync_table(&engine.source, &engine.local, "public.users").await.expect("asked for");
    two_looks(&pair).await;
    wait_for_standby(&pair, true).await;
    let second = commit_unseen(&pair, "insert into users values (1002, 'unseen')").await;
    pair.server
        .admin()
        .await
        .batch_execute("do $$ begin while not exists (select from pg_stat_activity where wait_event = 'SyncRep') loop perform pg_sleep(0.01), pg_stat_clear_snapshot(); end loop; end $$")
        .await
        .expect("it waits");
    until_read(&pair, 1003).await;
    open.batch_execute("commit").await.expect("committed");
    until_read(&pair, 1004).await;
    two_looks(&pair).await;
    until_read(&pair, 1005).await;
    wait_for_standby(&pair, false).await;
    second.await.expect("no panic");
    pair.until_same(2).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_a_table_was_not_published_is_copied() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    // weir publishes it again.
    pair.halt().await;
    pair.do_there("alter publication weir_shop drop table users").await;
    pair.do_there("insert into users values (8001, 'unpublished')").await;
    pair.run();
    pair.app.until("select count(*) from pg_publication_tables where tablename = 'users'", 1).await;
    pair.until_same(2).await;
    // Somebody else does, and nobody saw that it was away.
    pair.halt().await;
    pair.do_there("alter publication weir_shop drop table users").await;
    pair.do_there("delete from users where id < 10").await;
    pair.do_there("alter publication weir_shop add table users").await;
    pair.run();
    pair.until_same(2).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_column_that_becomes_a_plain_one_has_its_values() {
    let sql = "create table users (id int primary key, score int, twice int generated always as (score * 2) stored);
        insert into users select i, i from generate_series(1, 100) i";
    let mut pair = Pair::new(sql).await;
    pair.start().await;
    pair.until_same(1).await;
    pair.do_there("alter table users alter column twice drop expression").await;
    let columns = "select count(*) from pg_attribute where attrelid = 'shop.users'::regclass and attname = 'twice'";
    pair.here.until(columns, 1).await;
    pair.until_same(1).await;
    assert_eq!(pair.here.number("select sum(twice) from shop.users").await, 10_100);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_guarded_while_a_copy_takes_long() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    // A copy that ends when it is let.
    let slow = "create function shop.wait() returns trigger language plpgsql set lock_timeout = 0 as
                    'begin perform pg_advisory_xact_lock_shared(77); return new; end';
        create trigger slow before insert on shop.users for each row execute function shop.wait();
        select pg_advisory_lock(77)";
    pair.here.client.batch_execute(slow).await.expect("made");
    let engine = pair.engine();
    setup::resync_table(&engine.source, &engine.local, "public.users").await.expect("asked for");
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 77";
    pair.here.until(waits, 1).await;
    let checked = pair.here.rows("select coalesce(checked_at, '-infinity') from sync.replications").await;
    pair.do_there("alter table orders drop constraint orders_pkey").await;
    eventually("the application can update it", async || {
        pair.app.client.batch_execute("update orders set total = 5 where id = 1").await.is_ok()
    })
    .await;
    let sql = format!("select count(*) from sync.replications where checked_at > '{}'", checked[0]);
    pair.here.until(&sql, 1).await;
    assert_eq!(state(&pair, "users").await, ["copy"]);
    pair.here.client.batch_execute("select pg_advisory_unlock(77)").await.expect("let go");
    pair.until_same(1).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_guarded_while_nothing_can_be_applied() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    pair.halt().await;
    pair.here.client.batch_execute("update sync.replications set system_id = 'another'").await.expect("changed");
    pair.run();
    pair.here.until("select count(*) from sync.replications where error like '%another cluster%'", 1).await;
    pair.do_there("alter table orders drop constraint orders_pkey").await;
    eventually("the application can update it", async || {
        pair.app.client.batch_execute("update orders set total = 5 where id = 1").await.is_ok()
    })
    .await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_stays_out_by_whatever_name() {
    let sql = "create table users (id int primary key, name text, password text);
        create table secrets (id int primary key, line text);
        insert into users values (1, 'a', 'secret'); insert into secrets values (1, 'secret')";
    let mut pair = Pair::new(sql).await;
    let excluded = &mut pair.settings;
    excluded.exclude_columns = vec!["public.users.password".to_owned()];
    excluded.exclude = vec!["public.secrets".to_owned()];
    pair.start().await;
    pair.until_same(1).await;
    pair.do_there("alter table users rename password to password_digest; alter table secrets rename to things").await;
    let noted = "select count(*) from sync.changes where change like '%stays left out%'";
    pair.here.until(noted, 2).await;
    pair.do_there("alter table users rename to members; insert into members values (2, 'b', 'secret')").await;
    pair.here.until("select case when to_regclass('shop.members') is null then 0 else 1 end::bigint", 1).await;
    pair.here.until("select count(*) from shop.members", 2).await;
    let columns =
        "select count(*) from information_schema.columns where table_schema = 'shop' and column_name like 'pass%'";
    assert_eq!(pair.here.number(columns).await, 0);
    assert_eq!(state(&pair, "things").await, ["held"]);
    // Also after the collector was started again.
    pair.halt().await;
    pair.run();
    pair.do_there("insert into members values (3, 'c', 'secret')").await;
    pair.here.until("select count(*) from shop.members", 3).await;
    assert_eq!(pair.here.number(columns).await, 0);
    assert_eq!(pair.here.number("select count(*) from pg_class where relname = 'things'").await, 0);

    // Asked for, they come.
    let engine = pair.engine();
    for table in ["public.members", "public.things"] {
        setup::resync_table(&engine.source, &engine.local, table).await.expect("asked for");
    }
    pair.until_same(2).await;
    assert_eq!(pair.here.number("select count(*) from shop.members where password_digest = 'secret'").await, 3);
    assert_eq!(pair.here.number("select count(*) from shop.things").await, 1);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_need_quotes_are_as_good_as_others() {
    let sql = r#"create schema "Odd ""one"; create table "Odd ""one"."A.b" ("Key %" int primary key, "select" text, "tab	quote'" text);
        insert into "Odd ""one"."A.b" select i, 'x', 'y' from generate_series(1, 10) i;
        create table "User" ("order" int primary key, "Größe" text); insert into "User" values (1, 'é')"#;
    let mut pair = Pair::with(sql, "", TestDatabase::new().await).await;
    pair.settings.tables = vec!["*.*".to_owned()];
    pair.start().await;
    pair.until_same(2).await;
    pair.do_there(r#"update "User" set "order" = 2, "Größe" = 'x'; update "Odd ""one"."A.b" set "select" = null where "Key %" < 5; delete from "Odd ""one"."A.b" where "Key %" = 7"#).await;
    pair.do_there(r#"alter table "User" rename "Größe" to "Größe """; alter table "Odd ""one"."A.b" add column "New %" text default 'it''s'"#).await;
    pair.until_same(2).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_partitions_is_noticed() {
    let sql = "create table facts (id int, day date, line text, primary key (id, day)) partition by range (day);
        create table facts_1 partition of facts for values from ('2026-01-01') to ('2026-02-01');
        create table facts_2 partition of facts for values from ('2026-02-01') to ('2026-03-01');
        insert into facts select i, date '2026-01-01' + i % 50, 'x' from generate_series(1, 1000) i";
    let mut pair = Pair::new(sql).await;
    pair.start().await;
    pair.until_same(1).await;
    let copies = "select count(*) from sync.changes where change = 'copied anew'";
    for (sql, expected) in [
        ("truncate facts_1", 1),
        (
            "create table facts_3 (like facts including all); insert into facts_3 values (1, '2026-03-01', 'attached');
          alter table facts attach partition facts_3 for values from ('2026-03-01') to ('2026-04-01')",
            2,
        ),
        ("alter table facts add column age int default 7", 3),
        // Not for this: partitions are made every day.
        ("create table facts_4 partition of facts for values from ('2026-04-01') to ('2026-05-01')", 3),
    ] {
        pair.do_there(&format!("begin; {sql}; commit")).await;
        pair.here.until(copies, expected).await;
        pair.until_same(1).await;
    }
    two_looks(&pair).await;
    pair.do_there("insert into facts values (9, '2026-04-09', 'y', 1); drop table facts_2").await;
    pair.here.until("select count(*) from shop.facts where line = 'y'", 1).await;
    two_looks(&pair).await;
    assert_eq!(pair.here.number(copies).await, 3);
    assert!(
        pair.here.number("select count(*) from shop.facts where day between '2026-02-01' and '2026-02-28'").await > 0
    );
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_could_not_be_updated_is_not_published() {
    let sql = "create table facts (id int primary key, line text) partition by range (id);
        create table facts_1 partition of facts for values from (0) to (100);
        create table facts_2 partition of facts for values from (100) to (200);
        create table users (id int primary key);
        insert into facts select i, 'x' from generate_series(1, 150) i";
    let mut pair = Pair::new(&format!("{sql}; alter table facts_2 replica identity nothing")).await;
    pair.start().await;
    pair.until_same(1).await;
    assert_eq!(state(&pair, "facts").await, ["left out"]);
    pair.do_there("update facts set line = 'y' where id = 120; delete from facts where id = 130").await;
    pair.do_there("alter table facts_2 replica identity default").await;
    pair.until_same(2).await;
    pair.do_there("alter table facts_1 replica identity nothing").await;
    eventually("the application can update it", async || {
        pair.app.client.batch_execute("update facts set line = 'z' where id = 7").await.is_ok()
    })
    .await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_set_back_is_noticed() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    pair.halt().await;
    // As if it had been further, and was restored.
    let ahead = "update sync.replications set applied_lsn = 'FF/0'";
    pair.here.client.batch_execute(ahead).await.expect("changed");
    pair.do_there("insert into users values (1001, 'after')").await;
    pair.run();
    pair.here
        .until("select count(*) from sync.replications where error like '%set back%weir sync resync shop%'", 1)
        .await;
    let engine = pair.engine();
    setup::resync(&engine.source, &engine.publisher, &engine.local).await.expect("a new slot");
    pair.until_same(2).await;
    assert_eq!(pair.here.number("select count(*) from shop.users where id = 1001").await, 1);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_server_go_on_by_their_names() {
    let mut pair = Pair::new(TWO).await;
    pair.start().await;
    pair.until_same(2).await;
    let view = "create view shop.names as select name from shop.users";
    pair.here.client.batch_execute(view).await.expect("made");
    // There, each has the number that another one has here.
    let other =
        "create table orders (id int primary key, total int); create table users (id int primary key, name text);
        insert into users select i, 'other ' || i from generate_series(1, 10) i; insert into orders values (1, 1)";
    let other = Pair::new(other).await;
    pair.halt().await;
    pair.settings.url.clone_from(&other.settings.url);
    pair.app = other.app;
    pair.run();
    pair.here.until("select count(*) from sync.replications where error like '%another cluster%'", 1).await;
    let engine = pair.engine();
    setup::resync(&engine.source, &engine.publisher, &engine.local).await.expect("a new slot");
    pair.until_same(2).await;
    let names = pair.here.rows("select remote, relation from sync.tables where state = 'live' order by 1").await;
    assert_eq!(names, ["public.orders|orders", "public.users|users"]);
    assert_eq!(pair.here.number("select count(*) from shop.names where name like 'other%'").await, 10);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_exchange_names_have_them_here() {
    let sql = format!(
        "{TWO}; create table users_new (id int primary key, name text, age int); insert into users_new values (1, 'new', 5)"
    );
    let mut pair = Pair::new(&sql).await;
    pair.start().await;
    pair.until_same(3).await;
    pair.do_there("begin; alter table users rename to users_old; alter table users_new rename to users; commit").await;
    let named = "select count(*) from sync.tables
                  where (remote, relation) in (('public.users', 'users'), ('public.users_old', 'users_old'))";
    pair.here.until(named, 2).await;
    pair.until_same(3).await;
    assert_eq!(pair.here.rows("select name, age from shop.users").await, ["new|5"]);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_move_while_a_copy_begins_keep_their_long_values() {
    let sql = "create table facts (id int primary key, note text); alter table facts alter note set storage external;
        create table orders (id int primary key, total int);
        insert into facts select i, (select string_agg(md5((i * j)::text), '') from generate_series(1, 300) j) from generate_series(1, 2) i";
    let mut pair = Pair::new(sql).await;
    pair.start().await;
    pair.until_same(2).await;
    let (first, moves) = (connect(&pair.app.url).await, connect(&pair.app.url).await);
    // The copy waits for this one, and so for nothing that begins after it is asked for.
    first.batch_execute("begin; insert into orders values (1, 1)").await.expect("begun");
    let engine = pair.engine();
    setup::resync_table(&engine.source, &engine.local, "public.facts").await.expect("asked for");
    let reason = "select count(*) from sync.tables where remote = 'public.facts' and state = 'copy'";
    pair.here.until(reason, 1).await;
    two_looks(&pair).await;
    until_read(&pair, 1001).await;
    let sql = "begin; lock table facts; update facts set id = 10 where id = 1; update facts set id = 1 where id = 2";
    moves.batch_execute(sql).await.expect("begun");
    first.batch_execute("commit").await.expect("committed");
    // It has read all before, and its snapshot is not taken yet.
    pair.app.until("select count(*) from pg_locks where relation = 'facts'::regclass and not granted", 1).await;
    moves.batch_execute("commit").await.expect("committed");
    pair.until_same(2).await;
    pair.halt().await;
}
