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

use super::translate::{Native, Object, Translation, items, quoted, screen_of, text_of};
use super::{DecodeError, Refusal};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The JSON in a body that may be wrapped in a form and in base64.
pub fn unwrap(body: &str) -> Result<Cow<'_, str>, DecodeError> {
    let body = body.trim_ascii();
    let data = if body.starts_with(['{', '[']) {
        return Ok(Cow::Borrowed(body));
    } else if body.contains('=') && !body.ends_with('=') || body.starts_with("data=") {
        let mut parameters = url::form_urlencoded::parse(body.as_bytes());
        parameters.find(|(name, _)| name == "data").map(|(_, data)| data).ok_or(DecodeError::Empty)?
    } else {
        Cow::Borrowed(body)
    };
    if data.starts_with(['{', '[']) {
        return Ok(Cow::Owned(data.into_owned()));
    }
    // A form turns each `+` into a space.
    let data = data.replace(' ', "+");
    let bytes = BASE64.decode(data.trim_ascii()).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8(error.utf8_error().valid_up_to()))?;
    Ok(Cow::Owned(text))
}

/// Translates what [`unwrap`] found.
pub fn translate(json: &str) -> Result<Translation, DecodeError> {
    let mut translation = Translation::default();
    if json.starts_with('[') {
        return Ok(all(translation, &items(json)?, None));
    }
    let mut outer = Object::of_body(json)?;
    let Some(batch) = outer.take("batch") else {
        return Ok(all(translation, &[json], None));
    };
    translation.key = key_of(&mut outer);
    let sent_at = outer.take_first(&["sent_at", "created_at"]);
    Ok(all(translation, &items(batch)?, sent_at))
}

fn all(mut translation: Translation, events: &[&str], sent_at: Option<&str>) -> Translation {
    for item in events {
        let mut own = None;
        translation.event(|native| {
            let mut object = Object::parse(item)?;
            own = key_of(&mut object);
            event(native, object, sent_at, &mut own)
        });
        translation.key = translation.key.or(own);
    }
    translation
}

fn key_of(object: &mut Object<'_>) -> Option<String> {
    let keys = ["api_key", "token", "$token"].map(|name| object.take_text(name));
    keys.into_iter().flatten().next().map(Into::into)
}

fn event(
    native: &mut Native<'_>,
    mut event: Object<'_>,
    sent_at: Option<&str>,
    key: &mut Option<String>,
) -> Result<(), Refusal> {
    let name = event.take_text("event").ok_or(Refusal::NoNameNorUrl)?;
    let mut properties = event.take_object("properties").unwrap_or_default();
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
    native.text("type", Some(kind));
    if !matches!(kind, "page" | "screen") {
        native.text("name", Some(&name));
    }
    let inner = properties.take("uuid");
    native.json("id", event.take("uuid").or(inner));
    native.json("timestamp", event.take("timestamp"));
    native.json("sent_at", event.take("sent_at").or(sent_at));
    identity(native, kind, &mut event, &mut properties);

    let url = properties.take("$current_url");
    native.json("url", url);
    if kind == "page" && url.is_none() || kind == "screen" {
        let screen = properties.take_text("$screen_name");
        native.text("name", Some(screen.as_deref().unwrap_or(&name)));
    }
    for known in ["$host", "$pathname", "$referring_domain"] {
        // Parts of the two addresses.
        properties.take(known);
    }
    native.json("title", properties.take("title"));
    let referrer = properties.take_text("$referrer");
    native.text("referrer", referrer.as_deref().filter(|referrer| *referrer != "$direct"));
    let window = event.take("window_id");
    let session = event.take("session_id");
    native.json("session_id", properties.take("$session_id").or(session));
    native.json("language", properties.take("$browser_language"));
    let screen = screen_of(properties.take("$screen_width"), properties.take("$screen_height"));
    native.text("screen", screen.as_deref());
    let agent = properties.take("$user_agent");
    native.json("user_agent", properties.take("$raw_user_agent").or(agent));
    native.json("ip", properties.take("$ip"));
    for name in ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"] {
        let value = properties.take(name);
        native.json(name, value);
    }

    let own_traits = properties.take_object("$set");
    let traits = event.take_object("$set").or(own_traits);
    let own = properties.split_off("$");
    match traits {
        // A person's traits are the properties of an identify, and the event's own its context.
        Some(traits) if kind == "identify" => {
            native.properties(&traits);
            native.contexts(&properties);
        }
        Some(traits) => {
            native.properties(&properties);
            let members: Vec<String> = traits.rest().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            native.context("$set", &format!("{{{}}}", members.join(",")));
        }
        None => native.properties(&properties),
    }
    native.contexts(&own);
    if let Some(window) = window {
        native.context("$window_id", window);
    }
    native.contexts(&event);
    Ok(())
}

/// PostHog has one id for a person, which is that of the device until the person is known.
fn identity(native: &mut Native<'_>, kind: &str, event: &mut Object<'_>, properties: &mut Object<'_>) {
    let inner = properties.take("distinct_id").or_else(|| properties.take("$distinct_id"));
    let distinct = event.take("distinct_id").or_else(|| event.take("$distinct_id")).or(inner);
    let device = properties.take("$device_id");
    let user = properties.take("$user_id");
    let is_identified = properties.take("$is_identified");
    let processing = properties.peek("$process_person_profile");
    match kind {
        "alias" => {
            native.json("user_id", properties.take("alias"));
            native.json("visitor_id", distinct);
        }
        "identify" => {
            native.json("user_id", user.or(distinct));
            native.json("visitor_id", properties.take("$anon_distinct_id").or(device));
        }
        // A group's id is no person's.
        "group" => {}
        _ => {
            let text = |json: Option<&str>| json.and_then(|json| text_of(json).map(Cow::into_owned));
            let is_device = device.is_some() && text(device) == text(distinct);
            // Backends whose events carry no person send a random id.
            let is_nobody = is_identified == Some("false") || device.is_none() && processing == Some("false");
            if is_device || is_nobody {
                native.json("visitor_id", distinct);
                native.json("user_id", user);
            } else {
                native.json("user_id", user.or(distinct));
                native.json("visitor_id", device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let translation = translate(body).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("phc_1"));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }

    #[test]
    fn every_wrapping() {
        let json = r#"{"event":"a","api_key":"k","distinct_id":"d"}"#;
        let base64 = BASE64.encode(json);
        let form: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("data", &base64).finish();
        let plain: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("data", json).finish();
        for body in [json, &base64, base64.trim_end_matches('='), &form, &format!("data={base64}"), &plain] {
            assert_eq!(unwrap(body).expect(body), json, "{body}");
        }
        assert!(unwrap("%%%").is_err() && unwrap("x=y").is_err());
        assert_eq!(translate(&format!("[{json}]")).expect("JSON").key.as_deref(), Some("k"));
    }
}
