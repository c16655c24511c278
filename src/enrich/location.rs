//! The parts of a URL that people group by.

use std::borrow::Cow;

use url::Url;

/// Query parameters by which advertising networks know a click again.
const CLICK_IDS: [&str; 10] =
    ["gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id", "yclid"];

/// A URL taken apart, by the WHATWG rules that browsers follow; or, from servers, only a path.
#[derive(Debug, Default)]
pub enum Location<'a> {
    #[default]
    Unknown,
    Absolute(Url),
    Path {
        path: &'a str,
        query: Option<&'a str>,
    },
}

/// Where a visit came from, by the parameters of its URL.
#[derive(Debug, Default)]
pub struct Campaign<'a> {
    pub source: Option<Cow<'a, str>>,
    pub medium: Option<Cow<'a, str>>,
    pub campaign: Option<Cow<'a, str>>,
    pub term: Option<Cow<'a, str>>,
    pub content: Option<Cow<'a, str>>,
    pub click_ids: Vec<(&'static str, String)>,
}

impl<'a> Location<'a> {
    pub fn parse(text: &'a str) -> Self {
        if text.starts_with('/') && !text.starts_with("//") {
            let text = text.split('#').next().unwrap_or_default();
            let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
            return Self::Path { path, query };
        }
        Url::parse(text).map_or(Self::Unknown, Self::Absolute)
    }

    /// Lower case, punycode.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Absolute(url) => url.host_str(),
            _ => None,
        }
    }

    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Absolute(url) => Some(url.path()),
            Self::Path { path, .. } => Some(path),
            Self::Unknown => None,
        }
    }

    /// Without the question mark.
    pub fn query(&self) -> Option<&str> {
        let query = match self {
            Self::Absolute(url) => url.query(),
            Self::Path { query, .. } => *query,
            Self::Unknown => None,
        };
        query.filter(|query| !query.is_empty())
    }

    pub fn campaign(&self) -> Campaign<'_> {
        let mut campaign = Campaign::default();
        for (name, value) in url::form_urlencoded::parse(self.query().unwrap_or_default().as_bytes()) {
            if value.is_empty() {
                continue;
            }
            // `%00` decodes to a character that PostgreSQL cannot hold.
            let value = if value.contains('\0') { Cow::Owned(value.replace('\0', "\u{fffd}")) } else { value };
            match name.as_ref() {
                "utm_source" => campaign.source = Some(value),
                "utm_medium" => campaign.medium = Some(value),
                "utm_campaign" => campaign.campaign = Some(value),
                "utm_term" => campaign.term = Some(value),
                "utm_content" => campaign.content = Some(value),
                name => {
                    if let Some(known) = CLICK_IDS.iter().find(|known| **known == name) {
                        campaign.click_ids.push((known, value.into_owned()));
                    }
                }
            }
        }
        campaign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, path, query) in [
            ("https://Shop.Example/a%20b?x=1#y", Some("shop.example"), Some("/a%20b"), Some("x=1")),
            ("https://bücher.example", Some("xn--bcher-kva.example"), Some("/"), None),
            ("http://127.0.0.1:3000/?", Some("127.0.0.1"), Some("/"), None),
            ("/pricing?plan=team#top", None, Some("/pricing"), Some("plan=team")),
            ("/pricing#a?b", None, Some("/pricing"), None),
            ("android-app://com.example/", Some("com.example"), Some("/"), None),
            ("nonsense", None, None, None),
            ("", None, None, None),
        ] {
            let location = Location::parse(text);
            assert_eq!((location.host(), location.path(), location.query()), (host, path, query), "{text}");
        }
    }

    #[test]
    fn campaigns_and_clicks_are_found() {
        let location =
            Location::parse("https://a.example/?utm_source=news%20letter&utm_medium=&utm_campaign=a+b&gclid=X%00");
        let campaign = location.campaign();
        assert_eq!(campaign.source.as_deref(), Some("news letter"));
        assert_eq!(campaign.medium, None);
        assert_eq!(campaign.campaign.as_deref(), Some("a b"));
        assert_eq!(campaign.click_ids, [("gclid", "X\u{fffd}".to_owned())]);
    }
}
