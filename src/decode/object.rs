//! What other products' clients send, taken apart member by member.
//!
//! A body is parsed once, as a whole ([`Json::parse`]). After that its parts are found by quotes and brackets alone, and
//! nothing is copied but text that holds escapes.

mod unescape;
mod visit;

use std::borrow::Cow;

use bumpalo::Bump;
use serde::de::{DeserializeSeed, Deserializer};
use smallvec::SmallVec;

use super::json::WORD_BYTES;
pub use super::raw::Json;
use super::raw::Parts;
use super::values::{MaybeText, Text, check_object};
use super::{DecodeError, EVENT_BYTES_MAX, EVENTS_MAX, Refusal};
use unescape::{unescape, unescaped};
use visit::{BatchVisitor, MemberVisitor};

/// Room for the members of most objects, so that reading one allocates once: a kilobyte, up to which allocating is quickest.
const MEMBERS_USUAL: usize = 21;

/// No format has more columns.
const NAMES_USUAL: usize = 16;

/// Texts that a translator makes, for as long as the events that borrow them.
#[derive(Debug, Default)]
pub struct Texts(Bump);

impl Texts {
    pub fn keep(&self, text: &str) -> &str {
        self.0.alloc_str(text)
    }

    /// The text itself where it will live as long anyway, else kept.
    pub fn text<'a>(&'a self, text: Cow<'a, str>) -> &'a str {
        match text {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => self.keep(&text),
        }
    }

    /// A value that is text, without what PostgreSQL cannot hold.
    pub fn value<'a>(&'a self, text: impl Into<Cow<'a, str>>) -> Value<'a> {
        Value::Text(self.text(without_nul(text.into())))
    }

    /// A value that is a whole number.
    pub fn number(&self, number: i64) -> Value<'_> {
        Value::Json(Json(self.keep(&number.to_string())))
    }

    /// The text of a string that a parser has accepted, which is not empty.
    fn unescaped(&self, json: &str) -> Option<&str> {
        let text = self.0.alloc_slice_fill_copy(json.len() + WORD_BYTES, 0);
        match unescape(json, text) {
            Some(length) => std::str::from_utf8(text.get(..length)?).ok(),
            None => Some(self.keep(&serde_json::from_str::<String>(json).ok()?)),
        }
    }

    /// Memory that these take.
    pub fn bytes(&self) -> usize {
        self.0.allocated_bytes()
    }
}

/// A member's value: JSON, or text of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Json(Json<'a>),
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// JSON of the kind that programs write, not clients.
    pub const fn literal(json: &'static str) -> Value<'static> {
        Value::Json(Json(json))
    }

    /// The text that it is, if it is a string, a number or a boolean; an empty one is none.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Json(json) => match json.0.as_bytes().first()? {
                b'"' => match json.plain() {
                    Some(text) => Cow::Borrowed(text),
                    None => Cow::Owned(unescaped(json.0)?),
                },
                b'-' | b'0'..=b'9' | b't' | b'f' => Cow::Borrowed(json.0),
                _ => return None,
            },
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The same, for as long as the other texts are there.
    pub fn text_in(self, texts: &'a Texts) -> Option<&'a str> {
        match self {
            Self::Json(json) if json.0.starts_with('"') && json.plain().is_none() => texts.unescaped(json.0),
            other => Some(texts.text(other.text()?)),
        }
    }

    /// The text that a member of weir's own format may be, which is pickier about numbers.
    pub(super) fn native_text(self) -> Result<Option<Cow<'a, str>>, serde_json::Error> {
        let text = match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Json(json) => match json.plain() {
                Some(text) => Some(Cow::Borrowed(text)),
                None => MaybeText.deserialize(&mut serde_json::Deserializer::from_str(json.0))?,
            },
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Text of a form that is a number, as one.
    pub fn as_number(self, texts: &'a Texts) -> Option<Self> {
        let text = self.text_in(texts)?;
        serde_json::from_str::<serde_json::Number>(text).ok()?;
        Json::embedded(text, texts).map(Self::Json)
    }

    /// Text of digits, as the number.
    pub fn whole_number(self) -> Option<Self> {
        // What has more digits is no count of anything.
        const DIGITS_MAX: usize = 18;
        let text = match self {
            Self::Json(json) => json.plain().unwrap_or(json.0),
            Self::Text(text) => text,
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = (1..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        is_number.then_some(Self::Json(Json(text)))
    }

    /// As JSON.
    pub fn json(self, texts: &'a Texts) -> &'a str {
        match self {
            Self::Json(json) => json.0,
            Self::Text(text) => {
                let mut json = String::with_capacity(text.len() + 2);
                push_quoted(&mut json, text);
                texts.keep(&json)
            }
        }
    }

    /// Whether it is the JSON `json`, or the text of that.
    pub fn is(self, json: &str) -> bool {
        match self {
            Self::Json(own) => own.0 == json,
            Self::Text(own) => own == json,
        }
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self, Self::Json(Json("null")))
    }

    fn is_object(self) -> bool {
        matches!(self, Self::Json(json) if json.0.starts_with('{'))
    }

    /// The object that it is.
    pub fn object(self) -> Option<Object<'a>> {
        match self {
            Self::Json(json) if self.is_object() => Some(Object::of(json)),
            _ => None,
        }
    }
}

/// Takes members out of an [`Object`] in one pass, each into a variable of its own: `None` where it is missing or `null`. As a `match`,
/// so that the compiler sorts the names.
macro_rules! take_members {
    ($object:expr, { $($name:literal => $variable:ident),+ $(,)? }) => {
        $(let mut $variable = None;)+
        $object.take_matching(|name, value| {
            match name {
                $($name => $variable = Some(value),)+
                _ => return false,
            }
            true
        });
        $(let $variable = $variable.filter(|value| !value.is_null());)+
    };
}
pub(super) use take_members;

/// The members of an object, to be taken out one by one. Of equal names the last counts, as everywhere.
#[derive(Debug, Default, Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    fn of(json: Json<'a>) -> Self {
        Self::read(&mut Parts::of(json), None).0
    }

    /// Reads members up to the end of the object, and apart from them those of the inner object of this name.
    fn read(parts: &mut Parts<'a>, inner: Option<&str>) -> (Self, Option<Self>) {
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        let mut inside = None;
        while let Some((name, has_escapes)) = parts.name() {
            let name = match name.get(1..name.len() - 1) {
                Some(plain) if !has_escapes => Cow::Borrowed(plain),
                _ => serde_json::from_str::<Text<'a>>(name).map(|text| text.0).unwrap_or_default(),
            };
            if inner.is_some_and(|inner| inner == name) && parts.enter_object() {
                inside = Some(Self::read(parts, None).0);
                parts.leave();
            } else if let Some(value) = parts.next() {
                members.push((name, Value::Json(value)));
            }
        }
        (Self { members }, inside)
    }

    /// The object that one of several events is.
    pub fn parse(json: Json<'a>) -> Result<Self, Refusal> {
        check_object(json.0)?;
        Ok(Self::of(json))
    }

    /// The same with the object that is its member `inner`, if that is one.
    pub fn parse_with(json: Json<'a>, inner: &str) -> Result<(Self, Option<Self>), Refusal> {
        check_object(json.0)?;
        Ok(Self::read(&mut Parts::of(json), Some(inner)))
    }

    /// The object that is the member `name` of the object that `text` is: one pass for both. `None`: it is not as simple as that.
    pub fn of_member(text: &'a str, name: &'static str) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let object = json.deserialize_map(MemberVisitor(name)).ok()?;
        json.end().ok()?;
        object
    }

    /// The object that a body is, which else is no body at all.
    pub fn of_body(body: &'a str) -> Result<Self, DecodeError> {
        Self::parse(Json::parse(body)?).map_err(|error| DecodeError::NotJson(error.to_string()))
    }

    /// The object that a body is, with the array of events that is its member `name`, if it has one.
    pub fn of_batch(body: &'a str, name: &'static str) -> Result<(Self, Option<Vec<Json<'a>>>), DecodeError> {
        let mut json = serde_json::Deserializer::from_str(body);
        let (object, items) = json
            .deserialize_map(BatchVisitor(name))
            .and_then(|batch| json.end().map(|()| batch))
            .map_err(|error| DecodeError::NotJson(error.to_string()))?;
        match items {
            Some(items) if items.count > EVENTS_MAX => Err(DecodeError::TooManyEvents(items.count)),
            items => Ok((object, items.map(|items| items.first.into_iter().map(|raw| Json(raw.get())).collect()))),
        }
    }

    /// A query string's or a form's parameters.
    pub fn of_query(query: &'a str, texts: &'a Texts) -> Result<Self, Refusal> {
        if query.len() > EVENT_BYTES_MAX {
            return Err(Refusal::TooLong(query.len()));
        }
        Ok(Self { members: parameters(query).map(|(name, value)| (without_nul(name), texts.value(value))).collect() })
    }

    /// Adds another's members, which count for more than those of equal names.
    pub fn append(&mut self, mut other: Self) {
        self.members.append(&mut other.members);
    }

    /// Adds a member.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        self.members.push((name.into(), value));
    }

    /// Takes a member out, unless it is missing or `null`.
    pub fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let mut at = self.position(name, self.members.len())?;
        let (_, found) = self.members.remove(at);
        while let Some(earlier) = self.position(name, at) {
            self.members.remove(earlier);
            at = earlier;
        }
        Some(found).filter(|value| !value.is_null())
    }

    /// Takes out the members that `take` says it has taken.
    pub fn take_matching(&mut self, mut take: impl FnMut(&str, Value<'a>) -> bool) {
        self.members.retain(|(name, value)| !take(name, *value));
    }

    /// Takes out, in one pass, all members that `names` gives a meaning, and hands each to `found` with that.
    pub fn take_each<'n, M>(&mut self, names: &'n [(&str, M)], mut found: impl FnMut(&'n M, Value<'a>)) {
        let mut values = SmallVec::<[_; NAMES_USUAL]>::from_elem(None, names.len());
        self.members.retain(|(own, value)| match names.iter().position(|(name, _)| is_same(own, name)) {
            Some(at) => {
                values[at] = Some(*value);
                false
            }
            None => true,
        });
        for ((_, meaning), value) in names.iter().zip(values) {
            if let Some(value) = value.filter(|value: &Value<'_>| !value.is_null()) {
                found(meaning, value);
            }
        }
    }

    /// Where the last of this name is among the first `count` members.
    fn position(&self, name: &str, count: usize) -> Option<usize> {
        self.members[..count].iter().rposition(|(own, _)| is_same(own, name))
    }

    /// Takes out the first of these that is there.
    pub fn take_first(&mut self, names: &[&str]) -> Option<Value<'a>> {
        names.iter().fold(None, |found, name| found.or_else(|| self.take(name)))
    }

    /// Takes out a member that is a string, a number or a boolean, as text; any other stays.
    pub fn take_text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let text = self.peek(name)?.text()?;
        self.take(name);
        Some(text)
    }

    /// Takes out a member that is an object; one that is none stays.
    pub fn take_if_object(&mut self, name: &str) -> Option<Value<'a>> {
        self.peek(name).filter(|value| value.is_object())?;
        self.take(name)
    }

    /// The same, to be taken apart.
    pub fn take_object(&mut self, name: &str) -> Option<Object<'a>> {
        self.take_if_object(name)?.object()
    }

    /// Takes out members that are of no use.
    pub fn drop_all(&mut self, names: &[&str]) {
        self.members.retain(|(own, _)| !names.contains(&own.as_ref()));
    }

    /// A member, which stays.
    pub fn peek(&self, name: &str) -> Option<Value<'a>> {
        self.members
            .iter()
            .rfind(|(own, _)| is_same(own, name))
            .map(|(_, value)| *value)
            .filter(|value| !value.is_null())
    }

    /// The members that are left.
    pub fn rest(self) -> impl ExactSizeIterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members.into_iter()
    }

    /// The members whose names begin with `prefix`, taken out of the others.
    pub fn split_off(&mut self, prefix: &str) -> Object<'a> {
        Object { members: self.members.extract_if(.., |(name, _)| name.starts_with(prefix)).collect() }
    }
}

/// The name and the value of each parameter of a query string.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty())
}

/// Whether two names are the same. Most of equal length differ at an end, which costs less to see than a comparison.
fn is_same(own: &str, name: &str) -> bool {
    let (own, name) = (own.as_bytes(), name.as_bytes());
    own.len() == name.len() && own.first() == name.first() && own.last() == name.last() && own == name
}

/// Text as PostgreSQL can hold it.
pub(super) fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr(0, text.as_bytes()).is_some() { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

/// Writes a text as JSON.
pub fn push_quoted(json: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        // Never fails for text.
        json.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_taken_once_and_the_last_of_equal_names_counts() {
        let mut object = Object::of_body(r#"{"a":1,"b":2,"a":3,"c":4,"b":null,"d":5}"#).expect("an object");
        let mut found = Vec::new();
        object.take_each(&[("b", 'b'), ("a", 'a'), ("x", 'x')], |meaning, value| found.push((*meaning, value)));
        assert_eq!(found, [('a', Value::literal("3"))]);
        take_members!(object, { "d" => d, "x" => x, "c" => c });
        assert_eq!([d, x, c], [Some(Value::literal("5")), None, Some(Value::literal("4"))]);
        assert_eq!(object.rest().len(), 0);
        for (text, is_number) in
            [("0", true), ("-7", true), ("12", true), ("012", false), ("", false), ("-", false), ("1.5", false)]
        {
            assert_eq!(Value::Text(text).whole_number().is_some(), is_number, "{text}");
        }
        let json = r#" {"a":1,"b" : null ,"a":2,"c":{"d":"x"},"e":"","f":[1],"\u0067":"\n"} "#;
        let mut object = Object::of_body(json).expect("an object");
        assert_eq!(object.take("a"), Some(Value::literal("2")));
        assert_eq!(object.take("a"), None);
        assert_eq!(object.take("b"), None);
        assert_eq!(object.take_text("c"), None, "no text, so it stays");
        let mut inner = object.take_object("c").expect("an object");
        assert_eq!(inner.take_text("d").as_deref(), Some("x"));
        assert_eq!((object.take_text("e"), object.take_text("f")), (None, None));
        assert_eq!(object.take_text("g").as_deref(), Some("\n"));
        let rest: Vec<_> = object.rest().collect();
        assert_eq!(rest, [("e".into(), Value::literal("\"\"")), ("f".into(), Value::literal("[1]"))]);
        assert!(Object::of_body("[1]").is_err() && Object::of_body("{").is_err());
    }

    #[test]
    fn too_many_items_are_counted() {
        let json = format!("[{}1]", "1,".repeat(EVENTS_MAX));
        let items = Json::parse(&json).expect("JSON").items();
        assert_eq!(items, Err(DecodeError::TooManyEvents(EVENTS_MAX + 1)));
        assert!(Json::parse("{}").expect("JSON").items().is_err());
    }

    #[test]
    fn forms_are_text() {
        let texts = Texts::default();
        let mut form = Object::of_query("a=b%20c&d=&e=%00&a=%22", &texts).expect("short");
        assert_eq!(form.take("a"), Some(Value::Text("\"")));
        assert_eq!(form.peek("e"), Some(Value::Text("\u{fffd}")));
        assert_eq!(form.take("e").map(|value| value.json(&texts)), Some("\"\u{fffd}\""));
        assert_eq!(form.rest().len(), 0);
        assert!(Object::of_query(&"a=b&".repeat(EVENT_BYTES_MAX), &texts).is_err());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            r#"[a"\\{}\[\],: \n\t€]{0,6}"#.prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map(r#"[a-c"\\{\[€]{0,3}"#, inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn parts_are_what_a_parser_finds(value in any_json(), is_pretty: bool) {
            let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("JSON");
            let json = Json::parse(&text).expect("JSON");
            let parsed = |part: Value<'_>| match part {
                Value::Json(json) => serde_json::from_str::<serde_json::Value>(json.get()).expect("a part is JSON"),
                Value::Text(_) => panic!("no text here"),
            };
            match &value {
                serde_json::Value::Array(items) => {
                    let parts: Vec<_> = json.items().expect("an array").into_iter().map(|item| parsed(Value::Json(item))).collect();
                    prop_assert_eq!(&parts, items);
                }
                serde_json::Value::Object(members) => {
                    let object = Value::Json(json).object().expect("an object");
                    let parts: serde_json::Map<_, _> =
                        object.rest().map(|(name, value)| (name.into_owned(), parsed(value))).collect();
                    prop_assert_eq!(&parts, members);
                }
                serde_json::Value::String(string) => {
                    prop_assert_eq!(Value::Json(json).text().unwrap_or_default(), string.as_str());
                    prop_assert_eq!(unescaped(&text), Some(string.clone()));
                    let texts = Texts::default();
                    prop_assert_eq!(Value::Json(json).text_in(&texts).unwrap_or_default(), string.as_str());
                }
                _ => prop_assert!(Value::Json(json).object().is_none()),
            }
        }
    }
}
