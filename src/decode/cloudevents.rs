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

use super::translate::{Native, Object, Translation, items_or_one, quoted};
use super::{DecodeError, Refusal};

/// Translates one event or an array of them.
pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut translation = Translation::default();
    for item in items_or_one(body)? {
        translation.event(|native| event(native, Object::parse(item)?));
    }
    Ok(translation)
}

/// The event of a binary request: `attributes` are the headers that begin with `ce-`, without that.
pub fn translate_binary<'h>(
    attributes: impl Iterator<Item = (&'h str, &'h str)>,
    body: &str,
    is_json: bool,
) -> Translation {
    let mut json: Vec<String> =
        attributes.map(|(name, value)| format!("{}:{}", quoted(name), quoted(&percent_decoded(value)))).collect();
    let body = body.trim_ascii();
    let is_json = is_json && serde_json::from_str::<&serde_json::value::RawValue>(body).is_ok();
    if !body.is_empty() {
        json.push(format!("\"data\":{}", if is_json { body.to_owned() } else { quoted(body) }));
    }
    let json = format!("{{{}}}", json.join(","));
    let mut translation = Translation::default();
    translation.event(|native| event(native, Object::parse(&json)?));
    translation
}

/// Attributes in headers are percent-encoded where they are not ASCII.
fn percent_decoded(value: &str) -> String {
    // A `+` is a plus here, not a space.
    let value = value.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(value.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

fn event(native: &mut Native<'_>, mut event: Object<'_>) -> Result<(), Refusal> {
    let missing = |field| Refusal::BadField { field, reason: "CloudEvents requires it".into() };
    let id = event.take_text("id").ok_or_else(|| missing("id"))?;
    let source = event.take_text("source").ok_or_else(|| missing("source"))?;
    let kind = event.take_text("type").ok_or_else(|| missing("type"))?;
    event.take("specversion");
    event.take("datacontenttype");
    native.text("type", Some("track"));
    native.text("name", Some(&kind));
    native.text("id", Some(&format!("{source} {id}")));
    native.json("timestamp", event.take("time"));
    native.context("source", &quoted(&source));
    match event.take_object("data") {
        Some(data) => native.properties(&data),
        None => {
            if let Some(data) = event.take_first(&["data", "data_base64"]) {
                native.property("data", data);
            }
        }
    }
    native.contexts(&event);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_batched_and_binary() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"com.acme.paid","time":"2026-11-22T10:00:00Z","subject":"s","data":{"n":1}}"#;
        let expected = r#"{"type":"track","name":"com.acme.paid","id":"/a 1","timestamp":"2026-11-22T10:00:00Z","properties":{"n":1},"context":{"source":"/a","subject":"s"}}"#;
        assert_eq!(translate(event).expect("JSON").lines(), [expected]);
        let lines = translate(&format!("[{event},{{\"id\":\"2\"}}]")).expect("JSON").lines();
        assert_eq!((lines[0].as_str(), lines[1].as_str()), (expected, "source: CloudEvents requires it"));
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/a"),
            ("type", "com.acme.paid"),
            ("time", "2026-11-22T10:00:00Z"),
            ("subject", "s"),
        ];
        assert_eq!(translate_binary(attributes.into_iter(), "{\"n\":1}", true).lines(), [expected]);
        let text =
            translate_binary([("id", "1"), ("source", "a+b%20%E2%82%AC=&"), ("type", "t")].into_iter(), "plain", false);
        assert_eq!(
            text.lines(),
            [
                r#"{"type":"track","name":"t","id":"a+b €=& 1","properties":{"data":"plain"},"context":{"source":"a+b €=&"}}"#
            ]
        );
    }
}
