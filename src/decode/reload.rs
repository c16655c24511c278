//! Reload's `POST /page/`, `/event/` and `/metric/`, and Chord's `POST /{dataset}/{table}`.
//!
//! ```text
//! page    {"user_id": number or "undefined", "anonymous_id", "url", "path", "referrer", "document_referrer", "title",
//!          "sent_at": Unix ms as text, "search"}
//! event   {"event_name", "user_id", "organization_id", "sent_at", ...}
//! metric  {"metric_name", "value", "tags"} or an array of them
//! chord   {"created", "type", ...} or an array of them
//! ```
//!
//! Source: <https://github.com/getsentry/reload> and <https://github.com/ehfeng/chord>. Their clients send no id: a retry cannot be
//! told from a second event.

use super::DecodeError;
use super::translate::{Native, Object, Translation, items_or_one, millis_of, quoted, text_of};

/// What an address of Reload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Page,
    Event,
    Metric,
}

pub fn translate(body: &str, shape: Shape) -> Result<Translation, DecodeError> {
    all(body, |native, mut object| {
        let sent_at = object.take("sent_at").and_then(millis);
        native.json("sent_at", sent_at.as_deref());
        native.json("timestamp", sent_at.as_deref());
        let user = object.take_text("user_id").filter(|user| user != "undefined");
        native.text("user_id", user.as_deref());
        native.json("visitor_id", object.take("anonymous_id"));
        native.json("url", object.take("url"));
        native.json("title", object.take("title"));
        let referrer = object.take("referrer");
        native.json("referrer", object.take("document_referrer").filter(|json| *json != "\"\"").or(referrer));
        match shape {
            Shape::Page => {
                native.text("type", Some("page"));
                // A part of the URL.
                object.take("path");
                native.contexts(&object);
            }
            Shape::Event => {
                native.text("type", Some("track"));
                native.json("name", object.take("event_name"));
                native.properties(&object);
            }
            Shape::Metric => {
                native.text("type", Some("metric"));
                native.json("name", object.take("metric_name"));
                native.properties(&object);
            }
        }
    })
}

/// Chord's: `name` is the table that its address names.
pub fn translate_chord(body: &str, name: &str) -> Result<Translation, DecodeError> {
    all(body, |native, mut object| {
        let created = object.take("created").and_then(time);
        native.json("timestamp", created.as_deref());
        let kind = object.take_text("type");
        native.text("type", Some(if kind.as_deref() == Some("view") { "page" } else { "track" }));
        native.text("name", Some(kind.as_deref().unwrap_or(name)));
        native.json("url", object.take("url"));
        native.json("title", object.take("title"));
        native.json("referrer", object.take("referrer"));
        native.json("visitor_id", object.take("anonId"));
        native.json("user_id", object.take("userId"));
        native.properties(&object);
    })
}

fn all(body: &str, mut write: impl FnMut(&mut Native<'_>, Object<'_>)) -> Result<Translation, DecodeError> {
    let body = body.trim_ascii();
    if !body.starts_with(['{', '[']) {
        return Err(DecodeError::NotJson("expected an object or an array".to_owned()));
    }
    let mut translation = Translation::default();
    for item in items_or_one(body)? {
        translation.event(|native| {
            write(native, Object::parse(item)?);
            Ok(())
        });
    }
    Ok(translation)
}

fn millis(json: &str) -> Option<String> {
    millis_of(&text_of(json)?, 1.0)
}

/// Milliseconds as they are; other text as text.
fn time(json: &str) -> Option<String> {
    millis(json).or_else(|| text_of(json).map(|text| quoted(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address() {
        let page = r#"{"user_id":"undefined","anonymous_id":"a","url":"https://a.example/x","path":"/x","referrer":"https://b.example/",
            "document_referrer":"","title":"T","sent_at":"1763805600000"}"#;
        let event = r#"{"event_name":"signup","user_id":7,"organization_id":3,"plan":"team"}"#;
        let metric = r#"[{"metric_name":"load","value":1.5,"tags":{"a":"b"}},{"metric_name":"load","value":2}]"#;
        let chord = r#"{"created":"2026-11-22T10:00:00Z","type":"view","url":"https://a.example/","n":1}"#;
        let lines = [
            translate(page, Shape::Page),
            translate(event, Shape::Event),
            translate(metric, Shape::Metric),
            translate_chord(chord, "events"),
        ]
        .into_iter()
        .flat_map(|translation| translation.expect("JSON").lines());
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
        assert!(translate("7", Shape::Page).is_err());
    }
}
