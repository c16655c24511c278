//! Rows as they come out, read back from their tuples.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::*;
use crate::decode::native;
use crate::metrics::Metrics;
use crate::row;

const RECEIVED: &str = "2026-11-22T12:00:00Z";

fn enricher(privacy: Privacy) -> Enricher {
    Enricher {
        privacy,
        user_agents: UserAgents::start(None, 10, &Metrics::new()).expect("built-in patterns"),
        places: Arc::new(Places::open(None).expect("no file")),
        salts: Arc::new(Salts::new().expect("random bytes")),
    }
}

fn request() -> RequestFacts<'static> {
    RequestFacts {
        received_at: RECEIVED.parse().expect("a time"),
        ip: Some(IpAddr::from([203, 0, 113, 77])),
        user_agent: Some("curl/8"),
        accept_language: Some("de-CH,de;q=0.9"),
        ..RequestFacts::default()
    }
}

fn key(kind: KeyKind) -> WriteKey {
    WriteKey::new("web".into(), kind, Arc::new([]))
}

fn row_with(
    body: &str,
    kind: KeyKind,
    privacy: Privacy,
    request: &RequestFacts<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let decoded = native::decode(body, false).expect("JSON");
    let event = decoded.events.into_iter().next().expect("one event")?;
    let mut tuple = Vec::new();
    enricher(privacy).encode(&event, &key(kind), request, None, &mut tuple)?;
    Ok(row::to_json(&tuple).expect("a tuple"))
}

fn row_of(body: &str) -> Map<String, Value> {
    row_with(body, KeyKind::Public, Privacy::default(), &request()).expect("accepted")
}

#[test]
fn times_are_believed_within_bounds_and_kept_beyond() {
    for (kind, sent, expected, kept) in [
        (KeyKind::Public, "2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z", false),
        (KeyKind::Public, "2026-10-23T12:00:00Z", "2026-10-23T12:00:00Z", false),
        (KeyKind::Public, "2026-10-23T11:59:59Z", RECEIVED, true),
        (KeyKind::Public, "2026-11-22T13:00:00Z", "2026-11-22T13:00:00Z", false),
        (KeyKind::Public, "2026-11-22T13:00:01Z", RECEIVED, true),
        (KeyKind::Secret, "2019-01-01T00:00:00Z", "2019-01-01T00:00:00Z", false),
        (KeyKind::Secret, "1901-01-01T00:00:00Z", RECEIVED, true),
    ] {
        let body = format!(r#"{{"name":"a","timestamp":"{sent}"}}"#);
        let row = row_with(&body, kind, Privacy::default(), &request()).expect("accepted");
        assert_eq!(row["occurred_at"], expected, "{sent}");
        let context = row.get("context").and_then(|context| context.get("timestamp"));
        assert_eq!(context, kept.then(|| json!(sent)).as_ref(), "{sent}");
    }
}

#[test]
fn a_retry_has_the_same_id_whenever_it_is_sent() {
    let id = |sent_at: &str| {
        row_of(&format!(
            r#"{{"name":"a","id":"m","timestamp":"2026-11-22T11:00:00Z","sent_at":"{sent_at}"}}"#
        ))["event_id"]
            .clone()
    };
    assert_eq!(id("2026-11-22T11:00:01Z"), id("2026-11-22T11:59:00Z"));
}

#[test]
fn nothing_is_thrown_away() {
    let row = row_of(r#"{"name":"a","colour":"red","size":[1],"context":{"size":2,"os":"x"},"url":"/?gclid=G"}"#);
    assert_eq!(
        row["context"],
        json!({"user_agent":"curl/8","click_ids":{"gclid":"G"},"colour":"red","extra":{"size":[1]},"size":2,"os":"x"})
    );
    assert_eq!(row_of(r#"{"name":"a","context":{}}"#)["context"], json!({"user_agent":"curl/8"}));
}

#[test]
fn names_that_are_taken_hide_nothing() {
    let row = row_of(
        r#"{"name":"a","url":"/?gclid=G","timestamp":1,"a":2,"extra_":3,"click_ids":4,
            "context":{"a":5,"extra":6,"timestamp":7,"user_agent":8}}"#,
    );
    assert_eq!(
        row["context"],
        json!({"a":5,"extra":6,"timestamp":7,"user_agent":8,"extra_":3,"click_ids":4,
               "extra__":{"timestamp":1,"a":2,"user_agent":"curl/8","click_ids":{"gclid":"G"}}})
    );
}

#[test]
fn names_are_looked_up_and_not_compared_each_with_each() {
    // More than an event may have, so that it is a matter of a second or of minutes.
    let names = |first: usize| (first..first + 60_000).map(|name| name.to_string());
    let own: Vec<String> = names(40_000).map(|name| format!(r#""{name}":1"#)).collect();
    let own = format!("{{{}}}", own.join(","));
    let extra = names(10_000).map(|name| (name.into(), "2")).collect();
    let event = Event { context: Some(&own), extra, ..Event::default() };
    let started = Instant::now();
    let context = Context { timestamp: None, sent_at: None, user_agent: None, click_ids: &[] }.write(&event);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let context: Value = serde_json::from_str(&context.expect("members")).expect("JSON");
    assert_eq!((&context["10000"], &context["40000"], &context["extra"]["40000"]), (&json!(2), &json!(1), &json!(2)));
}

#[test]
fn only_secret_keys_speak_for_visitors() {
    let body = r#"{"name":"a","ip":"2001:db8:1:2::3","user_agent":"X"}"#;
    let public = row_with(body, KeyKind::Public, Privacy::default(), &request()).expect("accepted");
    assert_eq!(public["ip"], "203.0.113.0/24");
    assert_eq!(public["language"], "de-CH");
    let secret = row_with(body, KeyKind::Secret, Privacy::default(), &request()).expect("accepted");
    assert_eq!(secret["ip"], "2001:db8:1::/48");
    assert_eq!(secret["context"], json!({"user_agent": "X"}));
    assert_eq!(secret.get("language"), None);
    let silent = row_with(r#"{"name":"a"}"#, KeyKind::Secret, Privacy::default(), &request()).expect("accepted");
    assert_eq!((silent.get("ip"), silent.get("visitor_id"), silent.get("context")), (None, None, None));
}

#[test]
fn addresses_are_stored_as_the_setting_says() {
    for (policy, expected) in
        [(IpPolicy::Full, Some("203.0.113.77")), (IpPolicy::Truncated, Some("203.0.113.0/24")), (IpPolicy::None, None)]
    {
        let privacy = Privacy { ip: policy, ..Privacy::default() };
        let row = row_with(r#"{"name":"a"}"#, KeyKind::Public, privacy, &request()).expect("accepted");
        assert_eq!(row.get("ip").and_then(Value::as_str), expected);
    }
}

#[test]
fn a_visitors_wish_is_honoured() {
    let body = r#"{"name":"a","visitor_id":"v","user_id":"u","session_id":"s"}"#;
    let wish = RequestFacts { global_privacy_control: true, ..request() };
    let row = row_with(body, KeyKind::Public, Privacy::default(), &wish).expect("accepted");
    for column in ["visitor_id", "user_id", "session_id", "ip", "context"] {
        assert_eq!(row.get(column), None, "{column}");
    }
    let identify = r#"{"type":"identify","name":"i","url":"/?gclid=G","properties":{"email":"a@b.example"}}"#;
    let row = row_with(identify, KeyKind::Public, Privacy::default(), &wish).expect("accepted");
    assert_eq!((row.get("properties"), row.get("context")), (None, None));
    let drop = Privacy { global_privacy_control: SignalPolicy::Drop, ..Privacy::default() };
    assert_eq!(row_with(body, KeyKind::Public, drop.clone(), &wish), Err(Refusal::PrivacySignal("Sec-GPC")));
    assert!(row_with(body, KeyKind::Secret, drop, &wish).is_ok());
    let ignored = RequestFacts { do_not_track: true, ..request() };
    let row = row_with(body, KeyKind::Public, Privacy::default(), &ignored).expect("accepted");
    assert_eq!(row["visitor_id"], "v");
}

#[test]
fn what_an_import_knows_is_kept_and_visitors_are_those_of_their_day() {
    let enricher = enricher(Privacy::default());
    let agent = Agent { browser: Some("Looked up".to_owned()), os_version: Some("1".to_owned()), ..Agent::default() };
    let request = RequestFacts { is_import: true, ..request() };
    let row_of = |day: u8, known: Option<Known<'static>>| {
        let body = format!(r#"{{"name":"a","timestamp":"2023-03-{day:02}T10:00:00Z","ip":"203.0.113.7"}}"#);
        let decoded = native::decode(&body, false).expect("JSON");
        let mut event = decoded.events.into_iter().next().expect("one event").expect("fine");
        event.known = known.map(Box::new);
        let mut tuple = Vec::new();
        enricher.encode(&event, &key(KeyKind::Secret), &request, Some(&agent), &mut tuple).expect("accepted");
        row::to_json(&tuple).expect("a tuple")
    };
    let known = Known { city: Some("Berlin".into()), os: Some("BeOS".into()), ..Known::default() };
    let (bare, known) = (row_of(1, None), row_of(1, Some(known)));
    assert_eq!((&bare["browser"], &bare["os_version"]), (&json!("Looked up"), &json!("1")));
    assert_eq!((&known["city"], &known["os"]), (&json!("Berlin"), &json!("BeOS")));
    // A browser's version beside another's system would say what nobody has seen.
    assert_eq!((known.get("browser"), known.get("os_version")), (None, None));
    assert_eq!(bare["visitor_id"], known["visitor_id"]);
    assert_ne!(bare["visitor_id"], row_of(2, None)["visitor_id"]);
}
