//! Umami's `POST /api/send`, one event, and `POST /api/batch`, an array of them.
//!
//! ```text
//! event   = {"type": "event" | "identify" | "performance", "payload"}
//! payload = {"website" | "link" | "pixel": key, "hostname", "url", "referrer", "title", "language", "screen", "name", "data", "id",
//!            "tag", "timestamp": Unix seconds, "ip", "userAgent", "lcp", "inp", "cls", "fcp", "ttfb"}
//! ```
//!
//! Source: Umami's tracker and @umami/node as published. `url` may be a path alone: `hostname` completes it.

use std::borrow::Cow;

use super::object::{Json, Object, Texts};
use super::translate::{Native, Translation, millis_of};
use super::{DecodeError, Refusal};

const COLUMNS: [(&str, &str); 7] = [
    ("referrer", "referrer"),
    ("title", "title"),
    ("language", "language"),
    ("screen", "screen"),
    ("ip", "ip"),
    ("userAgent", "user_agent"),
    ("id", "user_id"),
];

pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let mut translation = Translation::new(texts);
    for item in Json::parse(body)?.items_or_one()? {
        let mut key = None;
        translation.event(|native| {
            let mut outer = Object::parse(item)?;
            let kind = outer.take_text("type");
            let mut payload = outer
                .take_object("payload")
                .ok_or_else(|| Refusal::BadField { field: "payload", reason: "expected an object".into() })?;
            key = ["website", "link", "pixel"].iter().find_map(|name| payload.take_text(name));
            event(native, kind.unwrap_or("event".into()), payload, texts);
            native.contexts(outer);
            Ok(())
        });
        translation.name_key(key);
    }
    Ok(translation)
}

fn event<'a>(native: &mut Native<'a>, kind: Cow<'a, str>, mut payload: Object<'a>, texts: &'a Texts) {
    let name = payload.take("name");
    let kind = match (kind.as_ref(), name) {
        ("event", None) => "page".into(),
        ("event", Some(_)) => "track".into(),
        ("performance", _) => "web_vitals".into(),
        _ => kind,
    };
    native.member("name", name);
    if name.is_none() && kind != "page" {
        native.text("name", kind.clone());
    }
    native.text("type", kind);
    let host = payload.take_text("hostname");
    let url = payload.take_text("url");
    let url = match (url, host) {
        (Some(url), Some(host)) if url.starts_with('/') => Some(format!("https://{host}{url}").into()),
        (None, Some(host)) => Some(format!("https://{host}/").into()),
        (url, _) => url,
    };
    native.text("url", url.unwrap_or_default());
    native.renamed(&mut payload, &COLUMNS);
    let seconds = payload.take_text("timestamp");
    native.member("timestamp", seconds.and_then(|seconds| millis_of(&seconds, 1e3)).map(|ms| texts.number(ms)));
    if let Some(data) = payload.take_object("data") {
        native.properties(data);
    }
    native.renamed_properties(&mut payload, &["lcp", "inp", "cls", "fcp", "ttfb"].map(|vital| (vital, vital)));
    native.contexts(payload);
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn every_type() {
        let body = r#"[{"type":"event","payload":{"website":"w","hostname":"a.example","url":"/x?y=1","screen":"1x2","tag":"t"}},
            {"type":"event","payload":{"website":"w","url":"https://a.example/","name":"buy","data":{"n":1},"timestamp":1763805600}},
            {"type":"identify","payload":{"website":"w","id":"u","data":{"email":"e"}}},
            {"type":"performance","payload":{"website":"w","url":"/","hostname":"a.example","lcp":1200.5}}, {}]"#;
        let texts = Texts::default();
        let translation = translate(body, &texts).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("w"));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }
}
