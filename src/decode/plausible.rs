//! Plausible's `POST /api/event`: one event, in short or long names.
//!
//! ```text
//! {"n" | "name", "u" | "url", "d" | "domain", "r" | "referrer", "p" | "m" | "meta" | "props": object or its text,
//!  "h": hash routing, "w": width, "i": interactive, "$" | "revenue", "v": version, "sd": scroll depth, "e": engaged ms}
//! ```
//!
//! Source: plausible-tracker and @plausible-analytics/tracker as published. The domain is the key; of a list of domains,
//! the first.

use super::translate::{Object, Translation, quoted};
use super::{DecodeError, Refusal};

pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut translation = Translation::default();
    let mut event = Object::of_body(body)?;
    let domains = event.take_text("d").or_else(|| event.take_text("domain"));
    translation.key =
        domains.as_deref().and_then(|domains| domains.split(',').next()).map(|first| first.trim().to_owned());
    translation.event(|native| {
        let long = event.take_text("name");
        let name = event.take_text("n").or(long).ok_or(Refusal::NoNameNorUrl)?;
        match name.as_ref() {
            "pageview" => native.text("type", Some("page")),
            // How long and how far a page was read; no visit of its own.
            "engagement" => {
                native.text("type", Some("engagement"));
                native.text("name", Some("engagement"));
            }
            name => {
                native.text("type", Some("track"));
                native.text("name", Some(name));
            }
        }
        native.json("url", event.take_first(&["u", "url"]));
        native.json("referrer", event.take_first(&["r", "referrer"]));
        for (short, long) in [("sd", "scroll_depth"), ("e", "engaged_ms"), ("$", "revenue"), ("i", "interactive")] {
            if let Some(value) = event.take(short).or_else(|| event.take(long)) {
                native.property(long, value);
            }
        }
        for name in ["p", "m", "meta", "props"] {
            // An object, or the text of one.
            let text = event.peek(name).filter(|json| json.starts_with('"')).and_then(|_| event.take_text(name));
            if let Some(text) = text {
                match Object::parse(&text) {
                    Ok(properties) => native.properties(&properties),
                    Err(_) => native.context(name, &quoted(&text)),
                }
            } else if let Some(properties) = event.take_object(name) {
                native.properties(&properties);
            }
        }
        native.contexts(&event);
        Ok(())
    });
    Ok(translation)
}

#[cfg(test)]
mod tests {
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
            let translation = translate(body).expect("JSON");
            assert_eq!(translation.key.as_deref(), Some("a.example"));
            assert_eq!(translation.lines(), [expected]);
        }
    }
}
