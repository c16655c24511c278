//! Names of countries, of their ISO 3166 codes, and texts of all other values.

use super::filter::Dimension;

const NAMES: &str = include_str!("countries.txt");

/// The country of a code; a code that is not known is its own name.
pub fn name(code: &str) -> &str {
    NAMES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(known, _)| *known == code)
        .map_or(code, |(_, name)| name)
}

/// A value of `dimension` for people.
pub fn spoken(dimension: Option<Dimension>, value: &str) -> String {
    match dimension {
        Some(Dimension::Country) => name(value).to_owned(),
        Some(Dimension::Region) => value
            .split_once('/')
            .map_or_else(|| value.to_owned(), |(country, region)| format!("{region}, {}", name(country))),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        assert_eq!(["DE", "GB", "T1"].map(name), ["Germany", "United Kingdom", "T1"]);
        assert_eq!(spoken(Some(Dimension::Region), "DE/Bavaria"), "Bavaria, Germany");
        assert_eq!(spoken(Some(Dimension::Device), "DE"), "DE");
    }
}
