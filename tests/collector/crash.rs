//! The real program, killed at any moment: whoever heard `200` finds the row, once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::support::{TestDatabase, eventually, http};
use weir::database::Database;
use weir::sources;

const ROUNDS: usize = 5;

fn free_port() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("bound")
}

fn serve(database: &TestDatabase, journal: &std::path::Path, public: SocketAddr, admin: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["serve", "--listen", &public.to_string(), "--admin-listen", &admin.to_string()])
        .env("DATABASE_URL", &database.url)
        .env("WEIR_JOURNAL__DIR", journal)
        .env("WEIR_JOURNAL__SEGMENT_BYTES", "1048576")
        .env("WEIR_FLUSH__INTERVAL_MS", "20")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_doubled() {
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut settings = weir::Config::default().database;
    database.url.clone_into(&mut settings.url);
    let weir = Database::new(&settings, 1).expect("a valid URL");
    weir::database::migrate::run(&weir).await.expect("migrated");
    let key = sources::add(&weir, "web", &[]).await.expect("added").secret_key;
    let (public, admin) = (free_port(), free_port());

    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for round in 0..ROUNDS {
        let mut child = serve(&database, journal.path(), public, admin);
        eventually("the program is ready", async || tokio::net::TcpStream::connect(public).await.is_ok()).await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let key = key.clone();
        let client = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut id = next;
            while stopped.try_recv().is_err() {
                // Sent until acknowledged: a retry after a cut connection must not double it.
                let body = format!(r#"{{"name":"{id}","id":"{id}","timestamp":1700000000000}}"#);
                if try_post(public, &key, &body).await {
                    acknowledged.push(id);
                    id += 1;
                }
            }
            (acknowledged, id)
        });
        tokio::time::sleep(Duration::from_millis(150 + 170 * round as u64)).await;
        child.kill().await.expect("ours to kill");
        stop.send(()).expect("the client runs");
        let (more, id) = client.await.expect("no panic");
        acknowledged.extend(more);
        next = id;
    }
    let mut child = serve(&database, journal.path(), public, admin);
    eventually("all is stored", async || {
        let found = database.rows("select name from analytics.events").await;
        let found: BTreeSet<i64> = found.iter().map(|name| name.parse().expect("a number")).collect();
        acknowledged.is_subset(&found)
    })
    .await;
    assert!(acknowledged.len() > ROUNDS, "too few: {}", acknowledged.len());
    let doubled = "select count(*) from (select name from analytics.events group by name having count(*) > 1) twice";
    assert_eq!(database.number(doubled).await, 0);
    let unexplained = "select unexplained + pending from weir.accounting";
    database.until(unexplained, 0).await;
    child.kill().await.expect("ours to kill");
}

async fn try_post(address: SocketAddr, key: &str, body: &str) -> bool {
    let request = format!(
        "POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    match tokio::net::TcpStream::connect(address).await {
        Ok(_) => http::raw(address, request.as_bytes()).await.starts_with(b"HTTP/1.1 200"),
        Err(_) => false,
    }
}
