//! The application's tables change while it writes to them, and servers die meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use super::pair::Pair;
use super::support::server::{End, Server};

pub const TABLES: &str = "
    create type plan as enum ('free', 'pro');
    create table users (id bigserial primary key, name varchar(20), plan plan default 'free', score int default 1, junk text);
    create table orders (id serial primary key, user_id bigint, total int, note text);
    create table items (order_id int, line int, sku text, primary key (order_id, line));
    insert into users (name, score) select 'user ' || i, i from generate_series(1, 2000) i;
    insert into orders (user_id, total, note) select i, i * 3, 'note ' || i from generate_series(1, 3000) i;
    insert into items select i, i % 5, 'sku ' || i from generate_series(1, 3000) i;";

/// Forty migrations as applications make them: each is one statement or transaction.
pub const MIGRATIONS: [&str; 40] = [
    "alter table users add column country text",
    "alter table users add column active boolean not null default true",
    "alter table users add column token uuid default md5(random()::text)::uuid",
    "alter table orders rename column note to remark",
    "alter table orders alter column total type bigint",
    "alter table users alter column name type varchar(80)",
    "alter table users alter column name type text",
    "alter table users drop column junk",
    "alter table orders add column currency char(3) not null default 'EUR'",
    "create table coupons (code text primary key, percent int); insert into coupons select 'c' || i, i from generate_series(1, 50) i",
    "alter table items rename to order_lines",
    "alter table order_lines add column quantity smallint not null default 1",
    "alter table order_lines alter column quantity type int",
    "alter type plan add value 'team'",
    "alter table users add column created timestamptz not null default '2026-01-01 00:00:00+00'",
    "alter table orders alter column total type numeric(14,2)",
    "alter table orders alter column total type text using total::text || ' EUR'",
    "alter table users rename column country to region; alter table users add column country text default 'de'",
    "alter table users add column a int default 1, add column b int default 2",
    "begin; alter table users rename column a to tmp; alter table users rename column b to a; alter table users rename column tmp to b; commit",
    "alter table users drop column a; alter table users add column a text default 'again'",
    "alter table coupons rename column percent to rate",
    "alter table coupons alter column rate type numeric using rate / 100.0",
    "create table events (id bigserial primary key, kind text); insert into events (kind) select 'k' from generate_series(1, 20)",
    "alter table events add column payload jsonb not null default '{\"v\": 1}'",
    "alter table events add column at timestamptz default clock_timestamp()",
    "alter table users alter column plan drop default; alter table users alter column plan type text using plan::text || '!'",
    "drop table coupons; create table coupons (code text primary key, label text); insert into coupons values ('x', 'y')",
    "create index on orders (user_id); alter table orders add constraint positive check (id > 0)",
    "alter table order_lines drop constraint items_pkey, add primary key (order_id, line, sku)",
    "create table audit (line text)",
    "alter table events rename to facts; alter table facts rename column kind to sort",
    "alter table users alter column score type bigint",
    "alter table users add column double_score bigint generated always as (score * 2) stored",
    "update users set region = 'eu' where id % 3 = 0",
    "begin; alter table facts add column x int default 5; insert into facts (sort) values ('in between'); alter table facts drop column x; commit",
    "truncate facts; insert into facts (sort) values ('new')",
    "alter table orders drop column currency; alter table orders add column currency text",
    "vacuum full orders",
    "alter table facts replica identity full",
];

/// Statements of the application's, each right for whatever the tables are just then.
const WRITES: [&str; 9] = [
    "insert into users (score) values (7)",
    "insert into users (score) select 3 from generate_series(1, 5)",
    "update users set score = score + 1 where id = (select max(id) - $1 from users)",
    "delete from users where id = (select min(id) from users)",
    "insert into orders (user_id) values ($1)",
    "update orders set user_id = user_id + $1 where id % 500 = 3",
    "delete from orders where id = (select max(id) - 1 from orders)",
    "insert into orders (user_id) select i from generate_series(1, 20) i",
    "update users set id = id + 10000000 where id = (select min(id) + 5 from users)",
];

/// Writes without a pause until it is told to end.
struct Application {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Application {
    fn start(url: String) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (halt, count) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            let mut number = 0_usize;
            'connections: while !halt.load(Ordering::Relaxed) {
                let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
                    // Its server was killed: that is not our doing.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                tokio::spawn(connection);
                while !halt.load(Ordering::Relaxed) {
                    let sql = WRITES[number % WRITES.len()].replace("$1", &(number % 97).to_string());
                    number += 1;
                    match client.batch_execute(&sql).await {
                        Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                        Err(error)
                            if error.as_db_error().is_none_or(|error| error.code().code().starts_with("57P")) =>
                        {
                            continue 'connections;
                        }
                        Err(error) => failures.push(format!("{sql}: {error:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            failures
        });
        Self { stop, written, task }
    }

    /// Statements that succeeded, and those that did not.
    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.expect("no panic");
        (self.written.load(Ordering::Relaxed), failures)
    }
}

/// Runs a migration as a tool does: again, if its server was away.
pub async fn migrate(pair: &Pair, sql: &str) {
    // `alter type add value` and `vacuum` stand alone; the others are in order.
    if sql.starts_with("begin") || sql.contains("vacuum") || sql.contains("add value") {
        pair.do_there(sql).await;
    } else {
        pair.do_there(&format!("begin; {sql}; commit")).await;
    }
}

const VIEWS: &str = "
    create role analyst_DB;
    create view shop.totals as select user_id, count(*) as orders, max(total) as biggest from shop.orders group by user_id;
    comment on view shop.totals is 'by user';
    create materialized view shop.by_score as select score, count(*) as users from shop.users group by score;
    create unique index by_score_score on shop.by_score (score);
    create view shop.above as select * from shop.by_score where users > 1;
    grant select on shop.totals, shop.above to analyst_DB;
    grant select (score) on shop.by_score to analyst_DB;";

const VIEW_STATE: &str = "
    select c.relname, c.relkind, pg_get_userbyid(c.relowner), obj_description(c.oid),
           (select string_agg(pg_get_indexdef(indexrelid), ';') from pg_index where indrelid = c.oid),
           (select string_agg(concat_ws('/', g.grantee::regrole, g.privilege_type), ';' order by 1)
              from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g),
           (select string_agg(attname || attacl::text, ';') from pg_attribute where attrelid = c.oid and attacl is not null)
      from pg_class c where c.relnamespace = 'shop'::regnamespace and c.relkind in ('v', 'm') order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn forty_migrations_while_the_application_writes() {
    let mut pair = Pair::new(TABLES).await;
    pair.start().await;
    pair.until_same(3).await;
    let admin = super::support::connect(&super::support::superuser_url()).await;
    let (role, views) = VIEWS.trim().split_once(';').expect("statements");
    admin.batch_execute(&role.replace("DB", &pair.here.name)).await.expect("role made");
    pair.here.client.batch_execute(&views.replace("DB", &pair.here.name)).await.expect("views made");
    let before = pair.here.rows(VIEW_STATE).await;
    assert_eq!(before.len(), 3);

    let application = Application::start(pair.app.url.clone());
    for (number, migration) in MIGRATIONS.iter().enumerate() {
        migrate(&pair, migration).await;
        // Some at once, some after they have been seen.
        if number % 3 != 0 {
            tokio::time::sleep(Duration::from_millis(150 * (number as u64 % 4))).await;
        }
    }
    let (written, failures) = application.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    pair.until_same(5).await;

    let left_out = pair.here.rows("select remote, state from sync.tables where state <> 'live' order by 1").await;
    assert_eq!(left_out, ["public.audit|left out"]);
    assert_eq!(pair.here.rows(VIEW_STATE).await, before, "views stay, with all that is theirs");
    assert_eq!(pair.here.rows("select * from sync.broken_views").await, Vec::<String>::new());
    let types = "select pg_typeof(score), (select pg_typeof(total) from shop.orders limit 1) from shop.users limit 1";
    assert_eq!(pair.here.rows(types).await, ["bigint|text"]);
    // What was dropped there stays here.
    assert!(pair.here.number("select count(*) from shop.users where score < 2000").await > 0);
    let errors = pair.here.rows("select errors, error from sync.replications").await;
    let copies = pair.here.number("select count(*) from sync.changes where change = 'copied anew'").await;
    println!("{written} statements beside {} migrations; errors: {errors:?}, copied anew: {copies}", MIGRATIONS.len());
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_server_dies_again_and_again() {
    let mut warehouse = Server::new().await;
    let here = warehouse.make_database(None).await;
    let mut pair = Pair::with(TABLES, "", here).await;
    pair.start().await;
    let application = Application::start(pair.app.url.clone());
    for round in 0..6_u64 {
        pair.do_there(MIGRATIONS[round as usize]).await;
        tokio::time::sleep(Duration::from_millis(170 * (round + 1))).await;
        if round % 2 == 0 {
            pair.server.end(End::Kill);
            pair.server.start().await;
            pair.app = pair.server.database().await;
        } else {
            warehouse.end(End::Kill);
            warehouse.start().await;
            pair.here = warehouse.database().await;
        }
    }
    let (written, failures) = application.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(written > 50, "{written}");
    pair.until_same(3).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_dies_anywhere_loses_nothing() {
    let mut pair = Pair::new(TABLES).await;
    pair.start().await;
    let application = Application::start(pair.app.url.clone());
    for round in 0..20_u64 {
        tokio::time::sleep(Duration::from_millis(37 * (round % 7))).await;
        pair.kill().await;
        if let Some(migration) = MIGRATIONS.get(round as usize) {
            pair.do_there(migration).await;
        }
        pair.run();
    }
    let (_, failures) = application.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    pair.until_same(4).await;
    pair.halt().await;
}

/// A few of the application's statements.
pub async fn write_some(pair: &Pair, round: usize) {
    for (number, sql) in WRITES.iter().enumerate() {
        pair.do_there(&sql.replace("$1", &(round + number).to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_each_migration_all_is_the_same() {
    let mut pair = Pair::new(TABLES).await;
    pair.start().await;
    let mut tables = 3;
    pair.until_same(tables).await;
    for (round, migration) in MIGRATIONS.iter().enumerate() {
        write_some(&pair, round).await;
        migrate(&pair, migration).await;
        write_some(&pair, round).await;
        tables +=
            i64::from(migration.starts_with("create table coupons") || migration.starts_with("create table events"));
        println!("{migration}");
        pair.until_same(tables).await;
    }
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_was_away_for_all_of_them_finds_its_way() {
    let mut pair = Pair::new(TABLES).await;
    pair.start().await;
    pair.until_same(3).await;
    for half in MIGRATIONS.chunks(20) {
        pair.halt().await;
        for (round, migration) in half.iter().enumerate() {
            write_some(&pair, round).await;
            migrate(&pair, migration).await;
            write_some(&pair, round).await;
        }
        pair.run();
        let tables = pair.app.number("select count(*) from pg_publication_tables").await;
        assert!(tables >= 3);
        super::support::eventually("all is the same", async || pair.differences().await.is_empty()).await;
    }
    pair.until_same(5).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weirs_database_is_behind_pgbouncer_in_transaction_mode() {
    let Some(program) = super::support::tool("WEIR_TEST_PGBOUNCER") else { return };
    let mut here = super::support::TestDatabase::new().await;
    let bouncer = super::support::bouncer::Bouncer::start(&program, &here).await;
    here.url.clone_from(&bouncer.url);
    let mut pair = Pair::with(TABLES, "", here).await;
    pair.start().await;
    pair.until_same(3).await;
    let application = Application::start(pair.app.url.clone());
    for migration in MIGRATIONS {
        migrate(&pair, migration).await;
    }
    let (_, failures) = application.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    pair.until_same(5).await;
    assert_eq!(pair.here.rows("select errors, error from sync.replications").await, ["0|"]);
    pair.halt().await;
    bouncer.end().await;
}
