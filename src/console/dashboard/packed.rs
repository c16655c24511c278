//! What filters leave, from `filtered_daily`: rows that weir has packed (`src/rollup/pack/mod.rs`), added up here.
//!
//! Of one filter each day has a row of its own, almost always. Where it has not, and of several filters, the visits themselves are
//! counted, which are packed too.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::types::{ToSql, Type};

use super::adding::{Adding, called, is_asked};
use super::adding_properties::Adding as AddingProperties;
use super::answer::{Line, STATEMENT_TIMEOUT_S};
use super::filter::DIMENSIONS;
use super::question::Question;
use crate::database::DatabaseError;
use crate::rollup::pack::properties;
use crate::rollup::pack::read::{self, Filter, ReadError, Rows, Visits};
use crate::rollup::pack::visits::{Column, Wanted};
use crate::rollup::pack::{self, Group, Groups, key};

/// The rollup.
pub const NEEDS: &str = "filtered_daily";
const OF_ONE: &str = include_str!("sql/packed.sql");
const OF_VISITS: &str = include_str!("sql/packed_visits.sql");
/// What one answer may be made of at once. Where there is more, visits are counted.
const PACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parts of days that are counted at the same time: each takes some tens of megabytes, and events want a processor, too.
const PARTS_AT_ONCE: usize = 2;

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
pub enum Found {
    Lines(Vec<Line>),
    /// Not all of it is packed.
    NotPacked,
    /// It takes too long.
    Slow,
}

/// What counting came to.
enum Counted<A> {
    Added(Result<A, ReadError>),
    /// It takes too long.
    Slow,
}

/// The answer.
pub async fn lines(transaction: &Transaction<'_>, question: &Question, packed: Packed) -> Result<Found, DatabaseError> {
    let filters = filters(question);
    let limit = question.limit.unsigned_abs() as usize;
    let lines = match packed {
        Packed::Lists(group, shape) => match of_lists(transaction, question, (group, shape), filters).await? {
            Counted::Added(added) => added.and_then(|added| added.lines(&lists(question), limit)),
            Counted::Slow => return Ok(Found::Slow),
        },
        Packed::Properties => match of_properties(transaction, question, filters).await? {
            Counted::Added(added) => added.and_then(|added| added.lines(limit)),
            Counted::Slow => return Ok(Found::Slow),
        },
    };
    match lines {
        Ok(lines) => Ok(Found::Lines(lines)),
        Err(error @ ReadError::Broken) => {
            tracing::error!(%error, "filtered_daily cannot be read: it is counted without");
            Ok(Found::NotPacked)
        }
        Err(ReadError::LeftOut) => Ok(Found::NotPacked),
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
    if !matches!(found, Err(ReadError::LeftOut)) {
        return Ok(Counted::Added(found));
    }
    let wanted = wanted(question, group, shape);
    let columns = wanted.columns(lists_of(&filters));
    let what = What { filters: &filters, group: Some(group), columns, more: &[] };
    let counting = (filters.clone(), wanted);
    let count = move |part: Visits, adding: &mut Adding| {
        let (filters, wanted) = &counting;
        part.read(filters, group, wanted, &mut |taken| adding.add(&taken))?;
        Ok(adding.is_full())
    };
    let new = move || Adding::new(group, shape);
    of_visits(transaction, question, what, new, count, Adding::add_all).await
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
        group: None,
        columns,
        more: &[properties::ARE_WHOLE.as_slice(), of_event.as_slice()],
    };
    let filters = filters.clone();
    let count = move |part: Visits, adding: &mut AddingProperties| {
        part.read_properties(&filters, &mut |key, value, sums| adding.add(key, value, sums))?;
        Ok(adding.is_full())
    };
    of_visits(transaction, question, what, AddingProperties::default, count, AddingProperties::add_all).await
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
    let added = tokio::task::spawn_blocking(move || {
        let mut adding = Adding::new(of_group, shape);
        let rows = Rows { rows: &rows, filter: filter.as_ref().map(|(list, value)| (*list, value.as_str())) };
        rows.read(of_group, &mut |taken| adding.add(&taken))?;
        Ok(adding)
    });
    // A panic has told on stderr.
    Ok(added.await.unwrap_or(Err(ReadError::Broken)))
}

/// What is read of each part.
struct What<'a> {
    filters: &'a [Filter],
    /// Whose values are shown.
    group: Option<Group>,
    columns: Vec<Column>,
    /// Keys of other rows.
    more: &'a [&'a [u8]],
}

/// From the visits themselves: what `count` adds, part by part, to what `new` makes; it says whether there is no room for more.
async fn of_visits<A: Send + 'static>(
    transaction: &Transaction<'_>,
    question: &Question,
    what: What<'_>,
    new: impl Fn() -> A + Send + Sync + 'static,
    count: impl Fn(Visits, &mut A) -> Result<bool, ReadError> + Send + Sync + 'static,
    add_all: impl Fn(&mut A, A),
) -> Result<Counted<A>, DatabaseError> {
    let deadline = Instant::now() + Duration::from_secs(STATEMENT_TIMEOUT_S);
    let [since, until, source, ..] = &question.texts;
    let of_filters = what.filters.iter().filter_map(|(list, _)| pack::group_of(list));
    let groups: Vec<&str> = of_filters.chain(what.group).map(read::column).collect();
    let keys: Vec<[u8; 2]> = what.columns.into_iter().map(Column::key).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 2]>::as_slice).chain(what.more.iter().copied()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (since, Type::TEXT),
        (until, Type::TEXT),
        (source, Type::TEXT),
        (&groups, Type::TEXT_ARRAY),
        (&keys, Type::BYTEA_ARRAY),
    ];
    let rows = transaction.query_typed_raw(OF_VISITS, parameters).await?;
    // Each part is added to what one of those before has left: to add up sixty of them afterwards takes as long as to count them.
    let counting = Arc::new((new, count, Mutex::new(Vec::new())));
    let count = |part: Result<Visits, ReadOrLost>| {
        let counting = Arc::clone(&counting);
        async move {
            let part = part?;
            let counted = tokio::task::spawn_blocking(move || {
                let (new, count, begun) = &*counting;
                let mut adding = lock(begun).pop().unwrap_or_else(new);
                let is_full = count(part, &mut adding)?;
                lock(begun).push(adding);
                Ok(is_full)
            });
            // A panic has told on stderr.
            Ok(counted.await.unwrap_or(Err(ReadError::Broken))?)
        }
    };
    let mut counted = pin!(parts(rows).map(count).buffer_unordered(PARTS_AT_ONCE));
    while let Some(part) = counted.next().await {
        match part {
            Ok(false) => {}
            Ok(true) => return Ok(Counted::Added(Err(ReadError::LeftOut))),
            Err(ReadOrLost::Read(error)) => return Ok(Counted::Added(Err(error))),
            Err(ReadOrLost::Lost(error)) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            return Ok(Counted::Slow);
        }
    }
    let begun = std::mem::take(&mut *lock(&counting.2));
    let all = begun.into_iter().reduce(|mut adding, other| {
        add_all(&mut adding, other);
        adding
    });
    Ok(Counted::Added(Ok(all.unwrap_or_else(&counting.0))))
}

/// What is guarded is whole after every statement.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
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
    let has_sums = match group {
        Group::Figures => true,
        Group::Audience => shape != Shape::Glance,
        Group::Pages | Group::Events | Group::Vitals => false,
    };
    Wanted { lists: lists.into_iter().filter_map(pack::place_of_list).collect(), has_sums }
}

/// The lists that are asked for; none: all of the group.
fn lists(question: &Question) -> Vec<String> {
    let named = question.texts.last().and_then(Option::as_deref);
    named.map_or_else(Vec::new, |named| named.split(',').map(ToOwned::to_owned).collect())
}

/// Why there is no part.
enum ReadOrLost {
    Read(ReadError),
    Lost(tokio_postgres::Error),
}

impl From<ReadError> for ReadOrLost {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<tokio_postgres::Error> for ReadOrLost {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Lost(error)
    }
}

/// The parts: of each the row of its values, and then those of its visits' columns.
fn parts(rows: tokio_postgres::RowStream) -> impl futures_util::Stream<Item = Result<Visits, ReadOrLost>> {
    futures_util::stream::try_unfold((Box::pin(rows.fuse()), None), async |(mut rows, mut begun)| {
        while let Some(row) = rows.try_next().await? {
            let (day_s, key): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
            if key.is_empty() {
                let values: Groups =
                    [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?];
                if let Some(before) = begun.replace(Visits { day_s, values, ..Visits::default() }) {
                    return Ok(Some((before, (rows, begun))));
                }
                continue;
            }
            let part = begun.as_mut().filter(|part: &&mut Visits| part.day_s == day_s).ok_or(ReadError::Broken)?;
            let bytes: Option<Vec<u8>> = row.try_get(2)?;
            part.take(key, bytes.ok_or(ReadError::Broken)?)?;
        }
        Ok(begun.map(|last| (last, (rows, None))))
    })
}
