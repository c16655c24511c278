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

use std::borrow::Cow;

use super::DecodeError;
use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation, millis_of};

/// What an address of Reload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Page,
    Event,
    Metric,
}

pub fn translate<'a>(body: &'a str, shape: Shape, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    all(body, texts, |native, mut object| {
        let sent_at = object.take("sent_at").and_then(|value| millis(value, texts));
        native.member("sent_at", sent_at);
        native.member("timestamp", sent_at);
        native.text("user_id", object.take_text("user_id").filter(|user| user != "undefined").unwrap_or_default());
        native.renamed(&mut object, &[("anonymous_id", "visitor_id"), ("url", "url"), ("title", "title")]);
        let referrer = object.take("referrer");
        let document = object.take("document_referrer").filter(|value| value.text().is_some());
        native.member("referrer", document.or(referrer));
        let (kind, name) = match shape {
            Shape::Page => {
                native.text("type", "page");
                // A part of the URL.
                object.take("path");
                return native.contexts(object);
            }
            Shape::Event => ("track", "event_name"),
            Shape::Metric => ("metric", "metric_name"),
        };
        native.text("type", kind);
        native.member("name", object.take(name));
        native.properties(object);
    })
}

/// Chord's: `name` is the table that its address names.
pub fn translate_chord<'a>(body: &'a str, name: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    all(body, texts, |native, mut object| {
        let created = object.take("created");
        native.member("timestamp", created.and_then(|value| millis(value, texts).or(value.text().map(|_| value))));
        let kind = object.take_text("type");
        native.text("type", if kind.as_deref() == Some("view") { "page" } else { "track" });
        native.text("name", kind.unwrap_or(Cow::Borrowed(name)));
        let columns = [
            ("url", "url"),
            ("title", "title"),
            ("referrer", "referrer"),
            ("anonId", "visitor_id"),
            ("userId", "user_id"),
        ];
        native.renamed(&mut object, &columns);
        native.properties(object);
    })
}

fn all<'a>(
    body: &'a str,
    texts: &'a Texts,
    mut write: impl FnMut(&mut Native<'a>, Object<'a>),
) -> Result<Translation<'a>, DecodeError> {
    let body = Json::parse(body)?;
    if !body.get().starts_with(['{', '[']) {
        return Err(DecodeError::NotJson("expected an object or an array".to_owned()));
    }
    let mut translation = Translation::new(texts);
    for item in body.items_or_one()? {
        translation.event(|native| {
            write(native, Object::parse(item)?);
            Ok(())
        });
    }
    Ok(translation)
}

fn millis<'a>(value: Value<'_>, texts: &'a Texts) -> Option<Value<'a>> {
    millis_of(&value.text()?, 1.0).map(|ms| texts.number(ms))
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn every_address() {
        let page = r#"{"user_id":"undefined","anonymous_id":"a","url":"https://a.example/x","path":"/x","referrer":"https://b.example/",
            "document_referrer":"","title":"T","sent_at":"1763805600000"}"#;
        let event = r#"{"event_name":"signup","user_id":7,"organization_id":3,"plan":"team"}"#;
        let metric = r#"[{"metric_name":"load","value":1.5,"tags":{"a":"b"}},{"metric_name":"load","value":2}]"#;
        let chord = r#"{"created":"2026-11-22T10:00:00Z","type":"view","url":"https://a.example/","n":1}"#;
        let texts = Texts::default();
        let all = [
            translate(page, Shape::Page, &texts),
            translate(event, Shape::Event, &texts),
            translate(metric, Shape::Metric, &texts),
            translate_chord(chord, "events", &texts),
        ];
        let all: Vec<String> = all.into_iter().flat_map(|translation| lines(translation.expect("JSON"))).collect();
        insta::assert_snapshot!(all.join("\n"));
        assert!(translate("7", Shape::Page, &texts).is_err());
    }
}
