//! Which days are shown, and which they are compared with. Days are UTC.

use jiff::civil::Date;
use jiff::{Span, ToSpan, Unit};

/// Of a period that somebody chooses; more is for SQL.
const DAYS_MAX: i32 = 1_100;
/// More days are shown by month.
const DAILY_MAX: i32 = 92;

/// A period as it stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Today,
    Yesterday,
    Week,
    Days30,
    Month,
    Year,
    Custom { from: Date, to: Date },
}

/// Those that are one click away, as in an address and for people.
pub const CHOICES: [(Period, &str, &str); 6] = [
    (Period::Today, "today", "Today"),
    (Period::Yesterday, "yesterday", "Yesterday"),
    (Period::Week, "7d", "7 days"),
    (Period::Days30, "30d", "30 days"),
    (Period::Month, "month", "Month"),
    (Period::Year, "12mo", "12 months"),
];

/// What a period is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    None,
    Previous,
    Year,
}

/// How long one point of the chart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    Hour,
    Day,
    Month,
}

/// Days, the last one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    pub first: Date,
    pub last: Date,
}

impl Compare {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Previous => "previous",
            Self::Year => "year",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        [Self::None, Self::Previous, Self::Year].into_iter().find(|compare| compare.name() == name)
    }
}

impl Grain {
    /// As the chart's script and `date_trunc` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl Days {
    /// How many.
    pub fn count(self) -> i32 {
        self.first.until((Unit::Day, self.last)).map_or(1, |span| span.get_days() + 1)
    }

    /// What is drawn of so many.
    pub fn grain(self) -> Grain {
        match self.count() {
            ..=1 => Grain::Hour,
            2..=DAILY_MAX => Grain::Day,
            _ => Grain::Month,
        }
    }

    fn back(self, span: Span) -> Option<Self> {
        Some(Self { first: self.first.checked_sub(span).ok()?, last: self.last.checked_sub(span).ok()? })
    }

    /// As PostgreSQL reads the first moment.
    pub fn since(self) -> String {
        format!("{} 00:00:00+00", self.first)
    }

    /// And the first moment after the last day.
    pub fn until(self) -> String {
        format!("{} 00:00:00+00", self.last.saturating_add(1.day()))
    }

    /// For people.
    pub fn spoken(self) -> String {
        let short = |day: Date| day.strftime("%-d %b").to_string();
        let long = |day: Date| day.strftime("%-d %b %Y").to_string();
        if self.first == self.last {
            long(self.first)
        } else if self.first.year() == self.last.year() {
            format!("{} to {}", short(self.first), long(self.last))
        } else {
            format!("{} to {}", long(self.first), long(self.last))
        }
    }
}

impl Period {
    /// From an address; the reason why not is for people.
    pub fn of(name: &str, from: Option<&str>, to: Option<&str>, today: Date) -> Result<Self, String> {
        if name != "custom" {
            let known = CHOICES.iter().find(|(_, known, _)| *known == name).map(|(period, ..)| *period);
            return known.ok_or_else(|| format!("`{name}` is no period"));
        }
        let day = |text: Option<&str>| text.unwrap_or_default().parse::<Date>();
        let (Ok(from), Ok(to)) = (day(from), day(to)) else {
            return Err("a period of one's own needs two days, as in 2026-11-26".to_owned());
        };
        let to = to.min(today);
        if from > to {
            return Err("the first day lies after the last, or after today".to_owned());
        }
        if (Days { first: from, last: to }).count() > DAYS_MAX || from.year() < 1970 {
            return Err(format!("a period has at most {DAYS_MAX} days"));
        }
        Ok(Self::Custom { from, to })
    }

    pub fn name(self) -> &'static str {
        CHOICES.iter().find(|(period, ..)| *period == self).map_or("custom", |(_, name, _)| name)
    }

    pub fn days(self, today: Date) -> Days {
        let until_today = |first: Date| Days { first, last: today };
        match self {
            Self::Today => until_today(today),
            Self::Yesterday => {
                let day = today.saturating_sub(1.day());
                Days { first: day, last: day }
            }
            Self::Week => until_today(today.saturating_sub(6.days())),
            Self::Days30 => until_today(today.saturating_sub(29.days())),
            Self::Month => until_today(today.first_of_month()),
            Self::Year => until_today(today.first_of_month().saturating_sub(11.months())),
            Self::Custom { from, to } => Days { first: from, last: to },
        }
    }

    /// What `days` of this period are compared with.
    pub fn compared(self, days: Days, compare: Compare) -> Option<Days> {
        match (compare, self) {
            (Compare::None, _) => None,
            (Compare::Year, _) => days.back(1.year()),
            // Months are of different lengths: the same part of the one before.
            (Compare::Previous, Self::Month) => days.back(1.month()),
            (Compare::Previous, Self::Year) => days.back(12.months()),
            (Compare::Previous, _) => days.back(days.count().days()),
        }
    }

    /// How what it is compared with is called.
    pub fn previous_spoken(self, days: Days) -> String {
        match self {
            Self::Today => "yesterday".to_owned(),
            Self::Month => "the month before".to_owned(),
            Self::Year => "the 12 months before".to_owned(),
            _ if days.count() == 1 => "the day before".to_owned(),
            _ => format!("the {} days before", days.count()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn spoken(period: Period, compare: Compare) -> [String; 2] {
        let days = period.days(date(2026, 3, 30));
        [days.spoken(), period.compared(days, compare).map_or_else(String::new, Days::spoken)]
    }

    #[test]
    fn periods_end_today_and_are_compared_with_as_many_days() {
        for (period, compare, expected) in [
            (Period::Today, Compare::Previous, ["30 Mar 2026", "29 Mar 2026"]),
            (Period::Yesterday, Compare::Previous, ["29 Mar 2026", "28 Mar 2026"]),
            (Period::Week, Compare::Previous, ["24 Mar to 30 Mar 2026", "17 Mar to 23 Mar 2026"]),
            (Period::Days30, Compare::Year, ["1 Mar to 30 Mar 2026", "1 Mar to 30 Mar 2025"]),
            // February has no thirtieth.
            (Period::Month, Compare::Previous, ["1 Mar to 30 Mar 2026", "1 Feb to 28 Feb 2026"]),
            (Period::Year, Compare::Previous, ["1 Apr 2025 to 30 Mar 2026", "1 Apr 2024 to 30 Mar 2025"]),
            (Period::Week, Compare::None, ["24 Mar to 30 Mar 2026", ""]),
        ] {
            assert_eq!(spoken(period, compare), expected, "{period:?}");
        }
    }

    #[test]
    fn a_period_of_ones_own_is_bounded() {
        let today = date(2026, 3, 30);
        let of = |from, to| Period::of("custom", Some(from), Some(to), today);
        assert_eq!(
            of("2026-03-01", "2026-05-01"),
            Ok(Period::Custom { from: date(2026, 3, 1), to: today }),
            "nothing is known of tomorrow"
        );
        for (from, to) in [
            ("2026-03-02", "2026-03-01"),
            ("2020-01-01", "2026-01-01"),
            ("x", "2026-01-01"),
            ("2026-04-01", "2026-04-02"),
        ] {
            assert!(of(from, to).is_err(), "{from} {to}");
        }
        assert!(Period::of("", None, None, today).is_err());
        assert_eq!(Days { first: date(2026, 1, 1), last: date(2026, 1, 31) }.until(), "2026-02-01 00:00:00+00");
    }
}
