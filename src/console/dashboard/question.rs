//! The statements, and what each is asked with. All have the same parameters and give the same columns, so that one way of
//! asking, keeping and failing is enough. Nothing of a request is ever part of a statement.

use jiff::civil::Time;

use super::filter::DIMENSIONS;
use super::packed::{Packed, Shape};
use super::period::Days;
use super::view::View;
use crate::rollup::pack::Group;

macro_rules! sql {
    ($($name:literal),+) => { concat!($(include_str!(concat!("sql/", $name, ".sql")), "\n"),+) };
}

/// $1 to $17: texts.
pub const TEXTS: usize = DIMENSIONS.len() + 4;

/// One statement with its values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// For the log.
    pub name: &'static str,
    pub sql: &'static str,
    /// The rollups that it reads.
    pub needs: &'static [&'static str],
    pub texts: [Option<String>; TEXTS],
    /// Rows of each list.
    pub limit: i64,
    /// Only visits that began before.
    pub until: Option<String>,
    /// How it is answered without the statement, which is for where this cannot be.
    pub packed: Option<Packed>,
    /// Whether the statement looks for the events of visits.
    pub joins_events: bool,
}

impl Question {
    fn new(name: &'static str, view: &View, days: Days, sql: &'static str, needs: &'static [&'static str]) -> Self {
        let mut texts = std::array::from_fn(|_| None);
        texts[0] = Some(days.since());
        texts[1] = Some(days.until());
        texts[2].clone_from(&view.source);
        for (place, (dimension, ..)) in DIMENSIONS.iter().enumerate() {
            texts[place + 3] = view.filters.get(*dimension).map(ToOwned::to_owned);
        }
        Self { name, sql, needs, texts, limit: 0, until: None, packed: None, joins_events: false }
    }

    /// As $17.
    fn about(mut self, text: &str) -> Self {
        self.texts[TEXTS - 1] = Some(text.to_owned());
        self
    }

    fn at_most(self, limit: i64) -> Self {
        Self { limit, ..self }
    }

    /// Its statement has sql/within.sql.
    fn joining_events(self) -> Self {
        Self { joins_events: true, ..self }
    }

    /// It is packed already.
    fn packed(self, group: Group, shape: Shape) -> Self {
        Self { packed: Some(Packed::Lists(group, shape)), ..self }
    }
}

/// Sources, and how far the rollups are.
pub fn facts() -> Question {
    let texts = std::array::from_fn(|_| None);
    Question {
        name: "facts",
        sql: sql!("facts"),
        needs: &[],
        texts,
        limit: 0,
        until: None,
        packed: None,
        joins_events: false,
    }
}

/// The day of the source's latest visit.
pub fn latest(view: &View) -> Question {
    Question::new("latest", view, view.days(), sql!("latest"), &["visits_daily"])
}

/// The figures of each day; of a single one, until the minute of `until`.
pub fn by_day(view: &View, days: Days, until: Option<Time>) -> Question {
    if view.filters.is_empty() && until.is_none() {
        return Question::new("by_day", view, days, sql!("series_daily"), &["visits_daily"]);
    }
    let shape = until.map_or(Shape::Days, |until| {
        Shape::Until(u32::from(until.hour().unsigned_abs()) * 60 + u32::from(until.minute().unsigned_abs()))
    });
    let until = until.map(|until| format!("{} {}+00", days.last, until.strftime("%H:%M:00")));
    let question = Question::new("by_day", view, days, sql!("visits", "series_visits"), &["sessions"]).about("day");
    Question { until, ..question }.packed(Group::Figures, shape)
}

/// The figures of each hour.
pub fn by_hour(view: &View, days: Days) -> Question {
    if view.filters.is_empty() {
        return Question::new("by_hour", view, days, sql!("series_hourly"), &["visits_daily"]);
    }
    Question::new("by_hour", view, days, sql!("visits", "series_visits"), &["sessions"])
        .about("hour")
        .packed(Group::Figures, Shape::Hours)
}

/// Where visits came from, places and devices: the `lists` of these, with commas.
pub fn audience(view: &View, lists: &str, limit: i64) -> Question {
    let question = if view.filters.is_empty() {
        Question::new("audience", view, view.days(), sql!("audience_daily"), &["visits_daily"])
    } else {
        Question::new("audience", view, view.days(), sql!("visits", "audience_visits"), &["sessions"])
            .packed(Group::Audience, if lists.contains(',') { Shape::Glance } else { Shape::Lists })
    };
    question.about(lists).at_most(limit)
}

/// As [`audience`], of pages.
pub fn pages(view: &View, lists: &str, limit: i64) -> Question {
    let question = if view.filters.is_empty() {
        Question::new("pages", view, view.days(), sql!("pages_daily"), &["pages_daily"])
    } else {
        Question::new("pages", view, view.days(), sql!("visits", "pages_visits"), &["sessions"])
            .packed(Group::Pages, Shape::Lists)
    };
    question.about(lists).at_most(limit)
}

/// Events of one's own.
pub fn events(view: &View, limit: i64) -> Question {
    let question = if view.filters.is_empty() {
        Question::new("events", view, view.days(), sql!("events_daily"), &["events_daily"])
    } else {
        Question::new("events", view, view.days(), sql!("visits", "events_visits"), &["sessions"])
            .packed(Group::Events, Shape::Lists)
    };
    question.at_most(limit)
}

/// The properties of one event.
pub fn properties(view: &View, event: &str, limit: i64) -> Question {
    let question = if view.filters.is_empty() {
        let needs = &["properties_daily"];
        Question::new("properties", view, view.days(), sql!("properties_daily", "properties"), needs)
    } else {
        let sql = sql!("visits", "within", "properties_visits", "properties");
        let question = Question::new("properties", view, view.days(), sql, &["sessions"]).joining_events();
        Question { packed: Some(Packed::Properties), ..question }
    };
    question.about(event).at_most(limit)
}

/// Web vitals.
pub fn vitals(view: &View) -> Question {
    if view.filters.is_empty() {
        return Question::new(
            "vitals",
            view,
            view.days(),
            sql!("vitals_daily", "vitals"),
            &["web_vitals_spread_daily"],
        );
    }
    Question::new("vitals", view, view.days(), sql!("visits", "vitals_visits", "vitals"), &["sessions"])
        .packed(Group::Vitals, Shape::Quartiles)
}
