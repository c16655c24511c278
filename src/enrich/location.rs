//! The parts of a URL that people group by.

use std::borrow::Cow;

use memchr::memmem;
use url::Url;

use crate::event::Utm;

/// Query parameters by which advertising networks know a click again.
const CLICK_IDS: [&str; 10] =
    ["gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id", "yclid"];

/// A URL taken apart, by the WHATWG rules that browsers follow; or, from servers, only a path.
#[derive(Debug, Default)]
pub enum Location<'a> {
    #[default]
    Unknown,
    /// As nearly all are: nothing in it changes by those rules.
    Plain {
        host: &'a str,
        path: &'a str,
        query: Option<&'a str>,
    },
    Absolute(Url),
    Path {
        path: &'a str,
        query: Option<&'a str>,
    },
}

/// Where a visit came from, by the parameters of its URL.
#[derive(Debug, Default)]
pub struct Campaign<'a> {
    pub utm: Utm<'a>,
    pub click_ids: Vec<(&'static str, String)>,
}

impl<'a> Location<'a> {
    pub fn parse(text: &'a str) -> Self {
        if text.starts_with('/') && !text.starts_with("//") {
            let text = text.split('#').next().unwrap_or_default();
            let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
            return Self::Path { path, query };
        }
        Self::plain(text).unwrap_or_else(|| Url::parse(text).map_or(Self::Unknown, Self::Absolute))
    }

    /// A URL whose parts are parts of its text; `None` where that is not plain to see. A tenth of the full parser's cost.
    fn plain(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let (host, rest) = split_after(rest, HOST);
        let (path, rest) = split_after(rest, PATH);
        let (query, rest) = match rest.strip_prefix('?') {
            Some(rest) => {
                let (query, rest) = split_after(rest, QUERY);
                (Some(query), rest)
            }
            None => (None, rest),
        };
        let is_whole = rest.is_empty() || rest.starts_with('#');
        let is_rooted = path.is_empty() || path.starts_with('/');
        if !is_whole || !is_rooted || !is_plain_host(host) || has_dots(path) {
            return None;
        }
        Some(Self::Plain { host, path: if path.is_empty() { "/" } else { path }, query })
    }

    /// Lower case, punycode.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Plain { host, .. } => Some(host),
            Self::Absolute(url) => url.host_str(),
            Self::Path { .. } | Self::Unknown => None,
        }
    }

    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Absolute(url) => Some(url.path()),
            Self::Plain { path, .. } | Self::Path { path, .. } => Some(path),
            Self::Unknown => None,
        }
    }

    /// Without the question mark.
    pub fn query(&self) -> Option<&str> {
        let query = match self {
            Self::Absolute(url) => url.query(),
            Self::Plain { query, .. } | Self::Path { query, .. } => *query,
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
                "utm_source" => campaign.utm.source = Some(value),
                "utm_medium" => campaign.utm.medium = Some(value),
                "utm_campaign" => campaign.utm.campaign = Some(value),
                "utm_term" => campaign.utm.term = Some(value),
                "utm_content" => campaign.utm.content = Some(value),
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

/// Bytes that the rules leave as they are, by where they stand.
const HOST: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const PLAIN: [u8; 256] = {
    let mut plain = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        plain[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => HOST | PATH | QUERY,
            b'A'..=b'Z'
            | b'%'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
            | b':'
            | b'@'
            | b'/' => PATH | QUERY,
            b'\'' => PATH,
            b'"' | b'#' | b'<' | b'>' => 0,
            _ => QUERY,
        };
        byte += 1;
    }
    plain
};

/// The longest beginning of `text` that is plain there, and the rest.
fn split_after(text: &str, place: u8) -> (&str, &str) {
    let length = text.bytes().position(|byte| PLAIN[usize::from(byte)] & place == 0);
    text.split_at(length.unwrap_or(text.len()))
}

/// A name in lower case: no address, no punycode to check.
fn is_plain_host(host: &str) -> bool {
    let is_plain = |label: &str| !label.is_empty() && !label.starts_with("xn--");
    // What ends in a number is an IPv4 address, or none.
    let last = host.rsplit('.').next().unwrap_or_default();
    last.starts_with(|first: char| first.is_ascii_lowercase()) && host.split('.').all(is_plain)
}

/// Segments of dots, also encoded ones, are worked into what stands before them.
fn has_dots(path: &str) -> bool {
    let path = path.as_bytes();
    memmem::find(path, b"/.").is_some() || memmem::find(path, b"%2").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_plain_is_what_the_rules_say(pieces in prop::collection::vec(prop::sample::select(&[
            "a", "shop", "example", "xn--", "xn--a", "0x1", "1", "A", "é", "-", ".", "..", "/", "//", "/.", "?", "#", "&", "=", "%",
            "%2e", "%2E", "%41", "%zz", "@", ":", ":80", "\\", " ", "\t", "\n", "\u{0}", "'", "\"", "<", "^", "`", "{", "|", "[", "+",
        ][..]), 0..8), scheme in prop::sample::select(&["https://", "http://", "http:/", "https:", "HTTP://"][..]), host in 0_usize..3) {
            let host = ["", "a.example", "b-1.example"][host];
            let text = format!("{scheme}{host}{}", pieces.concat());
            if let Some(plain) = Location::plain(&text) {
                let url = Location::Absolute(Url::parse(&text).expect("a plain URL is one"));
                prop_assert_eq!((plain.host(), plain.path(), plain.query()), (url.host(), url.path(), url.query()), "{}", text);
            }
        }
    }

    #[test]
    fn ordinary_urls_are_plain() {
        for text in [
            "https://shop.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email#top",
            "http://localhost",
            "https://www.google.com/",
            "https://a.example?x=%20y",
        ] {
            assert!(Location::plain(text).is_some(), "{text}");
        }
    }

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
        assert_eq!(campaign.utm.source.as_deref(), Some("news letter"));
        assert_eq!(campaign.utm.medium, None);
        assert_eq!(campaign.utm.campaign.as_deref(), Some("a b"));
        assert_eq!(campaign.click_ids, [("gclid", "X\u{fffd}".to_owned())]);
    }
}
