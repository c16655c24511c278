//! Other wire formats become weir's own events.
//!
//! A translator takes the members that it knows out of an [`Object`] and gives them to a [`Native`] under their native
//! names. What is left over goes into `context`: nothing is thrown away. Checks and limits are those of weir's own format.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::json::scan;
use super::object::{Object, Texts, Value, push_quoted, without_nul};
use super::{DecodeError, Decoded, EVENT_BYTES_MAX, EVENTS_MAX, Refusal, SHORT_TEXT_BYTES_MAX, native};
use crate::event::{Event, Known};

/// Names in `context` are compared one by one up to so many, as nearly always; of more a set is made.
const COMPARED_MAX: usize = 32;

/// What a request's body means in weir's own format.
#[derive(Debug)]
pub struct Translation<'a> {
    texts: &'a Texts,
    events: Vec<Result<Event<'a>, Refusal>>,
    /// The write key, or the name that stands for one, where the body carries it.
    pub key: Option<Cow<'a, str>>,
    /// A secret key that the body carries beside it.
    pub secret: Option<Cow<'a, str>>,
}

impl<'a> Translation<'a> {
    /// Of a request that is still to be read; `texts` will hold what events cannot borrow from it.
    pub fn new(texts: &'a Texts) -> Self {
        Self { texts, events: Vec::new(), key: None, secret: None }
    }

    /// The same of so many events.
    pub fn of_events(texts: &'a Texts, count: usize) -> Self {
        Self { events: Vec::with_capacity(count), ..Self::new(texts) }
    }

    /// Adds one event.
    pub fn event(&mut self, write: impl FnOnce(&mut Native<'a>) -> Result<(), Refusal>) {
        let mut native =
            Native { texts: self.texts, event: Event::default(), refusal: None, properties: String::new() };
        let written = write(&mut native);
        self.events.push(written.and_then(|()| native.finish()));
    }

    /// The first key that any of a body's events names is everyone's.
    pub fn name_key(&mut self, key: Option<Cow<'a, str>>) {
        if self.key.is_none() {
            self.key = key;
        }
    }

    /// The first event, of a translation that was given one.
    pub fn single(self) -> Option<Result<Event<'a>, Refusal>> {
        self.events.into_iter().next()
    }

    /// The events.
    pub fn decode(self) -> Result<Decoded<'a>, DecodeError> {
        match self.events.len() {
            0 => Err(DecodeError::Empty),
            count if count > EVENTS_MAX => Err(DecodeError::TooManyEvents(count)),
            _ => Ok(Decoded { key: self.key, events: self.events }),
        }
    }
}

/// One event that is being written. Each member is to be written once.
pub struct Native<'a> {
    texts: &'a Texts,
    event: Event<'a>,
    /// The first thing that was wrong.
    refusal: Option<Refusal>,
    /// An object without its end.
    properties: String,
}

impl<'a> Native<'a> {
    /// A member, by its native name.
    pub fn member(&mut self, name: &'static str, value: Option<Value<'a>>) {
        let Some(value) = value else { return };
        if let Err(refusal) = native::set_member(&mut self.event, name, value, self.texts) {
            self.refusal.get_or_insert(refusal);
        }
    }

    /// What the other product has found out itself. Text longer than a column's goes into `context`.
    pub fn known(
        &mut self,
        name: &'static str,
        value: Option<Value<'a>>,
        place: for<'e> fn(&'e mut Known<'a>) -> &'e mut Option<Cow<'a, str>>,
    ) {
        let Some(value) = value else { return };
        match value.text() {
            Some(text) if text.len() <= SHORT_TEXT_BYTES_MAX => {
                *place(self.event.known.get_or_insert_default()) = Some(without_nul(text));
            }
            None if ["null", "", "\"\""].iter().any(|nothing| value.is(nothing)) => {}
            Some(_) | None => self.context(name, value),
        }
    }

    /// The member, if it was written.
    pub fn has_url(&self) -> bool {
        self.event.url.is_some()
    }

    /// A member that is text.
    pub fn text(&mut self, name: &'static str, text: impl Into<Cow<'a, str>>) {
        let value = self.texts.value(text);
        self.member(name, Some(value));
    }

    /// Members of a foreign object under their native names: theirs, ours.
    pub fn renamed(&mut self, from: &mut Object<'a>, names: &[(&str, &'static str)]) {
        from.take_each(names, |ours, value| self.member(ours, Some(value)));
    }

    /// Members of a foreign object that are properties: its name for each, and ours.
    pub fn renamed_properties(&mut self, from: &mut Object<'a>, names: &[(&str, &str)]) {
        for (theirs, ours) in names {
            if let Some(value) = from.take(theirs) {
                self.property(ours, value);
            }
        }
    }

    /// A member of `properties`.
    pub fn property(&mut self, name: &str, value: Value<'a>) {
        push_member(&mut self.properties, name, value);
    }

    /// All that is left of an object becomes properties.
    pub fn properties(&mut self, object: Object<'a>) {
        object.rest().for_each(|(name, value)| self.property(&name, value));
    }

    /// A member of `context`. One of a name that is there already gets another name.
    pub fn context(&mut self, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let earlier = self.event.extra.len();
        self.add_context(name.into(), value, earlier, &BTreeSet::new());
    }

    /// The same, of a text.
    pub fn context_text(&mut self, name: &'static str, text: impl Into<Cow<'a, str>>) {
        let value = self.texts.value(text);
        self.context(name, value);
    }

    /// All that is left of an object goes into `context`.
    pub fn contexts(&mut self, object: Object<'a>) {
        self.contexts_named(object, "");
    }

    /// The same, each name behind `prefix`.
    pub fn contexts_named(&mut self, object: Object<'a>, prefix: &str) {
        let earlier = self.event.extra.len();
        let names: BTreeSet<String> = if earlier > COMPARED_MAX {
            self.event.extra.iter().map(|(name, _)| name.clone().into_owned()).collect()
        } else {
            BTreeSet::new()
        };
        for (name, value) in object.rest() {
            let name = if prefix.is_empty() { name } else { Cow::Owned(format!("{prefix}{name}")) };
            self.add_context(name, value, earlier, &names);
        }
    }

    /// Adds a member to `context`. The first `earlier` have other names, which are `names` where a set was made.
    fn add_context(&mut self, mut name: Cow<'a, str>, value: Value<'a>, earlier: usize, names: &BTreeSet<String>) {
        while names.contains(name.as_ref())
            || names.is_empty() && self.event.extra[..earlier].iter().any(|(own, _)| *own == name)
        {
            name.to_mut().push('_');
        }
        let value = value.json(self.texts);
        if value != "null" {
            self.event.extra.push((without_nul(name), value));
        }
    }

    fn finish(mut self) -> Result<Event<'a>, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if !self.properties.is_empty() {
            self.properties.push('}');
            self.event.properties = Some(self.texts.keep(&self.properties));
        }
        let event = self.event;
        let times = [event.timestamp, event.sent_at].into_iter().flatten().map(|time| time.raw);
        let mut bytes: usize = event.extra.iter().map(|(name, _)| name.len()).sum();
        for json in times.chain(event.properties).chain(event.extra.iter().map(|(_, value)| *value)) {
            scan(json)?;
            bytes += json.len();
        }
        if bytes > EVENT_BYTES_MAX {
            return Err(Refusal::TooLong(bytes));
        }
        native::complete(event)
    }
}

/// Writes a member of an object that is open.
fn push_member(object: &mut String, name: &str, value: Value<'_>) {
    object.push(if object.is_empty() { '{' } else { ',' });
    push_quoted(object, name);
    object.push(':');
    match value {
        Value::Json(json) => object.push_str(json.get()),
        Value::Text(text) => push_quoted(object, text),
    }
}

/// `1920x1080` of two numbers.
pub fn screen_of(width: Option<Value<'_>>, height: Option<Value<'_>>) -> Option<String> {
    let whole = |side: Value<'_>| {
        let Value::Json(json) = side else { return None };
        json.get().parse::<f64>().ok().filter(|side| (1.0..1e6).contains(side)).map(|side| side as u32)
    };
    Some(format!("{}x{}", whole(width?)?, whole(height?)?))
}

/// A number of milliseconds, if that is what `text` is once multiplied.
pub fn millis_of(text: &str, factor: f64) -> Option<i64> {
    // Beyond that no client means a time.
    const MS_MAX: f64 = 1e15;
    let ms = text.trim().parse::<f64>().ok()? * factor;
    (ms.abs() < MS_MAX).then_some(ms.round() as i64)
}

/// The events as JSON, one a line, in weir's own format, for tests.
#[cfg(test)]
pub fn lines(translation: Translation<'_>) -> Vec<String> {
    let line = |event: Result<Event<'_>, Refusal>| match event {
        Ok(event) => event.to_json(),
        Err(refusal) => refusal.to_string(),
    };
    translation.events.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_decodes() {
        let texts = Texts::default();
        let mut translation = Translation::new(&texts);
        translation.event(|native| {
            native.text("name", "a\0\"b");
            native.text("url", "");
            native.property("x", Value::literal("1"));
            native.property("x\"", Value::Text("\n"));
            native.context("y", Value::literal("2"));
            native.context("y", Value::Text("3"));
            Ok(())
        });
        translation.event(|native| {
            native.text("name", "never");
            Err(Refusal::NoNameNorUrl)
        });
        translation.event(|native| {
            native.member("url", Some(Value::literal("\"/\"")));
            Ok(())
        });
        assert_eq!(
            lines(translation),
            [
                r#"{"type":"track","name":"a�\"b","properties":{"x":1,"x\"":"\n"},"context":{"y":2,"y_":"3"}}"#,
                "an event needs a `name` or a `url`",
                r#"{"type":"page","url":"/"}"#
            ]
        );
    }

    #[test]
    fn limits_are_those_of_native_events() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let long = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX));
        for (json, label) in [(deep.as_str(), "too_deep"), (&long, "too_long"), ("1e5000", "number_too_large")] {
            for place in 0..3 {
                let texts = Texts::default();
                let body = format!("{{\"a\":{json}}}");
                let mut translation = Translation::new(&texts);
                let mut object = Object::of_body(&body).expect("JSON");
                translation.event(|native| {
                    native.text("name", "n");
                    match place {
                        0 => native.properties(object),
                        1 => native.contexts(object),
                        _ => {
                            let value = object.take("a").expect("there is one");
                            native.member("properties", Some(value));
                            native.property("a", value);
                        }
                    }
                    Ok(())
                });
                let decoded = translation.decode().expect("one event");
                let refusal = decoded.events[0].as_ref().expect_err(label);
                assert_eq!(refusal.label(), if place < 2 { label } else { "bad_field" });
            }
        }
    }

    #[test]
    fn many_members_of_equal_names_are_told_apart() {
        for count in [1, COMPARED_MAX, COMPARED_MAX + 1, 3_000] {
            let members: Vec<String> = (0..count).map(|number| format!("\"{number}\":1")).collect();
            let body = format!("{{{}}}", members.join(","));
            let texts = Texts::default();
            let mut translation = Translation::new(&texts);
            translation.event(|native| {
                native.text("name", "n");
                native.contexts(Object::of_body(&body).map_err(|_| Refusal::TooDeep)?);
                native.contexts(Object::of_body(&body).map_err(|_| Refusal::TooDeep)?);
                Ok(())
            });
            let decoded = translation.decode().expect("one");
            let names = decoded.events[0].as_ref().expect("accepted").extra.iter().map(|(name, _)| name.clone());
            assert_eq!(names.collect::<BTreeSet<_>>().len(), 2 * count);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever clients send, what a translator writes is JSON, and no request is given up for one event.
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
            let object = super::super::mend_escapes(&format!("{{{}}}", pieces.join(","))).0.into_owned();
            let pairs: Vec<String> = pieces.iter().map(|piece| {
                let (name, value) = piece.split_once(':').expect("a member");
                let value = value.trim_matches('"');
                url::form_urlencoded::Serializer::new(String::new()).append_pair(name.trim_matches('"'), value).finish()
            }).collect();
            let query = pairs.join("&");
            let many = |name: &str| format!(r#"{{"{name}":[{object},7,{object}]}}"#);
            let (body, texts) = (match format {
                0 | 1 => many("batch"),
                3 | 10 => format!("[{object},7]"),
                4 => many("data"),
                6 => many("requests"),
                8 => many("hits"),
                9 => many("events"),
                _ => object.clone(),
            }, Texts::default());
            let translated = match format {
                0 => super::super::segment::translate(&body, None, &texts),
                1 => super::super::posthog::translate(&body, &texts),
                2 => super::super::plausible::translate(&body, &texts),
                3 => super::super::umami::translate(&body, &texts),
                4 => super::super::snowplow::translate(&body, &texts),
                5 => Ok(super::super::snowplow::translate_query(&query, &texts)),
                6 => super::super::matomo::translate(&body, &texts),
                7 => Ok(super::super::matomo::translate_query(&query, &query, &texts)),
                8 => super::super::goatcounter::translate(&body, &texts),
                9 => super::super::ga4::translate(&query, &body, &texts),
                _ => super::super::reload::translate(&body, super::super::reload::Shape::Event, &texts),
            }.expect("the body is JSON");
            let gtag = super::super::ga4::translate_gtag(&query, &query, &texts);
            let count = super::super::goatcounter::translate_query(&query, &texts);
            for translation in [translated, gtag, count] {
                for event in translation.decode().expect("there are events").events.into_iter().flatten() {
                    let json = event.to_json();
                    let value: serde_json::Value = serde_json::from_str(&json).expect(&json);
                    prop_assert!(value.get("properties").is_none_or(serde_json::Value::is_object), "{}", json);
                    for time in [event.timestamp, event.sent_at].into_iter().flatten() {
                        prop_assert!(serde_json::from_str::<serde_json::Value>(time.raw).is_ok(), "{}", time.raw);
                    }
                }
            }
        }
    }

    #[test]
    fn screens_are_two_whole_numbers() {
        let screen = |width, height| screen_of(Some(Value::literal(width)), Some(Value::literal(height)));
        assert_eq!(screen("1920", "1080.0").as_deref(), Some("1920x1080"));
        assert_eq!(screen("0", "1080"), None);
        assert_eq!(screen("\"x\"", "1"), None);
    }
}
