//! GoatCounter: `GET` or `POST /count` with one hit in the query, as count.js sends it; `POST /api/v0/count` with many.
//!
//! ```text
//! p path   t title   r referrer   e event   s screen's width (or width,height,scale)   q query   b bot's code   rnd
//! {"no_sessions", "filter", "hits": [{"path", "title", "event", "ref", "size", "query", "bot", "user_agent", "location", "ip",
//!                                     "language", "created_at", "session"}]}
//! ```
//!
//! Source: <https://www.goatcounter.com/help/pixel> and <https://www.goatcounter.com/help/api>. The site is the host that is asked:
//! that name is the key.

use super::DecodeError;
use super::object::{Object, Texts};
use super::translate::{Native, Translation};

/// Of a hit that is JSON.
const COLUMNS: [(&str, &str); 5] = [
    ("ip", "ip"),
    ("user_agent", "user_agent"),
    ("created_at", "timestamp"),
    ("session", "session_id"),
    ("language", "language"),
];

pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let (_, hits) = Object::of_batch(body, "hits")?;
    let mut translation = Translation::new(texts);
    for item in hits.ok_or(DecodeError::Empty)? {
        translation.event(|native| {
            let mut hit = Object::parse(item)?;
            native.renamed(&mut hit, &COLUMNS);
            event(native, &mut hit, ["path", "title", "ref", "event", "size"]);
            native.contexts(hit);
            Ok(())
        });
    }
    Ok(translation)
}

pub fn translate_query<'a>(query: &'a str, texts: &'a Texts) -> Translation<'a> {
    let mut translation = Translation::new(texts);
    translation.event(|native| {
        let mut hit = Object::of_query(query, texts)?;
        hit.drop_all(&["rnd", "key"]);
        event(native, &mut hit, ["p", "t", "r", "e", "s"]);
        native.contexts(hit);
        Ok(())
    });
    translation
}

/// What both ways have, under the names that they use for it.
fn event<'a>(native: &mut Native<'a>, hit: &mut Object<'a>, names: [&'static str; 5]) {
    let [path, title, referrer, is_event, size] = names;
    let is_event = hit.take(is_event).is_some_and(|is_event| is_event.is("true"));
    native.text("type", if is_event { "track" } else { "page" });
    native.member(if is_event { "name" } else { "url" }, hit.take(path));
    native.member("title", hit.take(title));
    native.member("referrer", hit.take(referrer));
    let Some(size) = hit.take(size) else { return };
    let text = size.text().unwrap_or_default();
    let mut sides = text.split(',');
    if let (Some(width), Some(height)) = (sides.next(), sides.next()) {
        native.text("screen", format!("{}x{}", width.trim(), height.trim()));
    } else {
        native.context("size", size);
    }
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn hits() {
        let texts = Texts::default();
        let query = "p=%2Fa&t=T&r=https%3A%2F%2Fb.example%2F&s=1920%2C1080%2C1&q=%3Futm_source%3Dx&rnd=abc";
        assert_eq!(
            lines(translate_query(query, &texts)),
            [
                r#"{"type":"page","url":"/a","title":"T","referrer":"https://b.example/","screen":"1920x1080","context":{"q":"?utm_source=x"}}"#
            ]
        );
        assert_eq!(
            lines(translate_query("p=buy&e=true&s=1920", &texts)),
            [r#"{"type":"track","name":"buy","context":{"size":"1920"}}"#]
        );
        let body = r#"{"no_sessions":true,"hits":[{"path":"/a","size":[1,2,3],"created_at":"2026-11-22T10:00:00Z","ip":"203.0.113.7"},
            {"path":"buy","event":true}]}"#;
        assert_eq!(
            lines(translate(body, &texts).expect("JSON")),
            [
                r#"{"type":"page","timestamp":"2026-11-22T10:00:00Z","url":"/a","ip":"203.0.113.7","context":{"size":[1,2,3]}}"#,
                r#"{"type":"track","name":"buy"}"#
            ]
        );
    }
}
