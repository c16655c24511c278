//! How long something is kept: `"forever"`, or calendar units as in `"13 months"` and `"1 year 6 months"`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};
use jiff::{Span, SpanFieldwise, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const FOREVER: &str = "forever";
/// More is for ever, and less than this is not what a partition of a day can do.
const YEARS_MAX: i16 = 1_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Forever,
    For(SpanFieldwise),
}

/// The text is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time to keep events for: write \"forever\", or whole years, months, weeks and days from \"1 day\" to \
     \"{YEARS_MAX} years\", as \"13 months\""
)]
pub struct NoPeriod(String);

impl Period {
    /// The first day that is still kept on the day `today`; `None` where everything is.
    pub fn kept_since(self, today: Date) -> Option<Date> {
        match self {
            Self::Forever => None,
            // What lies before the calendar's beginning is older than any event.
            Self::For(span) => Some(today.checked_sub(span.0).unwrap_or(Date::MIN)),
        }
    }

    /// The day on which `day` is no longer kept.
    pub fn ends_on(self, day: Date) -> Option<Date> {
        let Self::For(span) = self else { return None };
        let mut on = day.checked_add(span.0).ok()?;
        // The end of a month has no equal in a shorter one: a few days more at the most.
        while self.kept_since(on)? <= day {
            on = on.tomorrow().ok()?;
        }
        Some(on)
    }
}

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(FOREVER) {
            return Ok(Self::Forever);
        }
        let bad = || NoPeriod(text.to_owned());
        let span: Span = text.parse().map_err(|_| bad())?;
        let calendar = Span::new()
            .try_years(span.get_years())
            .and_then(|calendar| calendar.try_months(span.get_months()))
            .and_then(|calendar| calendar.try_weeks(span.get_weeks()))
            .and_then(|calendar| calendar.try_days(span.get_days()))
            .map_err(|_| bad())?;
        let day = Date::constant(2000, 1, 1);
        let longest = day.checked_add(YEARS_MAX.years()).map_err(|_| bad())?;
        let is_whole = calendar.fieldwise() == span.fieldwise();
        let is_within = day.checked_add(calendar).is_ok_and(|end| day < end && end <= longest);
        if is_whole && is_within { Ok(Self::For(calendar.fieldwise())) } else { Err(bad()) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: SpanPrinter =
            SpanPrinter::new().designator(Designator::Verbose).spacing(Spacing::BetweenUnitsAndDesignators);
        match self {
            Self::Forever => formatter.write_str(FOREVER),
            Self::For(span) => formatter.write_str(&PRINTER.span_to_string(&span.0)),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_written() {
        for (text, written) in [
            ("forever", "forever"),
            ("Forever", "forever"),
            ("13 months", "13 months"),
            ("1 year 6 months", "1 year 6 months"),
            ("90d", "90 days"),
            (" 2 weeks ", "2 weeks"),
        ] {
            let period: Period = text.parse().expect(text);
            assert_eq!(period.to_string(), written);
            assert_eq!(written.parse(), Ok(period));
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in ["", "never", "0 days", "-1 day", "12 hours", "1 day 1 hour", "1001 years", "13", "1 month ago"] {
            assert_eq!(text.parse::<Period>(), Err(NoPeriod(text.to_owned())));
        }
    }

    #[test]
    fn a_day_is_kept_until_its_period_is_over() {
        for (keep, today, since) in [
            ("1 day", "2026-03-01", "2026-02-28"),
            ("13 months", "2026-11-26", "2025-10-26"),
            ("1 month", "2026-03-31", "2026-02-28"),
            ("1000 years", "2026-03-31", "1026-03-31"),
        ] {
            let period: Period = keep.parse().expect(keep);
            assert_eq!(period.kept_since(today.parse().expect("a date")), Some(since.parse().expect("a date")));
        }
        assert_eq!(Period::Forever.kept_since(Date::MAX), None);
    }

    #[test]
    fn the_end_is_the_first_day_without_it() {
        for keep in ["1 day", "1 month", "13 months", "1 year", "5 weeks"] {
            let period: Period = keep.parse().expect(keep);
            for offset in 0..800 {
                let day = Date::constant(2023, 12, 25).checked_add(offset.days()).expect("a date");
                let end = period.ends_on(day).expect("it ends");
                assert!(period.kept_since(end).expect("it ends") > day, "{keep} {day} {end}");
                let before = end.yesterday().expect("a date");
                assert!(period.kept_since(before).expect("it ends") <= day, "{keep} {day} {end}");
            }
        }
    }
}
