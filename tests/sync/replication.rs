//! An application's PostgreSQL, replicated.

use weir::sync::postgres::check::{Level, check};
use weir::sync::postgres::setup;

use super::pair::Pair;

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
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_hurt_is_told_with_its_cure() {
    let pair = Pair::with(SHOP, "wal_level = replica\n", super::support::TestDatabase::new().await).await;
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
