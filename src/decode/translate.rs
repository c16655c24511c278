//! Other wire formats become weir's own: each is a translation of text, and everything after it has one way only.
//!
//! A translator takes the members that it knows out of an [`Object`] and writes them under their native names, mostly as
//! the JSON that they are already. What is left over goes into `context`: nothing is thrown away.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::values::{Text, check_object};
use super::{DecodeError, Decoded, EVENTS_MAX, Refusal, native};

/// The members of a JSON object, to be taken out one by one. Of equal names the last counts, as everywhere.
#[derive(Debug, Default)]
pub struct Object<'a> {
    members: SmallVec<[(Cow<'a, str>, &'a str); 16]>,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    object.members.push((name, value.get()));
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// The object that `json` is, if it is one.
    pub fn parse(json: &'a str) -> Result<Self, Refusal> {
        check_object(json)?;
        serde_json::from_str(json).map_err(|error| Refusal::NotJson(error.to_string()))
    }

    /// The object that a body is, which else is no body at all.
    pub fn of_body(body: &'a str) -> Result<Self, DecodeError> {
        Self::parse(body.trim_ascii()).map_err(|error| DecodeError::NotJson(error.to_string()))
    }

    /// Takes a member out: its JSON, unless it is missing or `null`.
    pub fn take(&mut self, name: &str) -> Option<&'a str> {
        let mut found = None;
        while let Some(at) = self.members.iter().rposition(|(own, _)| own == name) {
            let (_, value) = self.members.remove(at);
            found = found.or(Some(value));
        }
        found.filter(|value| *value != "null")
    }

    /// Takes out the first of these that is there.
    pub fn take_first(&mut self, names: &[&str]) -> Option<&'a str> {
        names.iter().fold(None, |found, name| found.or_else(|| self.take(name)))
    }

    /// Takes out a member that is a string or a number, as text; one that is neither stays.
    pub fn take_text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.peek(name)?;
        let text = text_of(value)?;
        self.take(name);
        Some(text)
    }

    /// Takes out a member that is an object; one that is none stays.
    pub fn take_object(&mut self, name: &str) -> Option<Object<'a>> {
        let object = Object::parse(self.peek(name)?).ok()?;
        self.take(name);
        Some(object)
    }

    /// Takes out members that are of no use.
    pub fn drop_all(&mut self, names: &[&str]) {
        self.members.retain(|(own, _)| !names.contains(&own.as_ref()));
    }

    /// The JSON of a member, which stays.
    pub fn peek(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rfind(|(own, _)| own == name).map(|(_, value)| *value).filter(|value| *value != "null")
    }

    /// The members that are left.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The members whose names begin with `prefix`, taken out of the others.
    pub fn split_off(&mut self, prefix: &str) -> Object<'a> {
        let mut split = Object::default();
        self.members.retain(|member| {
            let stays = !member.0.starts_with(prefix);
            if !stays {
                split.members.push(std::mem::take(member));
            }
            stays
        });
        split
    }
}

/// The text that a JSON value is, if it is a string, a number or a boolean; an empty one is none.
pub fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let text = match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(json).ok()?.0,
        b'-' | b'0'..=b'9' | b't' | b'f' => Cow::Borrowed(json),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The items of a JSON array.
pub fn items(json: &str) -> Result<Vec<&str>, DecodeError> {
    let items: super::values::Items<'_> =
        serde_json::from_str(json).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    if items.count > EVENTS_MAX {
        return Err(DecodeError::TooManyEvents(items.count));
    }
    Ok(items.first.into_iter().map(RawValue::get).collect())
}

/// The items of a body that is an array, else the body itself.
pub fn items_or_one(body: &str) -> Result<Vec<&str>, DecodeError> {
    let body = body.trim_ascii();
    if body.starts_with('[') { items(body) } else { Ok(vec![body]) }
}

/// What a request's body means in weir's own format.
#[derive(Debug, Default)]
pub struct Translation {
    /// Native events, one behind the other.
    text: String,
    /// Where each of them ends; or why it cannot be one.
    ends: Vec<Result<usize, Refusal>>,
    /// The write key, or the name that stands for one, where the body carries it.
    pub key: Option<String>,
    /// A secret key that the body carries beside it.
    pub secret: Option<String>,
}

impl Translation {
    /// Writes one event.
    pub fn event(&mut self, write: impl FnOnce(&mut Native<'_>) -> Result<(), Refusal>) {
        let start = self.text.len();
        self.text.push('{');
        let mut native =
            Native { text: &mut self.text, start: start + 1, properties: String::new(), context: Vec::new() };
        match write(&mut native).map(|()| native.finish()) {
            Ok(()) => self.ends.push(Ok(self.text.len())),
            Err(refusal) => {
                self.text.truncate(start);
                self.ends.push(Err(refusal));
            }
        }
    }

    /// The events.
    pub fn decode(&self) -> Result<Decoded<'_>, DecodeError> {
        if self.ends.is_empty() {
            return Err(DecodeError::Empty);
        }
        if self.ends.len() > EVENTS_MAX {
            return Err(DecodeError::TooManyEvents(self.ends.len()));
        }
        let mut start = 0;
        let event = |end: &Result<usize, Refusal>| {
            let end = end.clone()?;
            let text = &self.text[start..end];
            start = end;
            native::decode_translated(text)
        };
        let events = self.ends.iter().map(event).collect();
        Ok(Decoded { key: self.key.as_deref().map(Cow::Borrowed), events })
    }

    /// The native events as JSON, one a line: for tests and for those who want to see.
    #[cfg(test)]
    pub fn lines(&self) -> Vec<String> {
        let mut start = 0;
        let line = |end: &Result<usize, Refusal>| match end {
            Ok(end) => {
                let text = self.text[start..*end].to_owned();
                start = *end;
                text
            }
            Err(refusal) => refusal.to_string(),
        };
        self.ends.iter().map(line).collect()
    }
}

/// One native event that is being written. Each member is to be written once.
pub struct Native<'t> {
    text: &'t mut String,
    start: usize,
    /// Members of `properties`.
    properties: String,
    /// Members of `context`: name, JSON.
    context: Vec<(String, String)>,
}

impl Native<'_> {
    /// A member that is JSON already.
    pub fn json(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            if self.text.len() > self.start {
                self.text.push(',');
            }
            // Writing to a String does not fail.
            let _ = write!(self.text, "\"{name}\":");
            self.text.push_str(value);
        }
    }

    /// A member that is text.
    pub fn text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.json(name, Some(&quoted(value)));
        }
    }

    /// Members of a foreign object under their native names: theirs, ours.
    pub fn renamed(&mut self, from: &mut Object<'_>, names: &[(&str, &'static str)]) {
        for (theirs, ours) in names {
            self.json(ours, from.take(theirs));
        }
    }

    /// Members of a foreign object that are properties: its name for each, and ours.
    pub fn renamed_properties(&mut self, from: &mut Object<'_>, names: &[(&str, &str)]) {
        for (theirs, ours) in names {
            if let Some(value) = from.take(theirs) {
                self.property(ours, value);
            }
        }
    }

    /// A member of `properties`.
    pub fn property(&mut self, name: &str, value: &str) {
        if !self.properties.is_empty() {
            self.properties.push(',');
        }
        let _ = write!(self.properties, "{}:{value}", quoted(name));
    }

    /// All that is left of an object becomes properties.
    pub fn properties(&mut self, object: &Object<'_>) {
        object.rest().for_each(|(name, value)| self.property(name, value));
    }

    /// A member of `context`. One of a name that is there already gets another name.
    pub fn context(&mut self, name: &str, value: &str) {
        let mut name = name.to_owned();
        while self.context.iter().any(|(own, _)| *own == name) {
            name.push('_');
        }
        self.context.push((name, value.to_owned()));
    }

    /// All that is left of an object goes into `context`.
    pub fn contexts(&mut self, object: &Object<'_>) {
        object.rest().filter(|(_, value)| *value != "null").for_each(|(name, value)| self.context(name, value));
    }

    fn finish(mut self) {
        if !self.properties.is_empty() {
            let properties = format!("{{{}}}", self.properties);
            self.json("properties", Some(&properties));
        }
        if !self.context.is_empty() {
            let members: Vec<String> =
                self.context.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            let context = format!("{{{}}}", members.join(","));
            self.json("context", Some(&context));
        }
        self.text.push('}');
    }
}

/// JSON of a text, without what PostgreSQL cannot hold.
pub fn quoted(text: &str) -> String {
    if text.contains('\0') {
        return serde_json::Value::from(text.replace('\0', "\u{fffd}")).to_string();
    }
    serde_json::Value::from(text).to_string()
}

/// `1920x1080` of two JSON numbers.
pub fn screen_of(width: Option<&str>, height: Option<&str>) -> Option<String> {
    let whole = |json: &str| json.parse::<f64>().ok().filter(|side| (1.0..1e6).contains(side)).map(|side| side as u32);
    Some(format!("{}x{}", whole(width?)?, whole(height?)?))
}

/// A number of milliseconds as JSON, if that is what `text` is once multiplied.
pub fn millis_of(text: &str, factor: f64) -> Option<String> {
    // Beyond that no client means a time.
    const MS_MAX: f64 = 1e15;
    let ms = text.trim().parse::<f64>().ok()? * factor;
    (ms.abs() < MS_MAX).then(|| format!("{ms:.0}"))
}

/// The name and the value of each parameter of a query string.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty())
}

/// A query string's parameters as an object of texts, written to `json`.
pub fn object_of_query(query: &str) -> String {
    let mut json = String::from("{");
    for (name, value) in parameters(query) {
        if json.len() > 1 {
            json.push(',');
        }
        let _ = write!(json, "{}:{}", quoted(&name), quoted(&value));
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_taken_once_and_the_last_of_equal_names_counts() {
        let mut object = Object::parse(r#"{"a":1,"b":null,"a":2,"c":{"d":"x"},"e":"","f":[1]}"#).expect("an object");
        assert_eq!(object.take("a"), Some("2"));
        assert_eq!(object.take("a"), None);
        assert_eq!(object.take("b"), None);
        assert_eq!(object.take_text("c"), None, "no text, so it stays");
        let mut inner = object.take_object("c").expect("an object");
        assert_eq!(inner.take_text("d").as_deref(), Some("x"));
        assert_eq!((object.take_text("e"), object.take_text("f")), (None, None));
        assert_eq!(object.rest().collect::<Vec<_>>(), [("e", "\"\""), ("f", "[1]")]);
        assert!(Object::parse("[1]").is_err() && Object::parse("{").is_err());
    }

    #[test]
    fn what_is_written_decodes() {
        let mut translation = Translation::default();
        translation.event(|native| {
            native.text("name", Some("a\0\"b"));
            native.text("url", None);
            native.property("x", "1");
            native.context("y", "2");
            native.context("y", "3");
            Ok(())
        });
        translation.event(|native| {
            native.text("name", Some("never"));
            Err(Refusal::NoNameNorUrl)
        });
        translation.event(|native| {
            native.json("url", Some("\"/\""));
            Ok(())
        });
        let decoded = translation.decode().expect("three");
        let [Ok(first), Err(Refusal::NoNameNorUrl), Ok(last)] = &decoded.events[..] else {
            panic!("{decoded:?}");
        };
        assert_eq!(first.name.as_deref(), Some("a\u{fffd}\"b"));
        assert_eq!(first.properties.map(RawValue::get), Some(r#"{"x":1}"#));
        assert_eq!(first.context.map(RawValue::get), Some(r#"{"y":2,"y_":3}"#));
        assert_eq!(last.url.as_deref(), Some("/"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever clients send, no translator writes what is no JSON, or gives up on a whole request for one event.
        #[test]
        fn what_a_translator_writes_is_json(format in 0..11_u8, pieces in prop::collection::vec(prop::sample::select(&[
            "\"type\":\"track\"", "\"event\":\"a\"", "\"event\":\"$identify\"", "\"name\":\"a\"", "\"n\":\"a\"", "\"e\":\"ue\"", "\"e\":\"pv\"",
            "\"properties\":{\"$set\":{\"a\":1},\"distinct_id\":7}", "\"properties\":[1]", "\"context\":{\"page\":{\"url\":\"/\",\"x\":1},\"x\":2}",
            "\"context\":7", "\"traits\":{}", "\"timestamp\":\"no\"", "\"timestamp\":1e300", "\"timestamp\":-0", "\"timestamp_micros\":\"99999999999999999999\"",
            "\"cdt\":\"NaN\"", "\"cdt\":\"9223372036854775807\"", "\"sent_at\":\"NaN\"", "\"sent_at\":\"inf\"", "\"created\":\"\\u0000\"", "\"url\":\"/\"",
            "\"url\":{}", "\"payload\":{\"url\":\"/\",\"timestamp\":\"NaN\"}", "\"payload\":{\"name\":\"a\",\"data\":{\"\\ud800\":1}}", "\"params\":{\"a\":null}",
            "\"ue_pr\":\"{\\\"data\\\":{\\\"schema\\\":\\\"a/b\\\",\\\"data\\\":{}}}\"", "\"ue_pr\":\"{\"", "\"cx\":\"e30\"", "\"p\":\"{}\"", "\"p\":{\"a\":1}", "\"size\":[1]",
            "\"s\":\"1,2\"", "\"id\":\"1\"", "\"source\":\"s\"", "\"data\":{\"a\":1}", "\"screen\":{\"width\":1e9,\"height\":\"x\"}", "\"ep.a\":\"b\"", "\"a\":\"\\\"\"",
        ][..]), 0..7)) {
            let object = format!("{{{}}}", pieces.join(","));
            let pairs: Vec<String> = pieces.iter().map(|piece| {
                let (name, value) = piece.split_once(':').expect("a member");
                let value = value.trim_matches('"');
                url::form_urlencoded::Serializer::new(String::new()).append_pair(name.trim_matches('"'), value).finish()
            }).collect();
            let query = pairs.join("&");
            let many = |name: &str| format!(r#"{{"{name}":[{object},7,{object}]}}"#);
            let translated = match format {
                0 => super::super::segment::translate(&many("batch"), None),
                1 => super::super::posthog::translate(&many("batch")),
                2 => super::super::plausible::translate(&object),
                3 => super::super::umami::translate(&format!("[{object},7]")),
                4 => super::super::snowplow::translate(&many("data")),
                5 => Ok(super::super::snowplow::translate_query(&query)),
                6 => super::super::matomo::translate(&many("requests")),
                7 => Ok(super::super::matomo::translate_query(&query)),
                8 => super::super::goatcounter::translate(&many("hits")),
                9 => super::super::ga4::translate(&query, &many("events")),
                _ => super::super::reload::translate(&format!("[{object},7]"), super::super::reload::Shape::Event),
            }.expect("the body is JSON");
            for event in translated.decode().expect("there are events").events {
                prop_assert!(!matches!(event, Err(Refusal::NotJson(_))), "{object}: {event:?} of {:?}", translated.lines());
            }
            for translated in [super::super::ga4::translate_gtag(&query, &query), super::super::goatcounter::translate_query(&query)] {
                let decoded = translated.decode().expect("there are events");
                prop_assert!(!decoded.events.iter().any(|event| matches!(event, Err(Refusal::NotJson(_)))), "{query}: {decoded:?}");
            }
        }
    }

    #[test]
    fn screens_are_two_whole_numbers() {
        assert_eq!(screen_of(Some("1920"), Some("1080.0")).as_deref(), Some("1920x1080"));
        assert_eq!(screen_of(Some("0"), Some("1080")), None);
        assert_eq!(screen_of(Some("\"x\""), Some("1")), None);
    }
}
