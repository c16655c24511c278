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

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::URL_SAFE as ALPHABET;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation};
use super::{DecodeError, Refusal};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const COLUMNS: [(&str, &str); 10] = [
    ("eid", "id"),
    ("uid", "user_id"),
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

pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let (_, events) = Object::of_batch(body, "data")?;
    let mut translation = Translation::new(texts);
    for item in events.ok_or(DecodeError::Empty)? {
        one(&mut translation, texts, || Object::parse(item));
    }
    Ok(translation)
}

/// One event in a query string.
pub fn translate_query<'a>(query: &'a str, texts: &'a Texts) -> Translation<'a> {
    let mut translation = Translation::new(texts);
    one(&mut translation, texts, || Object::of_query(query, texts));
    translation
}

fn one<'a>(translation: &mut Translation<'a>, texts: &'a Texts, event: impl FnOnce() -> Result<Object<'a>, Refusal>) {
    let mut key = None;
    translation.event(|native| self::event(native, event()?, texts, &mut key));
    translation.name_key(key);
}

fn event<'a>(
    native: &mut Native<'a>,
    mut event: Object<'a>,
    texts: &'a Texts,
    key: &mut Option<Cow<'a, str>>,
) -> Result<(), Refusal> {
    // All that is looked for, in one pass.
    let [application, kind, time, true_time, sent_at, network, domain, contexts, encoded_contexts, own, encoded_own] =
        event.take_all(["aid", "e", "dtm", "ttm", "stm", "nuid", "duid", "co", "cx", "ue_pr", "ue_px"]);
    *key = application.and_then(Value::text);
    let kind =
        kind.and_then(Value::text).ok_or_else(|| Refusal::BadField { field: "e", reason: "there is none".into() })?;
    let [true_time, time] = [true_time, time].map(|time| time.and_then(Value::whole_number));
    native.member("timestamp", true_time.or(time));
    native.member("sent_at", sent_at.and_then(Value::whole_number));
    native.member("visitor_id", domain.or(network));
    native.renamed(&mut event, &COLUMNS);
    if let Some(contexts) = json_of(&mut event, [("co", contexts), ("cx", encoded_contexts)], texts).map(Value::Json) {
        let data = contexts.object().and_then(|mut contexts| contexts.take("data"));
        native.context("contexts", data.unwrap_or(contexts));
    }
    let own = [("ue_pr", own), ("ue_px", encoded_own)];
    if kind == "ue" {
        let json = json_of(&mut event, own, texts);
        self_describing(native, json, texts);
        native.contexts(event);
        return Ok(());
    }
    put_back(&mut event, own);
    match kind.as_ref() {
        "pv" => native.text("type", "page"),
        "pp" => {
            native.text("type", "page_ping");
            native.text("name", "page_ping");
        }
        "se" => {
            native.text("type", "track");
            let action = event.take("se_ac");
            native.member("name", action.or(Some(Value::Text("structured"))));
            native.renamed_properties(&mut event, &STRUCTURED);
        }
        _ => {
            native.text("type", "track");
            let name = match kind.as_ref() {
                "tr" => "transaction".into(),
                "ti" => "transaction_item".into(),
                _ => kind,
            };
            native.text("name", name);
        }
    }
    native.contexts(event);
    Ok(())
}

/// The name is that of the schema: `iglu:vendor/NAME/jsonschema/1-0-0`.
fn self_describing<'a>(native: &mut Native<'a>, json: Option<Json<'a>>, texts: &'a Texts) {
    let Some(mut inner) = json.and_then(|json| Object::parse_with(json, "data").ok()?.1) else {
        native.text("type", "track");
        native.text("name", "unstructured");
        if let Some(json) = json {
            native.context("ue_pr", Value::Json(json));
        }
        return;
    };
    let schema = texts.text(inner.take_text("schema").unwrap_or_default());
    let name = schema.split('/').nth(1).unwrap_or("unstructured");
    let kind = match name {
        "link_click" | "button_click" => "click",
        "screen_view" => "screen",
        _ => "track",
    };
    native.text("type", kind);
    native.text("name", name);
    native.context_text("schema", schema);
    match inner.take_if_object("data") {
        // As it stands: nothing else has become a property.
        Some(data) => native.member("properties", Some(data)),
        None => native.contexts(inner),
    }
}

/// JSON that comes as text, or as base64 of it, by the names of both. What is none, or not needed, stays in the event.
fn json_of<'a>(
    event: &mut Object<'a>,
    [(plain, text), (encoded, base64)]: [(&'static str, Option<Value<'a>>); 2],
    texts: &'a Texts,
) -> Option<Json<'a>> {
    if let Some(json) = text.and_then(|value| value.text_in(texts)).and_then(|text| Json::embedded(text, texts)) {
        put_back(event, [(encoded, base64)]);
        return Some(json);
    }
    put_back(event, [(plain, text)]);
    let decode = |value: Value<'_>| String::from_utf8(BASE64.decode(value.text()?.as_bytes()).ok()?).ok();
    let json = base64.and_then(decode).and_then(|text| Json::embedded(texts.keep(&text), texts));
    if json.is_none() {
        put_back(event, [(encoded, base64)]);
    }
    json
}

fn put_back<'a, const N: usize>(event: &mut Object<'a>, members: [(&'static str, Option<Value<'a>>); N]) {
    for (name, value) in members {
        if let Some(value) = value {
            event.push(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
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
            serde_json::Value::from(unstructured),
            BASE64.encode(unstructured),
        );
        let texts = Texts::default();
        let translation = translate(&body, &texts).expect("JSON");
        assert_eq!(translation.key.as_deref(), Some("app"));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }

    #[test]
    fn a_query() {
        let texts = Texts::default();
        let query = "e=pv&aid=app&url=https%3A%2F%2Fa.example%2F&page=a%20b&dtm=1763805600000";
        let translation = translate_query(query, &texts);
        assert_eq!(translation.key.as_deref(), Some("app"));
        assert_eq!(
            lines(translation),
            [r#"{"type":"page","timestamp":1763805600000,"url":"https://a.example/","title":"a b"}"#]
        );
    }
}
