//! The whole way through PgBouncer in transaction mode, which shares server connections between transactions.

use std::process::Stdio;

use crate::support::{TestCollector, TestDatabase, config, eventually, tool};
use weir::database::Database;
use weir::decode::webhook::Service;
use weir::sources::webhooks;

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_in_transaction_mode() {
    let Some(program) = tool("WEIR_TEST_PGBOUNCER") else {
        return;
    };
    let database = TestDatabase::new().await;
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("bound").port()
    };
    let settings = format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 50\n",
        database.address().ip(),
        database.address().port()
    );
    // With `auth_type = any` the connection to the server is made as the user named here.
    let name = &database.name;
    let settings = settings.replace("* = host", &format!("{name} = user={name} password=secret host"));
    let file = directory.path().join("pgbouncer.ini");
    std::fs::write(&file, settings).expect("written");
    let mut command = tokio::process::Command::new(program);
    command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if weir_is_root() {
        // Like PostgreSQL it refuses to run as root.
        command.args(["-u", "nobody"]);
    }
    let mut bouncer = command.spawn().expect("PgBouncer starts");
    let url = format!("postgres://{name}:secret@127.0.0.1:{port}/{name}");
    eventually("PgBouncer answers", async || tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok()).await;

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
    bouncer.kill().await.expect("ours to end");
}

fn weir_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
