//! Webhooks of other services: whose are believed, what they become, and that each is stored once.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use weir::database::Database;
use weir::decode::webhook::Service;
use weir::sources::{self, SourceError, webhooks};

use crate::sdk::sdk;
use crate::support::http::Answer;
use crate::support::{TestCollector, TestDatabase, collector, eventually, http, tool};

const SECRET: &str = "whsec_c2VjcmV0IG9mIHRlc3RzIDI0IGJ5dGVz";
const OTHER: &str = "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSB0ZXN0cw==";

fn weir(collector: &TestCollector) -> Database {
    Database::new(&collector.config.database, 1).expect("settings")
}

async fn post(collector: &TestCollector, path: &str, headers: &[String], body: &str) -> Answer {
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    http::post(collector.address, &format!("/v1/webhook/{path}"), &headers, body.as_bytes()).await
}

fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// Sources that each take one service's webhooks, named by it.
async fn signed_collector() -> (TestDatabase, TestCollector, tempfile::TempDir) {
    let (database, collector, journal) = collector(|_| {}).await;
    for service in Service::ALL {
        sources::add(&weir(&collector), service.name(), &[]).await.expect("added");
        webhooks::add(&weir(&collector), service.name(), service, SECRET, None).await.expect("a secret");
    }
    known(&collector, "standard", "no_signature").await;
    (database, collector, journal)
}

/// Waits until what has no signature and no key is refused for this reason.
async fn known(collector: &TestCollector, source: &str, reason: &str) {
    eventually(reason, async || error(&post(collector, source, &[], "{}").await).1 == reason).await;
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

fn sign(secret: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The headers by which a service signs. (That this is as they do it, they say themselves: the test with their packages.)
fn signature(service: Service, secret: &str, body: &str, at_s: i64) -> Vec<String> {
    let hex = |text: &str| HEXLOWER.encode(&sign(secret.as_bytes(), text));
    match service {
        Service::Stripe => vec![format!("stripe-signature: t={at_s},v1={}", hex(&format!("{at_s}.{body}")))],
        Service::Github => vec![format!("x-hub-signature-256: sha256={}", hex(body))],
        Service::Shopify => vec![format!("x-shopify-hmac-sha256: {}", STANDARD.encode(sign(secret.as_bytes(), body)))],
        Service::Slack => vec![
            format!("x-slack-request-timestamp: {at_s}"),
            format!("x-slack-signature: v0={}", hex(&format!("v0:{at_s}:{body}"))),
        ],
        Service::Intercom => {
            let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length");
            mac.update(body.as_bytes());
            vec![format!("x-hub-signature: sha1={}", HEXLOWER.encode(&mac.finalize().into_bytes()))]
        }
        Service::Standard => {
            let key = STANDARD.decode(&secret[6..]).expect("base64");
            let signature = STANDARD.encode(sign(&key, &format!("msg_1.{at_s}.{body}")));
            vec![
                "webhook-id: msg_1".to_owned(),
                format!("webhook-timestamp: {at_s}"),
                format!("webhook-signature: v1,{signature}"),
            ]
        }
    }
}

/// What a service sends, without its signature: other headers, and the body.
fn sending(service: Service) -> (&'static [&'static str], &'static str) {
    match service {
        Service::Stripe => (
            &["user-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)"],
            r#"{"id":"evt_1","object":"event","type":"invoice.paid","created":1763805600,"data":{"object":{"total":1250}}}"#,
        ),
        Service::Github => (
            &[
                "user-agent: GitHub-Hookshot/044aadd",
                "x-github-event: issues",
                "x-github-delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
            ],
            r#"{"action":"opened","issue":{"number":1}}"#,
        ),
        Service::Shopify => (
            &[
                "x-shopify-topic: orders/create",
                "x-shopify-webhook-id: b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
                "x-shopify-triggered-at: 2025-11-22T10:00:00.123456789Z",
            ],
            r#"{"id":820982911946154508,"email":"jon@example.com"}"#,
        ),
        Service::Slack => (
            &["user-agent: Slackbot 1.0 (+https://api.slack.com/robots)"],
            r#"{"type":"event_callback","event_id":"Ev1","event_time":1763805600,"event":{"type":"app_mention"}}"#,
        ),
        Service::Intercom => (
            &["user-agent: intercom-parrot-service-client/1.0"],
            r#"{"type":"notification_event","topic":"contact.created","id":"notif_1","created_at":1763805600}"#,
        ),
        Service::Standard => {
            (&[], r#"{"type":"contact.created","timestamp":"2025-11-22T10:00:00Z","data":{"id":"1"}}"#)
        }
    }
}

fn request(service: Service, secret: &str, at_s: i64) -> (Vec<String>, &'static str) {
    let (headers, body) = sending(service);
    let headers = headers.iter().map(|header| (*header).to_owned());
    (headers.chain(signature(service, secret, body, at_s)).collect(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_stored_once_and_only_if_it_signed() {
    let (database, collector, _journal) = signed_collector().await;
    for service in Service::ALL {
        let send = async |(headers, body): (Vec<String>, &str)| post(&collector, service.name(), &headers, body).await;
        let name = service.name();
        let (right, body) = request(service, SECRET, now_s());
        let answer = send((right.clone(), body)).await;
        assert_eq!((answer.status, answer.json()["accepted"].as_i64()), (200, Some(1)), "{name}: {}", answer.text());
        // Again, as it is, and as a later attempt.
        for at_s in [now_s(), now_s() - 60] {
            let answer = send(request(service, SECRET, at_s)).await;
            assert_eq!(
                (answer.status, answer.json()["duplicate"].as_i64()),
                (200, Some(1)),
                "{name}: {}",
                answer.text()
            );
        }
        assert_eq!(error(&send(request(service, OTHER, now_s())).await), (401, "wrong_signature".into()), "{name}");
        let changed = body.replace('1', "2");
        assert_eq!(error(&send((right, &changed)).await), (401, "wrong_signature".into()), "{name}");
        let is_timed = matches!(service, Service::Stripe | Service::Slack | Service::Standard);
        for old_s in [-400, 400] {
            let answer = send(request(service, SECRET, now_s() + old_s)).await;
            let expected = if is_timed { (401, "old_signature") } else { (200, "") };
            assert_eq!(error(&answer), (expected.0, expected.1.to_owned()), "{name}");
        }
        // A key does not stand for a signature.
        let key = format!("authorization: Bearer {}", collector.keys.secret_key);
        assert_eq!(error(&post(&collector, name, &[key], body).await), (401, "no_signature".into()), "{name}");
    }
    database.until_stored(6).await;
    let rows = database
        .rows(
            "select source, kind, name, occurred_at at time zone 'UTC', visitor_id, ip, browser, is_bot, properties,
                    context #- '{headers,webhook-timestamp}'
               from analytics.events order by source",
        )
        .await;
    insta::assert_snapshot!(rows.join("\n"));
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    for line in [
        r#"weir_requests_refused_total{reason="wrong_signature"} 12"#,
        r#"weir_requests_refused_total{reason="old_signature"} 6"#,
        r#"weir_requests_total{route="/v1/webhook/{source}",status="200"} 24"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_of_the_services_themselves_are_believed() {
    let Some(node) = tool("WEIR_TEST_NODE") else { return };
    let (database, collector, _journal) = signed_collector().await;
    let output = Command::new(node)
        .arg(sdk("node/webhooks.mjs"))
        .env("WEIR_URL", format!("http://{}", collector.address))
        .env("WEIR_SECRET", SECRET)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    database
        .until("select (sum(stored) * 100 + sum(duplicate) * 10 + sum(pending))::bigint from weir.accounting", 430)
        .await;
    let names = "select source || ' ' || name from analytics.events
                  where coalesce(properties->>'text', properties->'data'->>'text') = U&'\\00e9\\2028\\+01F600' order by 1";
    assert_eq!(
        database.rows(names).await,
        ["github push", "standard contact.created", "standard contact.created", "stripe invoice.paid"]
    );
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_a_secret_key_is_needed() {
    let (database, collector, _journal) = collector(|config| config.receive.body_bytes_max = 100_000).await;
    let app = sources::add(&weir(&collector), "app", &[]).await.expect("added");
    let (public, secret) = (&collector.keys.public_key, &collector.keys.secret_key);
    eventually("the other source is known", async || {
        error(&post(&collector, &format!("web?key={}", app.secret_key), &[], "{}").await).1 == "other_source"
    })
    .await;
    for (path, expected) in [
        ("web".to_owned(), "no_key"),
        ("nobody".to_owned(), "no_key"),
        ("web?key=sk_guessed".to_owned(), "unknown_key"),
        (format!("web?key={public}"), "public_key"),
        (format!("app?key={secret}"), "other_source"),
        (format!("app/{secret}"), "other_source"),
    ] {
        assert_eq!(error(&post(&collector, &path, &[], r#"{"type":"a"}"#).await), (401, expected.to_owned()), "{path}");
    }
    let bearer = format!("authorization: Bearer {secret}");
    let form = "content-type: application/x-www-form-urlencoded".to_owned();
    let xml = "content-type: application/xml".to_owned();
    for (path, headers, body) in [
        (format!("web?key={secret}"), vec![], r#"{"event":"by query"}"#),
        (format!("web/{secret}"), vec![], r#"{"event":"by path"}"#),
        ("web".to_owned(), vec![bearer.clone()], r#"[{"event":"array"}]"#),
        ("web".to_owned(), vec![bearer.clone()], "7"),
        ("web".to_owned(), vec![bearer.clone(), form.clone()], "payload=%7B%22type%22%3A%22by+form%22%7D"),
        ("web".to_owned(), vec![bearer.clone(), form], "command=%2Fweather&text=Bern"),
        ("web".to_owned(), vec![bearer.clone(), xml.clone()], r#"{"event":"whatever it is called"}"#),
    ] {
        let answer = post(&collector, &path, &headers, body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    }
    database.until_stored(7).await;
    let names = database.rows("select name from analytics.events where kind = 'webhook' order by 1").await;
    assert_eq!(names, ["/weather", "by form", "by path", "by query", "webhook", "webhook", "whatever it is called"]);
    let bodies = "select properties->'body' from analytics.events where properties ? 'body' order by 1";
    assert_eq!(database.rows(bodies).await, ["7", r#"[{"event": "array"}]"#]);
    for (body, expected) in [
        ("<order/>".to_owned(), (400, "malformed")),
        (String::new(), (400, "malformed")),
        (" ".repeat(100_001), (413, "too_large")),
        ("[".repeat(40) + &"]".repeat(40), (400, "rejected")),
    ] {
        let answer = post(&collector, "web", &[bearer.clone(), xml.clone()], &body).await;
        assert_eq!(error(&answer), (expected.0, expected.1.to_owned()), "{}", answer.text());
    }
    // Longer than an event may be that pages send.
    let long = format!(r#"{{"event":"long","filler":"{}"}}"#, "x".repeat(90_000));
    assert_eq!(post(&collector, "web", &[bearer], &long).await.status, 200);
    database.until("select count(*) from analytics.events where length(properties->>'filler') = 90000", 1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_changes_while_the_service_goes_on() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let weir = weir(&collector);
    let send = async |secret: &str, id: &str| {
        let body = format!(r#"{{"id":"{id}","type":"a","created":1763805600}}"#);
        let headers = signature(Service::Stripe, secret, &body, now_s());
        post(&collector, "web", &headers, &body).await
    };
    assert_eq!(error(&send(SECRET, "0").await).1, "no_key", "nothing is signed yet");
    webhooks::add(&weir, "web", Service::Stripe, SECRET, None).await.expect("a secret");
    eventually("it is checked", async || send(SECRET, "1").await.status == 200).await;
    webhooks::add(&weir, "web", Service::Stripe, OTHER, Some(3_600)).await.expect("another");
    eventually("the new one is known", async || send(OTHER, "2").await.status == 200).await;
    assert_eq!(send(SECRET, "3").await.status, 200, "the old one is still there");
    let listed = sources::list(&weir).await.expect("listed");
    let labels: Vec<_> = listed[0].keys.iter().filter(|label| label.starts_with("webhooks")).collect();
    assert_eq!(labels.len(), 2, "{listed:?}");
    assert!(labels[0].starts_with("webhooks of stripe until 2") && labels[1] == "webhooks of stripe", "{labels:?}");
    // The same again is for good, the other ends at once.
    webhooks::add(&weir, "web", Service::Stripe, OTHER, Some(0)).await.expect("the same");
    eventually("the old one is not", async || error(&send(SECRET, "3").await).1 == "wrong_signature").await;
    assert_eq!(send(OTHER, "5").await.status, 200);
    // Two services may send to one source.
    webhooks::add(&weir, "web", Service::Github, SECRET, None).await.expect("another service");
    eventually("GitHub's are taken", async || {
        let (headers, body) = request(Service::Github, SECRET, 0);
        post(&collector, "web", &headers, body).await.status == 200
    })
    .await;
    assert_eq!(send(OTHER, "6").await.status, 200);
    assert_eq!(error(&send(SECRET, "7").await).1, "wrong_signature");
    sources::set_disabled(&weir, "web", true).await.expect("disabled");
    eventually("a disabled source is refused", async || error(&send(OTHER, "6").await).1 == "no_key").await;
    sources::set_disabled(&weir, "web", false).await.expect("enabled");
    for service in [Service::Stripe, Service::Github] {
        webhooks::remove(&weir, "web", service).await.expect("removed");
    }
    known(&collector, "web", "no_key").await;
    database.until_stored(6).await;
    assert!(matches!(webhooks::remove(&weir, "web", Service::Stripe).await, Err(SourceError::NoSecret { .. })));
    let add = async |source, service, secret: &str| webhooks::add(&weir, source, service, secret, None).await;
    assert!(matches!(add("nobody", Service::Stripe, SECRET).await, Err(SourceError::Missing(_))));
    for bad in ["", "short", "two\nlines of it", &"x".repeat(513)] {
        assert!(matches!(add("web", Service::Stripe, bad).await, Err(SourceError::BadSecret(_))), "{bad}");
    }
    assert!(matches!(add("web", Service::Standard, "whsec_not base64").await, Err(SourceError::BadSecret(_))));
    for n in 0..8 {
        add("web", Service::Github, &format!("secret number {n}")).await.expect("room");
    }
    let ninth = add("web", Service::Github, "secret number 9").await;
    assert!(matches!(ninth, Err(SourceError::TooManySecrets { .. })), "{ninth:?}");
    assert_eq!(database.number("select count(*) from weir.webhook_secrets").await, 8);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_checked_while_the_database_is_away() {
    let (mut database, collector, _journal) = signed_collector().await;
    let copy = collector.config.journal.dir.join("webhooks.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    database.shut().await;
    let stripe = async |collector: &TestCollector, secret, at_s| {
        let (headers, body) = request(Service::Stripe, secret, at_s);
        post(collector, "stripe", &headers, body).await
    };
    assert_eq!(stripe(&collector, SECRET, now_s()).await.status, 200);
    let (config, keys) = collector.stop().await;
    let collector = TestCollector::start_with(config, keys).await.expect("starts from what it remembers");
    assert_eq!(stripe(&collector, SECRET, now_s()).await.status, 200);
    assert_eq!(error(&stripe(&collector, OTHER, now_s()).await), (401, "wrong_signature".into()));
    assert_eq!(error(&post(&collector, "stripe", &[], "{}").await), (401, "no_signature".into()));
    database.open().await;
    database.until_stored(1).await;
    // What is taken away does not come back with the next absence.
    for service in Service::ALL {
        webhooks::remove(&weir(&collector), service.name(), service).await.expect("removed");
    }
    known(&collector, "stripe", "no_key").await;
    assert_eq!(std::fs::read_to_string(&copy).expect("there"), "[]");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_ask_first_is_answered_and_stored_by_nobody() {
    let (database, collector, _journal) = signed_collector().await;
    let secret = &collector.keys.secret_key;
    let slack = r#"{"token":"z","challenge":"3eZbrw1aBm2r","type":"url_verification"}"#;
    let answer = post(&collector, "slack", &signature(Service::Slack, SECRET, slack, now_s()), slack).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "3eZbrw1aBm2r"));
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert_eq!(error(&post(&collector, "slack", &[], slack).await), (401, "no_signature".into()));
    let ask = async |method, path: &str| http::send(collector.address, method, path, &[], b"").await;
    for source in ["intercom", "web", "nobody"] {
        for method in ["HEAD", "GET"] {
            assert_eq!(ask(method, &format!("/v1/webhook/{source}")).await.status, 200, "{method} {source}");
        }
    }
    let meta = "/v1/webhook/web?hub.mode=subscribe&hub.challenge=%3Cb%3E1158201444&hub.verify_token=";
    let answer = ask("GET", &format!("{meta}{secret}")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "<b>1158201444"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert_eq!(ask("GET", &format!("/v1/webhook/web/{secret}?challenge=a")).await.text(), "a");
    assert_eq!(error(&ask("GET", &format!("{meta}guessed")).await), (401, "unknown_key".into()));
    assert_eq!(error(&ask("GET", "/v1/webhook/web?challenge=a").await), (401, "no_key".into()));
    assert_eq!(ask("PUT", "/v1/webhook/web").await.status, 405);
    assert_eq!(ask("POST", "/v1/webhook/").await.status, 404);
    assert_eq!(collector.post(r#"{"name":"the only event"}"#).await.status, 200);
    database.until_accounted(1, 1, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_a_strangers_requests_and_a_keys_are_not() {
    let (_database, collector, _journal) = collector(|config| {
        config.receive.network_requests_per_s = 1;
        config.receive.limit_private_networks = true;
    })
    .await;
    webhooks::add(&weir(&collector), "web", Service::Github, SECRET, None).await.expect("a secret");
    let app = sources::add(&weir(&collector), "app", &[]).await.expect("added");
    eventually("the key is known", async || {
        post(&collector, &format!("app/{}", app.secret_key), &[], "{}").await.status == 200
    })
    .await;
    let (headers, body) = request(Service::Github, OTHER, 0);
    let mut answers = Vec::new();
    for _ in 0..30 {
        let answer = post(&collector, "web", &headers, body).await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429, "{}", answer.text());
        answers.push(error(&answer).1);
    }
    assert!(answers.iter().any(|code| code == "network_too_often"), "{answers:?}");
    for _ in 0..30 {
        assert_eq!(post(&collector, &format!("app?key={}", app.secret_key), &[], "{}").await.status, 200);
    }
    collector.stop().await;
}

/// `weir source ...` as a person runs it.
async fn source(database: &TestDatabase, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("source").args(arguments).env("DATABASE_URL", &database.url).env("HOOK_SECRET", SECRET);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).await.expect("taken");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_comes_by_standard_input_a_file_or_the_environment() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let stored = async || database.rows("select service || ' ' || secret from weir.webhook_secrets order by id").await;
    let (is_done, said) = source(&database, &["webhook", "web", "--scheme", "stripe"], &format!("{SECRET}\n")).await;
    assert!(is_done && said.contains("/v1/webhook/web") && !said.contains(SECRET), "{said}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!(" {OTHER}\r\n")).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let (is_done, said) = source(&database, &["webhook", "web", "--scheme", "slack", "--secret-file", path], "").await;
    assert!(is_done, "{said}");
    let of_env = ["webhook", "web", "--scheme", "standard", "--secret-env", "HOOK_SECRET"];
    let (is_done, said) = source(&database, &of_env, "").await;
    assert!(is_done, "{said}");
    assert_eq!(stored().await, [format!("stripe {SECRET}"), format!("slack {OTHER}"), format!("standard {SECRET}")]);
    let (_, said) = source(&database, &["list"], "").await;
    assert!(said.contains("webhooks of stripe, webhooks of slack, webhooks of standard"), "{said}");
    assert!(!said.contains("whsec"), "{said}");
    let (is_done, said) = source(&database, &["webhook", "web", "--scheme", "stripe", "--remove"], "").await;
    assert!(is_done, "{said}");
    for (arguments, cure) in [
        (&["webhook", "web", "--scheme", "stripe"][..], "expected one line of 8 to 512 bytes"),
        (&["webhook", "web", "--scheme", "stripe", "--secret-env", "NOWHERE"], "NOWHERE"),
        (&["webhook", "web", "--scheme", "stripe", "--secret-file", "/nowhere"], "/nowhere"),
        (&["webhook", "web", "--scheme", "stripe", "--remove"], "no signing secret of stripe"),
        (&["webhook", "web", SECRET, "--scheme", "stripe"], "unexpected argument"),
    ] {
        let (is_done, said) = source(&database, arguments, "").await;
        assert!(!is_done && said.contains(cure), "{arguments:?}: {said}");
    }
    assert_eq!(stored().await.len(), 2);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_schema_do_not_read_secrets() {
    let database = TestDatabase::new().await;
    let analyst = format!("{}_analyst", database.name);
    let admin = crate::support::connect(&crate::support::superuser_url()).await;
    admin.batch_execute(&format!("create role {analyst}")).await.expect("made");
    let before = format!(
        "create schema weir; grant usage on schema weir to {analyst};
         alter default privileges in schema weir grant select on tables to {analyst}, public"
    );
    database.client.batch_execute(&before).await.expect("granted");
    let mut settings = weir::config::Config::default().database;
    settings.url.clone_from(&database.url);
    weir::database::migrate::run(&Database::new(&settings, 1).expect("settings")).await.expect("migrated");
    let may = |table: &str| format!("select has_table_privilege('{analyst}', 'weir.{table}', 'select')::int::bigint");
    assert_eq!(database.number(&may("sources")).await, 1);
    assert_eq!(database.number(&may("webhook_secrets")).await, 0);
    assert_eq!(database.number("select has_table_privilege('weir.webhook_secrets', 'select')::int::bigint").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_say_that_it_is_a_webhook_or_take_its_id() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let forged = r#"{"type":"webhook","name":"invoice.paid","signed":true,"properties":{"amount":1}}"#;
    let answer = collector.beacon(forged, &[]).await;
    assert!(answer.text().contains("/v1/webhook/SOURCE"), "{}", answer.text());
    let answer = collector.beacon(r#"{"name":"a","id":"webhook\u001fstripe\u001fevt_1"}"#, &[]).await;
    assert!(answer.text().contains("as those of webhooks do"), "{}", answer.text());
    // An order of the shop's may have the id of an event of Stripe's.
    collector.post(r#"{"name":"order","id":"evt_1"}"#).await;
    let path = format!("/v1/webhook/web?key={}", collector.keys.secret_key);
    let body = br#"{"id":"evt_1","object":"event","type":"invoice.paid"}"#;
    // A header of the service's own is not mistaken for the key that was pasted.
    let headers = ["content-type: application/json", "stripe-signature: t=1,v1=00", "authorization: Bearer its-own"];
    for duplicate in [0, 1] {
        let answer = crate::support::http::post(collector.address, &path, &headers, body).await;
        assert_eq!(answer.json()["duplicate"], duplicate, "{}", answer.text());
    }
    database.until_stored(2).await;
    collector.stop().await;
}
