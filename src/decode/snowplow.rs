//! Snowplow's tracker protocol: `POST /com.snowplowanalytics.snowplow/tp2`, and `GET /i` with the same in its query.
//!
//! ```text
//! body = {"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/...", "data": [{name: text, ...}, ...]}
//! e    pv page view, pp page ping, ue self-describing, se structured, tr and ti transaction      eid   event's id
//! aid  application, the key      uid   user      duid  domain user      sid   session            dtm, stm, ttm  Unix ms
//! url, page, refr     res, lang, ip, ua     se_ca, se_ac, se_la, se_pr, se_va
//! ue_pr, co  JSON     ue_px, cx  the same in base64 for URLs
//! ```
//!
//! Source: the published trackers and <https://docs.snowplow.io/docs/collecting-data/collecting-from-own-applications/snowplow-tracker-protocol/>.

use base64::Engine as _;
use base64::alphabet::URL_SAFE as ALPHABET;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::translate::{Native, Object, Translation, items, object_of_query, quoted};
use super::{DecodeError, Refusal, mend_escapes};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const COLUMNS: [(&str, &str); 8] = [
    ("sid", "session_id"),
    ("url", "url"),
    ("page", "title"),
    ("refr", "referrer"),
    ("res", "screen"),
    ("lang", "language"),
    ("ip", "ip"),
    ("ua", "user_agent"),
];
/// The properties of a structured event.
const STRUCTURED: [(&str, &str); 4] =
    [("se_ca", "category"), ("se_la", "label"), ("se_pr", "property"), ("se_va", "value")];

pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut outer = Object::of_body(body)?;
    let mut translation = Translation::default();
    for item in items(outer.take("data").ok_or(DecodeError::Empty)?)? {
        one(&mut translation, item);
    }
    Ok(translation)
}

/// One event in a query string.
pub fn translate_query(query: &str) -> Translation {
    let mut translation = Translation::default();
    one(&mut translation, &object_of_query(query));
    translation
}

fn one(translation: &mut Translation, item: &str) {
    let mut key = None;
    translation.event(|native| {
        let mut event = Object::parse(item)?;
        key = event.take_text("aid").map(Into::into);
        self::event(native, event)
    });
    translation.key = translation.key.take().or(key);
}

fn event(native: &mut Native<'_>, mut event: Object<'_>) -> Result<(), Refusal> {
    let kind = event.take_text("e").ok_or_else(|| Refusal::BadField { field: "e", reason: "there is none".into() })?;
    native.json("id", event.take("eid"));
    let time = event.take_text("dtm");
    let true_time = event.take_text("ttm");
    native.json("timestamp", true_time.or(time).as_deref().filter(|time| is_number(time)));
    native.json("sent_at", event.take_text("stm").as_deref().filter(|time| is_number(time)));
    native.json("user_id", event.take("uid"));
    let network = event.take("nuid");
    native.json("visitor_id", event.take("duid").or(network));
    native.renamed(&mut event, &COLUMNS);
    if let Some(contexts) = json_of(&mut event, "co", "cx") {
        match Object::parse(&contexts).ok().and_then(|mut contexts| contexts.take("data")) {
            Some(data) => native.context("contexts", data),
            None => native.context("contexts", &contexts),
        }
    }
    match kind.as_ref() {
        "pv" => native.text("type", Some("page")),
        "pp" => {
            native.text("type", Some("page_ping"));
            native.text("name", Some("page_ping"));
        }
        "se" => {
            native.text("type", Some("track"));
            let action = event.take("se_ac");
            native.json("name", action.or(Some("\"structured\"")));
            native.renamed_properties(&mut event, &STRUCTURED);
        }
        "ue" => self_describing(native, &mut event),
        other => {
            native.text("type", Some("track"));
            native.text(
                "name",
                Some(match other {
                    "tr" => "transaction",
                    "ti" => "transaction_item",
                    other => other,
                }),
            );
        }
    }
    native.contexts(&event);
    Ok(())
}

/// The name is that of the schema: `iglu:vendor/NAME/jsonschema/1-0-0`.
fn self_describing(native: &mut Native<'_>, event: &mut Object<'_>) {
    let json = json_of(event, "ue_pr", "ue_px").unwrap_or_default();
    let inner = Object::parse(&json).ok().and_then(|mut outer| outer.take_object("data"));
    let Some(mut inner) = inner else {
        native.text("type", Some("track"));
        native.text("name", Some("unstructured"));
        if !json.is_empty() {
            native.context("ue_pr", &json);
        }
        return;
    };
    let schema = inner.take_text("schema").unwrap_or_default();
    let name = schema.split('/').nth(1).unwrap_or("unstructured");
    native.text(
        "type",
        Some(match name {
            "link_click" | "button_click" => "click",
            "screen_view" => "screen",
            _ => "track",
        }),
    );
    native.text("name", Some(name));
    native.context("schema", &quoted(&schema));
    match inner.take_object("data") {
        Some(data) => native.properties(&data),
        None => native.contexts(&inner),
    }
}

/// JSON that comes as text, or as base64 of it.
fn json_of(event: &mut Object<'_>, plain: &str, encoded: &str) -> Option<String> {
    let text = match event.take_text(plain) {
        Some(text) => text.into_owned(),
        None => String::from_utf8(BASE64.decode(event.take_text(encoded)?.as_bytes()).ok()?).ok()?,
    };
    // Only JSON may go where JSON goes.
    serde_json::from_str::<&serde_json::value::RawValue>(&text).ok()?;
    Some(mend_escapes(&text).0.into_owned())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind() {
        let unstructured = r#"{"schema":"iglu:x/unstruct_event/jsonschema/1-0-0","data":{"schema":"iglu:com.acme/signup/jsonschema/1-0-0","data":{"plan":"team"}}}"#;
        let contexts = r#"{"schema":"iglu:x/contexts/jsonschema/1-0-0","data":[{"schema":"iglu:y","data":{"id":1}}]}"#;
        let body = format!(
            r#"{{"schema":"iglu:s","data":[
            {{"e":"pv","eid":"i1","aid":"app","p":"web","dtm":"1763805600000","stm":"1763805600100","url":"https://a.example/","page":"T","duid":"d","sid":"s","res":"1x2","cx":"{}"}},
            {{"e":"ue","eid":"i2","uid":"u","ue_pr":{}}},
            {{"e":"ue","eid":"i3","ue_px":"{}"}},
            {{"e":"se","eid":"i4","se_ca":"shop","se_ac":"buy","se_va":"7"}},
            {{"e":"pp","eid":"i5","url":"https://a.example/","pp_miy":"9"}}, {{"eid":"i6"}}]}}"#,
            BASE64.encode(contexts),
            quoted(unstructured),
            BASE64.encode(unstructured),
        );
        let translation = translate(&body).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("app"));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }

    #[test]
    fn a_query() {
        let translation = translate_query("e=pv&aid=app&url=https%3A%2F%2Fa.example%2F&page=a%20b&dtm=1763805600000");
        assert_eq!(translation.key.as_deref(), Some("app"));
        assert_eq!(
            translation.lines(),
            [r#"{"timestamp":1763805600000,"url":"https://a.example/","title":"a b","type":"page"}"#]
        );
    }
}
