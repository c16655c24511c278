//! Plausible's `POST /api/event`: one event, in short or long names.
//!
//! ```text
//! {"n" | "name", "u" | "url", "d" | "domain", "r" | "referrer", "p" | "m" | "meta" | "props": object or its text,
//!  "h": hash routing, "w": width, "i": interactive, "$" | "revenue", "v": version, "sd": scroll depth, "e": engaged ms}
//! ```
//!
//! Source: plausible-tracker and @plausible-analytics/tracker as published. The domain is the key; of a list of domains,
//! the first.

use std::borrow::Cow;

use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation};
use super::{DecodeError, Refusal};

/// Theirs, short and long, and ours.
const PROPERTIES: [(&str, &str); 4] =
    [("sd", "scroll_depth"), ("e", "engaged_ms"), ("$", "revenue"), ("i", "interactive")];

pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let mut translation = Translation::new(texts);
    let mut outer = Object::of_body(body)?;
    let domains = outer.take_text("d").or_else(|| outer.take_text("domain"));
    translation.key = domains.map(|domains| match domains.split_once(',') {
        Some((first, _)) => Cow::Owned(first.trim().to_owned()),
        None => domains,
    });
    translation.event(|native| event(native, outer, texts));
    Ok(translation)
}

/// What an event of this name is; an export has the same names.
pub(crate) fn named<'a>(native: &mut Native<'a>, name: Cow<'a, str>) {
    match name.as_ref() {
        "pageview" => native.text("type", "page"),
        // How long and how far a page was read; no visit of its own.
        "engagement" => {
            native.text("type", "engagement");
            native.text("name", name);
        }
        _ => {
            native.text("type", "track");
            native.text("name", name);
        }
    }
}

fn event<'a>(native: &mut Native<'a>, mut event: Object<'a>, texts: &'a Texts) -> Result<(), Refusal> {
    let long = event.take_text("name");
    let name = event.take_text("n").or(long).ok_or(Refusal::NoNameNorUrl)?;
    named(native, name);
    native.member("url", event.take_first(&["u", "url"]));
    native.member("referrer", event.take_first(&["r", "referrer"]));
    for (short, long) in PROPERTIES {
        if let Some(value) = event.take_first(&[short, long]) {
            native.property(long, value);
        }
    }
    for name in ["p", "m", "meta", "props"] {
        // An object, or the text of one.
        if let Some(properties) = event.take_object(name) {
            native.properties(properties);
        } else if let Some(text) = event.take_text(name) {
            let text = texts.text(text);
            match Json::embedded(text, texts).and_then(|json| Value::Json(json).object()) {
                Some(properties) => native.properties(properties),
                None => native.context_text(name, text),
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
    fn page_views_goals_and_engagement() {
        for (body, expected) in [
            (
                r#"{"n":"pageview","u":"https://a.example/","d":"a.example,b.example","r":null,"v":36}"#,
                r#"{"type":"page","url":"https://a.example/","context":{"v":36}}"#,
            ),
            (
                r#"{"name":"Signup","url":"https://a.example/","domain":"a.example","props":"{\"plan\":\"team\"}","$":{"currency":"EUR","amount":1}}"#,
                r#"{"type":"track","name":"Signup","url":"https://a.example/","properties":{"revenue":{"currency":"EUR","amount":1},"plan":"team"}}"#,
            ),
            (
                r#"{"n":"engagement","sd":40,"e":1200,"u":"https://a.example/","d":"a.example","p":{"x":1}}"#,
                r#"{"type":"engagement","name":"engagement","url":"https://a.example/","properties":{"scroll_depth":40,"engaged_ms":1200,"x":1}}"#,
            ),
        ] {
            let texts = Texts::default();
            let translation = translate(body, &texts).expect("JSON");
            assert_eq!(translation.key.as_deref(), Some("a.example"));
            assert_eq!(lines(translation), [expected]);
        }
    }
}
