//! What a dashboard is narrowed to: one value of each dimension.

use std::collections::BTreeMap;

/// A path has at most 8,000 characters; what is longer was never stored.
const VALUE_BYTES_MAX: usize = 32_000;

/// A dimension that visits can be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    Page,
    Entry,
    Exit,
    Referrer,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    Country,
    Region,
    Device,
    Browser,
    Os,
    Event,
}

/// In the order of the parameters from $4 on of sql/visits.sql; as in an address and for people.
pub const DIMENSIONS: [(Dimension, &str, &str); 13] = [
    (Dimension::Page, "page", "Page"),
    (Dimension::Entry, "entry", "Entry page"),
    (Dimension::Exit, "exit", "Exit page"),
    (Dimension::Referrer, "referrer", "Source"),
    (Dimension::UtmSource, "utm_source", "UTM source"),
    (Dimension::UtmMedium, "utm_medium", "Medium"),
    (Dimension::UtmCampaign, "utm_campaign", "Campaign"),
    (Dimension::Country, "country", "Country"),
    (Dimension::Region, "region", "Region"),
    (Dimension::Device, "device", "Device"),
    (Dimension::Browser, "browser", "Browser"),
    (Dimension::Os, "os", "System"),
    (Dimension::Event, "event", "Event"),
];

impl Dimension {
    pub fn name(self) -> &'static str {
        DIMENSIONS.iter().find(|(dimension, ..)| *dimension == self).map_or("", |(_, name, _)| name)
    }

    pub fn title(self) -> &'static str {
        DIMENSIONS.iter().find(|(dimension, ..)| *dimension == self).map_or("", |(.., title)| title)
    }

    pub fn of(name: &str) -> Option<Self> {
        DIMENSIONS.iter().find(|(_, known, _)| *known == name).map(|(dimension, ..)| *dimension)
    }
}

/// A value of each dimension that is filtered by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<Dimension, String>);

impl Filters {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, dimension: Dimension) -> Option<&str> {
        self.0.get(&dimension).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Dimension, &str)> {
        self.0.iter().map(|(dimension, value)| (*dimension, value.as_str()))
    }

    /// An empty value filters nothing, and neither does one that cannot have been stored.
    pub fn set(&mut self, dimension: Dimension, value: &str) {
        if !value.is_empty() && value.len() <= VALUE_BYTES_MAX && !value.contains('\0') {
            self.0.insert(dimension, value.to_owned());
        }
    }

    pub fn with(&self, dimension: Dimension, value: &str) -> Self {
        let mut filters = self.clone();
        filters.set(dimension, value);
        filters
    }

    pub fn without(&self, dimension: Dimension) -> Self {
        let mut filters = self.clone();
        filters.0.remove(&dimension);
        filters
    }

    /// As it is kept.
    pub fn to_json(&self) -> String {
        let object: serde_json::Map<String, serde_json::Value> =
            self.iter().map(|(dimension, value)| (dimension.name().to_owned(), value.into())).collect();
        serde_json::Value::Object(object).to_string()
    }

    /// `None` if anything in it is not understood: to leave out a filter would show more than was meant.
    pub fn from_json(text: &str) -> Option<Self> {
        let object: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
        let mut filters = Self::default();
        for (name, value) in &object {
            filters.set(Dimension::of(name)?, value);
        }
        (filters.0.len() == object.len()).then_some(filters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_whole_or_not_at_all() {
        let mut filters = Filters::default();
        filters.set(Dimension::Country, "DE");
        filters.set(Dimension::Page, "/a\"b\\");
        filters.set(Dimension::Os, "");
        filters.set(Dimension::Browser, "a\0b");
        assert_eq!(filters.iter().count(), 2);
        assert_eq!(Filters::from_json(&filters.to_json()), Some(filters));
        assert_eq!(Filters::from_json("{}"), Some(Filters::default()));
        for bad in ["", "[]", r#"{"country":1}"#, r#"{"planet":"earth"}"#, r#"{"country":""}"#] {
            assert_eq!(Filters::from_json(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_in_the_order_of_the_statement() {
        let sql = include_str!("sql/visits.sql");
        for (place, (_, name, _)) in DIMENSIONS.iter().enumerate() {
            let line = sql.lines().find(|line| line.contains(&format!("${}::text is null", place + 4))).expect(name);
            let column = match *name {
                "page" => "any (pages)",
                "entry" => "entry_page =",
                "exit" => "exit_page =",
                "referrer" => "referred_by =",
                "event" => "any (event_names)",
                other => other,
            };
            assert!(line.contains(column), "{name}: {line}");
        }
    }
}
