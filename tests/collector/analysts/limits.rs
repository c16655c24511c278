//! What a person's session must not do for long, whatever it has set for itself.

use std::time::Duration;

use tokio_postgres::Client;
use weir::analyst::person;
use weir::analyst::remove::{Belongings, remove};

use super::{Team, code};
use crate::support::{TestCollector, config, eventually, first_source, http, within};

/// Of the rollups' runner: "roll" in ASCII.
const RUNNER_LOCK: i64 = 0x726f_6c6c;
/// What any of a Singer source's begins with: "sync" in ASCII.
const SOURCE_LOCKS: i64 = 0x7379_6e63 << 32;

async fn start(team: &Team, change: impl FnOnce(&mut weir::Config)) -> (TestCollector, tempfile::TempDir) {
    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&team.database.url, journal.path());
    change(&mut config);
    let keys = first_source(&team.database.url).await;
    (TestCollector::start_with(config, keys).await.expect("it starts"), journal)
}

async fn is_counted(collector: &TestCollector, reason: &str) -> bool {
    let text = http::get(collector.admin, "/metrics", &[]).await.text();
    text.lines().any(|line| line.starts_with(&format!("weir_analyst_cancelled_total{{reason=\"{reason}\"}}")))
}

/// A session hears of its end before that is counted.
async fn ended(collector: &TestCollector, reason: &str) {
    eventually(reason, async || is_counted(collector, reason).await).await;
}

/// A session without any limit of its own.
async fn unlimited(team: &Team, name: &str) -> Client {
    let client = team.client(name).await;
    let none = "set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0";
    client.batch_execute(none).await.expect("anybody may");
    // Since PostgreSQL 17.
    let sql = "select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'";
    client.batch_execute(sql).await.expect("anybody may");
    client
}

/// Waits until the session is gone.
async fn gone(what: &str, client: &Client) {
    within(what, async {
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_ends_what_limits_do_not() {
    let team = Team::new().await;
    let alice = team.add("alice").await;
    let (collector, _journal) = start(&team, |config| {
        config.analyst.statement_timeout_s = 1;
        config.analyst.idle_in_transaction_timeout_s = 1;
    })
    .await;

    let (long, stuck) = (unlimited(&team, &alice).await, unlimited(&team, &alice).await);
    let (idle, holds, waits) =
        (unlimited(&team, &alice).await, unlimited(&team, &alice).await, unlimited(&team, &alice).await);
    idle.batch_execute("begin; select count(*) from analytics.events").await.expect("begun");
    let take = async |key: i64| format!("select pg_advisory_lock({key})");
    holds.batch_execute(&take(RUNNER_LOCK).await).await.expect("anybody may");
    waits.batch_execute(&take(SOURCE_LOCKS | 7).await).await.expect("anybody may");
    // Not a person's: weir's own role works as long as it likes.
    let weir = async { team.database.client.batch_execute("select pg_sleep(15)").await };
    let long = async { long.batch_execute("select pg_sleep(600)").await };
    let stuck = async {
        let sql = "do $$ begin loop begin perform pg_sleep(600); exception when query_canceled then null; end; end loop; end $$";
        stuck.batch_execute(sql).await
    };
    let (weir, long, stuck, (), (), ()) = within("all of them end", async {
        tokio::join!(
            weir,
            long,
            stuck,
            gone("an idle transaction", &idle),
            gone("a lock of weir's", &holds),
            gone("a lock of a source's", &waits)
        )
    })
    .await;
    weir.expect("weir's session is left alone");
    assert_eq!(code(&long.expect_err("cancelled")), "57014");
    assert_ne!(code(&stuck.expect_err("ended")), "57014");
    for reason in ["statement", "stuck", "idle_in_transaction", "advisory_lock"] {
        ended(&collector, reason).await;
    }
    assert!(!is_counted(&collector, "transaction").await);
    collector.stop().await;
    team.end().await;
}

/// A role that is there already under that name is nobody's to take.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_role_does_not_stand_in_for_a_person() {
    let team = Team::new().await;
    let superuser = team.superuser().await;
    let person = team.name("alice");
    let role = format!("{}_for_{person}", team.database.name);
    let add = async || person::add(&team.weir, &team.settings, &person, false, None).await;
    // By weir's role: since 16 only who made a role may change it.
    team.database.client.batch_execute(&format!("create role {role} login")).await.expect("made");
    superuser.batch_execute(&format!("alter role {role} createdb")).await.expect("changed");
    let error = add().await.expect_err("it may more than a stand-in").to_string();
    assert!(error.contains(&role) && error.contains("rename"), "{error}");
    // As a command leaves it that was interrupted.
    superuser.batch_execute(&format!("alter role {role} nocreatedb")).await.expect("changed");
    add().await.expect("taken up again");
    add().await.expect("it is known now");
    team.end().await;
}

/// As whom scheduled queries log in is no way around anything.
#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_for_a_person_ends_with_them() {
    let team = Team::new().await;
    let (alice, weir) = (team.add("alice").await, &team.database.client);
    let role = format!("{}_for_{alice}", team.database.name);
    let acts_as = async |client: &Client| -> String {
        client.query_one("select current_user::text", &[]).await.expect("asked").get(0)
    };
    let kept = async || -> String {
        let sql = "select password from weir.stand_ins where role = $1";
        weir.query_one(sql, &[&role]).await.expect("there is one").get(0)
    };
    let (collector, _journal) = start(&team, |config| config.analyst.statement_timeout_s = 1).await;
    let client = unlimited(&team, &role).await;
    assert_eq!(acts_as(&client).await, alice);
    let error = within("it ends", client.batch_execute("select pg_sleep(600)")).await.expect_err("cancelled");
    assert_eq!(code(&error), "57014");
    ended(&collector, "statement").await;
    collector.stop().await;

    // A person's own query makes it a login of theirs.
    client
        .batch_execute("set role none; alter role current_user password 'known to alice'")
        .await
        .expect("anybody may");
    let before = kept().await;
    person::rotate(&team.weir, &team.settings, &alice, None).await.expect("rotated");
    gone("a session before the rotation", &client).await;
    assert_ne!(kept().await, before);
    let client = team.client(&role).await;
    let before = kept().await;
    person::set_enabled(&team.weir, &team.settings, &alice, false).await.expect("disabled");
    gone("a session of somebody disabled", &client).await;
    assert_eq!(code(&team.log_in(&role).await.expect_err("disabled")), "28000");
    person::set_enabled(&team.weir, &team.settings, &alice, true).await.expect("enabled");
    assert_ne!(kept().await, before);
    let client = team.client(&role).await;
    remove(&team.weir, &team.settings, &alice, Belongings::Refuse).await.expect("removed");
    gone("a session of somebody removed", &client).await;
    assert!(team.log_in(&role).await.is_err());
    team.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_ends_however_busy_it_is() {
    let team = Team::new().await;
    let alice = team.add("alice").await;
    let (collector, _journal) = start(&team, |config| config.analyst.transaction_timeout_s = 1).await;
    let busy = unlimited(&team, &alice).await;
    busy.batch_execute("begin; select count(*) from analytics.events").await.expect("begun");
    within("the transaction ends", async {
        while busy.batch_execute("select 1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    ended(&collector, "transaction").await;
    collector.stop().await;
    team.end().await;
}
