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

use std::borrow::Cow;

use super::object::{Object, Texts, parameters};
use super::translate::{Native, Translation};
use super::{DecodeError, Refusal};

/// Parameters of gtag that say nothing of the visit.
const OF_NO_USE: [&str; 8] = ["v", "gtm", "_p", "_s", "_z", "gcd", "dma", "npa"];
/// Of a Measurement Protocol event's parameters.
const PARAMS: [(&str, &str); 8] = [
    ("page_title", "title"),
    ("page_referrer", "referrer"),
    ("language", "language"),
    ("screen_resolution", "screen"),
    ("source", "utm_source"),
    ("medium", "utm_medium"),
    ("campaign", "utm_campaign"),
    ("term", "utm_term"),
];
const GTAG: [(&str, &str); 13] = [
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

pub fn translate<'a>(query: &'a str, body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let (mut outer, events) = Object::of_batch(body, "events")?;
    let mut translation = Translation::new(texts);
    for (name, value) in parameters(query) {
        match name.as_ref() {
            "measurement_id" | "firebase_app_id" => translation.key = Some(value),
            "api_secret" => translation.secret = Some(value),
            _ => {}
        }
    }
    let client = outer.take_first(&["client_id", "app_instance_id"]);
    let user = outer.take("user_id");
    let at = outer.take_text("timestamp_micros");
    let ip = outer.take("ip_override");
    for item in events.ok_or(DecodeError::Empty)? {
        translation.event(|native| {
            let mut own = Object::parse(item)?;
            let name = own.take_text("name").ok_or(Refusal::NoNameNorUrl)?;
            let mut params = own.take_object("params").unwrap_or_default();
            native.member("visitor_id", client);
            native.member("user_id", user);
            native.member("ip", ip);
            let micros = own.take_text("timestamp_micros").or_else(|| at.clone());
            let micros = micros.and_then(|micros| micros.parse::<i64>().ok());
            native.member("timestamp", micros.map(|micros| texts.number(micros / 1_000)));
            native.member("session_id", params.take_first(&["session_id", "ga_session_id"]));
            let url = params.take("page_location");
            native.member("url", url);
            native.renamed(&mut params, &PARAMS);
            named(native, name, url.is_some());
            native.properties(params);
            native.contexts(own);
            native.contexts(outer.clone());
            Ok(())
        });
    }
    Ok(translation)
}

/// gtag's.
pub fn translate_gtag<'a>(query: &'a str, body: &'a str, texts: &'a Texts) -> Translation<'a> {
    let mut translation = Translation::new(texts);
    let mut lines: Vec<&str> = body.lines().map(str::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        lines.push("");
    }
    for line in lines {
        let mut key = None;
        translation.event(|native| {
            let mut event = Object::of_query(query, texts)?;
            // Of equal names the last counts: an event's own.
            event.append(Object::of_query(line, texts)?);
            key = event.take_text("tid");
            gtag(native, event, texts)
        });
        translation.name_key(key);
    }
    translation
}

fn gtag<'a>(native: &mut Native<'a>, mut event: Object<'a>, texts: &'a Texts) -> Result<(), Refusal> {
    event.drop_all(&OF_NO_USE);
    let name = event.take_text("en").ok_or(Refusal::NoNameNorUrl)?;
    let has_url = event.peek("dl").is_some();
    native.renamed(&mut event, &GTAG);
    named(native, name, has_url);
    for (prefix, is_number) in [("epn.", true), ("ep.", false)] {
        for (name, value) in event.split_off(prefix).rest() {
            let number = Some(value).filter(|_| is_number).and_then(|value| value.as_number(texts));
            native.property(name.trim_start_matches(prefix), number.unwrap_or(value));
        }
    }
    native.renamed_properties(&mut event, &[("_et", "engagement_time_msec")]);
    native.contexts(event);
    Ok(())
}

fn named<'a>(native: &mut Native<'a>, name: Cow<'a, str>, has_url: bool) {
    match name.as_ref() {
        "page_view" => {
            native.text("type", "page");
            if has_url {
                return;
            }
        }
        "screen_view" => native.text("type", "screen"),
        "click" | "file_download" => native.text("type", "click"),
        _ => native.text("type", "track"),
    }
    native.text("name", name);
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn measurement_protocol() {
        let texts = Texts::default();
        let translation = translate(
            "measurement_id=G-1&api_secret=sk_1",
            r#"{"client_id":"c","user_id":"u","timestamp_micros":"1763805600123456","user_properties":{"plan":{"value":"team"}},
                "events":[{"name":"purchase","params":{"session_id":"s","value":7,"currency":"EUR"}},{"params":{}}]}"#,
            &texts,
        )
        .expect("JSON");
        assert_eq!((translation.key.as_deref(), translation.secret.as_deref()), (Some("G-1"), Some("sk_1")));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }

    #[test]
    fn gtag_with_several_events() {
        let texts = Texts::default();
        let translation = translate_gtag(
            "v=2&tid=G-1&cid=1.2&sid=9&dl=https%3A%2F%2Fa.example%2F&dt=T&_p=1",
            "en=page_view&_ee=1\r\nen=scroll&epn.percent_scrolled=90&ep.a=b&_et=8\r\n",
            &texts,
        );
        assert_eq!(translation.key.as_deref(), Some("G-1"));
        insta::assert_snapshot!(lines(translation).join("\n"));
        assert_eq!(lines(translate_gtag("v=2&tid=G-1&en=page_view&dl=%2F", "", &texts)).len(), 1);
    }
}
