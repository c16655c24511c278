//! Other products' wire formats, request by request: what each address answers, and to whom its events belong.

use std::fmt::Write as _;

use weir::database::Database;
use weir::receive::foreign::Family;
use weir::sources::{self, SourceError};

use crate::support::{TestCollector, collector, eventually, http};

const ALIAS: &str = "shop.example";

async fn bind(collector: &TestCollector, alias: &str) {
    let weir = Database::new(&collector.config.database, 1).expect("settings");
    sources::add_alias(&weir, "web", alias).await.expect("an alias");
    let path = format!("/v1/events?key={alias}");
    let probe = async || http::post(collector.address, &path, &[], b"7").await.status == 400;
    eventually("the alias is known", probe).await;
}

/// Method, path, body: each is one event of the alias, or of the key in `KEY`.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("POST", "/v1/track", r#"{"writeKey":"shop.example","event":"a","messageId":"1"}"#),
    ("POST", "/v1/batch", r#"{"writeKey":"shop.example","batch":[{"type":"track","event":"a","messageId":"2"},7]}"#),
    ("POST", "/v1/t", r#"{"writeKey":"shop.example","event":"a","messageId":"3"}"#),
    ("GET", "/pixel/v1/track?writeKey=shop.example&event=a&messageId=4", ""),
    ("POST", "/e/", r#"{"api_key":"shop.example","event":"a","distinct_id":"d","uuid":"5"}"#),
    ("POST", "/batch/", r#"{"api_key":"shop.example","batch":[{"event":"a","distinct_id":"d","uuid":"6"}]}"#),
    (
        "POST",
        "/i/v1/analytics/events?key=shop.example",
        r#"{"batch":[{"event":"a","distinct_id":"d","uuid":"7"},{"uuid":"x"}]}"#,
    ),
    ("POST", "/api/event", r#"{"n":"pageview","u":"https://shop.example/","d":"shop.example"}"#),
    (
        "POST",
        "/api/send",
        r#"{"type":"event","payload":{"website":"shop.example","url":"/a","hostname":"shop.example"}}"#,
    ),
    ("POST", "/api/batch", r#"[{"type":"event","payload":{"website":"shop.example","url":"/a"}},{}]"#),
    (
        "POST",
        "/com.snowplowanalytics.snowplow/tp2",
        r#"{"schema":"s","data":[{"e":"pv","aid":"shop.example","url":"https://shop.example/"}]}"#,
    ),
    ("GET", "/i?e=pv&aid=shop.example&url=https%3A%2F%2Fshop.example%2F", ""),
    ("GET", "/matomo.php?idsite=shop.example&rec=1&url=https%3A%2F%2Fshop.example%2F", ""),
    ("POST", "/matomo.php", "idsite=shop.example&rec=1&url=https%3A%2F%2Fshop.example%2F&send_image=0"),
    ("POST", "/matomo.php", r#"{"requests":["?idsite=shop.example&rec=1&url=https%3A%2F%2Fshop.example%2F"]}"#),
    ("GET", "/count?p=%2Fa&t=T", ""),
    ("POST", "/api/v0/count?key=shop.example", r#"{"hits":[{"path":"/a"}]}"#),
    ("POST", "/api/v0/count?key=shop.example", r#"{"hits":[{"path":"/a"},{"title":"T"}]}"#),
    ("POST", "/mp/collect?measurement_id=shop.example&api_secret=s", r#"{"client_id":"c","events":[{"name":"a"}]}"#),
    (
        "POST",
        "/debug/mp/collect?measurement_id=shop.example",
        r#"{"client_id":"c","events":[{"name":"a"},{"params":{}}]}"#,
    ),
    ("POST", "/g/collect?v=2&tid=shop.example&cid=c&en=page_view&dl=https%3A%2F%2Fshop.example%2F", ""),
    ("POST", "/api/s/track?key=shop.example", r#"{"event":"a","messageId":"8"}"#),
    ("POST", "/v1/cloudevents?key=shop.example", r#"{"specversion":"1.0","id":"1","source":"/","type":"a"}"#),
    ("POST", "/page/?key=shop.example", r#"{"user_id":7,"url":"https://shop.example/"}"#),
    ("POST", "/standard/events?key=shop.example", r#"{"type":"view","url":"https://shop.example/"}"#),
    ("GET", "/v1/projects/shop.example/settings", ""),
    ("GET", "/sourceConfig/?writeKey=shop.example", ""),
    ("GET", "/array/shop.example/config", ""),
    ("GET", "/array/shop.example/config.js", ""),
    ("POST", "/flags/?v=2", "{}"),
    ("POST", "/s/", "{}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_as_its_clients_expect() {
    let (database, collector, _journal) = collector(|config| config.receive.formats.push(Family::Chord)).await;
    bind(&collector, ALIAS).await;
    // The name of the host that is asked, which is all that GoatCounter's clients say.
    bind(&collector, "test").await;
    let mut shown = String::new();
    for (method, path, body) in REQUESTS {
        let answer =
            http::send(collector.address, method, path, &["origin: https://shop.example"], body.as_bytes()).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{path}");
        let kind = answer.header("content-type").unwrap_or("-");
        let text = if kind == "image/gif" { "..." } else { &answer.text() };
        let _ = write!(shown, "{method} {path}\n{} {kind} {text}\n\n", answer.status);
    }
    insta::assert_snapshot!(shown);
    database.until_stored(24).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_send_is_told_and_formats_can_be_turned_off() {
    let (_database, collector, _journal) = collector(|config| {
        config.receive.formats = vec![Family::Segment, Family::Posthog, Family::Snowplow];
        config.receive.key_requests_per_s = 1;
        config.receive.body_bytes_max = 100_000;
    })
    .await;
    let post = async |path: &str, body: &str| http::post(collector.address, path, &[], body.as_bytes()).await;
    assert_eq!(post("/v1/track", r#"{"event":"a","writeKey":"nobody"}"#).await.status, 401);
    assert_eq!(post("/v1/track", "nonsense").await.status, 400);
    assert_eq!(post("/v1/batch", r#"{"batch":[]}"#).await.status, 400);
    for off in ["/api/event", "/api/send", "/matomo.php", "/page/", "/v1/cloudevents", "/a/b"] {
        assert_eq!(post(off, "{}").await.status, 404, "{off}");
    }
    // posthog-js forgets what was answered 429; Snowplow's trackers never forget what was answered 413.
    let public = &collector.keys.public_key;
    let event = format!(r#"{{"api_key":"{public}","event":"a","distinct_id":"d"}}"#);
    let mut answers = Vec::new();
    for _ in 0..50 {
        let answer = post("/e/", &event).await;
        answers.push(answer.status);
        if answer.status != 200 {
            assert!(answer.header("retry-after").is_some(), "{}", answer.text());
        }
    }
    assert!(answers.contains(&503) && !answers.contains(&429), "{answers:?}");
    assert_eq!(post("/com.snowplowanalytics.snowplow/tp2", &" ".repeat(200_000)).await.status, 400);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_beside_a_sites_name_counts_for_more() {
    let (database, collector, _journal) = collector(|_| {}).await;
    bind(&collector, ALIAS).await;
    let secret = &collector.keys.secret_key;
    let old = r#"{"client_id":"c","timestamp_micros":"1700000000000000","events":[{"name":"a"}]}"#;
    for (name, secret, years) in [("with", secret.as_str(), 2023), ("without", "else", 2026)] {
        let path = format!("/mp/collect?measurement_id={ALIAS}&api_secret={secret}");
        let body = old.replace("\"a\"", &format!("\"{name}\""));
        assert_eq!(http::post(collector.address, &path, &[], body.as_bytes()).await.status, 204);
        let sql = format!(
            "select count(*) from analytics.events where name = '{name}' and extract(year from occurred_at) = {years}"
        );
        database.until(&sql, 1).await;
    }
    let bulk = format!(
        r#"{{"requests":["?idsite=x&rec=1&url=https%3A%2F%2Fa.example%2F&cip=203.0.113.7"],"token_auth":"{secret}"}}"#
    );
    assert_eq!(http::post(collector.address, "/matomo.php", &[], bulk.as_bytes()).await.status, 200);
    database.until("select count(*) from analytics.events where ip = '203.0.113.0/24'", 1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_belongs_to_one_source_until_it_is_taken_away() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("settings");
    bind(&collector, ALIAS).await;
    sources::add(&weir, "app", &[]).await.expect("added");
    assert!(matches!(sources::add_alias(&weir, "app", ALIAS).await, Err(SourceError::AliasTaken(_))));
    assert!(matches!(sources::add_alias(&weir, "nobody", "x").await, Err(SourceError::Missing(_))));
    for bad in ["", "two words", "sk_1", "pk_1", &"x".repeat(254)] {
        assert!(matches!(sources::add_alias(&weir, "app", bad).await, Err(SourceError::BadAlias(_))), "{bad}");
    }
    // New keys do not end it.
    sources::rotate(&weir, "web", sources::KeyKind::Public, 0).await.expect("rotated");
    let listed = sources::list(&weir).await.expect("listed");
    let web = listed.iter().find(|source| source.source == "web").expect("there");
    assert!(web.keys.contains(&format!("alias {ALIAS}")), "{web:?}");
    sources::remove_alias(&weir, "web", ALIAS).await.expect("removed");
    assert!(matches!(sources::remove_alias(&weir, "web", ALIAS).await, Err(SourceError::NoAlias { .. })));
    let probe = async || http::post(collector.address, "/v1/events?key=shop.example", &[], b"7").await.status == 401;
    eventually("the alias is unknown", probe).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_events_are_found_before_and_after_sign_up() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let events = [
        r#"{"name":"before","visitor_id":"v1"}"#,
        r#"{"type":"identify","name":"identify","visitor_id":"v1","user_id":"alice"}"#,
        r#"{"name":"after","user_id":"alice"}"#,
        r#"{"name":"other device","visitor_id":"v2","user_id":"alice"}"#,
        r#"{"name":"before there","visitor_id":"v2"}"#,
        // The same person under an earlier id, whichever way round the client says it.
        r#"{"type":"alias","name":"alias","visitor_id":"al","user_id":"alice"}"#,
        r#"{"name":"as al","user_id":"al"}"#,
        r#"{"type":"alias","name":"alias","visitor_id":"alice","user_id":"ally"}"#,
        r#"{"name":"as ally","user_id":"ally"}"#,
        // Another user of the first device, and a stranger.
        r#"{"name":"bob's","visitor_id":"v1","user_id":"bob"}"#,
        r#"{"name":"stranger's","visitor_id":"v3"}"#,
    ];
    let body = format!("[{}]", events.join(","));
    assert_eq!(collector.post(&body).await.status, 200);
    database.until_stored(events.len() as i64).await;
    let names = "select string_agg(name, ', ' order by name) from analytics.person_events('alice')";
    assert_eq!(
        database.rows(names).await,
        ["after, alias, alias, as al, as ally, before, before there, identify, other device"]
    );
    let pairs = "select visitor_id || ' is ' || user_id from analytics.identities order by 1";
    assert_eq!(database.rows(pairs).await, ["al is alice", "alice is ally", "v1 is alice", "v1 is bob", "v2 is alice"]);
    collector.stop().await;
}
