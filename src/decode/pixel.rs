//! One event in a query string, `GET /v1/pixel.gif?key=…&url=…&name=…&p.plan=team`, for mail and pages without scripts.
//!
//! Parameters are the members of the native event; `p.NAME` sets the property NAME. Without `url` the page that holds
//! the image, its `Referer`, is the URL.

/// Members that may come in the query as text. The rest would need JSON.
const MEMBERS: [&str; 19] = [
    "type",
    "name",
    "id",
    "timestamp",
    "visitor_id",
    "user_id",
    "session_id",
    "url",
    "title",
    "referrer",
    "language",
    "screen",
    "sent_at",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "key",
];

/// Writes the query as the JSON of one native event, for [`super::native::decode`].
pub fn to_json(query: &str, referer: Option<&str>) -> String {
    let mut event = serde_json::Map::new();
    let mut properties = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.replace('\0', "\u{fffd}");
        if value.is_empty() {
            continue;
        }
        if let Some(property) = name.strip_prefix("p.") {
            properties.insert(property.replace('\0', "\u{fffd}"), value.into());
        } else if matches!(name.as_ref(), "timestamp" | "sent_at")
            && !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_digit())
        {
            event.insert(name.into_owned(), value.parse::<u64>().map_or(value.into(), Into::into));
        } else if MEMBERS.contains(&name.as_ref()) {
            event.insert(name.into_owned(), value.into());
        }
    }
    if !event.contains_key("url")
        && let Some(referer) = referer
    {
        event.insert("url".to_owned(), referer.into());
    }
    if !properties.is_empty() {
        event.insert("properties".to_owned(), properties.into());
    }
    serde_json::Value::Object(event).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_an_event() {
        let json =
            to_json("key=pk_1&name=open&p.mail=w%C3%ABekly&timestamp=1700000000000&cb=7", Some("https://a.example/x"));
        let decoded = super::super::native::decode(&json, false).expect("JSON");
        assert_eq!(decoded.key.as_deref(), Some("pk_1"));
        let event = decoded.events[0].as_ref().expect("accepted");
        assert_eq!(event.name.as_deref(), Some("open"));
        assert_eq!(event.url.as_deref(), Some("https://a.example/x"));
        assert_eq!(event.properties.expect("properties"), r#"{"mail":"wëekly"}"#);
        assert!(event.timestamp.expect("time").at.is_some());
    }
}
