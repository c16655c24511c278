//! Google Analytics 4's export to `BigQuery`, a row of `events_YYYYMMDD` a line.
//!
//! ```text
//! {"event_timestamp": microseconds, "event_name", "event_params": [{"key", "value": {"string_value" | "int_value" | "float_value" |
//!  "double_value"}}, ...], "user_id", "user_pseudo_id", "user_properties": [...], "device": {"category", "operating_system",
//!  "operating_system_version", "language", "web_info": {"browser", "browser_version", "hostname"}}, "geo": {"country", "region",
//!  "city", ...}, "collected_traffic_source": {"manual_source", "manual_medium", "manual_campaign_name", ...}, "ecommerce", "items", ...}
//! ```
//!
//! Source: <https://support.google.com/analytics/answer/7029846>. Its INT64 are texts. Rows have no id: the record's
//! bytes stand for one.

use jiff::Timestamp;

use super::countries;
use super::flat::known_of;
use crate::decode::Refusal;
use crate::decode::object::{Json, Object, Texts, Value};
use crate::decode::translate::Native;

/// Event parameters that are columns.
const PARAMS: [(&str, &str); 4] = [
    ("page_title", "title"),
    ("page_referrer", "referrer"),
    ("ga_session_id", "session_id"),
    ("screen_resolution", "screen"),
];
const TRAFFIC: [(&str, &str); 5] = [
    ("manual_source", "utm_source"),
    ("manual_medium", "utm_medium"),
    ("manual_campaign_name", "utm_campaign"),
    ("manual_term", "utm_term"),
    ("manual_content", "utm_content"),
];

pub fn event<'a>(native: &mut Native<'a>, json: Json<'a>, texts: &'a Texts) -> Result<(), Refusal> {
    let mut row = Object::parse(json)?;
    let name = row.take_text("event_name").ok_or(Refusal::NoNameNorUrl)?;
    let at = row.take_text("event_timestamp").and_then(|micros| micros.parse().ok());
    if let Some(at) = at.and_then(|micros| Timestamp::from_microsecond(micros).ok()) {
        native.text("timestamp", at.to_string());
    }
    // The day of the property's time zone.
    row.drop_all(&["event_date"]);
    native.member("visitor_id", row.take("user_pseudo_id"));
    native.member("user_id", row.take("user_id"));
    let mut params = parameters(&mut row, "event_params");
    let url = params.take("page_location");
    native.member("url", url);
    match name.as_ref() {
        "page_view" => {
            native.text("type", "page");
            if url.is_none() {
                native.text("name", name);
            }
        }
        "screen_view" => {
            native.text("type", "screen");
            native.text("name", name);
        }
        "click" | "file_download" => {
            native.text("type", "click");
            native.text("name", name);
        }
        _ => {
            native.text("type", "track");
            native.text("name", name);
        }
    }
    native.renamed(&mut params, &PARAMS);
    native.properties(params);
    device(native, &mut row);
    geo(native, &mut row, texts);
    if let Some(mut traffic) = row.take_object("collected_traffic_source") {
        native.renamed(&mut traffic, &TRAFFIC);
        rest(native, traffic, "collected_traffic_source_");
    }
    for name in ["ecommerce", "items"] {
        if let Some(value) = row.take(name).filter(|value| !value.is("[]") && !value.is("{}")) {
            native.property(name, value);
        }
    }
    let of_user = parameters(&mut row, "user_properties");
    native.contexts_named(of_user, "user_property_");
    rest(native, row, "");
    Ok(())
}

/// An array of keys with values of several types, as members.
fn parameters<'a>(row: &mut Object<'a>, name: &str) -> Object<'a> {
    let mut members = Object::default();
    let Some(Value::Json(array)) = row.take(name) else { return members };
    for item in array.items().unwrap_or_default() {
        let Ok(mut item) = Object::parse(item) else { continue };
        let (Some(key), Some(mut value)) = (item.take_text("key"), item.take_object("value")) else { continue };
        let int = value.take("int_value").map(|value| value.whole_number().unwrap_or(value));
        if let Some(value) = int.or_else(|| value.take_first(&["string_value", "double_value", "float_value"])) {
            members.push(key, value);
        }
    }
    members
}

fn device<'a>(native: &mut Native<'a>, row: &mut Object<'a>) {
    let Some(mut device) = row.take_object("device") else { return };
    let mut web = device.take_object("web_info").unwrap_or_default();
    native.member("language", device.take("language"));
    let (browser, version) = (web.take("browser"), web.take("browser_version"));
    let (browser, version) =
        (browser.or_else(|| device.take("browser")), version.or_else(|| device.take("browser_version")));
    for (ours, value) in [
        ("browser", browser),
        ("browser_version", version),
        ("os", device.take("operating_system")),
        ("os_version", device.take("operating_system_version")),
        ("device", device.take("category")),
    ] {
        native.known(ours, value, known_of(ours));
    }
    // Part of the address.
    web.drop_all(&["hostname"]);
    rest(native, device, "device_");
    rest(native, web, "device_");
}

fn geo<'a>(native: &mut Native<'a>, row: &mut Object<'a>, texts: &'a Texts) {
    let Some(mut geo) = row.take_object("geo") else { return };
    if let Some(code) = geo.peek("country").and_then(Value::text).and_then(|name| countries::code_of(&name)) {
        geo.take("country");
        native.known("country", Some(texts.value(code)), known_of("country"));
    }
    for name in ["region", "city"] {
        native.known(name, geo.take(name), known_of(name));
    }
    rest(native, geo, "geo_");
}

/// What says something.
fn rest<'a>(native: &mut Native<'a>, object: Object<'a>, prefix: &str) {
    for (name, value) in object.rest() {
        if ["null", "\"\"", "[]", "{}"].iter().all(|nothing| !value.is(nothing)) {
            let name = if prefix.is_empty() { name } else { format!("{prefix}{name}").into() };
            native.context(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::translate::Translation;

    #[test]
    fn rows_of_bigquery() {
        let rows = [
            r#"{"event_date":"20240301","event_timestamp":"1709287200123456","event_name":"page_view","event_params":[{"key":"page_location","value":{"string_value":"https://a.example/x?utm_source=n"}},
             {"key":"ga_session_id","value":{"int_value":"1709287199"}},{"key":"page_title","value":{"string_value":"X"}},{"key":"engagement_time_msec","value":{"int_value":"12"}},{"key":"value","value":{"double_value":1.5}}],
             "user_pseudo_id":"12.34","user_properties":[{"key":"plan","value":{"string_value":"team","set_timestamp_micros":"1709287200123456"}}],"privacy_info":{"analytics_storage":"Yes"},
             "device":{"category":"mobile","mobile_brand_name":"Apple","operating_system":"iOS","operating_system_version":"17.3","language":"de-de","web_info":{"browser":"Safari","browser_version":"17.3","hostname":"a.example"}},
             "geo":{"city":"Berlin","country":"Germany","continent":"Europe","region":"Berlin"},"collected_traffic_source":{"manual_source":"news","manual_medium":"mail","gclid":"g1"},"stream_id":"1","platform":"WEB","items":[]}"#,
            r#"{"event_timestamp":1709287200123456,"event_name":"purchase","event_params":[],"user_id":"u1","geo":{"country":"Atlantis"},"items":[{"item_id":"sku"}]}"#,
            r#"{"event_timestamp":"1","event_params":[]}"#,
        ];
        let told: Vec<String> = rows
            .iter()
            .map(|row| {
                let texts = Texts::default();
                let mut translation = Translation::new(&texts);
                translation.event(|native| event(native, Json::parse(row).expect("JSON"), &texts));
                match translation.single().expect("one") {
                    Ok(event) => format!("{} {:?}", event.to_json(), event.known),
                    Err(refusal) => refusal.to_string(),
                }
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
