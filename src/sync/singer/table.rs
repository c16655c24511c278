//! A stream's table in PostgreSQL: made, and given what the stream's schema asks for. Nothing is ever renamed, narrowed or
//! dropped.
//!
//! Besides the properties' columns each has weir's own: `_extra`, properties without a column; `_version`, of the tap;
//! `_extracted_at` and `_synced_at`; and `_deleted_at`, for rows that the service no longer has.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use super::names::name;
use super::stream::{Column, Schema, Table};
use super::types::{ColumnType, Declared};
use super::{SingerError, views};
use crate::database::dependents;
pub use crate::database::text::{literal, quoted};

const COLUMNS: &str = include_str!("sql/columns.sql");

/// weir's own columns.
const OWN: [(&str, &str); 5] = [
    ("_extra", "jsonb"),
    ("_version", "bigint"),
    ("_extracted_at", "timestamp with time zone"),
    ("_synced_at", "timestamp with time zone not null default now()"),
    ("_deleted_at", "timestamp with time zone"),
];
/// Where there is no key: the flush that brought a row.
const BATCH: (&str, &str) = ("_batch", "bigint");
/// PostgreSQL's own columns, and that of the flush.
const SYSTEM: [&str; 7] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "_n"];
/// PostgreSQL takes 1,600; a table of more than this is nobody's.
const COLUMNS_MAX: usize = 1_500;

/// weir's own columns of a table with a key, or without.
fn own(is_bare: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    OWN.into_iter().chain(is_bare.then_some(BATCH))
}

impl Table {
    /// With its schema, quoted.
    pub fn full_name(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.relation))
    }

    /// The columns' names, quoted.
    pub fn columns(&self) -> impl Iterator<Item = String> {
        self.columns.iter().map(|column| quoted(&column.name))
    }

    /// The names of the key's columns, quoted, with commas.
    pub fn key_list(&self) -> String {
        self.key.iter().map(|&at| quoted(&self.columns[at].name)).collect::<Vec<_>>().join(", ")
    }
}

/// What is stored of a stream.
struct Stored {
    relation: String,
    key: Vec<String>,
    columns: Map<String, Value>,
}

/// Makes the stream's table, or gives it what is new in `schema`.
pub async fn prepare(
    transaction: &Transaction<'_>,
    source: &str,
    schema_name: &str,
    stream: &str,
    schema: &Schema,
) -> Result<Table, SingerError> {
    let stored = stored(transaction, source, stream).await?;
    let relation = match &stored {
        Some(stored) => stored.relation.clone(),
        None => new_relation(transaction, source, schema_name, stream).await?,
    };
    let full = format!("{}.{}", quoted(schema_name), quoted(&relation));
    let mut existing = HashMap::new();
    for row in transaction.query_typed(COLUMNS, &[(&full, Type::TEXT)]).await? {
        existing.insert(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
    }
    let (columns, mut statements, widened) = plan_columns(stream, schema, stored.as_ref(), &existing, &full)?;
    let key: Vec<usize> =
        schema.key.iter().filter_map(|key| columns.iter().position(|column| column.property == *key)).collect();
    let mut table = Table { schema: schema_name.to_owned(), relation, columns, key };
    if table.columns.len() > COLUMNS_MAX {
        return Err(SingerError::Table {
            stream: stream.to_owned(),
            reason: format!("{} properties; {COLUMNS_MAX} at most", table.columns.len()),
        });
    }
    let key_names: Vec<String> = table.key.iter().map(|&at| table.columns[at].name.clone()).collect();
    if existing.is_empty() {
        statements.insert(0, create(&table, stream));
    } else if stored.as_ref().is_some_and(|stored| stored.key != key_names) {
        statements.extend(change_key(transaction, &full, &table).await?);
        let given_up = stored.iter().flat_map(|stored| &stored.key).filter(|name| !key_names.contains(name));
        statements
            .extend(given_up.map(|name| format!("alter table {full} alter column {} drop not null", quoted(name))));
    }
    if !widened.is_empty() {
        widen(transaction, &table, &widened).await?;
    }
    for statement in &statements {
        transaction.batch_execute(statement).await.map_err(|error| refused(stream, statement, error))?;
    }
    let map: Map<String, Value> =
        table.columns.iter().map(|column| (column.property.clone(), column.name.clone().into())).collect();
    if stored.is_none_or(|stored| stored.columns != map || stored.key != key_names) {
        let sql =
            "insert into sync.streams (source, stream, relation, key, columns) values ($1, $2, $3, $4, $5::text::jsonb)
                   on conflict (source, stream) do update set key = excluded.key, columns = excluded.columns";
        let map = Value::Object(map).to_string();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
            (&source, Type::TEXT),
            (&stream, Type::TEXT),
            (&table.relation, Type::TEXT),
            (&key_names, Type::TEXT_ARRAY),
            (&map, Type::TEXT),
        ];
        transaction.execute_typed(sql, &parameters).await?;
    }
    for &(at, kind) in &widened {
        table.columns[at].kind = kind;
    }
    views::prepare(transaction, source, stream, &table, schema).await?;
    Ok(table)
}

/// Makes columns wider, with the views on them.
pub async fn widen(
    transaction: &Transaction<'_>,
    table: &Table,
    wider: &[(usize, ColumnType)],
) -> Result<(), SingerError> {
    let changes: Vec<String> = wider
        .iter()
        .map(|&(at, kind)| {
            let column = &table.columns[at];
            let name = quoted(&column.name);
            format!("alter column {name} type {kind} using {}", column.kind.cast(&name, kind))
        })
        .collect();
    let statement = format!("alter table {} {}", table.full_name(), changes.join(", "));
    dependents::with_dependents(transaction, &table.full_name(), &[statement]).await?;
    Ok(())
}

type Planned = (Vec<Column>, Vec<String>, Vec<(usize, ColumnType)>);

/// The columns of the table as it shall be, the statements that add some, and those that have to become wider. A column's
/// type here is the one that it has before that.
fn plan_columns(
    stream: &str,
    schema: &Schema,
    stored: Option<&Stored>,
    existing: &HashMap<String, String>,
    full: &str,
) -> Result<Planned, SingerError> {
    let mut columns = Vec::new();
    let (mut statements, mut widened) = (Vec::new(), Vec::new());
    // Also of a table that may lose its key.
    let mut taken: Vec<String> = own(true).map(|(name, _)| name).chain(SYSTEM).map(str::to_owned).collect();
    taken.extend(existing.keys().cloned());
    // What the schema no longer names keeps its column.
    for (property, name) in stored.map(|stored| &stored.columns).into_iter().flatten() {
        let (Some(name), None) = (name.as_str(), schema.properties.iter().find(|(known, _)| known == property)) else {
            continue;
        };
        let Some(kind) = existing.get(name) else { continue };
        let kind = known_kind(stream, name, kind)?;
        columns.push(Column { property: property.clone(), name: name.to_owned(), kind, declared: None });
    }
    for (property, declared_schema) in &schema.properties {
        let declared = Declared::of(declared_schema);
        let is_key = schema.key.contains(property);
        let known = stored.and_then(|stored| stored.columns.get(property)).and_then(Value::as_str);
        // One that is only null from now on keeps the column that it had.
        let before = known.and_then(|known| existing.get(known)).and_then(|kind| ColumnType::named(kind));
        let wanted = declared.column().or(before).or(is_key.then_some(ColumnType::Text));
        let Some(wanted) = wanted else { continue };
        let column_name = match known {
            Some(known) => known.to_owned(),
            None => name(property, |name| taken.iter().any(|taken| taken == name)),
        };
        taken.push(column_name.clone());
        let kind = if let Some(kind) = existing.get(&column_name) {
            let kind = known_kind(stream, &column_name, kind)?;
            if kind.widened(wanted) != kind {
                widened.push((columns.len(), kind.widened(wanted)));
            }
            kind
        } else {
            if !existing.is_empty() {
                statements.push(format!("alter table {full} add column {} {wanted}", quoted(&column_name)));
            }
            wanted
        };
        let has_comment = existing.contains_key(&column_name);
        let description = declared_schema.get("description").and_then(Value::as_str);
        let comment = description.or((*property != column_name).then_some(property.as_str()));
        if let (Some(comment), false) = (comment, has_comment) {
            let column = quoted(&column_name);
            statements.push(format!("comment on column {full}.{column} is {}", literal(comment)));
        }
        columns.push(Column { property: property.clone(), name: column_name, kind, declared: Some(declared) });
    }
    for (own, kind) in own(schema.key.is_empty()) {
        if !existing.is_empty() && !existing.contains_key(own) {
            statements.push(format!("alter table {full} add column {own} {kind}"));
        }
    }
    Ok((columns, statements, widened))
}

fn known_kind(stream: &str, column: &str, kind: &str) -> Result<ColumnType, SingerError> {
    ColumnType::named(kind).ok_or_else(|| SingerError::Table {
        stream: stream.to_owned(),
        reason: format!(
            "its column {column} is of type {kind}, which weir does not make: change it back, or rename it"
        ),
    })
}

fn create(table: &Table, stream: &str) -> String {
    let full = table.full_name();
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let not_null = if table.key.contains(&at) { " not null" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), column.kind)
        })
        .collect();
    parts.extend(own(table.key.is_empty()).map(|(name, kind)| format!("{name} {kind}")));
    if !table.key.is_empty() {
        parts.push(format!("primary key ({})", table.key_list()));
    }
    let comment = literal(&format!("The stream {stream}, brought by weir"));
    format!("create table {full} ({}); comment on table {full} is {comment}", parts.join(", "))
}

/// Another key: PostgreSQL refuses it where rows are not unique by it.
async fn change_key(transaction: &Transaction<'_>, full: &str, table: &Table) -> Result<Vec<String>, SingerError> {
    let sql = "select conname::text from pg_constraint where conrelid = to_regclass($1) and contype = 'p'";
    let mut statements = Vec::new();
    for row in transaction.query_typed(sql, &[(&full, Type::TEXT)]).await? {
        statements.push(format!("alter table {full} drop constraint {}", quoted(&row.try_get::<_, String>(0)?)));
    }
    if !table.key.is_empty() {
        statements.push(format!("alter table {full} add primary key ({})", table.key_list()));
    }
    Ok(statements)
}

async fn stored(transaction: &Transaction<'_>, source: &str, stream: &str) -> Result<Option<Stored>, SingerError> {
    let sql = "select relation, key, columns::text from sync.streams where source = $1 and stream = $2";
    let rows = transaction.query_typed(sql, &[(&source, Type::TEXT), (&stream, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let columns: String = row.try_get(2)?;
    let columns = serde_json::from_str(&columns).unwrap_or_default();
    Ok(Some(Stored { relation: row.try_get(0)?, key: row.try_get(1)?, columns }))
}

async fn new_relation(
    transaction: &Transaction<'_>,
    source: &str,
    schema_name: &str,
    stream: &str,
) -> Result<String, SingerError> {
    // Also the names of weir's own views on the others.
    let sql = "select relation from sync.streams where source = $1
               union select jsonb_object_keys(views) from sync.streams where source = $1";
    let rows = transaction.query_typed(sql, &[(&source, Type::TEXT)]).await?;
    let taken: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let relation = name(stream, |name| taken.iter().any(|taken| taken == name));
    let full = format!("{}.{}", quoted(schema_name), quoted(&relation));
    let sql = "select to_regclass($1) is not null";
    if transaction.query_typed_one(sql, &[(&full, Type::TEXT)]).await?.try_get(0)? {
        return Err(SingerError::Table {
            stream: stream.to_owned(),
            reason: format!("{full} exists and was not made for it: rename that, or set another schema"),
        });
    }
    Ok(relation)
}

fn refused(stream: &str, statement: &str, error: tokio_postgres::Error) -> SingerError {
    /// So much of a statement is told.
    const CHARS_MAX: usize = 200;
    let Some(refusal) = error.as_db_error() else { return error.into() };
    if matches!(refusal.code().code(), "55P03" | "40P01") {
        return error.into();
    }
    let statement: String = statement.chars().take(CHARS_MAX).collect();
    SingerError::Table { stream: stream.to_owned(), reason: format!("`{statement}` is refused: {}", refusal.message()) }
}
