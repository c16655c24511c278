//! Umami's `POST /api/send`, one event, and `POST /api/batch`, an array of them.
//!
//! ```text
//! event   = {"type": "event" | "identify" | "performance", "payload"}
//! payload = {"website" | "link" | "pixel": key, "hostname", "url", "referrer", "title", "language", "screen", "name", "data", "id",
//!            "tag", "timestamp": Unix seconds, "ip", "userAgent", "lcp", "inp", "cls", "fcp", "ttfb"}
//! ```
//!
//! Source: Umami's tracker and @umami/node as published. `url` may be a path alone: `hostname` completes it.

use super::translate::{Native, Object, Translation, items_or_one, millis_of};
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

pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut translation = Translation::default();
    for item in items_or_one(body)? {
        let mut key = None;
        translation.event(|native| {
            let mut outer = Object::parse(item)?;
            let kind = outer.take_text("type");
            let mut payload = outer
                .take_object("payload")
                .ok_or_else(|| Refusal::BadField { field: "payload", reason: "expected an object".into() })?;
            key = ["website", "link", "pixel"].iter().find_map(|name| payload.take_text(name)).map(Into::into);
            event(native, kind.as_deref().unwrap_or("event"), payload);
            native.contexts(&outer);
            Ok(())
        });
        translation.key = translation.key.or(key);
    }
    Ok(translation)
}

fn event(native: &mut Native<'_>, kind: &str, mut payload: Object<'_>) {
    let name = payload.take("name");
    let kind = match (kind, name) {
        ("event", None) => "page",
        ("event", Some(_)) => "track",
        ("performance", _) => "web_vitals",
        (kind, _) => kind,
    };
    native.text("type", Some(kind));
    native.json("name", name);
    if name.is_none() && kind != "page" {
        native.text("name", Some(kind));
    }
    let host = payload.take_text("hostname");
    let url = payload.take_text("url");
    let url = match (url, host) {
        (Some(url), Some(host)) if url.starts_with('/') => Some(format!("https://{host}{url}")),
        (None, Some(host)) => Some(format!("https://{host}/")),
        (url, _) => url.map(Into::into),
    };
    native.text("url", url.as_deref());
    native.renamed(&mut payload, &COLUMNS);
    let seconds = payload.take_text("timestamp");
    native.json("timestamp", seconds.and_then(|seconds| millis_of(&seconds, 1e3)).as_deref());
    if let Some(data) = payload.take_object("data") {
        native.properties(&data);
    }
    native.renamed_properties(&mut payload, &["lcp", "inp", "cls", "fcp", "ttfb"].map(|vital| (vital, vital)));
    native.contexts(&payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type() {
        let body = r#"[{"type":"event","payload":{"website":"w","hostname":"a.example","url":"/x?y=1","screen":"1x2","tag":"t"}},
            {"type":"event","payload":{"website":"w","url":"https://a.example/","name":"buy","data":{"n":1},"timestamp":1763805600}},
            {"type":"identify","payload":{"website":"w","id":"u","data":{"email":"e"}}},
            {"type":"performance","payload":{"website":"w","url":"/","hostname":"a.example","lcp":1200.5}}, {}]"#;
        let translation = translate(body).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("w"));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }
}
