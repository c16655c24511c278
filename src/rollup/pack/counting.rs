//! What the visits come to that filters leave, list by list: from their columns (visits.rs), chunk by chunk.

use super::codec::Counted;
use super::count::{Counters, List};
use super::filtering::{Columns, Left, Reader};
use super::opened::{Opened, Values};
use super::visits::{Column, Wanted};
use super::{ALL, ENTRY, EVENT, EXIT, HOUR, MINUTE, PAGE, Sums, VITAL};

/// Of a day.
const MINUTES: u64 = 24 * 60;
const HOUR_MINUTES: u32 = 60;

/// Counts the visits in `chunks` that have all of the values of `filters`, each of a list, both by number. The columns have to be there
/// that [`Wanted::columns`] says. `None`: they are not what [`super::visits::pack`] made.
pub fn count(
    columns: &Columns,
    chunks: &[(usize, Option<Left>)],
    filters: &[(usize, u32)],
    wanted: &Wanted,
) -> Option<Vec<(usize, Counted)>> {
    let needed = wanted.columns(std::iter::empty());
    let mut counters = Counters::default();
    let (mut kept, mut values) = (Figures::default(), OfList::default());
    let mut before = None;
    Reader::new(columns)?.each(chunks, filters, &needed, |opened, _, places| {
        kept.take(opened, places, &needed)?;
        for list in &wanted.lists {
            let counter = counters.list(*list)?;
            match *list {
                ALL => kept.each().for_each(|(visitor, sums)| counter.count(0, &sums, visitor)),
                HOUR => {
                    let hours = kept.minutes().map(|minute| minute / HOUR_MINUTES);
                    hours.zip(kept.each()).for_each(|(hour, (visitor, sums))| counter.count(hour, &sums, visitor));
                }
                MINUTE => count_minutes(&kept, &mut before, counter),
                list => values.count(list, &opened.list(list)?, places, &kept, (wanted.has_sums, counter))?,
            }
        }
        Some(())
    })?;
    let mut counted = counters.take();
    wanted.lists.iter().map(|list| Some((*list, std::mem::take(counted.get_mut(*list)?)))).collect()
}

/// Whoever has been here before is nobody new.
fn count_minutes(kept: &Figures, before: &mut Option<u32>, counter: &mut List) {
    for (minute, (visitor, sums)) in kept.minutes().zip(kept.each()) {
        let visitors = u64::from(before.replace(visitor) != Some(visitor));
        counter.add_alone(minute, |known| known.add(&Sums { visitors, ..sums }));
    }
}

/// What is known of each visit of a chunk that is kept. A figure that is not needed is 0.
#[derive(Default)]
struct Figures {
    visitors: Vec<u32>,
    page_views: Vec<u64>,
    bounces: Vec<u64>,
    durations_ms: Vec<u64>,
    /// Of the day.
    minutes: Vec<u64>,
}

impl Figures {
    fn take(&mut self, opened: &Opened, places: &[u16], needed: &[Column]) -> Option<()> {
        let visitors = opened.visitors()?;
        self.visitors.clear();
        for place in places {
            self.visitors.push(*visitors.get(usize::from(*place))?);
        }
        for (column, figures) in [
            (Column::PageViews, &mut self.page_views),
            (Column::Bounce, &mut self.bounces),
            (Column::DurationMs, &mut self.durations_ms),
            (Column::Minute, &mut self.minutes),
        ] {
            if needed.contains(&column) {
                opened.figure(column)?.gather(places.iter().map(|place| usize::from(*place)), figures);
            } else {
                figures.clear();
                figures.resize(places.len(), 0);
            }
        }
        self.minutes.iter().all(|minute| *minute < MINUTES).then_some(())
    }

    /// Whose each is, and what it comes to.
    fn each(&self) -> impl Iterator<Item = (u32, Sums)> {
        let figures = self.page_views.iter().zip(&self.bounces).zip(&self.durations_ms);
        self.visitors.iter().zip(figures).map(|(visitor, ((page_views, bounces), duration_ms))| {
            let sums =
                Sums { visitors: 0, visits: 1, page_views: *page_views, bounces: *bounces, duration_ms: *duration_ms };
            (*visitor, sums)
        })
    }

    fn minutes(&self) -> impl Iterator<Item = u32> {
        self.minutes.iter().map(|minute| *minute as u32)
    }
}

/// The values that the visits of a chunk have in a list.
#[derive(Default)]
struct OfList {
    values: Vec<u64>,
    often: Vec<u64>,
    /// Where values are, and whose.
    places: Vec<usize>,
    visitors: Vec<u32>,
}

impl OfList {
    /// Counts those of the visits at `places`, as [`super::count::of_value`] says.
    fn count(
        &mut self,
        list: usize,
        of_all: &Values<'_>,
        places: &[u16],
        kept: &Figures,
        (has_sums, counter): (bool, &mut List),
    ) -> Option<()> {
        match of_all {
            Values::One(numbers) => {
                // So that there are not counters without end.
                numbers.are_small().then_some(())?;
                numbers.gather(places.iter().map(|place| usize::from(*place)), &mut self.values);
                self.count_one(list, kept, has_sums, counter);
            }
            Values::Many(_, numbers, often) => {
                numbers.are_small().then_some(())?;
                self.places.clear();
                self.visitors.clear();
                for (place, visitor) in places.iter().zip(&kept.visitors) {
                    self.places.extend(of_all.places(*place));
                    self.visitors.resize(self.places.len(), *visitor);
                }
                numbers.gather(self.places.iter().copied(), &mut self.values);
                often.gather(self.places.iter().copied(), &mut self.often);
                self.count_many(list, counter);
            }
        }
        Some(())
    }

    /// Each visit has one value, which is stored as one more, or none.
    fn count_one(&self, list: usize, kept: &Figures, has_sums: bool, counter: &mut List) {
        fn with<T>((value, of): (&u64, T)) -> Option<(u32, T)> {
            Some((value.checked_sub(1)? as u32, of))
        }
        let values = self.values.iter();
        match list {
            ENTRY => {
                for (value, bounces) in values.zip(&kept.bounces).filter_map(with) {
                    counter.add_alone(value, |sums| {
                        sums.visits += 1;
                        sums.bounces += bounces;
                    });
                }
            }
            EXIT => {
                for (value, ()) in values.map(|value| (value, ())).filter_map(with) {
                    counter.add_alone(value, |sums| sums.visits += 1);
                }
            }
            _ if has_sums => {
                for (value, (visitor, its)) in values.zip(kept.each()).filter_map(with) {
                    counter.count(value, &its, visitor);
                }
            }
            _ => {
                for (value, visitor) in values.zip(&kept.visitors).filter_map(with) {
                    counter.add(value, *visitor, |sums| sums.visits += 1);
                }
            }
        }
    }

    /// Each visit has some values, each so often and once more.
    fn count_many(&self, list: usize, counter: &mut List) {
        let often = self.often.iter().map(|often| often.saturating_add(1));
        let each = self.values.iter().map(|value| *value as u32).zip(&self.visitors).zip(often);
        match list {
            PAGE => {
                for ((value, visitor), often) in each {
                    counter.add(value, *visitor, |sums| {
                        sums.visits += 1;
                        sums.page_views += often;
                    });
                }
            }
            EVENT => each.for_each(|((value, visitor), often)| {
                counter.add(value, *visitor, |sums| sums.visits += often);
            }),
            VITAL => each.for_each(|((value, _), often)| counter.add_alone(value, |sums| sums.visits += often)),
            _ => {}
        }
    }
}
