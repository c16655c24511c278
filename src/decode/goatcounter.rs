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
use super::translate::{Native, Object, Translation, items, object_of_query, quoted, text_of};

pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut outer = Object::of_body(body)?;
    let mut translation = Translation::default();
    for item in items(outer.take("hits").ok_or(DecodeError::Empty)?)? {
        translation.event(|native| {
            let mut hit = Object::parse(item)?;
            native.json("ip", hit.take("ip"));
            native.json("user_agent", hit.take("user_agent"));
            native.json("timestamp", hit.take("created_at"));
            native.json("session_id", hit.take("session"));
            native.json("language", hit.take("language"));
            let (path, title, referrer) = (hit.take("path"), hit.take("title"), hit.take("ref"));
            let (is_event, size) = (hit.take("event") == Some("true"), hit.take("size"));
            event(native, path, title, referrer, is_event);
            screen(native, size);
            native.contexts(&hit);
            Ok(())
        });
    }
    Ok(translation)
}

pub fn translate_query(query: &str) -> Translation {
    let json = object_of_query(query);
    let mut translation = Translation::default();
    translation.event(|native| {
        let mut hit = Object::parse(&json)?;
        hit.take("rnd");
        hit.take("key");
        let (path, title, referrer) = (hit.take("p"), hit.take("t"), hit.take("r"));
        let (is_event, size) = (hit.take_text("e").is_some_and(|is_event| is_event == "true"), hit.take("s"));
        event(native, path, title, referrer, is_event);
        screen(native, size);
        native.contexts(&hit);
        Ok(())
    });
    translation
}

fn event(native: &mut Native<'_>, path: Option<&str>, title: Option<&str>, referrer: Option<&str>, is_event: bool) {
    native.text("type", Some(if is_event { "track" } else { "page" }));
    native.json(if is_event { "name" } else { "url" }, path);
    native.json("title", title);
    native.json("referrer", referrer);
}

fn screen(native: &mut Native<'_>, size: Option<&str>) {
    let Some(text) = size.and_then(text_of) else {
        if let Some(size) = size {
            native.context("size", size);
        }
        return;
    };
    let mut sides = text.split(',');
    if let (Some(width), Some(height)) = (sides.next(), sides.next()) {
        native.text("screen", Some(&format!("{}x{}", width.trim(), height.trim())));
    } else {
        native.context("size", &quoted(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits() {
        assert_eq!(
            translate_query("p=%2Fa&t=T&r=https%3A%2F%2Fb.example%2F&s=1920%2C1080%2C1&q=%3Futm_source%3Dx&rnd=abc")
                .lines(),
            [
                r#"{"type":"page","url":"/a","title":"T","referrer":"https://b.example/","screen":"1920x1080","context":{"q":"?utm_source=x"}}"#
            ]
        );
        assert_eq!(
            translate_query("p=buy&e=true&s=1920").lines(),
            [r#"{"type":"track","name":"buy","context":{"size":"1920"}}"#]
        );
        let body = r#"{"no_sessions":true,"hits":[{"path":"/a","size":[1,2,3],"created_at":"2026-11-22T10:00:00Z","ip":"203.0.113.7"},
            {"path":"buy","event":true}]}"#;
        assert_eq!(
            translate(body).expect("JSON").lines(),
            [
                r#"{"ip":"203.0.113.7","timestamp":"2026-11-22T10:00:00Z","type":"page","url":"/a","context":{"size":[1,2,3]}}"#,
                r#"{"type":"track","name":"buy"}"#
            ]
        );
    }
}
