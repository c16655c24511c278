//! Other versions of PostgreSQL on either side: `WEIR_TEST_OTHER_POSTGRES_BIN` names the directory of one's programs, as
//! `scripts/postgres-bin --wheel DIR` prints it. And a copy of many rows, which takes minutes.

use std::time::Instant;

use super::migrations::{MIGRATIONS, TABLES, migrate, write_some};
use super::pair::{LOGICAL, Pair};
use super::support::server::Server;
use super::support::{TestDatabase, eventually};

fn other() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("WEIR_TEST_OTHER_POSTGRES_BIN").map(std::path::PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: WEIR_TEST_OTHER_POSTGRES_BIN is not set");
    }
    path
}

async fn all_migrations(pair: &mut Pair) {
    let version = "select current_setting('server_version_num')::bigint / 10000";
    let (there, here) = (pair.app.number(version).await, pair.here.number(version).await);
    assert_ne!(there, here, "two versions");
    println!("PostgreSQL {there} to {here}");
    pair.start().await;
    pair.until_same(3).await;
    let can = |migration: &&&str| there >= 12 || !migration.contains("generated always as (");
    for (round, migration) in MIGRATIONS.iter().filter(can).enumerate() {
        write_some(pair, round).await;
        migrate(pair, migration).await;
        write_some(pair, round).await;
    }
    pair.until_same(5).await;
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publisher_is_of_another_version() {
    let Some(programs) = other() else { return };
    let server = Server::start_from(programs, LOGICAL).await;
    let mut pair = Pair::on(server, TABLES, TestDatabase::new().await).await;
    all_migrations(&mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weirs_database_is_of_another_version() {
    let Some(programs) = other() else { return };
    let warehouse = Server::start_from(programs, "").await;
    let here = warehouse.make_database(None).await;
    let mut pair = Pair::with(TABLES, "", here).await;
    all_migrations(&mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "five million rows: minutes, and 3 GB of disk"]
async fn five_million_rows() {
    const ROWS: i64 = 5_000_000;
    let sql = format!(
        "create table facts (id bigint primary key, name text, total numeric(12,2), at timestamptz default now(), extra jsonb);
         insert into facts select i, 'name ' || i, i / 7.0, now(), jsonb_build_object('n', i) from generate_series(1, {ROWS}) i"
    );
    let mut pair = Pair::new(&sql).await;
    let began = Instant::now();
    pair.start().await;
    eventually_long(&pair).await;
    let copied_s = began.elapsed().as_secs_f64();
    println!("{ROWS} rows copied in {copied_s:.1} s: {:.0} rows/s", ROWS as f64 / copied_s);
    assert_eq!(pair.here.number("select count(*) from shop.facts").await, ROWS);

    let began = Instant::now();
    let changed = ROWS / 5;
    pair.do_there(&format!("update facts set total = total + 1 where id <= {changed}")).await;
    let written_s = began.elapsed().as_secs_f64();
    let sql = format!("select count(*) from shop.facts where id = {changed} and total = round({changed} / 7.0, 2) + 1");
    while pair.here.number(&sql).await == 0 {
        assert!(began.elapsed().as_secs() < 600, "the changes do not come");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let s = began.elapsed().as_secs_f64();
    println!("{changed} updates in one transaction: {written_s:.1} s there, here {s:.1} s after its begin");
    eventually("all is the same", async || pair.differences().await.is_empty()).await;
    pair.halt().await;
}

async fn eventually_long(pair: &Pair) {
    while pair.here.number("select count(*) from sync.tables where state = 'live'").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
