//! Segment's spec, as Segment's, RudderStack's and Jitsu's SDKs send it: `POST /v1/batch`, `/v1/track`, `/v1/t`, ...
//!
//! ```text
//! body    = event | {"batch": [event, ...], "writeKey", "sentAt", "context"}
//! event   = {"type", "messageId", "timestamp" | "originalTimestamp", "sentAt", "anonymousId", "userId", "context", "writeKey",
//!            "event", "properties"                       of a track
//!            "name", "category", "properties"            of a page or a screen
//!            "traits"                                    of an identify or a group, which has a "groupId", too
//!            "previousId"}                               of an alias
//! context = {"page": {"url", "title", "referrer", "path", "search"}, "campaign": {"source", "medium", "name", "term", "content"},
//!            "locale", "screen": {"width", "height"}, "ip", "userAgent", "sessionId", "library", ...}
//! ```
//!
//! Source: the published packages and <https://segment.com/docs/connections/spec/>. The path tells the type of an event
//! that names none.

use super::translate::{Native, Object, Translation, items, object_of_query, screen_of};
use super::{DecodeError, Refusal};

/// The type that an address stands for: `track`, and also `t`.
pub fn kind_of_path(last: &str) -> Option<&'static str> {
    Some(match last {
        "track" | "t" => "track",
        "page" | "p" => "page",
        "screen" | "s" => "screen",
        "identify" | "i" => "identify",
        "group" | "g" => "group",
        "alias" | "a" | "merge" => "alias",
        _ => return None,
    })
}

/// Translates a body; `kind` is what its address says of events that do not say it themselves.
pub fn translate(body: &str, kind: Option<&'static str>) -> Result<Translation, DecodeError> {
    let mut translation = Translation::default();
    let mut outer = Object::of_body(body)?;
    translation.key = outer.take_text("writeKey").map(Into::into);
    let Some(batch) = outer.take("batch") else {
        translation.event(|native| event(native, outer, kind, None, None));
        return Ok(translation);
    };
    let sent_at = outer.take("sentAt");
    let shared = outer.take("context");
    for item in items(batch)? {
        translation.event(|native| {
            let mut own = Object::parse(item)?;
            // An event that names another key than its batch would be another's.
            own.take("writeKey");
            event(native, own, kind, sent_at, shared)
        });
    }
    Ok(translation)
}

/// The event of an image's query: its parameters are the members, as text.
pub fn translate_query(query: &str, kind: &'static str) -> Result<Translation, DecodeError> {
    translate(&object_of_query(query), Some(kind))
}

fn event(
    native: &mut Native<'_>,
    mut event: Object<'_>,
    kind: Option<&'static str>,
    sent_at: Option<&str>,
    shared: Option<&str>,
) -> Result<(), Refusal> {
    let own = event.take_text("type");
    let kind = own.as_deref().or(kind).unwrap_or("track");
    native.text("type", Some(kind));
    native.json("id", event.take("messageId"));
    let timestamp = event.take("originalTimestamp");
    native.json("timestamp", event.take("timestamp").or(timestamp));
    native.json("sent_at", event.take("sentAt").or(sent_at));
    let anonymous = event.take("anonymousId");
    let user = event.take("userId");
    if kind == "alias" {
        native.json("user_id", user.or(anonymous));
        native.json("visitor_id", event.take("previousId"));
    } else {
        native.json("user_id", user);
        native.json("visitor_id", anonymous);
    }
    let name = if kind == "track" { event.take("event") } else { event.take("name") };
    native.json("name", name);
    let is_about_traits = matches!(kind, "identify" | "group");
    let mut properties = event.take(if is_about_traits { "traits" } else { "properties" });
    let page =
        if matches!(kind, "page" | "screen") { properties.and_then(|json| Object::parse(json).ok()) } else { None };
    let has_name = name.is_some();
    let mut context = event.take("context").or(shared).map(Object::parse).transpose()?.unwrap_or_default();
    if is_about_traits && properties.is_none() {
        // Where RudderStack's clients put them.
        properties = context.take("traits");
    }
    native.json("properties", properties);
    let has_url = context_of(native, context, page.unwrap_or_default());
    if !has_name && !has_url {
        // An identify has neither, and needs none.
        native.text("name", Some(kind));
    }
    // Says that nobody is left out.
    if event.peek("integrations").is_some_and(|json| ["{}", r#"{"All":true}"#, r#"{"All": true}"#].contains(&json)) {
        event.take("integrations");
    }
    native.contexts(&event);
    Ok(())
}

/// Takes what has a column out of the context; true if the page's address was found.
fn context_of(native: &mut Native<'_>, mut context: Object<'_>, mut of_page: Object<'_>) -> bool {
    let mut page = context.take_object("page").unwrap_or_default();
    let mut found = |name: &str| page.take(name).or_else(|| of_page.take(name));
    let (url, title, referrer) = (found("url"), found("title"), found("referrer"));
    native.json("url", url);
    native.json("title", title);
    native.json("referrer", referrer);
    // Parts of the URL.
    page.take("path");
    page.take("search");
    native.json("language", context.take("locale"));
    if let Some(mut screen) = context.take_object("screen") {
        let size = screen_of(screen.take("width"), screen.take("height"));
        native.text("screen", size.as_deref());
        screen.rest().for_each(|(name, value)| native.context(&format!("screen_{name}"), value));
    }
    native.json("ip", context.take("ip"));
    native.json("user_agent", context.take("userAgent"));
    native.json("session_id", context.take("sessionId"));
    if let Some(mut campaign) = context.take_object("campaign") {
        native.json("utm_source", campaign.take("source"));
        native.json("utm_medium", campaign.take("medium"));
        native.json("utm_campaign", campaign.take("name"));
        native.json("utm_term", campaign.take("term"));
        native.json("utm_content", campaign.take("content"));
        campaign.rest().for_each(|(name, value)| native.context(&format!("campaign_{name}"), value));
    }
    native.contexts(&context);
    page.rest().for_each(|(name, value)| native.context(&format!("page_{name}"), value));
    url.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch() {
        let body = r#"{"writeKey":"k","sentAt":"2026-11-22T10:00:01Z","batch":[
            {"type":"track","messageId":"m1","event":"Signed Up","userId":7,"anonymousId":"a","timestamp":"2026-11-22T10:00:00Z",
             "properties":{"plan":"team"},"integrations":{},"_metadata":{"nodeVersion":"20"},
             "context":{"ip":"203.0.113.7","userAgent":"UA","locale":"de","library":{"name":"l"},"screen":{"width":1,"height":2,"density":3},
                        "campaign":{"source":"s","name":"n","id":"x"},"page":{"url":"https://a.example/","path":"/","title":"T"}}},
            {"type":"page","messageId":"m2","properties":{"url":"https://a.example/b","title":"B"}},
            {"type":"identify","messageId":"m3","userId":"u","traits":{"email":"e"}},
            {"type":"alias","messageId":"m4","userId":"u","previousId":"a"}, 7]}"#;
        let translation = translate(body, None).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("k"));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }

    #[test]
    fn the_address_tells_the_type() {
        let translation = translate(r#"{"event":"a","writeKey":"k"}"#, kind_of_path("t")).expect("JSON");
        assert_eq!(translation.lines(), [r#"{"type":"track","name":"a"}"#]);
        assert!(translate("[]", None).is_err() && kind_of_path("x").is_none());
    }
}
