//! Other products' clients, as published, sending to weir: what their events become, and that a retry adds nothing.
//!
//! The clients are in `tests/sdk`: `make test` installs their packages.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;
use weir::sources;

use crate::support::http;
use crate::support::{PATIENCE, TestCollector, TestDatabase, collector, eventually, tool};

/// What the clients that have no key call their site.
pub const ALIAS: &str = "8a6f2c1e-0f4b-4c57-9a35-1f3b6f1d2c77";
/// With a start of Chromium and retries that wait.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a page stays whose first events failed: posthog-js waits three seconds, and as long again.
const RETRIES_WITHIN_MS: u32 = 8_000;

/// Where a client runs.
#[derive(Debug, Clone, Copy)]
enum Runs {
    Node,
    Python,
    Browser,
}

/// Whose rights it has.
#[derive(Debug, Clone, Copy)]
enum Key {
    Public,
    Secret,
}

pub fn sdk(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(path)
}

/// Runs the client against `address`; `None` if this machine cannot.
async fn run(client: &str, runs: Runs, address: SocketAddr, key: &str, fault: Option<Fault>) -> Option<String> {
    let mut command = match runs {
        Runs::Node => {
            let mut command = Command::new(tool("WEIR_TEST_NODE")?);
            command.arg(sdk(&format!("node/{client}.mjs")));
            command
        }
        Runs::Python => {
            let mut command = Command::new(tool("WEIR_TEST_PYTHON")?);
            command.arg(sdk(&format!("python/{client}.py")));
            command
        }
        Runs::Browser => {
            tool("WEIR_TEST_CHROMIUM")?;
            let mut command = Command::new(tool("WEIR_TEST_NODE")?);
            command.arg(sdk("browser.mjs")).arg(client);
            if let Some(fault) = fault {
                // Time to try again in.
                command.env("WEIR_FAULT", format!("{fault:?}")).arg(RETRIES_WITHIN_MS.to_string());
            }
            command
        }
    };
    command
        .env("WEIR_URL", format!("http://{address}"))
        .env("WEIR_KEY", key)
        .env("WEIR_ALIAS", ALIAS)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output =
        tokio::time::timeout(CLIENT_TIMEOUT, command.output()).await.expect("the client ends").expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client} failed: {said}");
    Some(said)
}

pub async fn start() -> (TestDatabase, TestCollector, tempfile::TempDir) {
    let (database, collector, journal) = collector(|_| {}).await;
    let weir = weir::database::Database::new(&collector.config.database, 1).expect("settings");
    for alias in [ALIAS, "127.0.0.1"] {
        sources::add_alias(&weir, "web", alias).await.expect("an alias");
    }
    let waits = format!("/api/event@{ALIAS}");
    eventually(&waits, async || {
        let body = format!(r#"{{"d":"{ALIAS}"}}"#);
        http::post(collector.address, "/api/event", &[], body.as_bytes()).await.status == 400
    })
    .await;
    (database, collector, journal)
}

impl Key {
    fn of(self, collector: &TestCollector) -> &str {
        match self {
            Self::Public => &collector.keys.public_key,
            Self::Secret => &collector.keys.secret_key,
        }
    }
}

/// What became of the requests and of their events, by the collector's own count.
async fn counted(collector: &TestCollector) -> String {
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    let said =
        |line: &&str| ["weir_requests_", "weir_events_", "weir_flush_"].iter().any(|name| line.starts_with(name));
    metrics.lines().filter(said).collect::<Vec<_>>().join("\n")
}

/// The rows as they are told apart: one a line, without what changes from run to run.
async fn rows(database: &TestDatabase) -> String {
    let mut rows = database
        .rows(
            "select jsonb_pretty(jsonb_strip_nulls(to_jsonb(e) - '{event_id,received_at,occurred_at,sent_at,source,host,path,query}'::text[]))
               from analytics.events e order by kind, name, occurred_at, properties::text, url",
        )
        .await;
    for row in &mut rows {
        *row = masked(row);
    }
    rows.sort();
    rows.join("\n")
}

/// Without ids, times, ports and versions.
fn masked(row: &str) -> String {
    let mut out = String::new();
    for line in row.lines() {
        let Some((name, value)) = line.split_once(": ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let value = value.replace(ALIAS, "[alias]");
        let text = value.trim_end_matches(',').trim_matches('"');
        let has_digits = text.bytes().filter(u8::is_ascii_digit).count();
        let is_made_up = text.len() >= 20 && !text.contains([' ', '/']) && has_digits >= 5
            || text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            // What weir makes of address and agent, with a salt of the day.
            || name.contains("\"visitor_id\"") && text.len() == 16 && !text.bytes().all(|byte| byte.is_ascii_hexdigit())
            // How long something took, and how often something may still be done.
            || name.ends_with("_ms\"") && !name.contains("configured")
            || name.contains("remaining_tokens")
            || name.contains("\"$") && text.contains('.') && text.parse::<f64>().is_ok()
            // Of the machine that the tests run on.
            || name.contains("\"brand\"")
            || name.contains("os_distro")
            || name.contains("insert_id")
            || name.contains("ersion")
            || text.starts_with("Mozilla/")
            || text.starts_with("pk_");
        let comma = if value.ends_with(',') { "," } else { "" };
        let value = if is_made_up { format!("[...]{comma}") } else { without_port(&value) };
        let _ = writeln!(out, "{name}: {value}");
    }
    out
}

fn without_port(value: &str) -> String {
    let Some((before, after)) = value.split_once("127.0.0.1:") else { return value.to_owned() };
    format!("{before}127.0.0.1{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// Runs a client and compares what became of its events.
async fn check(client: &str, runs: Runs, key: Key, events: i64) {
    let (database, collector, _journal) = start().await;
    let Some(said) = run(client, runs, collector.address, key.of(&collector), None).await else { return };
    let stored = "select count(*) from analytics.events";
    let started = std::time::Instant::now();
    while database.number(stored).await < events && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = rows(&database).await;
    let counted = counted(&collector).await;
    assert_eq!(database.number(stored).await, events, "{client} said: {said}\n{counted}\n{found}");
    insta::with_settings!({ snapshot_path => "snapshots/sdk", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("{runs:?}-{client}").to_lowercase(), found);
    });
    collector.stop().await;
}

macro_rules! clients {
    ($($name:ident: $client:literal, $package:literal, $runs:ident, $key:ident, $events:literal;)*) => {
        /// What stands in the README: package and how it is used, where it runs, events.
        const CLIENTS: &[(&str, Runs, i64)] = &[$(($package, Runs::$runs, $events)),*];

        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check($client, Runs::$runs, Key::$key, $events).await;
        })*
    };
}

clients! {
    segment_for_node: "segment", "@segment/analytics-node", Node, Secret, 6;
    rudderstack_for_node: "rudder", "@rudderstack/rudder-sdk-node", Node, Secret, 3;
    posthog_for_node: "posthog", "posthog-node", Node, Secret, 4;
    posthog_for_node_v1: "posthog-v1", "posthog-node, capture v1", Node, Secret, 4;
    umami_for_node: "umami", "@umami/node", Node, Public, 3;
    snowplow_for_node: "snowplow", "@snowplow/node-tracker", Node, Public, 3;
    matomo_for_node: "matomo", "matomo-tracker", Node, Public, 3;
    cloudevents_for_node: "cloudevents", "cloudevents", Node, Secret, 3;
    segment_for_python: "segment_client", "segment-analytics-python", Python, Secret, 4;
    rudderstack_for_python: "rudder_client", "rudder-sdk-python", Python, Secret, 2;
    posthog_for_python: "posthog_client", "posthog", Python, Secret, 3;
    posthog_for_python_v1: "posthog_v1_client", "posthog, capture v1", Python, Secret, 3;
    snowplow_for_python: "snowplow_client", "snowplow-tracker", Python, Public, 6;
    cloudevents_for_python: "cloudevents_client", "cloudevents", Python, Secret, 2;
    segment_in_a_browser: "segment", "@segment/analytics-next", Browser, Public, 3;
    segment_in_a_browser_batched: "segment-batched", "@segment/analytics-next, batched", Browser, Public, 2;
    rudderstack_in_a_browser: "rudder", "@rudderstack/analytics-js", Browser, Public, 3;
    posthog_in_a_browser: "posthog", "posthog-js", Browser, Public, 5;
    plausible_tracker_in_a_browser: "plausible-tracker", "plausible-tracker", Browser, Public, 2;
    plausible_in_a_browser: "plausible", "@plausible-analytics/tracker", Browser, Public, 3;
    snowplow_in_a_browser: "snowplow", "@snowplow/browser-tracker", Browser, Public, 3;
    jitsu_in_a_browser: "jitsu", "@jitsu/js", Browser, Public, 3;
    umami_in_a_browser: "umami", "Umami's tracker, its requests", Browser, Public, 2;
    goatcounter_in_a_browser: "goatcounter", "GoatCounter's count.js, its requests", Browser, Public, 2;
    gtag_in_a_browser: "gtag", "Google's gtag.js, its requests", Browser, Public, 3;
    reload_in_a_browser: "reload", "Reload's ra.js, its requests", Browser, Public, 3;
}

/// How a collector fails before it recovers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Says that it cannot now.
    Unavailable,
    /// Cuts the connection instead of an answer.
    Cut,
    /// Takes the events, and cuts the connection instead of saying so.
    Unheard,
}

/// Stands before the collector and fails for the first `times` requests.
async fn before(collector: SocketAddr, fault: Fault, times: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let mut failures = 0;
        loop {
            let Ok((mut client, _)) = listener.accept().await else { return };
            if failures < times {
                failures += 1;
                let fault = async move {
                    match fault {
                        Fault::Unavailable => {
                            let _ = client.read(&mut vec![0; 64 * 1024]).await;
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\naccess-control-allow-origin: *\r\n\
                                          content-length: 2\r\nconnection: close\r\n\r\n{}";
                            let _ = client.write_all(answer.as_bytes()).await;
                            // Whatever else it sends, so that the answer is read.
                            let _ =
                                tokio::time::timeout(Duration::from_millis(200), client.read(&mut vec![0; 64 * 1024]))
                                    .await;
                        }
                        Fault::Cut => drop(client.read(&mut vec![0; 64 * 1024]).await),
                        Fault::Unheard => {
                            let Ok(server) = TcpStream::connect(collector).await else { return };
                            let (mut from_client, _unheard) = client.split();
                            let (mut from_server, mut to_server) = server.into_split();
                            let pass = tokio::io::copy(&mut from_client, &mut to_server);
                            let hear =
                                async { while from_server.read(&mut [0; 64]).await.is_ok_and(|read| read == 0) {} };
                            tokio::select! { _ = pass => {}, () = hear => {} }
                        }
                    }
                };
                tokio::spawn(fault);
                continue;
            }
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(collector).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, task)
}

/// A client whose first sending fails: every event lands, once.
async fn check_retry(client: &str, runs: Runs, key: Key, events: i64) {
    for fault in [Fault::Unavailable, Fault::Cut, Fault::Unheard] {
        let (database, collector, _journal) = start().await;
        // A browser's own network fails within it: what it asks first must not.
        let is_browser = matches!(runs, Runs::Browser);
        let (address, front) = before(collector.address, fault, usize::from(!is_browser)).await;
        let address = if is_browser { collector.address } else { address };
        let fault_within = is_browser.then_some(fault);
        let Some(said) = run(client, runs, address, key.of(&collector), fault_within).await else { return };
        let stored = "select count(*) from analytics.events";
        let started = std::time::Instant::now();
        while database.number(stored).await < events && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(
            database.number(stored).await,
            events,
            "{client}, {fault:?}: it said: {said}\n{}\n{}",
            counted(&collector).await,
            rows(&database).await
        );
        front.abort();
        collector.stop().await;
    }
}

macro_rules! retries {
    ($($name:ident: $client:literal, $runs:ident, $key:ident, $events:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check_retry($client, Runs::$runs, Key::$key, $events).await;
        })*
    };
}

retries! {
    segment_for_node_retries: "segment", Node, Secret, 6;
    rudderstack_for_node_retries: "rudder", Node, Secret, 3;
    posthog_for_node_retries: "posthog", Node, Secret, 4;
    posthog_for_node_v1_retries: "posthog-v1", Node, Secret, 4;
    snowplow_for_node_retries: "snowplow", Node, Public, 3;
    segment_for_python_retries: "segment_client", Python, Secret, 4;
    rudderstack_for_python_retries: "rudder_client", Python, Secret, 2;
    posthog_for_python_retries: "posthog_client", Python, Secret, 3;
    posthog_for_python_v1_retries: "posthog_v1_client", Python, Secret, 3;
    segment_in_a_browser_retries: "segment", Browser, Public, 3;
    rudderstack_in_a_browser_retries: "rudder", Browser, Public, 3;
    posthog_in_a_browser_retries: "posthog", Browser, Public, 5;
    snowplow_in_a_browser_retries: "snowplow", Browser, Public, 3;
}

/// The table in the README is made here: `WEIR_README=1` writes it.
#[test]
fn the_readme_lists_the_clients_that_were_run() {
    const BEGIN: &str = "<!-- clients: made by tests/collector/sdk.rs -->\n";
    const END: &str = "<!-- end of clients -->";
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
    let npm: serde_json::Value = serde_json::from_str(&read("tests/sdk/package.json")).expect("JSON");
    let python = read("tests/sdk/python/requirements.txt");
    let version = |client: &str, runs: Runs| {
        let package = client.split(',').next().unwrap_or_default();
        match runs {
            Runs::Python => {
                python.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("==").map(str::to_owned))
            }
            _ => npm["dependencies"][package].as_str().map(str::to_owned),
        }
    };
    let mut table =
        String::from("| client | version | runs in | events sent, rows found |\n| --- | --- | --- | ---: |\n");
    for (client, runs, events) in CLIENTS {
        let place = match runs {
            Runs::Node => "Node.js",
            Runs::Python => "Python",
            Runs::Browser => "Chromium",
        };
        let version = version(client, *runs).unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(table, "| {client} | {version} | {place} | {events} |");
    }
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the beginning of the table");
    let (found, after) = rest.split_once(END).expect("the end of the table");
    if std::env::var_os("WEIR_README").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
        return;
    }
    assert_eq!(found, table, "WEIR_README=1 cargo test the_readme writes it");
}

#[test]
fn what_changes_is_masked() {
    assert_eq!(
        masked(
            "{\n    \"id\": \"0f8fad5b-d9cb-469f-a165-70867728950e\",\n    \"url\": \"http://127.0.0.1:4711/x\",\n    \"n\": 7\n}"
        ),
        "{\n    \"id\": [...],\n    \"url\": \"http://127.0.0.1/x\",\n    \"n\": 7\n}\n"
    );
}
