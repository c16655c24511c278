//! What filters leave, from `filtered_daily`: rows that weir has packed (`src/rollup/pack/mod.rs`), added up here.
//!
//! Of one filter each day has a row of its own, almost always. Where it has not, and of several filters, the visits themselves are
//! counted, which are packed too.

use std::pin::pin;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio_postgres::types::{ToSql, Type};

use super::adding::{Adding, TEXTS_BYTES_MAX, called, is_asked};
use super::adding_properties::Adding as AddingProperties;
use super::answer::Line;
use super::filter::DIMENSIONS;
use super::filtered::{self, Counted, Tally, What};
use super::question::Question;
use crate::database::DatabaseError;
use crate::rollup::pack::counting::Counter;
use crate::rollup::pack::properties;
use crate::rollup::pack::read::{self, Counts, Filter, ReadError, Rows, Visits};
use crate::rollup::pack::visits::Wanted;
use crate::rollup::pack::{self, Group, key};

/// The rollup.
pub const NEEDS: &str = "filtered_daily";
/// Keeps it as it is, but for its rows.
pub const LOCK: &str = "lock table analytics.filtered_daily in access share mode";
const OF_ONE: &str = include_str!("sql/packed.sql");
/// What one answer may be made of at once. Where there is more, visits are counted.
const PACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of what was counted of some parts: it is added list by list, as texts are found several times faster while they are in the
/// processor's cache.
const ASIDE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows are added up by so many at the same time: of a few days it takes no longer.
const SHARES: usize = 2;

/// What is made of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One line a day.
    Days,
    /// One line a day, of the visits that began before this minute of it.
    Until(u32),
    /// One line an hour.
    Hours,
    /// The first of each list.
    Lists,
    /// As that, but only visitors and visits are looked at.
    Glance,
    /// What three of four measurements were no worse than.
    Quartiles,
}

/// Which rows answer a question, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packed {
    Lists(Group, Shape),
    /// Those of the event that the question is about.
    Properties,
}

/// What came of looking.
pub enum Found<L> {
    Lines(L),
    /// Not all of it is packed.
    NotPacked,
    /// It takes too long.
    Slow,
}

/// The answer.
pub async fn lines(
    transaction: &Transaction<'_>,
    question: &Question,
    packed: Packed,
) -> Result<Found<Vec<Line>>, DatabaseError> {
    let filters = filters(question);
    Ok(match packed {
        Packed::Lists(group, shape) => {
            let counted = of_lists(transaction, question, (group, shape), filters).await?;
            found(counted, |added| added.lines(&lists(question), limit(question)))
        }
        Packed::Properties => {
            let counted = of_properties(transaction, question, filters).await?;
            found(counted, |added| added.lines(limit(question)))
        }
    })
}

fn limit(question: &Question) -> usize {
    question.limit.unsigned_abs() as usize
}

fn found<A, L>(counted: Counted<A>, lines: impl FnOnce(A) -> Result<L, ReadError>) -> Found<L> {
    let lines = match counted {
        Counted::Added(added) => lines(added),
        Counted::Not(error) => Err(error),
        Counted::Slow => return Found::Slow,
    };
    match lines {
        Ok(lines) => Found::Lines(lines),
        Err(error @ ReadError::Broken) => {
            tracing::error!(%error, "filtered_daily cannot be read: it is counted without");
            Found::NotPacked
        }
        Err(ReadError::LeftOut) => Found::NotPacked,
    }
}

/// From rows where there is one filter at most; else, and where rows were left out, from the visits.
async fn of_lists(
    transaction: &Transaction<'_>,
    question: &Question,
    (group, shape): (Group, Shape),
    filters: Vec<Filter>,
) -> Result<Counted<Adding>, DatabaseError> {
    let found = match filters.as_slice() {
        [] => of_one(transaction, question, (group, shape), None).await?,
        [filter] => of_one(transaction, question, (group, shape), Some(filter.clone())).await?,
        _ => Err(ReadError::LeftOut),
    };
    match found {
        Ok(adding) => return Ok(Counted::Added(adding)),
        Err(error @ ReadError::Broken) => return Ok(Counted::Not(error)),
        Err(ReadError::LeftOut) => {}
    }
    let one = [(group, shape)];
    Ok(match of_visits(transaction, question, &one, wanted(question, group, shape), &filters).await? {
        Counted::Added(mut added) => added.pop().map_or(Counted::Not(ReadError::Broken), Counted::Added),
        Counted::Not(error) => Counted::Not(error),
        Counted::Slow => Counted::Slow,
    })
}

/// Several panels at once, from the visits that the filters of all of them leave: each of `asked` for itself, from all that is `wanted`.
async fn of_visits(
    transaction: &Transaction<'_>,
    question: &Question,
    asked: &[(Group, Shape)],
    wanted: Wanted,
    filters: &[Filter],
) -> Result<Counted<Vec<Adding>>, DatabaseError> {
    let groups: Vec<Group> = asked.iter().map(|(group, _)| *group).collect();
    let what = What { filters, groups: &groups, columns: wanted.columns(lists_of(filters)), more: &[] };
    let asked = asked.to_vec();
    let panels = move || Panels {
        wanted: wanted.clone(),
        addings: asked.iter().map(|(group, shape)| Adding::new(*group, *shape)).collect(),
        counter: Counter::default(),
        aside: Vec::new(),
    };
    let counted = filtered::count(transaction, question, what, panels).await?;
    Ok(match counted {
        Counted::Added(panels) => Counted::Added(panels.addings),
        Counted::Not(error) => Counted::Not(error),
        Counted::Slow => Counted::Slow,
    })
}

/// Each is made of the same visits.
struct Panels {
    wanted: Wanted,
    addings: Vec<Adding>,
    counter: Counter,
    /// Parts that were counted, and are not added yet.
    aside: Vec<Counts>,
}

impl Tally for Panels {
    fn count(&mut self, part: Visits) -> Result<(), ReadError> {
        self.aside.push(part.count(&self.wanted, &mut self.counter)?);
        let bytes: usize = self.aside.iter().map(Counts::bytes).sum();
        if bytes > ASIDE_BYTES_MAX { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), ReadError> {
        for adding in &mut self.addings {
            for part in &self.aside {
                part.read(adding.group(), &mut |taken| adding.add(&taken))?;
            }
        }
        self.aside.clear();
        let bytes: usize = self.addings.iter().map(Adding::bytes).sum();
        if bytes > TEXTS_BYTES_MAX { Err(ReadError::LeftOut) } else { Ok(()) }
    }

    fn and(self, other: Self) -> Self {
        let each = self.addings.into_iter().zip(other.addings);
        Self { addings: each.map(|(adding, other)| adding.and(other)).collect(), ..self }
    }
}

/// What several questions come to, of the same days, source and filters: in their order.
pub async fn all_lines(
    transaction: &Transaction<'_>,
    questions: &[Question],
) -> Result<Found<Vec<Vec<Line>>>, DatabaseError> {
    let asked = |question: &Question| match question.packed {
        Some(Packed::Lists(group, shape)) => Some((group, shape)),
        _ => None,
    };
    let asked: Option<Vec<(Group, Shape)>> = questions.iter().map(asked).collect();
    let (Some(asked), Some(first)) = (asked, questions.first()) else { return Ok(Found::NotPacked) };
    let all = questions.iter().zip(&asked).map(|(question, (group, shape))| wanted(question, *group, *shape));
    let Some(wanted) = all.reduce(Wanted::and) else { return Ok(Found::NotPacked) };
    let counted = of_visits(transaction, first, &asked, wanted, &filters(first)).await?;
    Ok(found(counted, |added| {
        let each = added.into_iter().zip(questions);
        each.map(|(added, question)| added.lines(&lists(question), limit(question))).collect()
    }))
}

/// From the visits that the filters leave.
async fn of_properties(
    transaction: &Transaction<'_>,
    question: &Question,
    filters: Vec<Filter>,
) -> Result<Counted<AddingProperties>, DatabaseError> {
    let event = question.texts.last().and_then(Option::as_deref).unwrap_or_default();
    let of_event = properties::key_of(event);
    let none = Wanted { lists: Vec::new(), has_sums: false };
    let columns = none.columns(lists_of(&filters));
    let what = What {
        filters: &filters,
        groups: &[],
        columns,
        more: &[properties::ARE_WHOLE.as_slice(), of_event.as_slice()],
    };
    filtered::count(transaction, question, what, AddingProperties::default).await
}

impl Tally for AddingProperties {
    fn count(&mut self, part: Visits) -> Result<(), ReadError> {
        part.read_properties(&mut |key, value, sums| self.add(key, value, sums))?;
        if self.is_full() { Err(ReadError::LeftOut) } else { Ok(()) }
    }

    fn and(self, other: Self) -> Self {
        AddingProperties::and(self, other)
    }
}

fn lists_of(filters: &[Filter]) -> impl Iterator<Item = usize> {
    filters.iter().filter_map(|(list, _)| pack::place_of_list(list))
}

/// Each is its dimension's name, which is the list's, and its value.
fn filters(question: &Question) -> Vec<Filter> {
    let values = question.texts.iter().skip(3);
    DIMENSIONS.iter().zip(values).filter_map(|((_, name, _), value)| Some((*name, value.clone()?))).collect()
}

/// From the rows of one value, or of all visits.
async fn of_one(
    transaction: &Transaction<'_>,
    question: &Question,
    (of_group, shape): (Group, Shape),
    filter: Option<Filter>,
) -> Result<Result<Adding, ReadError>, DatabaseError> {
    let [since, until, source, ..] = &question.texts;
    let borrowed = filter.as_ref().map(|(list, value)| (*list, value.as_str()));
    let key = key(borrowed);
    let of_filter = borrowed.and_then(|(list, _)| pack::group_of(list)).map(read::column);
    let (key, column) = (key.as_slice(), read::column(of_group));
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (since, Type::TEXT),
        (until, Type::TEXT),
        (source, Type::TEXT),
        (&key, Type::BYTEA),
        (&column, Type::TEXT),
        (&of_filter, Type::TEXT),
    ];
    let mut stream = pin!(transaction.query_typed_raw(OF_ONE, parameters).await?);
    let row = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(read::Packed {
            day_s: row.try_get(0)?,
            source: row.try_get(1)?,
            part: row.try_get(2)?,
            is_whole: row.try_get(3)?,
            group: row.try_get(4)?,
            of_filter: row.try_get(5)?,
        })
    };
    let (mut rows, mut bytes): (Vec<read::Packed>, _) = (Vec::new(), 0);
    while let Some(found) = stream.try_next().await? {
        let packed = row(&found)?;
        bytes += [&packed.group, &packed.of_filter].into_iter().flatten().map(Vec::len).sum::<usize>();
        if bytes > PACKED_BYTES_MAX {
            return Ok(Err(ReadError::LeftOut));
        }
        rows.push(packed);
    }
    // A year of them takes some tens of milliseconds.
    let (rows, filter) = (Arc::new(rows), Arc::new(filter));
    let shares = (0..SHARES).map(|share| {
        let (rows, filter) = (Arc::clone(&rows), Arc::clone(&filter));
        filtered::blocking(move || {
            let mut adding = Adding::new(of_group, shape);
            let filter = filter.as_ref().as_ref().map(|(list, value)| (*list, value.as_str()));
            Rows { rows: &rows, filter }.read(of_group, (share, SHARES), &mut |taken| adding.add(&taken))?;
            Ok(adding)
        })
    });
    let added: Result<Vec<Adding>, ReadError> = join_all(shares).await.into_iter().collect();
    let all = filtered::blocking(move || added?.into_iter().reduce(Adding::and).ok_or(ReadError::Broken));
    Ok(all.await)
}

/// What a question's answer is counted from.
fn wanted(question: &Question, group: Group, shape: Shape) -> Wanted {
    let asked = lists(question);
    let lists = match (group, shape) {
        (Group::Figures, Shape::Hours) => vec!["hour"],
        (Group::Figures, Shape::Until(_)) => vec!["minute"],
        (Group::Figures, _) => vec!["all"],
        (group, _) => pack::names_of(group).filter(|list| is_asked(called(list), &asked)).collect(),
    };
    let has_sums = group == Group::Audience && shape != Shape::Glance;
    Wanted { lists: lists.into_iter().filter_map(pack::place_of_list).collect(), has_sums }
}

/// The lists that are asked for; none: all of the group.
fn lists(question: &Question) -> Vec<String> {
    let named = question.texts.last().and_then(Option::as_deref);
    named.map_or_else(Vec::new, |named| named.split(',').map(ToOwned::to_owned).collect())
}
