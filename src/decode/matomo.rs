//! Matomo's tracking API: `GET` or `POST /matomo.php`, one event in the query or a form, or many in `{"requests": [...]}`.
//!
//! ```text
//! idsite, rec=1      the site, the key             token_auth           a secret key: only then cip, cdt and ua are believed
//! url, urlref, action_name    the page             _id | cid, uid       visitor, user
//! e_c, e_a, e_n, e_v          an event             link, download       a click on a way out
//! search, search_cat, search_count                 idgoal, revenue      a goal
//! ping=1             still reading                 cdt                  Unix seconds, or `2026-11-22 10:00:00`
//! res, lang, ua, cip, dimensionN, cvar, pv_id, ...
//! ```
//!
//! Source: <https://developer.matomo.org/api-reference/tracking-api>, and matomo-tracker as published.

use super::object::{Json, Object, Texts, Value};
use super::translate::{Native, Translation, millis_of};
use super::{DecodeError, Refusal};

const COLUMNS: [(&str, &str); 7] = [
    ("url", "url"),
    ("urlref", "referrer"),
    ("uid", "user_id"),
    ("res", "screen"),
    ("lang", "language"),
    ("ua", "user_agent"),
    ("cip", "ip"),
];
/// Parameters that only steer Matomo's own server, or say what the time of day is.
const OF_NO_USE: [&str; 11] =
    ["rec", "rand", "apiv", "send_image", "queuedtracking", "h", "m", "s", "bots", "new_visit", "_idn"];

const PROPERTIES: [(&str, &str); 6] = [
    ("e_c", "category"),
    ("e_n", "label"),
    ("e_v", "value"),
    ("revenue", "revenue"),
    ("search_cat", "search_cat"),
    ("search_count", "search_count"),
];

/// Whether a body is a bulk request: clients send it under any content type.
pub fn is_bulk(body: &str) -> bool {
    body.trim_ascii_start().starts_with('{') && body.contains("\"requests\"")
}

/// Many events.
pub fn translate<'a>(body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let (mut outer, requests) = Object::of_batch(body, "requests")?;
    let mut translation = Translation::new(texts);
    translation.secret = outer.take_text("token_auth");
    for item in requests.ok_or(DecodeError::Empty)? {
        one(&mut translation, texts, || of_item(item, texts));
    }
    Ok(translation)
}

/// A request in bulk is a query, or the object of one.
fn of_item<'a>(item: Json<'a>, texts: &'a Texts) -> Result<Object<'a>, Refusal> {
    if !item.get().starts_with('"') {
        return Object::parse(item);
    }
    let text = texts.text(Value::Json(item).text().unwrap_or_default());
    Object::of_query(text.split_once('?').map_or(text, |(_, query)| query), texts)
}

/// One event in a query string, a form, or half of it in each.
pub fn translate_query<'a>(query: &'a str, form: &'a str, texts: &'a Texts) -> Translation<'a> {
    let mut translation = Translation::new(texts);
    one(&mut translation, texts, || {
        let mut request = Object::of_query(query, texts)?;
        request.append(Object::of_query(form, texts)?);
        Ok(request)
    });
    translation
}

fn one<'a>(translation: &mut Translation<'a>, texts: &'a Texts, request: impl FnOnce() -> Result<Object<'a>, Refusal>) {
    let (mut key, mut secret) = (None, None);
    translation.event(|native| {
        let mut request = request()?;
        key = request.take_text("idsite");
        secret = request.take_text("token_auth");
        event(native, request, texts);
        Ok(())
    });
    translation.name_key(key);
    translation.secret = translation.secret.take().or(secret);
}

fn event<'a>(native: &mut Native<'a>, mut request: Object<'a>, texts: &'a Texts) {
    request.drop_all(&OF_NO_USE);
    let link = request.take("link");
    let download = request.take("download");
    let search = request.take("search");
    let goal = request.take("idgoal");
    let title = request.take("action_name");
    let (kind, name) = if let Some(action) = request.take("e_a") {
        ("track", Some(action))
    } else if link.is_some() {
        ("click", Some(Value::Text("outbound")))
    } else if download.is_some() {
        ("click", Some(Value::Text("download")))
    } else if search.is_some() {
        ("track", Some(Value::Text("search")))
    } else if goal.is_some() {
        ("track", Some(Value::Text("goal")))
    } else if request.take("ping").is_some() {
        ("ping", Some(Value::Text("ping")))
    } else if request.peek("url").is_none() {
        ("page", title)
    } else {
        ("page", None)
    };
    native.text("type", kind);
    native.member("name", name);
    native.member("title", title);
    let visitor = request.take("_id");
    native.member("visitor_id", request.take("cid").or(visitor));
    native.renamed(&mut request, &COLUMNS);
    if let Some(time) = request.take_text("cdt") {
        let value = match millis_of(&time, 1e3) {
            Some(ms) => texts.number(ms),
            // UTC, without saying so.
            None => texts.value(format!("{}Z", time.trim().replacen(' ', "T", 1))),
        };
        native.member("timestamp", Some(value));
    }
    for (name, value) in [("link", link), ("download", download), ("search", search), ("goal", goal)] {
        if let Some(value) = value {
            native.property(name, value);
        }
    }
    native.renamed_properties(&mut request, &PROPERTIES);
    native.properties(request.split_off("dimension"));
    native.contexts(request);
}

#[cfg(test)]
mod tests {
    use super::super::translate::lines;
    use super::*;

    #[test]
    fn one_by_one_and_in_bulk() {
        let body = r#"{"requests":["?idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&action_name=T&_id=0123456789abcdef&rand=7&h=1&dimension1=x",
            "idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&e_c=shop&e_a=buy&e_v=7&uid=u&cdt=1763805600",
            {"idsite":3,"rec":1,"url":"https://a.example/","search":"weir","search_count":2,"cdt":"2026-11-22 10:00:00"},
            "?idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&link=https%3A%2F%2Fb.example%2F"],"token_auth":"sk_1"}"#;
        assert!(is_bulk(body) && !is_bulk("idsite=3"));
        let texts = Texts::default();
        let translation = translate(body, &texts).expect("JSON");
        assert_eq!((translation.key.as_deref(), translation.secret.as_deref()), (Some("3"), Some("sk_1")));
        insta::assert_snapshot!(lines(translation).join("\n"));
    }
}
