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

use super::object::{Json, Object, Texts, Value, take_members};
use super::translate::{Native, Translation};
use super::{DecodeError, Refusal};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The properties of a structured event.
const STRUCTURED: [(&str, &str); 4] =
    [("se_ca", "category"), ("se_la", "label"), ("se_pr", "property"), ("se_va", "value")];

pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let (_, events) = Object::of_batch(body, "data")?;
    let events = events.ok_or(DecodeError::Empty)?;
    let mut translation = Translation::of_events(texts, events.len());
    for item in events {
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
    take_members!(event, {
        "aid" => application,
        "e" => kind,
        "eid" => id,
        "uid" => user,
        "duid" => domain,
        "nuid" => network,
        "sid" => session,
        "dtm" => time,
        "ttm" => true_time,
        "stm" => sent_at,
        "url" => url,
        "page" => title,
        "refr" => referrer,
        "res" => screen,
        "lang" => language,
        "ip" => address,
        "ua" => agent,
        "co" => contexts,
        "cx" => encoded_contexts,
        "ue_pr" => own,
        "ue_px" => encoded_own,
    });
    *key = application.and_then(Value::text);
    let kind =
        kind.and_then(Value::text).ok_or_else(|| Refusal::BadField { field: "e", reason: "there is none".into() })?;
    let [true_time, time] = [true_time, time].map(|time| time.and_then(Value::whole_number));
    native.member("timestamp", true_time.or(time));
    native.member("sent_at", sent_at.and_then(Value::whole_number));
    native.member("visitor_id", domain.or(network));
    for (name, value) in [
        ("id", id),
        ("user_id", user),
        ("session_id", session),
        ("url", url),
        ("title", title),
        ("referrer", referrer),
        ("screen", screen),
        ("language", language),
        ("ip", address),
        ("user_agent", agent),
    ] {
        native.member(name, value);
    }
    let contexts =
        json_of(&mut event, [("co", contexts), ("cx", encoded_contexts)], texts, |text| Json::embedded(text, texts));
    if let Some(contexts) = contexts.map(Value::Json) {
        let data = contexts.object().and_then(|mut contexts| contexts.take("data"));
        native.context("contexts", data.unwrap_or(contexts));
    }
    let own = [("ue_pr", own), ("ue_px", encoded_own)];
    if kind == "ue" {
        let own = json_of(&mut event, own, texts, |text| SelfDescribing::read(text, texts));
        self_describing(native, own, texts);
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

/// What an event describes itself by: the `data` of the outer schema, with a schema of its own.
enum SelfDescribing<'a> {
    Data(Object<'a>),
    Other(Json<'a>),
}

impl<'a> SelfDescribing<'a> {
    fn read(text: &'a str, texts: &'a Texts) -> Option<Self> {
        let text = Json::mended(text, texts);
        if let Some(data) = Object::of_member(text, "data") {
            return Some(Self::Data(data));
        }
        let json = Json::parse(text).ok()?;
        let data = Object::parse_with(json, "data").ok().and_then(|(_, data)| data);
        Some(data.map_or(Self::Other(json), Self::Data))
    }
}

/// The name is that of the schema: `iglu:vendor/NAME/jsonschema/1-0-0`.
fn self_describing<'a>(native: &mut Native<'a>, own: Option<SelfDescribing<'a>>, texts: &'a Texts) {
    let mut inner = match own {
        Some(SelfDescribing::Data(inner)) => inner,
        other => {
            native.text("type", "track");
            native.text("name", "unstructured");
            if let Some(SelfDescribing::Other(json)) = other {
                native.context("ue_pr", Value::Json(json));
            }
            return;
        }
    };
    let schema = inner.peek("schema").and_then(|value| Some((value, value.text_in(texts)?)));
    let name = schema.and_then(|(_, text)| name_of(text)).unwrap_or("unstructured");
    let kind = match name {
        "link_click" | "button_click" => "click",
        "screen_view" => "screen",
        _ => "track",
    };
    native.text("type", kind);
    native.text("name", name);
    if let Some((value, _)) = schema {
        inner.drop_all(&["schema"]);
        native.context("schema", value);
    }
    match inner.take_if_object("data") {
        // As it stands: nothing else has become a property.
        Some(data) => native.member("properties", Some(data)),
        None => native.contexts(inner),
    }
}

/// JSON that comes as text, or as base64 of it, by the names of both. What is none, or not needed, stays in the event.
fn json_of<'a, T>(
    event: &mut Object<'a>,
    [(plain, text), (encoded, base64)]: [(&'static str, Option<Value<'a>>); 2],
    texts: &'a Texts,
    read: impl Fn(&'a str) -> Option<T>,
) -> Option<T> {
    if let Some(json) = text.and_then(|value| value.text_in(texts)).and_then(&read) {
        put_back(event, [(encoded, base64)]);
        return Some(json);
    }
    put_back(event, [(plain, text)]);
    let decode = |value: Value<'_>| String::from_utf8(BASE64.decode(value.text()?.as_bytes()).ok()?).ok();
    let json = base64.and_then(decode).and_then(|text| read(texts.keep(&text)));
    if json.is_none() {
        put_back(event, [(encoded, base64)]);
    }
    json
}

fn name_of(schema: &str) -> Option<&str> {
    let (_, behind) = schema.split_at_checked(memchr::memchr(b'/', schema.as_bytes())? + 1)?;
    behind.get(..memchr::memchr(b'/', behind.as_bytes()).unwrap_or(behind.len()))
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
