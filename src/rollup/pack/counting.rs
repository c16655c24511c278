//! What the visits come to that filters leave, list by list: from their columns (visits.rs), chunk by chunk.

use std::ops::Range;

use super::codec::Counted;
use super::count::{Counters, List};
use super::filtering::{Columns, Left, Reader};
use super::opened::{Opened, Values};
use super::visits::{Column, Wanted};
use super::{ALL, ENTRY, EVENT, EXIT, HOUR, MINUTE, PAGE, Sums, VITAL};

/// Of a day.
const MINUTES: u64 = 24 * 60;
const HOUR_MINUTES: u64 = 60;

/// Counts parts, one after the other.
#[derive(Default)]
pub struct Counter {
    counters: Counters,
    /// Where visits are kept.
    ranges: Vec<Range<usize>>,
    kept: Figures,
    values: OfList,
}

impl Counter {
    /// Counts the visits in `chunks` that have all of the values of `filters`, each of a list, both by number. The columns have to be there
    /// that [`Wanted::columns`] says. `None`: they are not what [`super::visits::pack`] made.
    pub fn count(
        &mut self,
        columns: &Columns,
        chunks: &[(usize, Option<Left>)],
        filters: &[(usize, u32)],
        wanted: &Wanted,
    ) -> Option<Vec<(usize, Counted)>> {
        let is_read = self.add(columns, chunks, filters, wanted);
        // And all is zero again, whatever was read.
        let mut counted = self.counters.take();
        is_read?;
        wanted.lists.iter().map(|list| Some((*list, std::mem::take(counted.get_mut(*list)?)))).collect()
    }

    fn add(
        &mut self,
        columns: &Columns,
        chunks: &[(usize, Option<Left>)],
        filters: &[(usize, u32)],
        wanted: &Wanted,
    ) -> Option<()> {
        let Self { counters, ranges, kept, values } = self;
        let needed = wanted.columns(std::iter::empty());
        let mut before = None;
        Reader::new(columns)?.each(chunks, filters, &needed, |opened, _, places| {
            let following = places.chunk_by(|place, next| next.checked_sub(*place) == Some(1));
            let ends = |run: &[u16]| Some(usize::from(*run.first()?)..usize::from(*run.last()?) + 1);
            ranges.clear();
            ranges.extend(following.filter_map(ends));
            kept.take(opened, ranges, &needed)?;
            for list in &wanted.lists {
                let counter = counters.list(*list)?;
                match *list {
                    ALL => kept.count_runs(std::iter::once((Some(0), kept.visitors.len())), counter),
                    HOUR => {
                        let runs = kept.minutes.chunk_by(|minute, next| minute / HOUR_MINUTES == next / HOUR_MINUTES);
                        let hour_of = |run: &[u64]| Some((run.first()? / HOUR_MINUTES) as u32);
                        kept.count_runs(runs.map(|run| (hour_of(run), run.len())), counter);
                    }
                    MINUTE => count_minutes(kept, &mut before, counter),
                    list => values.count(list, &opened.list(list)?, ranges, kept, counter)?,
                }
            }
            Some(())
        })
    }
}

/// Whoever has been here before is nobody new.
fn count_minutes(kept: &Figures, before: &mut Option<u32>, counter: &mut List) {
    for (minute, (visitor, sums)) in kept.minutes.iter().zip(kept.each()) {
        let visitors = u64::from(before.replace(visitor) != Some(visitor));
        counter.add_alone(*minute as u32, |known| known.add(&Sums { visitors, ..sums }));
    }
}

/// What is known of each visit of a chunk that is kept. A figure that is not needed is 0.
#[derive(Default)]
struct Figures {
    visitors: Vec<u32>,
    /// 1, if the visit before was another visitor's.
    are_others: Vec<u64>,
    page_views: Vec<u64>,
    bounces: Vec<u64>,
    durations_ms: Vec<u64>,
    /// Of the day.
    minutes: Vec<u64>,
}

impl Figures {
    fn take(&mut self, opened: &Opened, ranges: &[Range<usize>], needed: &[Column]) -> Option<()> {
        let visitors = opened.visitors()?;
        self.visitors.clear();
        for range in ranges {
            self.visitors.extend_from_slice(visitors.get(range.clone())?);
        }
        self.are_others.clear();
        let befores = std::iter::once(None).chain(self.visitors.iter().map(Some));
        self.are_others
            .extend(self.visitors.iter().zip(befores).map(|(visitor, before)| u64::from(before != Some(visitor))));
        for (column, figures) in [
            (Column::PageViews, &mut self.page_views),
            (Column::Bounce, &mut self.bounces),
            (Column::DurationMs, &mut self.durations_ms),
            (Column::Minute, &mut self.minutes),
        ] {
            if needed.contains(&column) {
                opened.figure(column)?.gather(&ranges.iter().cloned(), figures)?;
            } else {
                figures.clear();
                figures.resize(self.visitors.len(), 0);
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

    /// Counts visits run by run: each has a value, or none, and so many visits. As visits of one kind follow each other, most are long.
    fn count_runs(&self, runs: impl Iterator<Item = (Option<u32>, usize)>, counter: &mut List) {
        let mut begin = 0;
        for (value, visits) in runs {
            let run = begin..begin + visits;
            begin = run.end;
            let sum = |figures: &[u64]| figures.get(run.clone()).unwrap_or_default().iter().sum();
            let visitors = self.visitors.get(run.clone()).unwrap_or_default();
            let (Some(value), [first, .., last] | [first @ last]) = (value, visitors) else { continue };
            let is_first_other = self.are_others.get(run.start).copied().unwrap_or_default();
            let sums = Sums {
                visitors: sum(&self.are_others) + 1 - is_first_other,
                visits: visits as u64,
                page_views: sum(&self.page_views),
                bounces: sum(&self.bounces),
                duration_ms: sum(&self.durations_ms),
            };
            counter.add_run(value, &sums, *first, *last);
        }
    }
}

/// The values that the visits of a chunk have in a list.
#[derive(Default)]
struct OfList {
    values: Vec<u64>,
    often: Vec<u64>,
}

impl OfList {
    /// Counts those of the visits in `ranges`, as [`super::count::of_value`] says.
    fn count(
        &mut self,
        list: usize,
        of_all: &Values<'_>,
        ranges: &[Range<usize>],
        kept: &Figures,
        counter: &mut List,
    ) -> Option<()> {
        match of_all {
            Values::One(numbers) => {
                // So that there are not counters without end.
                numbers.are_small().then_some(())?;
                numbers.gather(&ranges.iter().cloned(), &mut self.values)?;
                self.count_one(list, kept, counter);
            }
            Values::Many(_, numbers, often) => {
                numbers.are_small().then_some(())?;
                let places = ranges.iter().map(|visits| of_all.places(visits.clone()));
                numbers.gather(&places, &mut self.values)?;
                often.gather(&places, &mut self.often)?;
                let visits = ranges.iter().cloned().flatten();
                let each = visits.zip(&kept.visitors);
                self.count_many(
                    list,
                    each.map(|(visit, visitor)| (of_all.places(visit..visit + 1).len(), *visitor)),
                    counter,
                );
            }
        }
        Some(())
    }

    /// Each visit has one value, which is stored as one more, or none.
    fn count_one(&self, list: usize, kept: &Figures, counter: &mut List) {
        let value_of = |stored: u64| stored.checked_sub(1).map(|value| value as u32);
        match list {
            ENTRY => {
                for (stored, bounces) in self.values.iter().zip(&kept.bounces) {
                    let Some(value) = value_of(*stored) else { continue };
                    counter.add_alone(value, |sums| {
                        sums.visits += 1;
                        sums.bounces += bounces;
                    });
                }
            }
            EXIT => {
                for value in self.values.iter().filter_map(|stored| value_of(*stored)) {
                    counter.add_alone(value, |sums| sums.visits += 1);
                }
            }
            _ => {
                let runs = self.values.chunk_by(|stored, next| stored == next);
                kept.count_runs(runs.map(|run| (run.first().and_then(|stored| value_of(*stored)), run.len())), counter);
            }
        }
    }

    /// Each visit has so many values, each so often and once more.
    fn count_many(&self, list: usize, visits: impl Iterator<Item = (usize, u32)>, counter: &mut List) {
        let mut each =
            self.values.iter().map(|value| *value as u32).zip(self.often.iter().map(|often| often.saturating_add(1)));
        match list {
            PAGE => {
                for (count, visitor) in visits {
                    for (value, often) in each.by_ref().take(count) {
                        counter.add(value, visitor, |sums| {
                            sums.visits += 1;
                            sums.page_views += often;
                        });
                    }
                }
            }
            EVENT => {
                for (count, visitor) in visits {
                    for (value, often) in each.by_ref().take(count) {
                        counter.add(value, visitor, |sums| sums.visits += often);
                    }
                }
            }
            VITAL => each.for_each(|(value, often)| counter.add_alone(value, |sums| sums.visits += often)),
            _ => {}
        }
    }
}
