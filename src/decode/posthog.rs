//! PostHog's capture protocol, v0 and v1: `POST /e/`, `/i/v0/e/`, `/batch/`, `/capture/`, `/i/v1/analytics/events`, ...
//!
//! ```text
//! body   = {"api_key" | "token", "batch": [event, ...], "sent_at"} | [event, ...] | event
//!          also in base64, and as the form `data=<base64>`
//! event  = {"event", "uuid", "timestamp" | "offset", "distinct_id", "properties", "$set", "api_key" | "token"}
//! v1     = {"created_at", "batch": [event, ...]}, the key in `Authorization`
//! ```
//!
//! Source: posthog-js, posthog-node, and posthog for Python as published. A name that begins with `$` is PostHog's own:
//! such properties become columns, or go into `context`; the others stay properties.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::object::{Json, Object, Texts, Value, take_members};
use super::translate::{Native, Translation, screen_of};
use super::{DecodeError, Refusal, mend_escapes};

/// Properties that are columns, beside those that need a closer look.
const COLUMNS: [(&str, &str); 8] = [
    ("title", "title"),
    ("$browser_language", "language"),
    ("$ip", "ip"),
    ("utm_source", "utm_source"),
    ("utm_medium", "utm_medium"),
    ("utm_campaign", "utm_campaign"),
    ("utm_term", "utm_term"),
    ("utm_content", "utm_content"),
];

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The JSON in a body that may be wrapped in a form and in base64.
pub fn unwrap<'a>(body: &'a str, texts: &'a Texts) -> Result<&'a str, DecodeError> {
    let body = body.trim_ascii();
    let data = if body.starts_with(['{', '[']) {
        return Ok(body);
    } else if body.contains('=') && !body.ends_with('=') || body.starts_with("data=") {
        let mut parameters = url::form_urlencoded::parse(body.as_bytes());
        parameters.find(|(name, _)| name == "data").map(|(_, data)| data).ok_or(DecodeError::Empty)?
    } else {
        Cow::Borrowed(body)
    };
    if data.starts_with(['{', '[']) {
        return Ok(texts.keep(&mend_escapes(&data).0));
    }
    // A form turns each `+` into a space.
    let data = data.replace(' ', "+");
    let bytes = BASE64.decode(data.trim_ascii()).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8(error.utf8_error().valid_up_to()))?;
    Ok(texts.keep(&mend_escapes(&text).0))
}

/// Translates what [`unwrap`] found.
pub fn translate<'a>(json: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let mut translation = Translation::new(texts);
    if json.starts_with('[') {
        all(&mut translation, Json::parse(json)?.items()?, None);
        return Ok(translation);
    }
    let (mut outer, batch) = Object::of_batch(json, "batch")?;
    match batch {
        Some(batch) => {
            translation.key = key_of(&mut outer);
            let sent_at = outer.take_first(&["sent_at", "created_at"]);
            all(&mut translation, batch, sent_at);
        }
        None => one(&mut translation, None, || {
            let properties = outer.take_object("properties");
            Ok((outer, properties))
        }),
    }
    Ok(translation)
}

fn all<'a>(translation: &mut Translation<'a>, events: Vec<Json<'a>>, sent_at: Option<Value<'a>>) {
    for item in events {
        one(translation, sent_at, || Object::parse_with(item, "properties"));
    }
}

fn one<'a>(
    translation: &mut Translation<'a>,
    sent_at: Option<Value<'a>>,
    read: impl FnOnce() -> Result<(Object<'a>, Option<Object<'a>>), Refusal>,
) {
    let mut own = None;
    translation.event(|native| {
        let (mut object, properties) = read()?;
        own = key_of(&mut object);
        event(native, object, properties.unwrap_or_default(), sent_at, &mut own)
    });
    translation.name_key(own);
}

/// The key that an object names, by one of three names. What is no text stays.
fn key_of<'a>(object: &mut Object<'a>) -> Option<Cow<'a, str>> {
    take_members!(object, { "api_key" => api_key, "token" => token, "$token" => dollar_token });
    let mut key = None;
    for (name, value) in [("api_key", api_key), ("token", token), ("$token", dollar_token)] {
        match (value, value.and_then(Value::text)) {
            (_, Some(text)) => drop(key.get_or_insert(text)),
            (Some(value), None) => object.push(name, value),
            (None, None) => {}
        }
    }
    key
}

/// One event, and apart from it its properties.
pub fn event<'a>(
    native: &mut Native<'a>,
    mut event: Object<'a>,
    mut properties: Object<'a>,
    sent_at: Option<Value<'a>>,
    key: &mut Option<Cow<'a, str>>,
) -> Result<(), Refusal> {
    let name = event.take_text("event").ok_or(Refusal::NoNameNorUrl)?;
    if let Some(token) = key_of(&mut properties) {
        key.get_or_insert(token);
    }
    let kind = match name.as_ref() {
        "$pageview" => "page",
        "$screen" => "screen",
        "$pageleave" => "page_leave",
        "$autocapture" | "$rageclick" => "click",
        "$identify" | "$set" => "identify",
        "$create_alias" => "alias",
        "$groupidentify" => "group",
        _ => "track",
    };
    native.text("type", kind);
    // All that is looked for, in one pass each.
    take_members!(event, {
        "uuid" => id,
        "timestamp" => timestamp,
        "sent_at" => own_sent_at,
        "window_id" => window,
        "session_id" => session,
        "distinct_id" => distinct,
    });
    take_members!(properties, {
        "uuid" => inner_id,
        "$current_url" => url,
        "$session_id" => inner_session,
        "$screen_width" => width,
        "$screen_height" => height,
        "$raw_user_agent" => raw_agent,
        "$user_agent" => agent,
        "distinct_id" => inner_distinct,
        "$device_id" => device,
        "$user_id" => user,
        "$is_identified" => is_identified,
    });
    native.member("id", id.or(inner_id));
    native.member("timestamp", timestamp);
    native.member("sent_at", own_sent_at.or(sent_at));
    // Another name, of some clients.
    let inner_distinct = inner_distinct.or_else(|| properties.take("$distinct_id"));
    let distinct = distinct.or_else(|| event.take("$distinct_id")).or(inner_distinct);
    identity(native, kind, &Ids { distinct, device, user, is_identified }, &mut properties);

    native.member("url", url);
    if kind == "page" && url.is_none() || kind == "screen" {
        let screen = properties.take_text("$screen_name");
        native.text("name", screen.unwrap_or(name));
    } else if kind != "page" {
        native.text("name", name);
    }
    // Parts of the two addresses.
    properties.drop_all(&["$host", "$pathname", "$referring_domain"]);
    let referrer = properties.take_text("$referrer");
    native.text("referrer", referrer.filter(|referrer| referrer != "$direct").unwrap_or_default());
    native.member("session_id", inner_session.or(session));
    native.text("screen", screen_of(width, height).unwrap_or_default());
    native.member("user_agent", raw_agent.or(agent));
    native.renamed(&mut properties, &COLUMNS);

    let own_traits = properties.take_if_object("$set");
    let traits = event.take_if_object("$set").or(own_traits);
    let own = properties.split_off("$");
    match traits {
        // A person's traits are the properties of an identify, and the event's own its context.
        Some(traits) if kind == "identify" => {
            native.member("properties", Some(traits));
            native.contexts(properties);
        }
        Some(traits) => {
            native.properties(properties);
            native.context("$set", traits);
        }
        None => native.properties(properties),
    }
    native.contexts(own);
    if let Some(window) = window {
        native.context("$window_id", window);
    }
    native.contexts(event);
    Ok(())
}

struct Ids<'a> {
    distinct: Option<Value<'a>>,
    device: Option<Value<'a>>,
    user: Option<Value<'a>>,
    is_identified: Option<Value<'a>>,
}

/// PostHog has one id for a person, which is that of the device until the person is known.
fn identity<'a>(native: &mut Native<'a>, kind: &str, ids: &Ids<'a>, properties: &mut Object<'a>) {
    let Ids { distinct, device, user, is_identified } = *ids;
    let processing = properties.peek("$process_person_profile");
    match kind {
        "alias" => {
            native.member("user_id", properties.take("alias"));
            native.member("visitor_id", distinct);
        }
        "identify" => {
            native.member("user_id", user.or(distinct));
            native.member("visitor_id", properties.take("$anon_distinct_id").or(device));
        }
        // A group's id is no person's.
        "group" => {}
        _ => {
            let is_false = |value: Option<Value<'_>>| value.is_some_and(|value| value.is("false"));
            let is_device = device.is_some() && device.and_then(Value::text) == distinct.and_then(Value::text);
            // Backends whose events carry no person send a random id.
            let is_nobody = is_false(is_identified) || device.is_none() && is_false(processing);
            if is_device || is_nobody {
                native.member("visitor_id", distinct);
                native.member("user_id", user);
            } else {
                native.member("user_id", user.or(distinct));
                native.member("visitor_id", device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn a_page_before_and_after_sign_up() {
        let body = r#"{"api_key":"phc_1","sent_at":"2026-11-22T10:00:01Z","batch":[
            {"uuid":"u1","event":"$pageview","timestamp":"2026-11-22T10:00:00Z","properties":{"token":"phc_1","distinct_id":"d","$device_id":"d",
             "$current_url":"https://a.example/x?utm_source=s","$host":"a.example","$pathname":"/x","$referrer":"$direct","$session_id":"s",
             "$screen_width":1920,"$screen_height":1080,"$lib":"web","utm_source":"s","title":"T","plan":"team"}},
            {"uuid":"u2","event":"$identify","properties":{"distinct_id":"alice","$anon_distinct_id":"d","$device_id":"d","$set":{"email":"e"}},"$set":{"email":"e"}},
            {"uuid":"u3","event":"paid","properties":{"distinct_id":"alice","$device_id":"d","amount":7}},
            {"uuid":"u4","event":"$create_alias","properties":{"distinct_id":"d","alias":"alice"}},
            {"uuid":"u5","event":"from a backend","distinct_id":"alice","properties":{"$lib":"posthog-node"}}, 7, {"x":1}]}"#;
        let texts = Texts::default();
        let translation = translate(body, &texts).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("phc_1"));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }

    #[test]
    fn every_wrapping() {
        let texts = Texts::default();
        let json = r#"{"event":"a","api_key":"k","distinct_id":"d"}"#;
        let base64 = BASE64.encode(json);
        let form: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("data", &base64).finish();
        let plain: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("data", json).finish();
        for body in [json, &base64, base64.trim_end_matches('='), &form, &format!("data={base64}"), &plain] {
            assert_eq!(unwrap(body, &texts).expect(body), json, "{body}");
        }
        assert!(unwrap("%%%", &texts).is_err() && unwrap("x=y", &texts).is_err());
        let array = format!("[{json}]");
        assert_eq!(translate(&array, &texts).expect("JSON").key.as_deref(), Some("k"));
    }
}
