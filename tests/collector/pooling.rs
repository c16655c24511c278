//! The whole way through PgBouncer in transaction mode, which shares server connections between transactions.

use crate::support::bouncer::Bouncer;
use crate::support::{TestCollector, TestDatabase, config, tool};
use weir::database::Database;
use weir::decode::webhook::Service;
use weir::sources::webhooks;

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_in_transaction_mode() {
    let Some(program) = tool("WEIR_TEST_PGBOUNCER") else {
        return;
    };
    let database = TestDatabase::new().await;
    let bouncer = Bouncer::start(&program, &database).await;
    let url = bouncer.url.clone();

    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&url, journal.path());
    config.flush.lanes = 2;
    let collector = TestCollector::start(config.clone()).await;
    for n in 0..60 {
        // Some ids twice, so that the careful way with its temporary table is gone too.
        let answer = collector.post(&format!(r#"[{{"name":"a","id":"{n}"}},{{"name":"b"}}]"#)).await;
        assert_eq!(answer.status, 200);
    }
    database.until_stored(120).await;
    let constraint = "alter table analytics.events add constraint c check (name <> 'poison')";
    database.client.batch_execute(constraint).await.expect("added");
    collector.post(r#"[{"name":"poison"},{"name":"fine"}]"#).await;
    database.until_accounted(122, 121, 0, 1).await;
    let weir = Database::new(&config.database, 1).expect("a valid URL");
    database.client.batch_execute("alter table analytics.events drop constraint c").await.expect("dropped");
    assert_eq!(weir::flush::quarantine::replay(&weir, None).await.expect("replayed").stored, 1);
    for n in 0..6 {
        let secret = format!("secret number {n}");
        webhooks::add(&weir, "web", Service::Stripe, &secret, Some(0)).await.expect("a secret for the last");
    }
    assert_eq!(database.number("select count(*) from weir.webhook_secrets").await, 1);
    webhooks::remove(&weir, "web", Service::Stripe).await.expect("removed");
    collector.stop().await;
    bouncer.end().await;
}
