//! An application's PostgreSQL, replicated.

use weir::sync::postgres::check::{Level, check};
use weir::sync::postgres::setup;

use std::time::Instant;

use super::pair::{Pair, password_file};
use super::support::server::End;
use super::support::{PATIENCE, TestDatabase, eventually};

const SHOP: &str = "
    create type plan as enum ('free', 'pro');
    create domain email as text check (value like '%@%');
    create table users (id bigint generated always as identity primary key, name varchar(40), email email, password text,
                        plan plan not null default 'free', born date, balance numeric(12,2), tags text[], extra jsonb,
                        seen timestamptz default now(), upper_name text generated always as (upper(name)) stored);
    create table orders (shop int, number int, total real, note text, data bytea, lasts interval, primary key (shop, number));
    create table log (line text);
    create table full_log (id int primary key, line text);
    alter table full_log replica identity full;
    create schema billing;
    create table billing.invoices (id uuid primary key, paid boolean);
    insert into users (name, email, password, plan, born, balance, tags, extra)
        select 'user ' || i, 'u' || i || '@example.com', 'secret' || i, case when i % 3 = 0 then 'pro' else 'free' end::plan,
               date '1970-01-01' + i, i * 1.5, array['a', null, E'b\\\\\\n\"{'], '{\"n\": 1}'::jsonb
          from generate_series(1, 1000) i;
    insert into orders select i % 7, i, i / 3.0, E'tab\\tquote''s \\\\ ' || i, decode('00ff5c', 'hex'), interval '1 month 2 hours' from generate_series(1, 1000) i;
    insert into log select 'line ' || i from generate_series(1, 10) i;
    insert into full_log select i, 'line' from generate_series(1, 10) i;
    insert into billing.invoices select gen_random_uuid(), true from generate_series(1, 10);";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_and_then_follow() {
    let mut pair = Pair::new(SHOP).await;
    pair.settings.tables.push("billing.*".to_owned());
    pair.settings.exclude_columns.push("*.users.passw*".to_owned());
    pair.start().await;
    pair.until_same(4).await;
    assert_eq!(pair.here.number("select count(*) from shop.users where plan = 'pro'").await, 333);
    assert_eq!(pair.here.number("select count(*) from shop.billing_invoices").await, 10);

    // A value that is too long to be sent with every change of its row.
    let long = "(select string_agg(md5(i::text), '') from generate_series(1, 3000) i)";
    pair.do_there(&format!("update orders set note = {long} where number <= 5")).await;
    pair.until_same(4).await;
    for sql in [
        "insert into users (name, email, plan) values ('new', 'n@x', 'pro'), (null, null, 'free')",
        "update users set balance = balance + 1, tags = '{}' where id % 2 = 0",
        "delete from users where id % 10 = 0",
        "alter type plan add value 'team'",
        "insert into users (name, plan) values ('team', 'team')",
        // The long value is untouched.
        "update orders set total = 9 where number <= 5",
        // Keys change: alone, with long values, and in the way of each other.
        "update orders set number = number + 100000",
        "update orders set shop = 9 where number = 100001",
        "begin; update full_log set id = id + 1000; update full_log set id = id - 999; commit",
        "begin; delete from full_log where id = 2; insert into full_log values (2, 'again'); commit",
        "begin; insert into full_log values (77, 'x'); update full_log set line = 'y' where id = 77; delete from full_log where id = 77; commit",
        "begin; truncate billing.invoices; insert into billing.invoices values (gen_random_uuid(), null); commit",
        "begin; insert into orders values (1, 1); savepoint a; insert into orders values (1, 2); rollback to a; commit",
    ] {
        pair.do_there(sql).await;
    }
    pair.until_same(4).await;

    // Without a primary key: not published, and so the application's own statements work.
    pair.do_there("update log set line = 'changed'; delete from log where line = 'line 3'").await;
    let left_out = pair.here.rows("select remote, state from sync.tables where state = 'left out'").await;
    assert_eq!(left_out, ["public.log|left out"]);
    // What is left out is nowhere.
    let columns =
        "select count(*) from information_schema.columns where table_schema = 'shop' and column_name like 'pass%'";
    assert_eq!(pair.here.number(columns).await, 0);

    // A collector that was away catches up, and does nothing twice.
    pair.halt().await;
    pair.do_there("insert into full_log select i, 'away' from generate_series(5000, 6000) i; truncate orders").await;
    pair.run();
    pair.until_same(4).await;
    pair.halt().await;

    let engine = pair.engine();
    let stopped = setup::stop(&engine.source, &engine.publisher, &engine.local, false).await.expect("stopped");
    assert!(stopped.error.is_none(), "{:?}", stopped.error);
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)";
    assert_eq!(pair.app.number(left).await, 0);
    assert!(pair.here.number("select count(*) from shop.users").await > 0, "what came stays");

    // Started again, it goes on in the same tables, whatever happened to those there.
    let view = "create view shop.pros as select id, balance from shop.users where plan = 'pro'";
    pair.here.client.batch_execute(view).await.expect("made");
    let meanwhile = "alter table users drop column extra; alter table users add column age int default 3;
        alter table users alter column balance type float8; delete from users where id < 100";
    pair.do_there(meanwhile).await;
    pair.start().await;
    pair.until_same(4).await;
    let count = "select count(*) from users where plan = 'pro'";
    assert_eq!(pair.here.number("select count(*) from shop.pros").await, pair.app.number(count).await);
    assert_eq!(pair.here.rows("select pg_typeof(balance) from shop.pros limit 1").await, ["double precision"]);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_hurt_is_told_with_its_cure() {
    let pair = Pair::with(SHOP, "wal_level = replica\n", TestDatabase::new().await).await;
    pair.server.admin().await.batch_execute("alter role weir noreplication").await.expect("changed");
    let engine = pair.engine();
    let checked = check(&engine.source, &engine.publisher, &engine.local).await.expect("checked");
    let told: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    for expected in [
        "BAD     wal_level is replica",
        "alter system set wal_level = 'logical'",
        "BAD     the role weir may not replicate",
        "WARNING max_slot_wal_keep_size is not set",
        "WARNING public.log is left out: it has no primary key",
        "3 tables, about",
    ] {
        assert!(told.contains(expected), "{expected} is not in:\n{told}");
    }
    assert!(checked.findings.iter().any(|finding| finding.level == Level::Good));
    let error = setup::start(&engine.source, &engine.publisher, &engine.local).await.expect_err("refused");
    assert!(error.to_string().contains("wal_level"), "{error}");
    // Nothing was begun.
    assert_eq!(pair.app.number("select count(*) from pg_publication").await, 0);
    assert_eq!(pair.here.number("select count(*) from sync.sources").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_lost_is_told_and_made_anew() {
    let limits = "max_slot_wal_keep_size = 32MB\nmax_wal_size = 32MB\nmin_wal_size = 32MB\n";
    let mut pair = Pair::with(SHOP, limits, TestDatabase::new().await).await;
    pair.start().await;
    pair.until_same(3).await;
    pair.halt().await;

    // More WAL than may be kept, while no collector runs: the application goes on.
    let much = "insert into orders (shop, number, note) select 100, i, repeat(md5(i::text), 30) from generate_series(1, 20000) i";
    let admin = pair.server.admin().await;
    for _ in 0..6 {
        pair.do_there(&format!("{much}; delete from orders where shop = 100")).await;
        admin.batch_execute("select pg_switch_wal(); checkpoint").await.expect("done");
    }
    let state = "select count(*) from pg_replication_slots where wal_status = 'lost'";
    assert_eq!(pair.app.number(state).await, 1);
    pair.run();
    let told = "select count(*) from sync.replications where error like '%is lost%weir sync resync shop%'";
    pair.here.until(told, 1).await;

    let engine = pair.engine();
    setup::resync(&engine.source, &engine.publisher, &engine.local).await.expect("a new slot");
    pair.do_there("insert into full_log values (4711, 'after')").await;
    pair.until_same(3).await;
    assert_eq!(pair.here.number("select count(*) from shop.full_log where id = 4711").await, 1);
    pair.here.until("select count(*) from sync.replications where error is null", 1).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_forgot_commits_notices_what_it_lacks() {
    let mut pair = Pair::new(SHOP).await;
    pair.start().await;
    pair.until_same(3).await;
    let before = pair.here.rows("select applied_lsn from sync.replications").await;
    pair.do_there("insert into full_log values (4711, 'forgotten')").await;
    pair.until_same(3).await;
    let confirmed = format!("select count(*) from pg_replication_slots where confirmed_flush_lsn > '{}'", before[0]);
    pair.app.until(&confirmed, 1).await;
    pair.halt().await;
    // As a database that was restored from a copy of before.
    let forget = format!(
        "delete from shop.full_log where id = 4711; update sync.replications set applied_lsn = '{}'",
        before[0]
    );
    pair.here.client.batch_execute(&forget).await.expect("forgotten");
    pair.run();
    pair.here.until("select count(*) from sync.replications where error like '%was confirmed up to%'", 1).await;
    let engine = pair.engine();
    setup::resync(&engine.source, &engine.publisher, &engine.local).await.expect("a new slot");
    pair.until_same(3).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_is_copied_anew_when_asked_and_views_on_it_stay() {
    let mut pair = Pair::new(SHOP).await;
    pair.start().await;
    pair.until_same(3).await;
    let harm =
        "create view shop.paying as select * from shop.users where plan = 'pro'; delete from shop.users where id < 500";
    pair.here.client.batch_execute(harm).await.expect("harmed");
    let engine = pair.engine();
    setup::resync_table(&engine.source, &engine.local, "public.users").await.expect("asked for");
    assert!(setup::resync_table(&engine.source, &engine.local, "public.nothing").await.is_err());
    pair.until_same(3).await;
    assert_eq!(pair.here.number("select count(*) from shop.paying").await, 333);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_away_is_let_go_with_what_is_to_be_run_there() {
    let mut pair = Pair::new(SHOP).await;
    pair.start().await;
    pair.until_same(3).await;
    pair.server.end(End::Kill);
    let engine = pair.engine();
    let stopped = setup::stop(&engine.source, &engine.publisher, &engine.local, true).await.expect("stopped");
    assert!(stopped.error.is_some());
    assert_eq!(pair.here.number("select count(*) from pg_namespace where nspname = 'shop'").await, 0);
    pair.server.start().await;
    pair.app = pair.server.database().await;
    for statement in &stopped.left {
        pair.do_there(statement).await;
    }
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)";
    assert_eq!(pair.app.number(left).await, 0);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_loses_its_key_is_published_no_more() {
    let mut pair = Pair::new(SHOP).await;
    pair.start().await;
    pair.until_same(3).await;
    pair.do_there("alter table orders drop constraint orders_pkey").await;
    // Nobody's fault but the migration's, until it is seen.
    eventually("the application can update it", async || {
        pair.app.client.batch_execute("update orders set total = 5 where number = 1").await.is_ok()
    })
    .await;
    pair.here.until("select count(*) from sync.tables where remote = 'public.orders' and state = 'left out'", 1).await;
    pair.do_there("delete from orders where number = 2; alter table orders add primary key (number, shop)").await;
    pair.until_same(3).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_row_is_here_soon() {
    const ROWS: usize = 300;
    let mut pair = Pair::new("create table facts (id int primary key, line text)").await;
    pair.start().await;
    pair.until_same(1).await;
    let mut waits = Vec::new();
    for id in 0..ROWS {
        pair.do_there(&format!("insert into facts values ({id}, 'x')")).await;
        let began = Instant::now();
        while pair.here.number(&format!("select count(*) from shop.facts where id = {id}")).await == 0 {
            assert!(began.elapsed() < PATIENCE, "row {id} does not come");
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
        waits.push(began.elapsed());
    }
    waits.sort();
    println!("a committed row is here after: p50 {:?}, p99 {:?}", waits[ROWS / 2], waits[ROWS * 99 / 100]);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_its_own_logs_in_with_a_password_and_asks_for_what_it_may_not() {
    let (hba, _dir) = password_file("reader");
    let mut pair = Pair::with(SHOP, &hba, TestDatabase::new().await).await;
    let role = "create role reader login replication password 'it''s \u{fc}nusual';
        grant select on all tables in schema public to reader";
    pair.server.admin().await.batch_execute(role).await.expect("role made");
    pair.do_there("grant select on all tables in schema public to reader").await;
    pair.settings.url = pair.app.url.replace("weir@", "reader:it's%20%C3%BCnusual@");
    let engine = pair.engine();
    let checked = check(&engine.source, &engine.publisher, &engine.local).await.expect("checked");
    let told: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    assert!(told.join("\n").contains("BAD     the role reader may not make the publication"), "{told:?}");

    // The owner does it.
    let plan = setup::plan(&engine.source, &checked);
    let publication = plan.there.iter().find(|statement| statement.starts_with("create publication"));
    pair.do_there(publication.expect("in the plan")).await;
    pair.start().await;
    pair.until_same(3).await;
    pair.do_there("create table later (id int primary key); grant select on later to reader").await;
    let told = "select count(*) from sync.tables where remote = 'public.later' and state = 'left out'";
    pair.here.until(told, 1).await;
    pair.do_there("alter publication weir_shop add table later; insert into later values (1)").await;
    pair.until_same(4).await;
    pair.halt().await;
}

/// Lets a server speak TLS, with a certificate that nobody knows.
async fn speak_tls(pair: &Pair, directory: &tempfile::TempDir) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("valid").self_signed(&key);
    let admin = pair.server.admin().await;
    let data: String = admin.query_one("show data_directory", &[]).await.expect("asked").get(0);
    let owner = std::fs::metadata(&data).expect("root, or the server's user");
    for (name, text) in [("s.crt", certificate.expect("signed").pem()), ("s.key", key.serialize_pem())] {
        let file = directory.path().join(name);
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("private");
        chown(&file, Some(owner.uid()), Some(owner.gid())).expect("given to the server");
        let setting = if name == "s.crt" { "ssl_cert_file" } else { "ssl_key_file" };
        let sql = format!("alter system set {setting} = '{}'", file.display());
        admin.batch_execute(&sql).await.expect("set");
    }
    admin.batch_execute("alter system set ssl = on").await.expect("set");
    admin.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    eventually("the server speaks TLS", async || {
        let client = pair.server.admin().await;
        client.query_one("show ssl", &[]).await.expect("asked").get::<_, String>(0) == "on"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_encrypted_where_the_url_asks_for_it() {
    use std::os::unix::fs::PermissionsExt;
    // Where the server finds it.
    let mut builder = tempfile::Builder::new();
    let directory = builder.permissions(PermissionsExt::from_mode(0o755)).tempdir_in("/tmp").expect("a directory");
    let mut pair = Pair::new("create table facts (id int primary key)").await;
    if pair.app.rows("select setting from pg_settings where name = 'ssl_library'").await == [""] {
        eprintln!("skipped: this server was built without TLS");
        return;
    }
    let url = pair.settings.url.clone();
    pair.settings.url = format!("{url}?sslmode=require");
    let engine = pair.engine();
    assert!(setup::start(&engine.source, &engine.publisher, &engine.local).await.is_err(), "it has no TLS yet");
    speak_tls(&pair, &directory).await;
    pair.start().await;
    pair.do_there("insert into facts values (1)").await;
    pair.until_same(1).await;
    let encrypted = "select count(*) from pg_stat_ssl join pg_stat_replication using (pid) where ssl";
    let admin = pair.server.admin().await;
    eventually("the stream is encrypted", async || {
        admin.query_one(encrypted, &[]).await.expect("asked").get::<_, i64>(0) == 1
    })
    .await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_here_delays_a_change_and_loses_nothing() {
    let mut pair = Pair::new(SHOP).await;
    pair.start().await;
    pair.until_same(3).await;
    let long = "begin; select count(*) from shop.orders";
    pair.here.client.batch_execute(long).await.expect("begun");
    pair.do_there("alter table orders add column weight int default 4; insert into orders values (1, 2000)").await;
    let other = super::support::connect(&pair.here.url).await;
    eventually("it is told what is waited for", async || {
        let sql = "select count(*) from sync.replications where error like '%lock timeout%'";
        other.query_one(sql, &[]).await.expect("asked").get::<_, i64>(0) == 1
    })
    .await;
    pair.here.client.batch_execute("commit").await.expect("ended");
    pair.until_same(3).await;
    assert_eq!(pair.here.number("select sum(weight) from shop.orders").await, 4 * 1001);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_one_table_here() {
    let sql = "create table facts (id int, day date, line text, primary key (id, day)) partition by range (day);
        create table facts_1 partition of facts for values from ('2026-01-01') to ('2026-02-01');
        create table facts_2 partition of facts for values from ('2026-02-01') to ('2026-03-01');
        insert into facts select i, date '2026-01-01' + i % 50, 'x' from generate_series(1, 1000) i;
        create table parent (id int primary key, a int); create table child (b int, primary key (id)) inherits (parent);
        insert into parent values (1, 1); insert into child values (2, 2, 2)";
    let mut pair = Pair::new(sql).await;
    pair.start().await;
    let same = async || {
        let digest = |table: &str| {
            format!("select count(*) || ' ' || sum(hashtext(t::text)) from (select id, day, line from {table}) t")
        };
        pair.app.rows(&digest("facts")).await == pair.here.rows(&digest("shop.facts")).await
    };
    pair.here.until("select count(*) from sync.tables where state = 'live'", 3).await;
    eventually("the copy", same).await;
    pair.do_there("create table facts_3 partition of facts for values from ('2026-03-01') to ('2026-04-01')").await;
    for sql in [
        "insert into facts select i, '2026-03-07', 'new' from generate_series(1, 10) i",
        "update facts set line = 'y' where id < 20",
        "update facts set day = '2026-03-09' where id = 500",
        "delete from facts where id = 600",
    ] {
        pair.do_there(sql).await;
    }
    eventually("the changes", same).await;
    assert_eq!(pair.here.number("select count(*) from shop.parent").await, 1, "not its children's rows");
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_stopped_in_the_midst_of_a_copy() {
    let sql = "create table facts (id int primary key, line text);
        insert into facts select i, md5(i::text) from generate_series(1, 1500000) i";
    let mut pair = Pair::new(sql).await;
    pair.start().await;
    pair.here.until("select count(*) from sync.tables where state = 'copy' and copied_rows > 0", 1).await;
    let engine = pair.engine();
    let stopped = setup::stop(&engine.source, &engine.publisher, &engine.local, true).await.expect("stopped");
    assert!(stopped.error.is_none() && stopped.kept.is_empty(), "{stopped:?}");
    assert_eq!(pair.app.number("select count(*) from pg_replication_slots").await, 0);
    assert_eq!(pair.here.number("select count(*) from pg_namespace where nspname = 'shop'").await, 0);
    pair.halt().await;
}
