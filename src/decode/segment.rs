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

use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation, screen_of};
use super::{DecodeError, Refusal};

/// Ours for what stands in a campaign.
const CAMPAIGN: [(&str, &str); 5] = [
    ("source", "utm_source"),
    ("medium", "utm_medium"),
    ("name", "utm_campaign"),
    ("term", "utm_term"),
    ("content", "utm_content"),
];

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
pub fn translate<'a>(
    body: &'a str,
    kind: Option<&'static str>,
    texts: &'a Texts,
) -> Result<Translation<'a>, DecodeError> {
    let (outer, batch) = Object::of_batch(body, "batch")?;
    Ok(of_object(outer, batch, kind, texts))
}

/// The event of an image's query: its parameters are the members, as text.
pub fn translate_query<'a>(
    query: &'a str,
    kind: &'static str,
    texts: &'a Texts,
) -> Result<Translation<'a>, DecodeError> {
    let event = Object::of_query(query, texts).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    Ok(of_object(event, None, Some(kind), texts))
}

fn of_object<'a>(
    mut outer: Object<'a>,
    batch: Option<Vec<Json<'a>>>,
    kind: Option<&'static str>,
    texts: &'a Texts,
) -> Translation<'a> {
    let mut translation = Translation::new(texts);
    translation.key = outer.take_text("writeKey");
    let Some(batch) = batch else {
        translation.event(|native| {
            let context = outer.take_object("context");
            event(native, outer, context, kind, None);
            Ok(())
        });
        return translation;
    };
    let sent_at = outer.take("sentAt");
    let shared = outer.take("context");
    for item in batch {
        translation.event(|native| of_batch(native, item, kind, sent_at, shared));
    }
    translation
}

fn of_batch<'a>(
    native: &mut Native<'a>,
    item: Json<'a>,
    kind: Option<&'static str>,
    sent_at: Option<Value<'a>>,
    shared: Option<Value<'a>>,
) -> Result<(), Refusal> {
    let (mut own, context) = Object::parse_with(item, "context")?;
    // An event that names another key than its batch would be another's.
    own.take("writeKey");
    let context = context.or_else(|| shared.filter(|_| own.peek("context").is_none())?.object());
    event(native, own, context, kind, sent_at);
    Ok(())
}

/// One event, and apart from it its context.
pub fn event<'a>(
    native: &mut Native<'a>,
    mut event: Object<'a>,
    context: Option<Object<'a>>,
    kind: Option<&'static str>,
    sent_at: Option<Value<'a>>,
) {
    let kind = event.take_text("type").unwrap_or_else(|| kind.unwrap_or("track").into());
    native.member("id", event.take("messageId"));
    let timestamp = event.take("originalTimestamp");
    native.member("timestamp", event.take("timestamp").or(timestamp));
    native.member("sent_at", event.take("sentAt").or(sent_at));
    let anonymous = event.take("anonymousId");
    let user = event.take("userId");
    if kind == "alias" {
        native.member("user_id", user.or(anonymous));
        native.member("visitor_id", event.take("previousId"));
    } else {
        native.member("user_id", user);
        native.member("visitor_id", anonymous);
    }
    let name = if kind == "track" { event.take("event") } else { event.take("name") };
    native.member("name", name);
    let is_about_traits = matches!(kind.as_ref(), "identify" | "group");
    let mut properties = event.take(if is_about_traits { "traits" } else { "properties" });
    let page = properties.filter(|_| matches!(kind.as_ref(), "page" | "screen")).and_then(Value::object);
    let mut context = context.unwrap_or_default();
    if is_about_traits && properties.is_none() {
        // Where RudderStack's clients put them.
        properties = context.take("traits");
    }
    native.member("properties", properties);
    let has_url = context_of(native, context, page.unwrap_or_default());
    if name.is_none() && !has_url {
        // An identify has neither, and needs none.
        native.text("name", kind.clone());
    }
    native.text("type", kind);
    // Says that nobody is left out.
    let integrations = event.peek("integrations");
    if integrations.is_some_and(|value| [r"{}", r#"{"All":true}"#, r#"{"All": true}"#].iter().any(|all| value.is(all)))
    {
        event.take("integrations");
    }
    native.contexts(event);
}

/// Takes what has a column out of the context; true if the page's address was found.
fn context_of<'a>(native: &mut Native<'a>, mut context: Object<'a>, mut of_page: Object<'a>) -> bool {
    let mut page = context.take_object("page").unwrap_or_default();
    let mut found = |name: &str| page.take(name).or_else(|| of_page.take(name));
    let (url, title, referrer) = (found("url"), found("title"), found("referrer"));
    native.member("url", url);
    native.member("title", title);
    native.member("referrer", referrer);
    // Parts of the URL.
    page.drop_all(&["path", "search"]);
    native.renamed(
        &mut context,
        &[("locale", "language"), ("ip", "ip"), ("userAgent", "user_agent"), ("sessionId", "session_id")],
    );
    if let Some(mut screen) = context.take_object("screen") {
        native.text("screen", screen_of(screen.take("width"), screen.take("height")).unwrap_or_default());
        native.contexts_named(screen, "screen_");
    }
    if let Some(mut campaign) = context.take_object("campaign") {
        native.renamed(&mut campaign, &CAMPAIGN);
        native.contexts_named(campaign, "campaign_");
    }
    native.contexts(context);
    native.contexts_named(page, "page_");
    url.is_some()
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
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
        let texts = Texts::default();
        let translation = translate(body, None, &texts).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("k"));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }

    #[test]
    fn the_address_tells_the_type() {
        let texts = Texts::default();
        let translation = translate(r#"{"event":"a","writeKey":"k"}"#, kind_of_path("t"), &texts).expect("JSON");
        assert_eq!(lines(translation), [r#"{"type":"track","name":"a"}"#]);
        assert!(translate("[]", None, &texts).is_err() && kind_of_path("x").is_none());
    }
}
