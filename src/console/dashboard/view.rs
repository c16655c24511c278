//! What is asked for, all of which is in the address.

use jiff::civil::Date;
use url::form_urlencoded;

use super::filter::{Dimension, Filters};
use super::period::{Compare, Days, Period};

/// Of a panel at a glance.
pub const GLANCE_ROWS: i64 = 10;
/// Of a panel on its own.
const ROWS_MAX: i64 = 1_000;
const SOURCE_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 8_000;

/// A number at the top of the page, and what its chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Visitors,
    Visits,
    PageViews,
    BounceRate,
    VisitDuration,
    ViewsPerVisit,
}

/// As in an address and for people.
pub const METRICS: [(Metric, &str, &str); 6] = [
    (Metric::Visitors, "visitors", "Visitors"),
    (Metric::Visits, "visits", "Visits"),
    (Metric::PageViews, "page_views", "Page views"),
    (Metric::BounceRate, "bounce_rate", "Bounce rate"),
    (Metric::VisitDuration, "visit_duration", "Visit duration"),
    (Metric::ViewsPerVisit, "views_per_visit", "Views per visit"),
];

impl Metric {
    pub fn name(self) -> &'static str {
        METRICS.iter().find(|(metric, ..)| *metric == self).map_or("", |(_, name, _)| name)
    }

    pub fn title(self) -> &'static str {
        METRICS.iter().find(|(metric, ..)| *metric == self).map_or("", |(.., title)| title)
    }
}

/// One list that can be looked at on its own: as in an address, for people, and by what its rows filter.
pub const LISTS: [(&str, &str, Option<Dimension>); 12] = [
    ("pages", "Pages", Some(Dimension::Page)),
    ("entry", "Entry pages", Some(Dimension::Entry)),
    ("exit", "Exit pages", Some(Dimension::Exit)),
    ("referrer", "Sources", Some(Dimension::Referrer)),
    ("utm_medium", "Mediums", Some(Dimension::UtmMedium)),
    ("utm_campaign", "Campaigns", Some(Dimension::UtmCampaign)),
    ("country", "Countries", Some(Dimension::Country)),
    ("region", "Regions", Some(Dimension::Region)),
    ("device", "Devices", Some(Dimension::Device)),
    ("browser", "Browsers", Some(Dimension::Browser)),
    ("os", "Systems", Some(Dimension::Os)),
    ("events", "Events", None),
];

/// One state of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Where it is: `/dashboard`, or a link's own address.
    pub path: String,
    /// Whether source and filters can be changed.
    pub is_fixed: bool,
    /// `None`: all.
    pub source: Option<String>,
    pub period: Period,
    pub compare: Compare,
    pub filters: Filters,
    pub metric: Metric,
    /// Whose properties are shown.
    pub event: Option<String>,
    /// The list that is shown on its own, and how many rows of it.
    pub panel: Option<(&'static str, i64)>,
    /// UTC.
    pub today: Date,
}

impl View {
    pub fn new(path: &str, today: Date) -> Self {
        Self {
            path: path.to_owned(),
            is_fixed: false,
            source: None,
            period: Period::Days30,
            compare: Compare::Previous,
            filters: Filters::default(),
            metric: Metric::Visitors,
            event: None,
            panel: None,
            today,
        }
    }

    /// A link's: what the viewer asks for changes neither `source` nor `filters`.
    pub fn fixed(path: &str, today: Date, source: Option<String>, filters: Filters) -> Self {
        Self { is_fixed: true, source, filters, ..Self::new(path, today) }
    }

    /// Takes what an address says; returns what was not understood of it, for people.
    pub fn take(&mut self, pairs: &[(String, String)]) -> Option<String> {
        let last = |name: &str| pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut told = None;
        if let Some(name) = last("period") {
            match Period::of(name, last("from"), last("to"), self.today) {
                Ok(period) => self.period = period,
                Err(reason) => told = Some(reason),
            }
        } else if let (Some(from), Some(to)) = (last("from"), last("to")) {
            match Period::of("custom", Some(from), Some(to), self.today) {
                Ok(period) => self.period = period,
                Err(reason) => told = Some(reason),
            }
        }
        if let Some(compare) = last("compare").and_then(Compare::of) {
            self.compare = compare;
        }
        if let Some(known) = last("metric").and_then(|name| METRICS.iter().find(|(_, known, _)| *known == name)) {
            self.metric = known.0;
        }
        if let Some(list) = last("panel").and_then(|name| LISTS.iter().find(|(known, ..)| *known == name)) {
            let limit = last("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
            self.panel = Some((list.0, i64::clamp(limit, 1, ROWS_MAX)));
        }
        if self.is_fixed {
            return told;
        }
        let is_text = |text: &&str| !text.is_empty() && !text.contains('\0');
        self.event = last("event").filter(is_text).filter(|event| event.len() <= NAME_BYTES_MAX).map(ToOwned::to_owned);
        self.source =
            last("source").filter(is_text).filter(|source| source.len() <= SOURCE_BYTES_MAX).map(ToOwned::to_owned);
        for (name, value) in pairs {
            if let Some(dimension) = name.strip_prefix("f.").and_then(Dimension::of) {
                self.filters.set(dimension, value);
            }
        }
        told
    }

    pub fn days(&self) -> Days {
        self.period.days(self.today)
    }

    pub fn compared(&self) -> Option<Days> {
        self.period.compared(self.days(), self.compare)
    }

    /// What an address has to say of this, by name and value. What is usual is left out.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        if !self.is_fixed
            && let Some(source) = &self.source
        {
            add("source", source);
        }
        add("period", self.period.name());
        if let Period::Custom { from, to } = self.period {
            add("from", &from.to_string());
            add("to", &to.to_string());
        }
        add("compare", self.compare.name());
        if !self.is_fixed {
            for (dimension, value) in self.filters.iter() {
                add(&format!("f.{}", dimension.name()), value);
            }
            if let Some(event) = &self.event {
                add("event", event);
            }
        }
        if self.metric != Metric::Visitors {
            add("metric", self.metric.name());
        }
        if let Some((panel, limit)) = self.panel {
            add("panel", panel);
            add("limit", &limit.to_string());
        }
        pairs
    }

    /// The address.
    pub fn url(&self) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.pairs()).finish();
        format!("{}?{query}", self.path)
    }

    /// The address of what this is after a change.
    pub fn url_with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut other = self.clone();
        change(&mut other);
        other.url()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn taken(mut view: View, query: &str) -> (View, Option<String>) {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let told = view.take(&pairs);
        (view, told)
    }

    #[test]
    fn an_address_says_all_and_comes_back() {
        let today = date(2026, 11, 26);
        let query = "source=shop&period=custom&from=2026-11-01&to=2026-11-05&compare=year&f.page=%2Fa%26b&f.country=DE&event=buy\
                     &metric=bounce_rate&panel=pages&limit=50";
        let (view, told) = taken(View::new("/dashboard", today), query);
        assert_eq!(told, None);
        let (again, _) = taken(View::new("/dashboard", today), view.url().split_once('?').expect("a query").1);
        assert_eq!(again, view);
        assert_eq!(view.url(), format!("/dashboard?{query}"));
        let (view, told) =
            taken(View::new("/dashboard", today), "period=x&compare=y&metric=z&panel=w&f.planet=a&limit=0&source=");
        assert!(told.is_some());
        assert_eq!(view, View::new("/dashboard", today));
    }

    #[test]
    fn of_a_link_only_the_period_changes() {
        let today = date(2026, 11, 26);
        let filters = Filters::default().with(Dimension::Country, "DE");
        let fixed = View::fixed("/shared/x", today, Some("shop".to_owned()), filters);
        let (view, _) =
            taken(fixed.clone(), "source=app&f.country=FR&f.page=/&event=buy&period=7d&panel=os&limit=5000");
        assert_eq!((&view.source, &view.filters, &view.event), (&fixed.source, &fixed.filters, &None));
        assert_eq!((view.period, view.panel), (Period::Week, Some(("os", ROWS_MAX))));
        assert!(!view.url().contains("shop") && !view.url().contains("DE"));
    }
}
