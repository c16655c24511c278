use proptest::prelude::*;

use super::super::DEPTH_MAX;
use super::*;

/// Headers by name.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> for Pairs<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

/// The event as JSON, or why there is none.
fn shown(body: &str, is_form: bool, signed: Option<Service>, headers: &[(&str, &str)]) -> String {
    let (texts, headers) = (Texts::default(), Pairs(headers.to_vec()));
    match Payload::parse(body, is_form, &texts) {
        Ok(payload) => match payload.event(signed, &headers, &texts) {
            Ok(event) => event.to_json(),
            Err(refusal) => refusal.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_service_by_what_it_sends() {
    let stripe = r#"{"id":"evt_1","object":"event","api_version":"2025-09-30","created":1763805600,"type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#;
    let thin = r#"{"id":"evt_2","object":"v2.core.event","created":"2025-11-22T10:00:00.5Z","type":"v1.billing.meter.error_report_triggered"}"#;
    let github = r#"{"action":"opened","number":7,"pull_request":{"id":1}}"#;
    let delivery = ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    let shopify = r#"{"id":820982911946154508,"email":"jon@example.com"}"#;
    let slack = r#"{"token":"z","team_id":"T1","event":{"type":"app_mention","user":"U1"},"type":"event_callback","event_id":"Ev1","event_time":1763805600}"#;
    let intercom = r#"{"type":"notification_event","app_id":"a","id":"notif_1","topic":"conversation.user.created","created_at":1763805600,"data":{}}"#;
    let standard = r#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1"}}"#;
    let message = [("webhook-id", "msg_1"), ("webhook-timestamp", "1763805600"), ("webhook-signature", "v1,AAAA")];
    let svix = [("svix-id", "msg_2"), ("svix-timestamp", "1763805600"), ("svix-signature", "v1,AAAA")];
    let all = [
        shown(stripe, false, Some(Service::Stripe), &[("stripe-signature", "t=1,v1=00"), ("user-agent", "Stripe/1.0")]),
        shown(thin, false, None, &[("stripe-signature", "t=1,v1=00")]),
        shown(github, false, Some(Service::Github), &[("x-github-event", "pull_request"), delivery]),
        shown(
            "{\"zen\":\"Keep it logically awesome.\"}",
            false,
            None,
            &[("x-github-event", "ping"), ("x-github-delivery", "d"), ("x-hub-signature-256", "sha256=00")],
        ),
        shown(
            shopify,
            false,
            Some(Service::Shopify),
            &[
                ("x-shopify-topic", "orders/create"),
                ("x-shopify-webhook-id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
                ("x-shopify-triggered-at", "2023-03-29T18:00:27.877041743Z"),
                ("x-shopify-shop-domain", "shop.myshopify.com"),
                ("x-shopify-hmac-sha256", "AAAA"),
            ],
        ),
        shown(slack, false, Some(Service::Slack), &[("x-slack-signature", "v0=00"), ("x-slack-retry-num", "1")]),
        shown("command=%2Fweather&text=94070&user_name=a%00b", true, Some(Service::Slack), &[]),
        shown("payload=%7B%22type%22%3A%22block_actions%22%2C%22n%22%3A1%7D", true, Some(Service::Slack), &[]),
        shown(intercom, false, None, &[("x-hub-signature", "sha1=00")]),
        shown(standard, false, Some(Service::Standard), &message),
        shown(r#"{"event_type":"a.b","data":{}}"#, false, None, &svix),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_nobody_knows_is_taken_as_it_is() {
    let plain = |body: &str| shown(body, false, None, &[]);
    for (body, name, properties) in [
        (r#"{"event":"order.placed","id":7}"#, "order.placed", r#"{"event":"order.placed","id":7}"#),
        (r#"{"type":{"a":1},"event":7,"topic":"t"}"#, "7", r#"{"type":{"a":1},"event":7,"topic":"t"}"#),
        (r#"{"event":{"name":"x"}}"#, "webhook", r#"{"event":{"name":"x"}}"#),
        ("{ }", "webhook", "{ }"),
        ("[1, {\"type\":\"a\"}]", "webhook", r#"{"body":[1, {"type":"a"}]}"#),
        ("\"hello\"", "webhook", r#"{"body":"hello"}"#),
        ("null", "webhook", r#"{"body":null}"#),
        ("-1.5", "webhook", r#"{"body":-1.5}"#),
    ] {
        let expected =
            format!(r#"{{"type":"webhook","name":"{name}","properties":{properties},"context":{{"signed":false}}}}"#);
        assert_eq!(plain(body), expected);
    }
    // What one service calls an id is another's order: only a header says which sending this is.
    let named = shown(r#"{"id":"7"}"#, false, None, &[("idempotency-key", "k")]);
    assert!(named.contains(r#""id":"webhook\u001f\u001fk""#), "{named}");
    assert!(plain(&format!(r#"{{"type":"{}"}}"#, "x".repeat(600))).contains(r#""name":"webhook""#));
}

#[test]
fn forms_are_read_and_curls_are_json() {
    let form = |body: &str| shown(body, true, None, &[]);
    assert!(form("a=1&a=2&text=").contains(r#""properties":{"a":["1","2"],"text":""}"#), "{}", form("a=1&a=2&text="));
    assert!(form("payload=123&order=5").contains(r#""properties":{"payload":"123","order":"5"}"#));
    assert!(form(r#"{"a":1}"#).contains(r#""properties":{"a":1}"#));
    assert!(
        form("payload=no+JSON&b=%22").contains(r#""properties":{"payload":"no JSON","b":"\""}"#),
        "{}",
        form("b=%22")
    );
    assert_eq!(form("hello"), "the body is not valid JSON: nor a form: a form has names and values");
    assert_eq!(form(" "), "there are no events in the body");
    assert_eq!(shown("", false, None, &[]), "there are no events in the body");
    assert!(shown("<a/>", false, None, &[]).starts_with("the body is not valid JSON"));
}

#[test]
fn limits_are_those_of_a_body() {
    let long = format!(r#"{{"type":"a","filler":"{}"}}"#, "x".repeat(500_000));
    assert!(shown(&long, false, None, &[]).contains("filler"));
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    assert_eq!(shown(&deep, false, None, &[]), Refusal::TooDeep.to_string());
    assert_eq!(shown("[1e5000]", false, None, &[]), Refusal::NumberTooLarge.to_string());
}

#[test]
fn slacks_question_is_told_from_events() {
    let texts = Texts::default();
    let challenge = |body| Payload::parse(body, false, &texts).expect("JSON").challenge();
    assert_eq!(challenge(r#"{"type":"url_verification","challenge":"3eZ"}"#).as_deref(), Some("3eZ"));
    for none in [r#"{"type":"a","challenge":"3eZ"}"#, r#"{"type":"url_verification"}"#, "[]", "7"] {
        assert_eq!(challenge(none), None);
    }
}

#[test]
fn times_are_the_events_own_or_none() {
    let texts = Texts::default();
    for (json, at) in [
        ("1763805600", Some("2025-11-22T10:00:00Z")),
        ("\"1763805600\"", Some("2025-11-22T10:00:00Z")),
        ("1763805600.25", Some("2025-11-22T10:00:00.25Z")),
        ("1763805600250", Some("2025-11-22T10:00:00.25Z")),
        ("\"2025-11-22T11:00:00+01:00\"", Some("2025-11-22T10:00:00Z")),
        ("\"yesterday\"", None),
        ("1e300", None),
        ("\"NaN\"", None),
        ("true", None),
        ("{}", None),
    ] {
        let time = time_of(Value::literal(json), &texts).and_then(|time| time.at).map(|at| at.to_string());
        assert_eq!(time.as_deref(), at, "{json}");
    }
    let of_uuid = |id| time_within(id, &texts).and_then(|time| time.at).map(|at| at.to_string());
    assert_eq!(of_uuid("72d3162e-cc78-11e3-81ab-4c9367dc0958").as_deref(), Some("2014-04-25T12:52:24.582Z"));
    assert_eq!(of_uuid("b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"), None);
}

proptest! {
    #[test]
    fn whatever_comes_is_an_event_that_postgres_takes(
        members in prop::collection::vec(prop::sample::select(&[
            "\"type\":\"a\"", "\"type\":\"\\ud800\"", "\"type\":\"\\u0000\"", "\"type\":{}", "\"event\":{\"type\":\"b\"}", "\"event\":7", "\"created\":1e300",
            "\"created\":-1", "\"created\":\"NaN\"", "\"id\":null", "\"id\":\"\\\"\"", "\"event_id\":[]", "\"action\":\"\\\"\"", "\"topic\":\"é\"", "\"timestamp\":\"-009999-01-01T00:00:00Z\"",
            "\"\\u0000\":1", "\"a\":1,\"a\":2",
        ][..]), 0..5),
        shape in 0..4_u8,
        signed in prop::sample::select(&[
            None, Some(Service::Stripe), Some(Service::Github), Some(Service::Shopify), Some(Service::Slack), Some(Service::Intercom), Some(Service::Standard),
        ][..]),
    ) {
        let object = format!("{{{}}}", members.join(","));
        let body = match shape {
            0 => object,
            1 => format!("[{object}, 7]"),
            2 => url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &object).finish(),
            _ => url::form_urlencoded::Serializer::new(String::new()).append_pair("a\0", &object).finish(),
        };
        let body = super::super::mend_escapes(&body).0.into_owned();
        let json = shown(&body, shape > 1, signed, &[("x-github-event", "\""), ("user-agent", "\\\"")]);
        let value: serde_json::Value = serde_json::from_str(&json).expect(&json);
        prop_assert!(value["properties"].is_object() && value["context"].is_object(), "{}", json);
        prop_assert!(value["type"] == "webhook" && value["name"].is_string(), "{}", json);
        prop_assert_eq!(super::super::mend_escapes(&json).1, 0, "{}", json);
    }
}
