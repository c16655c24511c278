//! The figures over time, for the chart.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::answer::Line;
use super::figures::Sums;
use super::period::{Days, Grain};

/// One point: when it begins, and its sums; without, it lies in the future.
pub type Point = (Timestamp, Option<Sums>);

/// All points of `days`, of lines by hour or by day.
pub fn points(days: Days, lines: &[Line], now: Timestamp) -> Vec<Point> {
    let grain = days.grain();
    let start_of = |at: DateTime| at.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp());
    let mut points: Vec<Point> = starts(days, grain).into_iter().map(|at| (start_of(at), None)).collect();
    for (at, sums) in &mut points {
        *sums = (*at <= now).then(Sums::default);
    }
    for line in lines {
        let Some(at) = line.value.parse().ok().and_then(|second| Timestamp::from_second(second).ok()) else { continue };
        // The last point that begins before: of a month, its days.
        let place = points.partition_point(|(start, _)| *start <= at);
        if let Some((_, sums)) = place.checked_sub(1).and_then(|place| points.get_mut(place)) {
            let before = sums.unwrap_or_default();
            let line = Sums::of([line]);
            *sums = Some(Sums {
                visitors: before.visitors + line.visitors,
                visits: before.visits + line.visits,
                page_views: before.page_views + line.page_views,
                bounces: before.bounces + line.bounces,
                duration_ms: before.duration_ms + line.duration_ms,
            });
        }
    }
    points
}

fn starts(days: Days, grain: Grain) -> Vec<DateTime> {
    let midnight = |day: Date| day.at(0, 0, 0, 0);
    match grain {
        Grain::Hour => (0..24).map(|hour| days.first.at(hour, 0, 0, 0)).collect(),
        Grain::Day => days.first.series(1.day()).take_while(|day| *day <= days.last).map(midnight).collect(),
        Grain::Month => {
            days.first.first_of_month().series(1.month()).take_while(|day| *day <= days.last).map(midnight).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn line(at: &str, visits: i64) -> Line {
        let second = at.parse::<Timestamp>().expect("a moment").as_second();
        let (list, value) = (String::new(), second.to_string());
        Line { list, value, visitors: 0, count: visits, page_views: 0, bounces: 0, duration_ms: 0 }
    }

    fn visits(points: &[Point]) -> Vec<Option<i64>> {
        points.iter().map(|(_, sums)| sums.map(|sums| sums.visits)).collect()
    }

    #[test]
    fn there_is_a_point_for_each_part_of_the_period_and_none_of_the_future() {
        let now: Timestamp = "2026-11-26T02:30:00Z".parse().expect("a moment");
        let today = Days { first: date(2026, 11, 26), last: date(2026, 11, 26) };
        let hours = points(today, &[line("2026-11-26T01:00:00Z", 5)], now);
        assert_eq!(hours.len(), 24);
        assert_eq!(visits(&hours)[..4], [Some(0), Some(5), Some(0), None]);
        let days = Days { first: date(2026, 11, 24), last: date(2026, 11, 26) };
        assert_eq!(visits(&points(days, &[line("2026-11-25T00:00:00Z", 7)], now)), [Some(0), Some(7), Some(0)]);
        let year = Days { first: date(2026, 1, 15), last: date(2026, 11, 26) };
        let lines = [line("2026-01-15T00:00:00Z", 1), line("2026-01-31T00:00:00Z", 2), line("2026-02-01T00:00:00Z", 4)];
        assert_eq!(visits(&points(year, &lines, now))[..3], [Some(3), Some(4), Some(0)]);
    }
}
