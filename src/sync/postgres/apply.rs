//! Changes from the stream become rows here, many at once.
//!
//! Of all changes of a row in a batch only the last one counts, since each brings the whole row: so a table's changes are one
//! `insert ... on conflict do update`, one `delete`, and one `update` for each set of columns that were too long to be sent
//! again. A row whose key changed is moved at once.

use std::collections::HashMap;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::known::{KnownColumn, KnownTable, State};
use super::lsn::Lsn;
use super::pgoutput::{Old, Tuple, Value};
use super::{ReplicationError, quoted, types};

/// Held in memory before it is written.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
const PENDING_ROWS_MAX: usize = 20_000;
/// What a value costs besides its bytes.
const VALUE_BYTES: usize = 48;

/// How a table's rows in the stream become rows here.
#[derive(Debug, Clone)]
pub struct Shape {
    table: String,
    /// Of the stream's columns, those that come here.
    columns: Vec<(usize, KnownColumn)>,
    /// Places in `columns`.
    key: Vec<usize>,
    /// Whether rows can be told apart by their keys' texts.
    is_exact: bool,
    /// Changes before here may be in the copy already.
    copied: Option<Lsn>,
}

impl Shape {
    /// `None`: changes of the table are skipped.
    pub fn new(table: &KnownTable, schema: &str, attnums: &[i16]) -> Option<Self> {
        if table.state != State::Live {
            return None;
        }
        let place = |known: &KnownColumn| attnums.iter().position(|attnum| *attnum == known.attnum);
        let columns: Vec<(usize, KnownColumn)> =
            table.live().filter_map(|known| Some((place(known)?, known.clone()))).collect();
        let key: Option<Vec<usize>> =
            table.key.iter().map(|attnum| columns.iter().position(|(_, column)| column.attnum == *attnum)).collect();
        let key = key.filter(|key| !key.is_empty())?;
        let is_exact = key.iter().all(|&place| types::is_exact(&columns[place].1.type_));
        Some(Self { table: table.sql_name(schema), columns, key, is_exact, copied: table.copied })
    }

    fn row(&self, tuple: &Tuple) -> Result<Row, ReplicationError> {
        let value = |(place, _): &(usize, KnownColumn)| match tuple.get(*place) {
            Some(Value::Text(bytes)) if std::str::from_utf8(bytes).is_err() => {
                Err(ReplicationError::Unexpected(format!("a value of {} is not UTF-8", self.table)))
            }
            Some(value) => Ok(value.clone()),
            None => Err(ReplicationError::Unexpected(format!("a row of {} is too short", self.table))),
        };
        self.columns.iter().map(value).collect()
    }

    fn key(&self, row: &Row) -> Result<Key, ReplicationError> {
        let value = |&place: &usize| match &row[place] {
            Value::Text(bytes) => Ok(bytes.clone()),
            _ => Err(ReplicationError::Unexpected(format!("a row of {} comes without its key", self.table))),
        };
        self.key.iter().map(value).collect()
    }

    fn name(&self, place: usize) -> String {
        quoted(&self.columns[place].1.name)
    }

    /// `u.c0::type`: a value of the parameters.
    fn value(&self, place: usize, parameter: usize) -> String {
        format!("u.c{parameter}::{}", self.columns[place].1.type_)
    }

    fn upsert_sql(&self) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let names: Vec<String> = all.iter().map(|&place| self.name(place)).collect();
        let values: Vec<String> = all.iter().map(|&place| self.value(place, place)).collect();
        let key: Vec<String> = self.key.iter().map(|&place| self.name(place)).collect();
        let others = all.iter().filter(|place| !self.key.contains(place));
        let sets: Vec<String> = others.map(|&place| format!("{0} = excluded.{0}", self.name(place))).collect();
        let action = if sets.is_empty() { "nothing".to_owned() } else { format!("update set {}", sets.join(", ")) };
        format!(
            "insert into {} ({}) select {} from {} on conflict ({}) do {action}",
            self.table,
            names.join(", "),
            values.join(", "),
            unnest(all.len()),
            key.join(", ")
        )
    }

    fn delete_sql(&self) -> String {
        format!("delete from {} t using {} where {}", self.table, unnest(self.key.len()), self.is_row(0))
    }

    /// Sets `places`; the parameters are the key, then these.
    fn update_sql(&self, places: &[usize]) -> String {
        let parameter = |index: usize, &place: &usize| {
            format!("{} = {}", self.name(place), self.value(place, self.key.len() + index))
        };
        let sets: Vec<String> = places.iter().enumerate().map(|(index, place)| parameter(index, place)).collect();
        let parameters = self.key.len() + places.len();
        format!("update {} t set {} from {} where {}", self.table, sets.join(", "), unnest(parameters), self.is_row(0))
    }

    /// Whether `t` is the row whose key begins at a parameter.
    fn is_row(&self, first: usize) -> String {
        let is_equal =
            |(index, &place): (usize, &usize)| format!("t.{} = {}", self.name(place), self.value(place, first + index));
        self.key.iter().enumerate().map(is_equal).collect::<Vec<_>>().join(" and ")
    }
}

/// Every value is sent as text, in one array for each column.
fn unnest(parameters: usize) -> String {
    let arrays: Vec<String> = (1..=parameters).map(|number| format!("${number}::text[]")).collect();
    let names: Vec<String> = (0..parameters).map(|number| format!("c{number}")).collect();
    format!("unnest({}) u({})", arrays.join(", "), names.join(", "))
}

/// In the order of the shape's columns.
type Row = Vec<Value>;
type Key = Vec<Bytes>;

#[derive(Debug)]
enum Change {
    /// With nothing unchanged in it.
    Upsert(Row),
    /// Some of it is as it was.
    Patch(Row),
    Delete,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    Done,
    /// Its table is to be copied anew.
    Unknown,
}

/// What was read and is not written yet.
#[derive(Debug, Default)]
pub struct Pending {
    tables: HashMap<u32, (Shape, HashMap<Key, Change>)>,
    bytes: usize,
    rows: usize,
    /// Where the transaction that is read was committed.
    pub commit: Lsn,
}

impl Pending {
    pub fn new(commit: Lsn) -> Self {
        Self { commit, ..Self::default() }
    }

    pub fn is_full(&self) -> bool {
        self.bytes > PENDING_BYTES_MAX || self.rows > PENDING_ROWS_MAX
    }

    pub async fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        relid: u32,
        shape: &Shape,
        new: &Tuple,
    ) -> Result<(), ReplicationError> {
        let row = shape.row(new)?;
        let key = shape.key(&row)?;
        self.put(transaction, relid, shape, key, Change::Upsert(row)).await
    }

    pub async fn update(
        &mut self,
        transaction: &Transaction<'_>,
        relid: u32,
        shape: &Shape,
        old: Option<&Old>,
        new: &Tuple,
    ) -> Result<Updated, ReplicationError> {
        let mut row = shape.row(new)?;
        if let Some(Old(old)) = old {
            let old = shape.row(old)?;
            for &place in &shape.key {
                if row[place] == Value::Unchanged {
                    row[place] = old[place].clone();
                }
            }
            let (before, after) = (shape.key(&old)?, shape.key(&row)?);
            if before != after {
                // The row here may be a later one: what is unchanged in this one is not in it.
                if row.contains(&Value::Unchanged) && shape.copied.is_some_and(|copied| self.commit < copied) {
                    return Ok(Updated::Unknown);
                }
                self.write_table(transaction, relid).await?;
                move_row(transaction, shape, &before, &after, row).await?;
                return Ok(Updated::Done);
            }
        }
        let key = shape.key(&row)?;
        let is_whole = !row.contains(&Value::Unchanged);
        self.put(transaction, relid, shape, key, if is_whole { Change::Upsert(row) } else { Change::Patch(row) })
            .await?;
        Ok(Updated::Done)
    }

    pub async fn delete(
        &mut self,
        transaction: &Transaction<'_>,
        relid: u32,
        shape: &Shape,
        old: &Old,
    ) -> Result<(), ReplicationError> {
        let key = shape.key(&shape.row(&old.0)?)?;
        self.put(transaction, relid, shape, key, Change::Delete).await
    }

    pub async fn truncate(
        &mut self,
        transaction: &Transaction<'_>,
        relid: u32,
        shape: &Shape,
    ) -> Result<(), ReplicationError> {
        self.tables.remove(&relid);
        transaction.batch_execute(&format!("truncate {}", shape.table)).await?;
        Ok(())
    }

    async fn put(
        &mut self,
        transaction: &Transaction<'_>,
        relid: u32,
        shape: &Shape,
        key: Key,
        change: Change,
    ) -> Result<(), ReplicationError> {
        if let Change::Upsert(row) | Change::Patch(row) = &change {
            let bytes = |value: &Value| if let Value::Text(bytes) = value { bytes.len() } else { 0 };
            self.bytes += row.iter().map(|value| bytes(value) + VALUE_BYTES).sum::<usize>();
        }
        self.rows += 1;
        let (_, changes) = self.tables.entry(relid).or_insert_with(|| (shape.clone(), HashMap::new()));
        let change = match (change, changes.remove(&key)) {
            // What a patch leaves out is in what it patches.
            (Change::Patch(row), Some(Change::Upsert(before))) => Change::Upsert(over(row, before)),
            (Change::Patch(row), Some(Change::Patch(before))) => Change::Patch(over(row, before)),
            (change, _) => change,
        };
        changes.insert(key, change);
        if !shape.is_exact {
            self.write_table(transaction, relid).await?;
        }
        Ok(())
    }

    /// Writes all.
    pub async fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), ReplicationError> {
        let relids: Vec<u32> = self.tables.keys().copied().collect();
        for relid in relids {
            self.write_table(transaction, relid).await?;
        }
        (self.bytes, self.rows) = (0, 0);
        Ok(())
    }

    async fn write_table(&mut self, transaction: &Transaction<'_>, relid: u32) -> Result<(), ReplicationError> {
        let Some((shape, changes)) = self.tables.remove(&relid) else { return Ok(()) };
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        let mut patches: HashMap<Vec<usize>, Vec<Row>> = HashMap::new();
        for (key, change) in changes {
            match change {
                Change::Upsert(row) => upserts.push(row),
                Change::Delete => deletes.push(key.into_iter().map(Value::Text).collect()),
                Change::Patch(row) => {
                    let (places, values) = patch(&shape, key, row);
                    patches.entry(places).or_default().push(values);
                }
            }
        }
        // First, because somebody may have made a unique index here that another row is to enter.
        run(transaction, &shape.delete_sql(), shape.key.len(), &deletes).await?;
        run(transaction, &shape.upsert_sql(), shape.columns.len(), &upserts).await?;
        for (places, rows) in patches.iter().filter(|(places, _)| !places.is_empty()) {
            run(transaction, &shape.update_sql(places), shape.key.len() + places.len(), rows).await?;
        }
        Ok(())
    }
}

/// A newer row over an older one.
fn over(row: Row, before: Row) -> Row {
    row.into_iter().zip(before).map(|(new, old)| if new == Value::Unchanged { old } else { new }).collect()
}

/// The columns that a patch sets, and its parameters.
fn patch(shape: &Shape, key: Key, row: Row) -> (Vec<usize>, Row) {
    let mut places = Vec::new();
    let mut values: Row = key.into_iter().map(Value::Text).collect();
    for (place, value) in row.into_iter().enumerate() {
        if value != Value::Unchanged && !shape.key.contains(&place) {
            places.push(place);
            values.push(value);
        }
    }
    (places, values)
}

/// A row whose key changed. After a copy the row may be here under its new key already.
async fn move_row(
    transaction: &Transaction<'_>,
    shape: &Shape,
    before: &Key,
    after: &Key,
    row: Row,
) -> Result<(), ReplicationError> {
    let values = |key: &Key| key.iter().cloned().map(Value::Text).collect::<Row>();
    let set_places: Vec<usize> = (0..row.len()).filter(|&place| row[place] != Value::Unchanged).collect();
    let exists = format!("select from {} t, {} where {}", shape.table, unnest(shape.key.len()), shape.is_row(0));
    let here = query(transaction, &exists, &values(before)).await?;
    if here {
        // Unless that is this very row: 1.0 and 1.00 are written in two ways, and are one key.
        let keys = shape.key.len();
        let sql = format!(
            "delete from {} t using {} where {} and not ({})",
            shape.table,
            unnest(2 * keys),
            shape.is_row(0),
            shape.is_row(keys)
        );
        run(transaction, &sql, 2 * keys, &[[values(after), values(before)].concat()]).await?;
        let mut parameters = values(before);
        parameters.extend(set_places.iter().map(|&place| row[place].clone()));
        return run(transaction, &shape.update_sql(&set_places), parameters.len(), &[parameters]).await;
    }
    if set_places.len() == row.len() {
        return run(transaction, &shape.upsert_sql(), row.len(), &[row]).await;
    }
    let (places, parameters) = patch(shape, after.clone(), row);
    if places.is_empty() {
        return Ok(());
    }
    run(transaction, &shape.update_sql(&places), parameters.len(), &[parameters]).await
}

async fn query(transaction: &Transaction<'_>, sql: &str, row: &Row) -> Result<bool, ReplicationError> {
    let arrays = arrays(row.len(), std::slice::from_ref(row));
    let values: Vec<(&(dyn ToSql + Sync), Type)> =
        arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
    Ok(!transaction.query_typed(sql, &values).await?.is_empty())
}

async fn run(transaction: &Transaction<'_>, sql: &str, columns: usize, rows: &[Row]) -> Result<(), ReplicationError> {
    if rows.is_empty() {
        return Ok(());
    }
    let arrays = arrays(columns, rows);
    let values: Vec<(&(dyn ToSql + Sync), Type)> =
        arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
    transaction.execute_typed(sql, &values).await?;
    Ok(())
}

fn arrays(columns: usize, rows: &[Row]) -> Vec<Vec<Option<&str>>> {
    (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| match row.get(column) {
                    // It was checked when it was read.
                    Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
                    _ => None,
                })
                .collect()
        })
        .collect()
}
