//! What other products export, one event a record.
//!
//! ```text
//! segment    the calls as its S3 destination archives them: those of its SDKs with receivedAt, originalTimestamp, ...
//! posthog    {"uuid" | "id", "event", "distinct_id", "timestamp", "properties": object or its text, "person_id", ...}
//! plausible  rows of events_v2: {"timestamp", "name", "site_id", "user_id", "session_id", "hostname", "pathname", "referrer",
//!             "country_code", "subdivision1_code", "screen_size", "operating_system", "browser", "utm_*", "meta.key", "meta.value"}
//! umami      rows of website_event, with the columns of its session
//! ```
//!
//! Sources: <https://segment.com/docs/connections/storage/catalog/aws-s3/>,
//! <https://posthog.com/docs/data-pipelines/batch-exports/s3> and its events API, plausible/analytics
//! `priv/ingest_repo/structure.sql`, umami-software/umami `db/clickhouse/schema.sql` and `db/postgresql`.

use std::borrow::Cow;

use jiff::SignedDuration;

use super::flat::{Address, known_of};
use super::time;
use crate::decode::object::{Json, Object, Texts, Value};
use crate::decode::translate::Native;
use crate::decode::{Refusal, plausible as tracked, posthog as capture, segment as spec};

/// A client's clock is believed where the collector would believe it: then both know the event by the same time, and what was
/// sent to both is one.
const CLOCK_BEHIND_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
const CLOCK_AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);

pub fn segment<'a>(native: &mut Native<'a>, json: Json<'a>) -> Result<(), Refusal> {
    let (mut call, context) = Object::parse_with(json, "context")?;
    call.drop_all(&["writeKey"]);
    let at = |name: &str| time::parse(&call.peek(name)?.text()?);
    if let (Some(original), Some(received)) = (at("originalTimestamp"), at("receivedAt"))
        && original.duration_until(received) <= CLOCK_BEHIND_MAX
        && received.duration_until(original) <= CLOCK_AHEAD_MAX
    {
        // Segment's own, corrected by what the two clocks differ in.
        call.take("timestamp");
    }
    spec::event(native, call, context, None, None);
    Ok(())
}

/// What PostHog has found out, and our column.
const POSTHOG_FOUND: [(&str, &str); 8] = [
    ("$geoip_country_code", "country"),
    ("$geoip_subdivision_1_name", "region"),
    ("$geoip_city_name", "city"),
    ("$browser", "browser"),
    ("$browser_version", "browser_version"),
    ("$os", "os"),
    ("$os_version", "os_version"),
    ("$device_type", "device"),
];

pub fn posthog<'a>(native: &mut Native<'a>, json: Json<'a>, texts: &'a Texts) -> Result<(), Refusal> {
    let (mut event, properties) = Object::parse_with(json, "properties")?;
    let properties = properties.or_else(|| {
        let text = texts.text(event.take_text("properties")?);
        Value::Json(Json::embedded(text, texts)?).object()
    });
    let mut properties = properties.unwrap_or_default();
    if event.peek("uuid").is_none()
        && let Some(id) = event.take("id")
    {
        event.push("uuid", id);
    }
    if let Some(at) = event.take("timestamp") {
        event.push("timestamp", time::read(at, texts));
    }
    for (theirs, ours) in POSTHOG_FOUND {
        native.known(ours, properties.take(theirs), known_of(ours));
    }
    // All of it is in elements_chain, where there is any.
    event.drop_all(&["elements"]);
    if event.peek("elements_chain").is_some_and(is_nothing) {
        event.take("elements_chain");
    }
    capture::event(native, event, properties, None, &mut None)
}

pub fn plausible<'a>(native: &mut Native<'a>, mut row: Object<'a>, texts: &'a Texts) -> Result<(), Refusal> {
    let name = row.take_text("name").ok_or(Refusal::NoNameNorUrl)?;
    tracked::named(native, name);
    timed(native, &mut row, "timestamp", texts);
    native.member("visitor_id", row.take("user_id"));
    native.member("session_id", row.take("session_id"));
    addressed(native, &mut row, "hostname", "pathname", None);
    if let Some(referrer) = filled(&mut row, "referrer") {
        // Stored without its scheme.
        let whole = if referrer.contains("://") { referrer } else { format!("https://{referrer}").into() };
        native.text("referrer", whole);
    }
    utm(native, &mut row);
    found(
        native,
        &mut row,
        &[
            ("country_code", "country"),
            ("subdivision1_code", "region"),
            ("screen_size", "device"),
            ("operating_system", "os"),
            ("operating_system_version", "os_version"),
            ("browser", "browser"),
            ("browser_version", "browser_version"),
        ],
        texts,
    );
    for name in ["revenue_reporting_amount", "revenue_reporting_currency", "scroll_depth", "engagement_time"] {
        if let Some(value) = row.take(name).filter(|value| !is_nothing(*value)) {
            native.property(name, value);
        }
    }
    for (key, value) in pairs(&mut row) {
        native.property(&key, value);
    }
    rest(native, row);
    Ok(())
}

/// `meta.key` and `meta.value`: two arrays of the same length.
fn pairs<'a>(row: &mut Object<'a>) -> Vec<(Cow<'a, str>, Value<'a>)> {
    let items = |value: Option<Value<'a>>| match value {
        Some(Value::Json(json)) => json.items().unwrap_or_default(),
        _ => Vec::new(),
    };
    let (keys, values) = (row.peek("meta.key"), row.peek("meta.value"));
    let (keys, values) = (items(keys), items(values));
    if keys.is_empty() || keys.len() != values.len() {
        // As CSV writes arrays: kept as the text that it is.
        return Vec::new();
    }
    row.drop_all(&["meta.key", "meta.value"]);
    let key = |key: Json<'a>| Value::Json(key).text().unwrap_or_default();
    keys.into_iter().zip(values).map(|(name, value)| (key(name), Value::Json(value))).collect()
}

pub fn umami<'a>(native: &mut Native<'a>, mut row: Object<'a>, texts: &'a Texts) {
    let name = filled(&mut row, "event_name");
    let kind = row.take_text("event_type");
    match name {
        Some(name) if kind.as_deref() != Some("1") => {
            native.text("type", "track");
            native.text("name", name);
        }
        _ => native.text("type", "page"),
    }
    native.member("id", row.take("event_id"));
    timed(native, &mut row, "created_at", texts);
    // Umami's session is a visitor for a month; its visit is what others call a session.
    native.member("visitor_id", row.take("session_id"));
    native.member("session_id", row.take("visit_id"));
    native.member("user_id", row.take("distinct_id"));
    addressed(native, &mut row, "hostname", "url_path", Some("url_query"));
    let referrer = Address {
        url: None,
        host: filled(&mut row, "referrer_domain"),
        path: filled(&mut row, "referrer_path"),
        query: filled(&mut row, "referrer_query"),
    };
    native.text("referrer", referrer.whole().unwrap_or_default());
    native.renamed(&mut row, &[("page_title", "title"), ("language", "language"), ("screen", "screen")]);
    utm(native, &mut row);
    found(
        native,
        &mut row,
        &[
            ("country", "country"),
            ("region", "region"),
            ("subdivision1", "region"),
            ("city", "city"),
            ("browser", "browser"),
            ("os", "os"),
            ("device", "device"),
        ],
        texts,
    );
    rest(native, row);
}

fn timed<'a>(native: &mut Native<'a>, row: &mut Object<'a>, name: &str, texts: &'a Texts) {
    native.member("timestamp", row.take(name).map(|at| time::read(at, texts)));
}

fn addressed<'a>(native: &mut Native<'a>, row: &mut Object<'a>, host: &str, path: &str, query: Option<&str>) {
    let address = Address {
        url: None,
        host: filled(row, host),
        path: filled(row, path),
        query: query.and_then(|query| filled(row, query)),
    };
    native.text("url", address.whole().unwrap_or_default());
}

fn utm<'a>(native: &mut Native<'a>, row: &mut Object<'a>) {
    for name in ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"] {
        native.member(name, row.take(name).filter(|value| !is_nothing(*value)));
    }
}

fn found<'a>(native: &mut Native<'a>, row: &mut Object<'a>, names: &[(&str, &'static str)], texts: &'a Texts) {
    for (theirs, ours) in names {
        if let Some(text) = filled(row, theirs) {
            native.known(ours, Some(texts.value(text)), known_of(ours));
        }
    }
}

/// Text that says something.
fn filled<'a>(row: &mut Object<'a>, name: &str) -> Option<Cow<'a, str>> {
    row.take(name).filter(|value| !is_nothing(*value)).and_then(Value::text)
}

/// What databases write where there is nothing: a text of fixed length full of zeros; in CSV, `\N`.
fn is_nothing(value: Value<'_>) -> bool {
    let is_nothing =
        |text: &str| text.is_empty() || text == "\\N" || text.chars().all(|sign| matches!(sign, '\0' | '\u{fffd}'));
    match value {
        Value::Text(text) => is_nothing(text),
        Value::Json(_) => value.is("null") || value.is("\"\"") || value.text().is_some_and(|text| is_nothing(&text)),
    }
}

fn rest<'a>(native: &mut Native<'a>, row: Object<'a>) {
    for (name, value) in row.rest() {
        let is_empty_array = value.is("[]");
        if !is_nothing(value) && !is_empty_array {
            native.context(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::translate::Translation;

    fn told(json: &str, write: impl for<'a> Fn(&mut Native<'a>, Json<'a>, &'a Texts) -> Result<(), Refusal>) -> String {
        let texts = Texts::default();
        let mut translation = Translation::new(&texts);
        translation.event(|native| write(native, Json::parse(json).expect("JSON"), &texts));
        match translation.single().expect("one") {
            Ok(event) => format!("{} {:?}", event.to_json(), event.known),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn of_umami<'a>(native: &mut Native<'a>, json: Json<'a>, texts: &'a Texts) -> Result<(), Refusal> {
        umami(native, Object::parse(json)?, texts);
        Ok(())
    }

    #[test]
    fn one_of_each() {
        let segment_call = r#"{"anonymousId":"a1","channel":"client","context":{"ip":"203.0.113.7","library":{"name":"analytics.js"},"userAgent":"UA"},
            "event":"Signed Up","integrations":{},"messageId":"ajs-1","originalTimestamp":"2024-03-01T10:00:00.100Z","projectId":"p","properties":{"plan":"team"},
            "receivedAt":"2024-03-01T10:00:01.300Z","sentAt":"2024-03-01T10:00:01.000Z","timestamp":"2024-03-01T10:00:00.400Z","type":"track","userId":"u1","version":"1.1"}"#;
        let wrong_clock = segment_call.replace("2024-03-01T10:00:00.100Z", "2001-01-01T00:00:00Z");
        let posthog_row = r#"{"uuid":"018e","event":"$pageview","distinct_id":"alice","person_id":"p1","team_id":1,"timestamp":"2024-03-01T10:00:00.123000+00:00","created_at":"2024-03-01T10:00:02Z",
            "properties":{"$current_url":"https://a.example/x","$host":"a.example","$pathname":"/x","$browser":"Firefox","$browser_version":"123","$os":"Linux","$device_type":"Desktop",
            "$geoip_country_code":"DE","$geoip_city_name":"Berlin","$lib":"web","plan":"team","$device_id":"d1"},"elements_chain":""}"#;
        let posthog_api = r#"{"id":"018f","distinct_id":"bob","properties":"{\"amount\":7}","event":"paid","timestamp":"2024-03-01 10:00:00.5","person":null,"elements":[],"elements_chain":""}"#;
        let plausible_row = r#"{"timestamp":"2024-03-01 10:00:00","name":"Signup","site_id":"1","user_id":"17905468273405372342","session_id":"42","hostname":"a.example","pathname":"/x","referrer":"google.com/search",
            "referrer_source":"Google","country_code":"DE","subdivision1_code":"DE-BE","subdivision2_code":"","city_geoname_id":2950159,"screen_size":"Desktop","operating_system":"Mac","operating_system_version":"14",
            "browser":"Chrome","browser_version":"122.0","utm_source":"news","utm_medium":"","meta.key":["plan","n"],"meta.value":["team","7"],"revenue_reporting_amount":null}"#;
        let nowhere = r#"{"timestamp":"2024-03-01 10:00:00","name":"pageview","user_id":"1","hostname":"a.example","pathname":"/","country_code":"\ufffd\ufffd","meta.key":[],"meta.value":[]}"#;
        let umami_row = r#"{"website_id":"w","session_id":"s1","visit_id":"v1","event_id":"e1","hostname":"a.example","browser":"chrome","os":"Windows 10","device":"laptop","screen":"1920x1080","language":"de-DE",
            "country":"DE","region":"DE-BE","city":"Berlin","url_path":"/x","url_query":"utm_source=news","utm_source":"news","referrer_path":"/search","referrer_query":"","referrer_domain":"google.com","page_title":"X",
            "gclid":"","event_type":1,"event_name":"","tag":"","distinct_id":"","created_at":"2024-03-01 10:00:00"}"#;
        let umami_event = r#"{"session_id":"s1","event_id":"e2","hostname":"a.example","url_path":"/x","event_type":"2","event_name":"buy","created_at":"2024-03-01 10:00:01","distinct_id":"u7"}"#;
        insta::assert_snapshot!(
            [
                told(segment_call, |native, json, _| segment(native, json)),
                told(&wrong_clock, |native, json, _| segment(native, json)),
                told(posthog_row, posthog),
                told(posthog_api, posthog),
                told(plausible_row, |native, json, texts| plausible(native, Object::parse(json)?, texts)),
                told(nowhere, |native, json, texts| plausible(native, Object::parse(json)?, texts)),
                told(umami_row, of_umami),
                told(umami_event, of_umami),
            ]
            .join("\n")
        );
    }
}
