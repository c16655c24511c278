//! Google Analytics 4: the Measurement Protocol, `POST /mp/collect`, and gtag's own `POST /g/collect`.
//!
//! ```text
//! mp   ?measurement_id=KEY&api_secret=SECRET
//!      {"client_id", "user_id", "timestamp_micros", "user_properties": {name: {"value"}}, "events": [{"name", "params"}]}
//! g    ?v=2&tid=KEY&cid&uid&sid&dl&dr&dt&ul&sr&en&_et&ep.NAME=text&epn.NAME=number&up.NAME&upn.NAME
//!      and where there are several, a line of the body for each event with what is its own
//! ```
//!
//! Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4>; gtag's as pages send it.

use super::translate::{Native, Object, Translation, items, object_of_query, parameters, text_of};
use super::{DecodeError, Refusal};

/// Parameters of gtag that say nothing of the visit.
const OF_NO_USE: [&str; 8] = ["v", "gtm", "_p", "_s", "_z", "gcd", "dma", "npa"];

pub fn translate(query: &str, body: &str) -> Result<Translation, DecodeError> {
    let mut outer = Object::of_body(body)?;
    let mut translation = Translation::default();
    for (name, value) in parameters(query) {
        match name.as_ref() {
            "measurement_id" | "firebase_app_id" => translation.key = Some(value.into_owned()),
            "api_secret" => translation.secret = Some(value.into_owned()),
            _ => {}
        }
    }
    let events = items(outer.take("events").ok_or(DecodeError::Empty)?)?;
    let client = outer.take_first(&["client_id", "app_instance_id"]);
    let user = outer.take("user_id");
    let at = outer.take_text("timestamp_micros");
    let ip = outer.take("ip_override");
    for item in events {
        translation.event(|native| {
            let mut own = Object::parse(item)?;
            let name = own.take_text("name").ok_or(Refusal::NoNameNorUrl)?;
            let mut params = own.take_object("params").unwrap_or_default();
            native.json("visitor_id", client);
            native.json("user_id", user);
            native.json("ip", ip);
            let micros = own.take_text("timestamp_micros").or_else(|| at.clone());
            native.json("timestamp", micros.and_then(|micros| millis(&micros)).as_deref());
            native.json("session_id", params.take("session_id").or_else(|| params.take("ga_session_id")));
            let url = params.take("page_location");
            native.json("url", url);
            native.json("title", params.take("page_title"));
            native.json("referrer", params.take("page_referrer"));
            native.json("language", params.take("language"));
            native.json("screen", params.take("screen_resolution"));
            for (theirs, ours) in
                [("source", "utm_source"), ("medium", "utm_medium"), ("campaign", "utm_campaign"), ("term", "utm_term")]
            {
                native.json(ours, params.take(theirs));
            }
            named(native, &name, url.is_some());
            native.properties(&params);
            native.contexts(&own);
            native.contexts(&outer);
            Ok(())
        });
    }
    Ok(translation)
}

/// gtag's.
pub fn translate_gtag(query: &str, body: &str) -> Translation {
    let mut translation = Translation::default();
    let lines: Vec<&str> = body.lines().map(str::trim_ascii).filter(|line| !line.is_empty()).collect();
    let lines = if lines.is_empty() { vec![""] } else { lines };
    for line in lines {
        // Of equal names the last counts: an event's own.
        let json = object_of_query(&[query, line].join("&"));
        let mut key = None;
        translation.event(|native| {
            let mut event = Object::parse(&json)?;
            key = event.take_text("tid").map(Into::into);
            gtag(native, event)
        });
        translation.key = translation.key.or(key);
    }
    translation
}

fn gtag(native: &mut Native<'_>, mut event: Object<'_>) -> Result<(), Refusal> {
    event.drop_all(&OF_NO_USE);
    let name = event.take_text("en").ok_or(Refusal::NoNameNorUrl)?;
    let has_url = event.peek("dl").is_some();
    let columns = [
        ("cid", "visitor_id"),
        ("uid", "user_id"),
        ("sid", "session_id"),
        ("dl", "url"),
        ("dr", "referrer"),
        ("dt", "title"),
        ("ul", "language"),
        ("sr", "screen"),
        ("cs", "utm_source"),
        ("cm", "utm_medium"),
        ("cn", "utm_campaign"),
        ("ck", "utm_term"),
        ("cc", "utm_content"),
    ];
    native.renamed(&mut event, &columns);
    named(native, &name, has_url);
    for (prefix, is_number) in [("epn.", true), ("ep.", false)] {
        let params = event.split_off(prefix);
        for (name, value) in params.rest() {
            let number =
                text_of(value).filter(|text| is_number && serde_json::from_str::<serde_json::Number>(text).is_ok());
            native.property(name.trim_start_matches(prefix), number.as_deref().unwrap_or(value));
        }
    }
    if let Some(engaged) = event.take("_et") {
        native.property("engagement_time_msec", engaged);
    }
    native.contexts(&event);
    Ok(())
}

fn named(native: &mut Native<'_>, name: &str, has_url: bool) {
    match name {
        "page_view" => {
            native.text("type", Some("page"));
            if has_url {
                return;
            }
        }
        "screen_view" => native.text("type", Some("screen")),
        "click" | "file_download" => native.text("type", Some("click")),
        _ => native.text("type", Some("track")),
    }
    native.text("name", Some(name));
}

fn millis(micros: &str) -> Option<String> {
    micros.parse::<i64>().ok().map(|micros| (micros / 1_000).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurement_protocol() {
        let translation = translate(
            "measurement_id=G-1&api_secret=sk_1",
            r#"{"client_id":"c","user_id":"u","timestamp_micros":"1763805600123456","user_properties":{"plan":{"value":"team"}},
                "events":[{"name":"purchase","params":{"session_id":"s","value":7,"currency":"EUR"}},{"params":{}}]}"#,
        )
        .expect("JSON");
        assert_eq!((translation.key.as_deref(), translation.secret.as_deref()), (Some("G-1"), Some("sk_1")));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }

    #[test]
    fn gtag_with_several_events() {
        let translation = translate_gtag(
            "v=2&tid=G-1&cid=1.2&sid=9&dl=https%3A%2F%2Fa.example%2F&dt=T&_p=1",
            "en=page_view&_ee=1\r\nen=scroll&epn.percent_scrolled=90&ep.a=b&_et=8\r\n",
        );
        assert_eq!(translation.key.as_deref(), Some("G-1"));
        insta::assert_snapshot!(translation.lines().join("\n"));
        assert_eq!(translate_gtag("v=2&tid=G-1&en=page_view&dl=%2F", "").lines().len(), 1);
    }
}
