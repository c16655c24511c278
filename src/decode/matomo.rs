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

use super::translate::{Native, Object, Translation, items, millis_of, object_of_query, quoted, text_of};
use super::{DecodeError, Refusal};

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
pub fn translate(body: &str) -> Result<Translation, DecodeError> {
    let mut outer = Object::of_body(body)?;
    let mut translation = Translation::default();
    translation.secret = outer.take_text("token_auth").map(Into::into);
    for item in items(outer.take("requests").ok_or(DecodeError::Empty)?)? {
        let json = match text_of(item).filter(|_| item.starts_with('"')) {
            Some(text) => object_of_query(text.split_once('?').map_or(text.as_ref(), |(_, query)| query)),
            None => item.to_owned(),
        };
        one(&mut translation, &json);
    }
    Ok(translation)
}

/// One event in a query string or a form.
pub fn translate_query(query: &str) -> Translation {
    let mut translation = Translation::default();
    one(&mut translation, &object_of_query(query));
    translation
}

fn one(translation: &mut Translation, json: &str) {
    let (mut key, mut secret) = (None, None);
    translation.event(|native| {
        let mut request = Object::parse(json)?;
        key = request.take_text("idsite").map(Into::into);
        secret = request.take_text("token_auth").map(Into::into);
        event(native, request);
        Ok::<(), Refusal>(())
    });
    translation.key = translation.key.take().or(key);
    translation.secret = translation.secret.take().or(secret);
}

fn event(native: &mut Native<'_>, mut request: Object<'_>) {
    request.drop_all(&OF_NO_USE);
    let link = request.take("link");
    let download = request.take("download");
    let search = request.take("search");
    let goal = request.take("idgoal");
    let title = request.take("action_name");
    let (kind, name) = if let Some(action) = request.take("e_a") {
        ("track", Some(action))
    } else if link.is_some() {
        ("click", Some("\"outbound\""))
    } else if download.is_some() {
        ("click", Some("\"download\""))
    } else if search.is_some() {
        ("track", Some("\"search\""))
    } else if goal.is_some() {
        ("track", Some("\"goal\""))
    } else if request.take("ping").is_some() {
        ("ping", Some("\"ping\""))
    } else if request.peek("url").is_none() {
        ("page", title)
    } else {
        ("page", None)
    };
    native.text("type", Some(kind));
    native.json("name", name);
    native.json("url", request.take("url"));
    native.json("title", title);
    native.json("referrer", request.take("urlref"));
    let visitor = request.take("_id");
    native.json("visitor_id", request.take("cid").or(visitor));
    let columns = [("uid", "user_id"), ("res", "screen"), ("lang", "language"), ("ua", "user_agent"), ("cip", "ip")];
    native.renamed(&mut request, &columns);
    let time = request.take_text("cdt").map(|time| {
        // UTC, without saying so.
        millis_of(&time, 1e3).unwrap_or_else(|| quoted(&format!("{}Z", time.trim().replacen(' ', "T", 1))))
    });
    native.json("timestamp", time.as_deref());
    for (name, value) in [("link", link), ("download", download), ("search", search), ("goal", goal)] {
        if let Some(value) = value {
            native.property(name, value);
        }
    }
    native.renamed_properties(&mut request, &PROPERTIES);
    native.properties(&request.split_off("dimension"));
    native.contexts(&request);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_by_one_and_in_bulk() {
        let body = r#"{"requests":["?idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&action_name=T&_id=0123456789abcdef&rand=7&h=1&dimension1=x",
            "idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&e_c=shop&e_a=buy&e_v=7&uid=u&cdt=1763805600",
            {"idsite":3,"rec":1,"url":"https://a.example/","search":"weir","search_count":2,"cdt":"2026-11-22 10:00:00"},
            "?idsite=3&rec=1&url=https%3A%2F%2Fa.example%2F&link=https%3A%2F%2Fb.example%2F"],"token_auth":"sk_1"}"#;
        assert!(is_bulk(body) && !is_bulk("idsite=3"));
        let translation = translate(body).expect("JSON");
        assert_eq!((translation.key.as_deref(), translation.secret.as_deref()), (Some("3"), Some("sk_1")));
        insta::assert_snapshot!(translation.lines().join("\n"));
    }
}
