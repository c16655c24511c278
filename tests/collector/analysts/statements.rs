//! What people's statements take, counted on a server that counts.

use tokio_postgres::Client;
use weir::analyst::people::people;
use weir::analyst::settings::Analyst;
use weir::analyst::usage::{Week, count, missing, usage};
use weir::analyst::{login, person};
use weir::config::Config;
use weir::database::{Database, migrate};

use crate::support::connect;
use crate::support::server::Server;

async fn booked(client: &Client) -> Vec<(String, Option<i64>, Option<i64>)> {
    let weeks = usage(client, 1).await.expect("asked");
    weeks.into_iter().map(|Week { person, statements, rows, .. }| (person, statements, rows)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_counted_by_person_and_week() {
    let server = Server::start_with("shared_preload_libraries = pg_stat_statements\nlog_statement = all").await;
    let database = server.make_database(None).await;
    let admin = server.admin().await;
    admin.batch_execute("alter role weir createrole").await.expect("made");
    let superuser = connect(&format!("postgres://postgres@{}/weir", server.address())).await;
    superuser.batch_execute("revoke create on schema public from public").await.expect("closed");
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let weir = Database::new(&settings, 1).expect("a valid URL");
    migrate::run(&weir).await.expect("migrated");
    let limits = Analyst::default();
    let password = person::add(&weir, &limits, "alice", false, None).await.expect("added").password.expect("made");
    person::add(&weir, &limits, "bob", false, None).await.expect("added");
    assert!(!server.log().contains(&password), "the password is in the server's log");
    let sql = "select password from weir.stand_ins where person = 'alice'";
    let stand_ins: String = superuser.query_one(sql, &[]).await.expect("there is one").get(0);
    assert!(!server.log().contains(&stand_ins), "and neither is the other one");
    assert!(server.log().contains("SCRAM-SHA-256$"), "the log shows statements: else this shows nothing");

    let by_alice = connect(&login::url(&database.url, "alice", "any")).await;
    let mut client = weir.client().await.expect("a connection");
    let told = missing(&client).await.expect("asked").expect("no extension");
    assert!(told.contains("create extension") && !told.contains("restart"), "{told}");
    count(&mut client).await.expect("sizes only");
    let nobody_counted = [("alice".to_owned(), None, None), ("bob".to_owned(), None, None)];
    assert_eq!(booked(&client).await, nobody_counted);

    superuser.batch_execute("create extension pg_stat_statements").await.expect("made");
    let told = missing(&client).await.expect("asked").expect("no right");
    assert!(told.contains("pg_read_all_stats"), "{told}");
    superuser.batch_execute("grant pg_read_all_stats to weir").await.expect("granted");
    assert_eq!(missing(&client).await.expect("asked"), None);
    by_alice.batch_execute("select pg_stat_statements_reset()").await.expect_err("not hers to reset");

    let run = async |times: u32| {
        for _ in 0..times {
            by_alice.query("select generate_series(1, 10)", &[]).await.expect("run");
        }
    };
    count(&mut client).await.expect("a base");
    superuser
        .batch_execute(
            "select pg_stat_statements_reset(); delete from weir.usage_days; delete from weir.usage_statements",
        )
        .await
        .expect("from nothing");
    run(3).await;
    by_alice.batch_execute("create table t as select generate_series(1, 100000) as n").await.expect("made");
    count(&mut client).await.expect("counted");
    count(&mut client).await.expect("nothing was added");
    let of_alice = |weeks: Vec<(String, Option<i64>, Option<i64>)>| {
        weeks.into_iter().find(|(person, ..)| person == "alice").map(|(_, statements, rows)| (statements, rows))
    };
    assert_eq!(of_alice(booked(&client).await), Some((Some(4), Some(100_030))));
    run(2).await;
    count(&mut client).await.expect("counted");
    assert_eq!(of_alice(booked(&client).await), Some((Some(6), Some(100_050))));
    // All counters begin anew: what is lower than it was counts from nothing.
    superuser.batch_execute("select pg_stat_statements_reset()").await.expect("reset");
    run(1).await;
    count(&mut client).await.expect("counted");
    assert_eq!(of_alice(booked(&client).await), Some((Some(7), Some(100_060))));

    let weeks = usage(&client, 1).await.expect("asked");
    let week = weeks.iter().find(|week| week.person == "alice").expect("counted");
    assert!(week.schema_bytes.is_some_and(|bytes| bytes > 3_000_000), "{week:?}");
    assert!(week.exec_seconds.is_some_and(|seconds| seconds > 0.0), "{week:?}");
    assert_eq!((week.statements_change, week.schema_bytes_change), (None, None));
    database
        .client
        .batch_execute(
            "insert into weir.usage_days (person, day, statements, exec_seconds, schema_bytes)
             select 'alice', (now() at time zone 'UTC')::date - 7, 5, 0, 1000",
        )
        .await
        .expect("the week before");
    let weeks = usage(&client, 1).await.expect("asked");
    let week = weeks.iter().find(|week| week.person == "alice").expect("counted");
    assert_eq!(
        (week.statements_change, week.schema_bytes_change),
        (Some(2), week.schema_bytes.map(|bytes| bytes - 1000))
    );
    let seen = people(&client).await.expect("listed");
    assert_eq!(seen.iter().map(|person| person.seen_at.is_some()).collect::<Vec<_>>(), [true, false]);
    let everybody = by_alice.query("select * from analytics.usage", &[]).await.expect("everybody reads it");
    assert_eq!(everybody.len(), 3);
}
