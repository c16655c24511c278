//! What an application's PostgreSQL may do that few do: each of these once cost rows, or stopped everything.

use super::pair::Pair;
use super::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_only_written_differently_keeps_its_row() {
    let mut pair =
        Pair::new("create table p (k numeric primary key, v text); insert into p values (1.0, 'x'), (2, 'y')").await;
    pair.start().await;
    pair.until_same(1).await;
    pair.do_there("update p set k = 1.00 where v = 'x'; update p set k = 3 where k = 2").await;
    pair.until_same(1).await;
    assert_eq!(pair.here.rows("select k, v from shop.p order by k").await, ["1.00|x", "3|y"]);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_given_up_with_its_column() {
    let mut pair = Pair::new("create table t (id int primary key, v text); insert into t values (1, 'a')").await;
    pair.start().await;
    pair.until_same(1).await;
    pair.do_there(
        "begin; alter table t add uuid uuid not null default gen_random_uuid();
                   alter table t drop constraint t_pkey, add primary key (uuid); alter table t drop column id; commit;
                   insert into t (v) values ('b')",
    )
    .await;
    pair.until_same(1).await;
    eventually("both rows are here", async || {
        pair.here.number("select count(*) from shop.t where uuid is not null").await == 2
    })
    .await;
    // A default goes with its column, too.
    pair.do_there("alter table t add n int default 2; insert into t (v) values ('c')").await;
    pair.until_same(1).await;
    pair.do_there("alter table t drop column n; insert into t (v) values ('d')").await;
    pair.until_same(1).await;
    assert_eq!(pair.here.rows("select v, n from shop.t order by v").await, ["a|2", "b|2", "c|2", "d|"]);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_hides_rows_is_told_and_hides_none() {
    let mut pair =
        Pair::new("create table t (id int primary key, owner text); insert into t values (1, 'a'), (2, 'b')").await;
    pair.do_there(
        "alter table t enable row level security; alter table t force row level security;
                   create policy own on t using (owner = 'a')",
    )
    .await;
    pair.start().await;
    eventually("it is told", async || {
        pair.here.rows("select error from sync.replications").await.join("").contains("row-level security")
    })
    .await;
    assert_eq!(pair.here.number("select count(*) from shop.t").await, 0);
    pair.do_there("alter table t no force row level security").await;
    pair.until_same(1).await;
    assert_eq!(pair.here.number("select count(*) from shop.t").await, 2);
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_ways_to_write_dates_change_none() {
    let sql = "create table t (id int primary key, at timestamp, lasts interval); insert into t values (1, '2026-03-02 10:00', '-1 day 2 hours')";
    let mut pair = Pair::new(sql).await;
    pair.do_there(
        "alter database weir set datestyle = 'SQL, DMY'; alter database weir set intervalstyle = 'iso_8601';
                   alter database weir set timezone = 'Asia/Tokyo'",
    )
    .await;
    let name = pair.here.name.clone();
    let here = format!(
        "alter database {name} set timezone = 'America/New_York'; alter database {name} set datestyle = 'German'"
    );
    pair.here.client.batch_execute(&here).await.expect("set");
    pair.start().await;
    pair.until_same(1).await;
    // What was there before has its default from the catalog; both settings read it by their own ways.
    pair.do_there("alter table t add d date default '2026-03-02'; alter table t add w timestamptz default '2026-07-01 00:00+00';
                   set timezone = 'UTC'; alter table t alter at type timestamptz; insert into t values (2, '2026-03-02 10:00+00')").await;
    pair.until_same(1).await;
    let sql =
        "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; select id, at, lasts, d, w from ";
    let there = pair.app.rows(&format!("{sql} t order by id")).await;
    assert_eq!(pair.here.rows(&format!("{sql} shop.t order by id")).await, there);
    assert_eq!(there[0], "1|2026-03-02 10:00:00+00|-1 days +02:00:00|2026-03-02|2026-07-01 00:00:00+00");
    pair.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_ones_own_may_be_unique() {
    let mut pair =
        Pair::new("create table u (id int primary key, email text unique); insert into u values (1, 'a@x')").await;
    pair.start().await;
    pair.until_same(1).await;
    pair.here.client.batch_execute("create unique index on shop.u (email)").await.expect("made");
    pair.do_there("begin; delete from u where id = 1; insert into u values (2, 'a@x'); commit").await;
    pair.until_same(1).await;
    assert_eq!(pair.here.rows("select id from shop.u").await, ["2"]);
    pair.halt().await;
}
