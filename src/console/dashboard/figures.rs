//! Sums, what they come to, and how that is said.

use super::answer::Line;
use super::view::Metric;
use crate::console::page::parts::number;

/// What figures are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub visitors: i64,
    pub visits: i64,
    pub page_views: i64,
    pub bounces: i64,
    pub duration_ms: i64,
}

/// Whether a change is welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Good,
    Bad,
    None,
}

impl Sums {
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l Line>) -> Self {
        lines.into_iter().fold(Self::default(), |sums, line| Self {
            visitors: sums.visitors + line.visitors,
            visits: sums.visits + line.count,
            page_views: sums.page_views + line.page_views,
            bounces: sums.bounces + line.bounces,
            duration_ms: sums.duration_ms + line.duration_ms,
        })
    }

    /// Percent, seconds, or a number; `None` where there was nothing to divide by.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let of_visits = |sum: f64| (self.visits > 0).then(|| sum / self.visits as f64);
        match metric {
            Metric::Visitors => Some(self.visitors as f64),
            Metric::Visits => Some(self.visits as f64),
            Metric::PageViews => Some(self.page_views as f64),
            Metric::BounceRate => of_visits(self.bounces as f64 * 100.0),
            Metric::VisitDuration => of_visits(self.duration_ms as f64 / 1_000.0),
            Metric::ViewsPerVisit => of_visits(self.page_views as f64),
        }
    }
}

/// A figure for people.
pub fn spoken(metric: Metric, value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    match metric {
        Metric::Visitors | Metric::Visits | Metric::PageViews => number(value as i64),
        Metric::BounceRate => format!("{value:.1} %"),
        Metric::VisitDuration => seconds(value),
        Metric::ViewsPerVisit => format!("{value:.2}"),
    }
}

fn seconds(value: f64) -> String {
    let whole = value.round() as i64;
    match whole {
        ..60 => format!("{whole} s"),
        60..3_600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3_600, whole / 60 % 60),
    }
}

/// How `now` differs from `before`, for people.
pub fn change(metric: Metric, now: Option<f64>, before: Option<f64>) -> Option<(String, Change)> {
    let (now, before) = (now?, before?);
    let difference = now - before;
    let text = match metric {
        Metric::Visitors | Metric::Visits | Metric::PageViews if before == 0.0 => return None,
        Metric::Visitors | Metric::Visits | Metric::PageViews => {
            let percent = difference / before * 100.0;
            // Of a tenfold rise nobody needs the digits.
            if percent.abs() < 10.0 { format!("{percent:+.1} %") } else { format!("{percent:+.0} %") }
        }
        Metric::BounceRate => format!("{difference:+.1} pp"),
        Metric::VisitDuration if difference < 0.0 => format!("-{}", seconds(-difference)),
        Metric::VisitDuration => format!("+{}", seconds(difference)),
        Metric::ViewsPerVisit => format!("{difference:+.2}"),
    };
    let is_nothing = text.bytes().all(|byte| !matches!(byte, b'1'..=b'9'));
    let is_more = difference > 0.0;
    let kind = if is_nothing {
        Change::None
    } else if is_more == (metric != Metric::BounceRate) {
        Change::Good
    } else {
        Change::Bad
    };
    let text = if is_nothing { text.replacen(['+', '-'], "±", 1) } else { text.replacen('-', "−", 1) };
    Some((text, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let sums =
            Sums { visitors: 38_214, visits: 47_902, page_views: 162_480, bounces: 19_783, duration_ms: 8_047_536_000 };
        let all = super::super::view::METRICS.map(|(metric, ..)| spoken(metric, sums.value(metric)));
        assert_eq!(all, ["38,214", "47,902", "162,480", "41.3 %", "2 m 48 s", "3.39"]);
        let none = super::super::view::METRICS.map(|(metric, ..)| spoken(metric, Sums::default().value(metric)));
        assert_eq!(none, ["0", "0", "0", "–", "–", "–"]);
        assert_eq!([0.4, 59.4, 3_725.0].map(seconds), ["0 s", "59 s", "1 h 02 m"]);
    }

    #[test]
    fn a_change_says_whether_it_is_welcome() {
        for (metric, now, before, expected) in [
            (Metric::Visitors, 114.0, 100.0, Some(("+14 %", Change::Good))),
            (Metric::Visits, 99.5, 100.0, Some(("−0.5 %", Change::Bad))),
            (Metric::Visits, 100.0, 100.0, Some(("±0.0 %", Change::None))),
            (Metric::PageViews, 3.0, 0.0, None),
            (Metric::BounceRate, 41.3, 43.4, Some(("−2.1 pp", Change::Good))),
            (Metric::BounceRate, 43.4, 41.3, Some(("+2.1 pp", Change::Bad))),
            (Metric::VisitDuration, 168.0, 174.0, Some(("−6 s", Change::Bad))),
            (Metric::ViewsPerVisit, 3.39, 3.25, Some(("+0.14", Change::Good))),
        ] {
            let found = change(metric, Some(now), Some(before));
            assert_eq!(found.as_ref().map(|(text, kind)| (text.as_str(), *kind)), expected, "{metric:?} {now}");
        }
        assert_eq!(change(Metric::BounceRate, Some(1.0), None), None);
    }
}
