//! What one filter leaves, from `filtered_daily`: rows that weir has packed (`src/rollup/pack/mod.rs`), added up here.

use std::collections::HashMap;
use std::pin::pin;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};

use super::answer::Line;
use super::filter::DIMENSIONS;
use super::question::Question;
use crate::database::DatabaseError;
use crate::rollup::pack::read::{self, ReadError, Rows, Taken};
use crate::rollup::pack::{self, Group, Sums, key};

/// The rollup.
pub const NEEDS: &str = "filtered_daily";
const SQL: &str = include_str!("sql/packed.sql");
const HOUR_S: i64 = 3_600;
/// What one answer may be made of: packed rows, and texts of its lists. Where there is more, PostgreSQL counts visits, within its
/// own limits.
const PACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
const TEXTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Beside its text.
const ENTRY_BYTES: usize = 96;

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
}

/// Which rows answer a question, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packed {
    pub group: Group,
    pub shape: Shape,
}

/// The answer; `None`: not all of it is packed.
pub async fn lines(
    transaction: &Transaction<'_>,
    question: &Question,
    packed: Packed,
) -> Result<Option<Vec<Line>>, DatabaseError> {
    let [since, until, source, ..] = &question.texts;
    let filter = filter(question);
    let key = key(filter);
    let of_filter = filter.and_then(|(list, _)| pack::group_of(list)).map(read::column);
    let (key, column) = (key.as_slice(), read::column(packed.group));
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (since, Type::TEXT),
        (until, Type::TEXT),
        (source, Type::TEXT),
        (&key, Type::BYTEA),
        (&column, Type::TEXT),
        (&of_filter, Type::TEXT),
    ];
    let mut stream = pin!(transaction.query_typed_raw(SQL, parameters).await?);
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
            return Ok(None);
        }
        rows.push(packed);
    }
    let lists: Vec<String> =
        question.texts.last().cloned().flatten().unwrap_or_default().split(',').map(ToOwned::to_owned).collect();
    let limit = question.limit.unsigned_abs() as usize;
    let filter = filter.map(|(list, value)| (list, value.to_owned()));
    // A year of them takes some tens of milliseconds.
    let added = tokio::task::spawn_blocking(move || {
        let rows = Rows { rows: &rows, filter: filter.as_ref().map(|(list, value)| (*list, value.as_str())) };
        match packed.shape {
            Shape::Lists => of_lists(&rows, packed.group, &lists, limit),
            shape => over_time(&rows, shape),
        }
    });
    match added.await {
        Ok(Ok(lines)) => Ok(Some(lines)),
        Ok(Err(error @ ReadError::Broken)) => {
            tracing::error!(%error, "filtered_daily cannot be read: visits are counted instead");
            Ok(None)
        }
        // A panic has told on stderr.
        Ok(Err(ReadError::LeftOut)) | Err(_) => Ok(None),
    }
}

/// The first filter: its dimension's name, which is the list's, and its value.
fn filter(question: &Question) -> Option<(&'static str, &str)> {
    let values = question.texts.iter().skip(3);
    DIMENSIONS.iter().zip(values).find_map(|((_, name, _), value)| Some((*name, value.as_deref()?)))
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

fn over_time(rows: &Rows<'_>, shape: Shape) -> Result<Vec<Line>, ReadError> {
    let mut by_second: HashMap<i64, Sums> = HashMap::new();
    rows.read(Group::Figures, &mut |taken: Taken<'_>| {
        let second = match (shape, taken.list) {
            (Shape::Days, "all") => taken.day_s,
            (Shape::Until(minute), "minute") if taken.number < minute => taken.day_s,
            (Shape::Hours, "hour") => taken.day_s + i64::from(taken.number) * HOUR_S,
            _ => return,
        };
        by_second.entry(second).or_default().add(&taken.sums);
    })?;
    let mut lines: Vec<(i64, Sums)> = by_second.into_iter().collect();
    lines.sort_unstable_by_key(|(second, _)| *second);
    Ok(lines.iter().map(|(second, sums)| line("series", second.to_string(), sums)).collect())
}

/// As the statements call it.
fn called(list: &'static str) -> &'static str {
    match list {
        "page" => "pages",
        "event" => "events",
        list => list,
    }
}

fn of_lists(rows: &Rows<'_>, group: Group, lists: &[String], limit: usize) -> Result<Vec<Line>, ReadError> {
    let mut by_list: HashMap<&'static str, HashMap<String, Sums>> = HashMap::new();
    let mut bytes = 0;
    rows.read(group, &mut |taken: Taken<'_>| {
        let values = by_list.entry(taken.list).or_default();
        match values.get_mut(taken.text) {
            Some(sums) => sums.add(&taken.sums),
            None if bytes > TEXTS_BYTES_MAX => {}
            None => {
                bytes += taken.text.len() + ENTRY_BYTES;
                values.insert(taken.text.to_owned(), taken.sums);
            }
        }
    })?;
    if bytes > TEXTS_BYTES_MAX {
        return Err(ReadError::LeftOut);
    }
    let mut lines = Vec::new();
    for (list, values) in by_list {
        let list = called(list);
        if group != Group::Events && !lists.iter().any(|asked| asked == list) {
            continue;
        }
        let mut values: Vec<(String, Sums)> = values.into_iter().collect();
        let place = |sums: &Sums| if group == Group::Events { (sums.visits, 0) } else { (sums.visitors, sums.visits) };
        values.sort_unstable_by(|(value, sums), (other, of_other)| {
            place(of_other).cmp(&place(sums)).then_with(|| value.cmp(other))
        });
        values.truncate(limit);
        lines.extend(values.into_iter().map(|(value, sums)| line(list, value, &sums)));
    }
    Ok(lines)
}
