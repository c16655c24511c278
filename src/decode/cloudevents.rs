//! CloudEvents 1.0 over HTTP: `POST /v1/cloudevents`, structured, in batches, or with its attributes in headers.
//!
//! ```text
//! structured   application/cloudevents+json          {"specversion", "id", "source", "type", "time", "subject", "data", ...}
//! batch        application/cloudevents-batch+json    [structured, ...]
//! binary       any other, with `ce-id`, `ce-type`, `ce-source`, ... as headers: the body is the data
//! ```
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>. `source` and `id`
//! together name an event.

use std::borrow::Cow;

use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation};
use super::{DecodeError, Refusal};

/// Translates one event or an array of them.
pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let mut translation = Translation::new(texts);
    for item in Json::parse(body)?.items_or_one()? {
        translation.event(|native| event(native, Object::parse(item)?));
    }
    Ok(translation)
}

/// The event of a binary request: `attributes` are the headers that begin with `ce-`, without that.
pub fn translate_binary<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
    body: &'a str,
    is_json: bool,
    texts: &'a Texts,
) -> Translation<'a> {
    let mut members = Object::default();
    for (name, value) in attributes {
        members.push(name, texts.value(percent_decoded(value)));
    }
    let body = body.trim_ascii();
    if !body.is_empty() {
        let json = Some(body).filter(|_| is_json).and_then(|body| Json::parse(body).ok());
        members.push("data", json.map_or(Value::Text(body), Value::Json));
    }
    let mut translation = Translation::new(texts);
    translation.event(|native| event(native, members));
    translation
}

/// Attributes in headers are percent-encoded where they are not ASCII.
fn percent_decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    // A `+` is a plus here, not a space.
    let value = value.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(value.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

fn event<'a>(native: &mut Native<'a>, mut event: Object<'a>) -> Result<(), Refusal> {
    let missing = |field| Refusal::BadField { field, reason: "CloudEvents requires it".into() };
    let id = event.take_text("id").ok_or_else(|| missing("id"))?;
    let source = event.take_text("source").ok_or_else(|| missing("source"))?;
    let kind = event.take_text("type").ok_or_else(|| missing("type"))?;
    event.drop_all(&["specversion", "datacontenttype"]);
    native.text("type", "track");
    native.text("name", kind);
    native.text("id", format!("{source} {id}"));
    native.member("timestamp", event.take("time"));
    native.context_text("source", source);
    match event.take_object("data") {
        Some(data) => native.properties(data),
        None => {
            if let Some(data) = event.take_first(&["data", "data_base64"]) {
                native.property("data", data);
            }
        }
    }
    native.contexts(event);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn structured_batched_and_binary() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"com.acme.paid","time":"2026-11-22T10:00:00Z","subject":"s","data":{"n":1}}"#;
        let expected = r#"{"type":"track","name":"com.acme.paid","id":"/a 1","timestamp":"2026-11-22T10:00:00Z","properties":{"n":1},"context":{"source":"/a","subject":"s"}}"#;
        let texts = Texts::default();
        assert_eq!(lines(translate(event, &texts).expect("JSON")), [expected]);
        let array = format!("[{event},{{\"id\":\"2\"}}]");
        let both = lines(translate(&array, &texts).expect("JSON"));
        assert_eq!(both, [expected, "source: CloudEvents requires it"]);
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/a"),
            ("type", "com.acme.paid"),
            ("time", "2026-11-22T10:00:00Z"),
            ("subject", "s"),
        ];
        assert_eq!(lines(translate_binary(attributes.into_iter(), "{\"n\":1}", true, &texts)), [expected]);
        let attributes = [("id", "1"), ("source", "a+b%20%E2%82%AC=&"), ("type", "t")];
        assert_eq!(
            lines(translate_binary(attributes.into_iter(), "plain", false, &texts)),
            [
                r#"{"type":"track","name":"t","id":"a+b €=& 1","properties":{"data":"plain"},"context":{"source":"a+b €=&"}}"#
            ]
        );
    }
}
