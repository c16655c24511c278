//! Sums of packed rows are added up to the lines of a panel.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::answer::Line;
use super::packed::Shape;
use crate::rollup::pack::read::{ReadError, Taken};
use crate::rollup::pack::{Group, Sums};

const HOUR_S: i64 = 3_600;
/// Texts of the lists of one answer. Where there are more, PostgreSQL counts visits, within its own limits.
pub const TEXTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Beside its text.
pub const ENTRY_BYTES: usize = 96;

/// What was added so far.
pub struct Adding {
    group: Group,
    shape: Shape,
    by_second: HashMap<i64, Sums>,
    by_list: Vec<(&'static str, Values)>,
    bytes: usize,
}

/// Looking them up is most of the work. (They are seeded by chance, as texts are what others have sent.)
type Values = HashMap<String, Sums, RandomState>;

impl Adding {
    pub fn new(group: Group, shape: Shape) -> Self {
        Self { group, shape, by_second: HashMap::new(), by_list: Vec::new(), bytes: 0 }
    }

    pub fn add(&mut self, taken: &Taken<'_>) {
        let second = match (self.shape, taken.list) {
            (Shape::Lists | Shape::Glance | Shape::Quartiles, list) => {
                return self.add_value(list, taken.text.into(), &taken.sums);
            }
            (Shape::Days, "all") => taken.day_s,
            (Shape::Until(minute), "minute") if taken.number < minute => taken.day_s,
            (Shape::Hours, "hour") => taken.day_s + i64::from(taken.number) * HOUR_S,
            _ => return,
        };
        self.by_second.entry(second).or_default().add(&taken.sums);
    }

    /// That, and what another one has added, of other parts.
    pub fn and(mut self, other: Self) -> Self {
        for (second, sums) in other.by_second {
            self.by_second.entry(second).or_default().add(&sums);
        }
        for (list, others) in other.by_list {
            for (text, sums) in others {
                self.add_value(list, text.into(), &sums);
            }
        }
        self
    }

    fn add_value(&mut self, list: &'static str, text: Cow<'_, str>, sums: &Sums) {
        let place = self.by_list.iter().position(|(known, _)| *known == list).unwrap_or_else(|| {
            self.by_list.push((list, Values::default()));
            self.by_list.len() - 1
        });
        let Some((_, values)) = self.by_list.get_mut(place) else { return };
        if let Some(known) = values.get_mut(text.as_ref()) {
            known.add(sums);
        } else if self.bytes <= TEXTS_BYTES_MAX {
            self.bytes += text.len() + ENTRY_BYTES;
            values.insert(text.into_owned(), *sums);
        }
    }

    pub fn group(&self) -> Group {
        self.group
    }

    /// What texts take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lines of time; or of those of `lists` the first ones.
    pub fn lines(self, lists: &[String], limit: usize) -> Result<Vec<Line>, ReadError> {
        if self.bytes > TEXTS_BYTES_MAX {
            return Err(ReadError::LeftOut);
        }
        let mut seconds: Vec<(i64, Sums)> = self.by_second.into_iter().collect();
        seconds.sort_unstable_by_key(|(second, _)| *second);
        let mut lines: Vec<Line> =
            seconds.iter().map(|(second, sums)| line("series", second.to_string(), sums)).collect();
        for (list, values) in self.by_list {
            if self.shape == Shape::Quartiles {
                lines.extend(quartiles(&values));
                continue;
            }
            let list = called(list);
            if !is_asked(list, lists) {
                continue;
            }
            let mut values: Vec<(String, Sums)> = values.into_iter().collect();
            let is_event = self.group == Group::Events;
            let place = |sums: &Sums| if is_event { (sums.visits, 0) } else { (sums.visitors, sums.visits) };
            values.sort_unstable_by(|(value, sums), (other, of_other)| {
                place(of_other).cmp(&place(sums)).then_with(|| value.cmp(other))
            });
            values.truncate(limit);
            lines.extend(values.into_iter().map(|(value, sums)| line(list, value, &sums)));
        }
        Ok(lines)
    }
}

/// Of each measure, by its name, how often it was measured and what three of four measurements were no worse than, in hundredths, as
/// sql/vitals.sql does.
fn quartiles(values: &Values) -> Vec<Line> {
    let mut measured: BTreeMap<&str, Vec<(i64, u64)>> = BTreeMap::new();
    for (text, sums) in values {
        let Some((name, value)) = text.split_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        measured.entry(name).or_default().push(((value * 100.0).round() as i64, sums.visits));
    }
    let quartile = |(name, mut values): (&str, Vec<(i64, u64)>)| {
        values.sort_unstable();
        let all: u64 = values.iter().map(|(_, often)| often).sum();
        let mut so_far = 0;
        let (value, _) = values.into_iter().find(|(_, often)| {
            so_far += often;
            so_far * 4 >= all * 3
        })?;
        let none = line(name, String::new(), &Sums::default());
        Some(Line { count: all.cast_signed(), page_views: value, ..none })
    };
    measured.into_iter().filter_map(quartile).collect()
}

/// Whether a list, as the statements call it, is one of those `asked` for; where none is named, all are.
pub fn is_asked(list: &str, asked: &[String]) -> bool {
    asked.is_empty() || asked.iter().any(|asked| asked == list)
}

/// As the statements call it.
pub fn called(list: &'static str) -> &'static str {
    match list {
        "page" => "pages",
        "event" => "events",
        list => list,
    }
}

fn line(list: &str, value: String, sums: &Sums) -> Line {
    Line {
        list: list.to_owned(),
        value,
        visitors: sums.visitors.cast_signed(),
        count: sums.visits.cast_signed(),
        page_views: sums.page_views.cast_signed(),
        bounces: sums.bounces.cast_signed(),
        duration_ms: sums.duration_ms.cast_signed(),
    }
}
