//! Objects that are taken apart while a parser reads them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Json, MEMBERS_USUAL, Object, Value};
use crate::decode::values::{Items, Text};

/// Room for the members of most objects within others.
const INNER_MEMBERS_USUAL: usize = 5;

/// The object that is the only member of this name of another one.
pub(super) struct MemberVisitor(pub(super) &'static str);

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Option<Object<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = None;
        let mut is_one = true;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            if name == self.0 {
                is_one &= object.is_none();
                object = Some(map.next_value_seed(ObjectSeed)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(object.filter(|_| is_one))
    }
}

struct ObjectSeed;

impl<'de> DeserializeSeed<'de> for ObjectSeed {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object { members: Vec::with_capacity(INNER_MEMBERS_USUAL) };
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            object.push(name, Value::Json(Json(value.get())));
        }
        Ok(object)
    }
}

/// The members of an object, and apart from them the items of the one of this name.
pub(super) struct BatchVisitor(pub(super) &'static str);

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = (Object<'de>, Option<Items<'de>>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object { members: Vec::with_capacity(MEMBERS_USUAL) };
        let mut items = None;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            if name == self.0 {
                items = map.next_value()?;
            } else {
                let value: &'de RawValue = map.next_value()?;
                object.push(name, Value::Json(Json(value.get())));
            }
        }
        Ok((object, items))
    }
}
