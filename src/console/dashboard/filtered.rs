//! Counts the visits themselves, of the days of `filtered_daily`, where there is no row for what is asked: they are packed by columns, and
//! these in chunks, of which most filters leave a few.
//!
//! Two statements for some days: first of each part the columns that tell which chunks are left, and where those of the others are
//! (`sql/packed_parts.sql`); then these chunks (`sql/packed_chunks.sql`). Both see the same rows: the transaction is `repeatable read`.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};

use super::answer::STATEMENT_TIMEOUT_S;
use super::question::Question;
use crate::database::DatabaseError;
use crate::rollup::pack::chunks::HEAD_BYTES;
use crate::rollup::pack::read::{self, Filter, ReadError, Visits};
use crate::rollup::pack::visits::Column;
use crate::rollup::pack::{self, Group, Groups};

const PARTS: &str = include_str!("sql/packed_parts.sql");
const CHUNKS: &str = include_str!("sql/packed_chunks.sql");
/// Read at once, if what is read first of them is not too much: else half as many.
const DAYS_AT_ONCE: i64 = 31;
/// Of them: the columns that are read first, and heads of the others. Mostly it is a few megabytes.
const FIRST_BYTES_MAX: usize = 32 * 1024 * 1024;
const DAY_S: i64 = 86_400;
/// Parts of days that are counted at the same time, on threads that make way for events: more than processors, as some wait while the next ones come.
/// Each takes some tens of megabytes.
const PARTS_AT_ONCE: usize = 4;

/// What counting came to.
pub enum Counted<T> {
    Added(T),
    /// Why there is nothing.
    Not(ReadError),
    /// It takes too long.
    Slow,
}

/// What is read of each part.
pub struct What<'a> {
    pub filters: &'a [Filter],
    /// Whose values are shown.
    pub groups: &'a [Group],
    pub columns: Vec<Column>,
    /// Keys of other rows.
    pub more: &'a [&'a [u8]],
}

/// What parts come to.
pub trait Tally: Send + 'static {
    /// Adds one, or sets it aside.
    fn count(&mut self, part: Visits) -> Result<(), ReadError>;
    /// Adds what was set aside.
    fn settle(&mut self) -> Result<(), ReadError> {
        Ok(())
    }
    /// That, and what another one has added, of other parts; both are settled.
    fn and(self, other: Self) -> Self;
}

/// Counts all parts into what `new` makes.
pub async fn count<T: Tally>(
    transaction: &Transaction<'_>,
    question: &Question,
    what: What<'_>,
    new: impl Fn() -> T + Send + Sync + 'static,
) -> Result<Counted<T>, DatabaseError> {
    let deadline = Instant::now() + Duration::from_secs(STATEMENT_TIMEOUT_S);
    let counting = Arc::new(Counting { new, begun: Mutex::default() });
    let [since, until, ..] = &question.texts;
    let (Some(since), Some(until)) = (second(since.as_deref()), second(until.as_deref())) else {
        return Ok(Counted::Not(ReadError::Broken));
    };
    let (mut from, mut days) = (since, DAYS_AT_ONCE);
    while from < until {
        let to = until.min(from + days * DAY_S);
        match count_days(transaction, question, (from, to), &what, &counting, deadline).await {
            Ok(Days::Counted) => from = to,
            Ok(Days::TooMuch) if days > 1 => days /= 2,
            Ok(Days::TooMuch) => return Ok(Counted::Not(ReadError::LeftOut)),
            Ok(Days::Slow) => return Ok(Counted::Slow),
            Err(ReadOrLost::Read(error)) => return Ok(Counted::Not(error)),
            Err(ReadOrLost::Lost(error)) => return Err(error.into()),
        }
    }
    let begun = std::mem::take(&mut *lock(&counting.begun));
    let settled = join_all(begun.into_iter().map(|mut tally| blocking(move || tally.settle().map(|()| tally))));
    let settled: Result<Vec<T>, ReadError> = settled.await.into_iter().collect();
    let all = blocking(move || {
        let all = settled?.into_iter().reduce(T::and);
        Ok(all.unwrap_or_else(&counting.new))
    });
    Ok(all.await.map_or_else(Counted::Not, Counted::Added))
}

/// As PostgreSQL reads it, too.
fn second(text: Option<&str>) -> Option<i64> {
    Some(text?.parse::<Timestamp>().ok()?.as_second())
}

/// How parts are counted, some at a time.
struct Counting<T, N> {
    new: N,
    /// Each part is added to what one of those before has left: to add up sixty of them afterwards takes as long as to count them.
    begun: Mutex<Vec<T>>,
}

/// What counting some days came to. Unless they are counted, nothing is added that matters.
enum Days {
    Counted,
    /// Fewer may do.
    TooMuch,
    Slow,
}

async fn count_days<T, N>(
    transaction: &Transaction<'_>,
    question: &Question,
    days: (i64, i64),
    what: &What<'_>,
    counting: &Arc<Counting<T, N>>,
    deadline: Instant,
) -> Result<Days, ReadOrLost>
where
    T: Tally,
    N: Fn() -> T + Send + Sync + 'static,
{
    let filters = Arc::new(what.filters.to_vec());
    let look = |part: Result<Part, ReadOrLost>| {
        let filters = Arc::clone(&filters);
        async move {
            let Part { place, values, columns } = part?;
            let bytes: usize = columns.iter().map(|(_, first)| first.len()).sum();
            let begins_s = place.day_s;
            let visits = blocking(move || Visits::of(begins_s, &values, &filters, columns)).await?;
            Ok::<_, ReadOrLost>((place, bytes, visits))
        }
    };
    let parts = of_parts(transaction, question, days, what).await?;
    let mut looked = pin!(parts.map(look).buffered(PARTS_AT_ONCE));
    let (mut left, mut all_bytes) = (Vec::new(), 0);
    while let Some(part) = looked.next().await {
        let (place, bytes, visits) = part?;
        all_bytes += bytes;
        if all_bytes > FIRST_BYTES_MAX {
            return Ok(Days::TooMuch);
        }
        if Instant::now() > deadline {
            return Ok(Days::Slow);
        }
        left.extend(visits.map(|visits| (place, visits)));
    }
    if left.is_empty() {
        return Ok(Days::Counted);
    }
    let rows = of_chunks(transaction, days, what, &left).await?;
    let count = |part: Result<Visits, ReadOrLost>| {
        let counting = Arc::clone(counting);
        async move {
            let part = part?;
            let counted = blocking(move || {
                let mut tally = lock(&counting.begun).pop().unwrap_or_else(&counting.new);
                tally.count(part)?;
                lock(&counting.begun).push(tally);
                Ok(())
            });
            counted.await.map_err(ReadOrLost::from)
        }
    };
    let visits = left.into_iter().map(|(_, visits)| visits).collect();
    let mut counted = pin!(whole(rows, visits).map(count).buffer_unordered(PARTS_AT_ONCE));
    while let Some(part) = counted.next().await {
        part?;
        if Instant::now() > deadline {
            return Ok(Days::Slow);
        }
    }
    Ok(Days::Counted)
}

/// Away from what serves requests. A panic has told on stderr.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ReadError::Broken))
}

/// What is guarded is whole after every statement.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Where a part is in the table, but for its rows' keys.
struct Place {
    day_s: i64,
    source: String,
    part: i32,
}

/// What is read first of a part.
struct Part {
    place: Place,
    values: Groups,
    columns: Vec<(Column, Vec<u8>)>,
}

/// The parts, each when it is whole.
async fn of_parts(
    transaction: &Transaction<'_>,
    question: &Question,
    (from, to): (i64, i64),
    what: &What<'_>,
) -> Result<impl Stream<Item = Result<Part, ReadOrLost>> + use<>, ReadOrLost> {
    let groups: Vec<&str> =
        what.filters.iter().filter_map(|(list, _)| pack::group_of(list)).map(read::column).collect();
    let is_filtered = |column: &Column| {
        let mut lists = what.filters.iter().filter_map(|(list, _)| pack::place_of_list(list));
        lists.any(|list| *column == Column::List(list))
    };
    let keys: Vec<([u8; 2], bool)> =
        what.columns.iter().map(|column| (column.key(), is_filtered(column) && read::is_read_first(*column))).collect();
    let of = |wanted: bool| -> Vec<&[u8]> {
        keys.iter().filter(|(_, is_first)| *is_first == wanted).map(|(key, _)| key.as_slice()).collect()
    };
    let (firsts, others) = (of(true), of(false));
    let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
        (&from, Type::INT8),
        (&to, Type::INT8),
        (&question.texts[2], Type::TEXT),
        (&groups, Type::TEXT_ARRAY),
        (&firsts, Type::BYTEA_ARRAY),
        (&others, Type::BYTEA_ARRAY),
        (&HEAD_BYTES, Type::INT4),
    ];
    let rows = transaction.query_typed_raw(PARTS, parameters).await?;
    let begun: Option<Part> = None;
    Ok(futures_util::stream::try_unfold((Box::pin(rows.fuse()), begun), async |(mut rows, mut begun)| {
        while let Some(row) = rows.try_next().await? {
            let (day_s, source, part): (i64, &str, i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let key: &[u8] = row.try_get(3)?;
            if key.is_empty() {
                let values: Groups = [None, row.try_get(5)?, row.try_get(6)?, row.try_get(7)?, None];
                let place = Place { day_s, source: source.to_owned(), part };
                if let Some(before) = begun.replace(Part { place, values, columns: Vec::new() }) {
                    return Ok(Some((before, (rows, begun))));
                }
                continue;
            }
            let bytes: Option<Vec<u8>> = row.try_get(4)?;
            let is_its = |Place { day_s: day, source: of, part: number }: &Place| {
                (*day, of.as_str(), *number) == (day_s, source, part)
            };
            let its = begun.as_mut().filter(|begun| is_its(&begun.place)).ok_or(ReadError::Broken)?;
            its.columns.push((Column::of_key(key).ok_or(ReadError::Broken)?, bytes.ok_or(ReadError::Broken)?));
        }
        Ok(begun.map(|last| (last, (rows, None))))
    }))
}

/// The rest of those parts that are left, in order.
async fn of_chunks(
    transaction: &Transaction<'_>,
    (from, to): (i64, i64),
    what: &What<'_>,
    left: &[(Place, Visits)],
) -> Result<tokio_postgres::RowStream, tokio_postgres::Error> {
    let mut wanted: [Vec<i32>; 4] = Default::default();
    let [parts, begins, lengths, asked] = &mut wanted;
    let (mut days, mut sources, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    // Of figures there are none; but so each part has a row.
    let groups = std::iter::once(&Group::Figures).chain(what.groups.iter().filter(|group| **group != Group::Figures));
    let groups: Vec<usize> = groups.filter_map(|group| pack::place_of(*group)).collect();
    for (number, (place, visits)) in (0..).zip(left) {
        let chunks = visits.missing().map(|(column, bytes)| (column.key().to_vec(), bytes));
        // Rows that are read whole; and of that of the values each group, by its number.
        let values = groups.iter().map(|group| (Vec::new(), *group..*group));
        let whole = what.more.iter().map(|key| (key.to_vec(), 0..i32::MAX as usize));
        for (key, bytes) in values.chain(whole).chain(chunks) {
            days.push(place.day_s);
            sources.push(place.source.as_str());
            parts.push(place.part);
            keys.push(key);
            // Chunks are within what PostgreSQL's values may have.
            begins.push(i32::try_from(bytes.start).unwrap_or(i32::MAX));
            lengths.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            asked.push(number);
        }
    }
    let mut all_keys = keys.clone();
    all_keys.sort_unstable();
    all_keys.dedup();
    let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
        (&days, Type::INT8_ARRAY),
        (&sources, Type::TEXT_ARRAY),
        (parts, Type::INT4_ARRAY),
        (&keys, Type::BYTEA_ARRAY),
        (begins, Type::INT4_ARRAY),
        (lengths, Type::INT4_ARRAY),
        (asked, Type::INT4_ARRAY),
        (&all_keys, Type::BYTEA_ARRAY),
        (&from, Type::INT8),
        (&to, Type::INT8),
    ];
    transaction.query_typed_raw(CHUNKS, parameters).await
}

/// The parts, each when it is whole.
fn whole(rows: tokio_postgres::RowStream, left: Vec<Visits>) -> impl Stream<Item = Result<Visits, ReadOrLost>> {
    let left = left.into_iter().zip(0..);
    futures_util::stream::try_unfold((Box::pin(rows.fuse()), left, None), async |(mut rows, mut left, mut begun)| {
        while let Some(row) = rows.try_next().await? {
            let (number, key, from): (i32, &[u8], i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let bytes: Option<Vec<u8>> = row.try_get(3)?;
            let is_next = begun.as_ref().is_none_or(|(_, known): &(Visits, i32)| *known != number);
            let before = if is_next { std::mem::replace(&mut begun, left.next()) } else { None };
            // Each has rows.
            let (part, _) = begun.as_mut().filter(|(_, known)| *known == number).ok_or(ReadError::Broken)?;
            if key.is_empty() {
                let group = pack::GROUPS.get(from.unsigned_abs() as usize).ok_or(ReadError::Broken)?.0;
                part.take_values(group, bytes);
            } else {
                part.take(key, from.unsigned_abs() as usize, bytes.ok_or(ReadError::Broken)?)?;
            }
            if let Some((before, _)) = before {
                return Ok(Some((before, (rows, left, begun))));
            }
        }
        if left.next().is_some() {
            return Err(ReadError::Broken.into());
        }
        Ok(begun.map(|(last, _)| (last, (rows, left, None))))
    })
}
