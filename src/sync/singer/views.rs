//! Views that take nested data apart, with types: `TABLE_flat`, where objects are columns of their own, and
//! `TABLE__PROPERTY`, a row for each item of a list of objects.
//!
//! The table keeps the data as it came. What a nested value says that its schema does not is null here, and never an error:
//! one odd record must not cost everybody the view.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use serde_json::Value;
use tokio_postgres::types::Type;

use super::SingerError;
use super::names::name;
use super::stream::{Schema, Table};
use super::table::{literal, quoted};
use super::types::{ColumnType, Declared};
use crate::database::dependents;

/// Objects within objects: deeper ones stay JSON.
const DEPTH_MAX: usize = 3;
/// A view of more columns is nobody's.
const COLUMNS_MAX: usize = 800;
/// Lists of one table.
const LISTS_MAX: usize = 50;

/// The views of a table: names, and the SELECTs that they are.
pub fn of(table: &Table, schema: &Schema) -> BTreeMap<String, String> {
    let mut views = BTreeMap::new();
    let full = table.full_name();
    let (mut flat, mut is_flat) = (Columns::default(), false);
    let mut lists = Vec::new();
    for column in &table.columns {
        let declared = schema.properties.iter().find(|(property, _)| *property == column.property);
        let nested = declared.filter(|_| column.kind == ColumnType::Jsonb);
        let quoted_name = quoted(&column.name);
        if let Some((schema, properties)) = nested.and_then(|(_, schema)| Some((schema, properties(schema)?))) {
            is_flat = true;
            if !is_only_object(schema) {
                flat.push(&column.name, quoted_name.clone());
            }
            flat.add(&column.name, &quoted_name, &mut Vec::new(), properties, 1);
        } else {
            flat.push(&column.name, quoted_name.clone());
        }
        if let Some(properties) = nested.and_then(|(_, schema)| items(schema)).and_then(properties) {
            lists.push((column.name.clone(), quoted_name, properties));
        }
    }
    let own = ["_extracted_at", "_synced_at", "_deleted_at"];
    if is_flat {
        for own in own {
            flat.push(own, own.to_owned());
        }
        views
            .insert(name(&format!("{}_flat", table.relation), |_| false), format!("select {} from {full}", flat.sql()));
    }
    // Without a key, nobody could tell whose items they are.
    if table.key.is_empty() {
        return views;
    }
    for (column, quoted_name, properties) in lists.into_iter().take(LISTS_MAX) {
        let mut columns = Columns::default();
        for &at in &table.key {
            let key = &table.columns[at].name;
            columns.push(key, format!("t.{}", quoted(key)));
        }
        columns.push("_index", "i._index".to_owned());
        columns.add("", "i._item", &mut Vec::new(), properties, 1);
        columns.push("_deleted_at", "t._deleted_at".to_owned());
        let sql = format!(
            "select {} from {full} t cross join lateral jsonb_array_elements(case jsonb_typeof(t.{quoted_name}) when 'array' \
             then t.{quoted_name} end) with ordinality i (_item, _index)",
            columns.sql()
        );
        views.insert(name(&format!("{}__{column}", table.relation), |_| false), sql);
    }
    views
}

#[derive(Default)]
struct Columns(Vec<(String, String)>);

impl Columns {
    fn push(&mut self, wanted: &str, expression: String) {
        if self.0.len() < COLUMNS_MAX {
            let name = name(wanted, |name| self.0.iter().any(|(taken, _)| taken == name));
            self.0.push((name, expression));
        }
    }

    /// The properties of the object `root #> path`, each named after those that it is in.
    fn add(
        &mut self,
        prefix: &str,
        root: &str,
        path: &mut Vec<String>,
        properties: &serde_json::Map<String, Value>,
        depth: usize,
    ) {
        for (property, schema) in properties {
            path.push(property.clone());
            let name = if prefix.is_empty() { property.clone() } else { format!("{prefix}_{property}") };
            match self::properties(schema).filter(|_| depth < DEPTH_MAX) {
                Some(inner) => self.add(&name, root, path, inner, depth + 1),
                None => {
                    if let Some(kind) = Declared::of(schema).column() {
                        self.push(&name, typed(root, path, kind));
                    }
                }
            }
            path.pop();
        }
    }

    fn sql(&self) -> String {
        self.0.iter().map(|(name, sql)| format!("{sql} as {}", quoted(name))).collect::<Vec<_>>().join(", ")
    }
}

fn typed(root: &str, path: &[String], kind: ColumnType) -> String {
    let path: Vec<String> = path.iter().map(|part| literal(part)).collect();
    let path = format!("array[{}]", path.join(", "));
    let (json, text) = (format!("({root} #> {path})"), format!("({root} #>> {path})"));
    match kind {
        ColumnType::Jsonb => json,
        ColumnType::Text => text,
        ColumnType::Boolean => format!("case jsonb_typeof{json} when 'boolean' then {text}::boolean end"),
        ColumnType::Bigint | ColumnType::Numeric => {
            format!("case jsonb_typeof{json} when 'number' then {text}::numeric end")
        }
        ColumnType::Timestamptz => format!("sync.as_time{text}"),
        ColumnType::Date => format!("(sync.as_time{text} at time zone 'UTC')::date"),
    }
}

/// The properties of an object's schema, where some are named.
fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let object = |schema: &'_ Value| -> bool { schema.get("properties").is_some_and(Value::is_object) };
    let branches = ["anyOf", "oneOf"].into_iter().filter_map(|of| schema.get(of)?.as_array()).flatten();
    let schema = std::iter::once(schema).chain(branches).find(|schema| object(schema))?;
    schema.get("properties")?.as_object().filter(|properties| !properties.is_empty())
}

/// Whether it cannot be a list, say, of which the members would show nothing.
fn is_only_object(schema: &Value) -> bool {
    let is_object = |schema: &Value| match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| kind == "object" || kind == "null"),
        Some(kind) => kind == "object" || kind == "null",
        None => true,
    };
    let branches = ["anyOf", "oneOf"].into_iter().filter_map(|of| schema.get(of)?.as_array()).flatten();
    std::iter::once(schema).chain(branches).all(is_object)
}

/// The schema of a list's items.
fn items(schema: &Value) -> Option<&Value> {
    let branches = ["anyOf", "oneOf"].into_iter().filter_map(|of| schema.get(of)?.as_array()).flatten();
    std::iter::once(schema).chain(branches).find_map(|schema| schema.get("items").filter(|items| items.is_object()))
}

/// Makes the stream's views, or makes those anew that have changed.
pub async fn prepare(
    transaction: &Transaction<'_>,
    source: &str,
    stream: &str,
    table: &Table,
    schema: &Schema,
) -> Result<(), SingerError> {
    let views = of(table, schema);
    let sql = "select views::text from sync.streams where source = $1 and stream = $2";
    let stored: String =
        transaction.query_typed_one(sql, &[(&source, Type::TEXT), (&stream, Type::TEXT)]).await?.try_get(0)?;
    let mut stored: BTreeMap<String, String> = serde_json::from_str(&stored).unwrap_or_default();
    let mut is_changed = false;
    for (name, select) in views {
        let full = format!("{}.{}", quoted(&table.schema), quoted(&name));
        let sql = "select (select relkind = 'v' from pg_class where oid = to_regclass($1))";
        let is_view: Option<bool> = transaction.query_typed_one(sql, &[(&full, Type::TEXT)]).await?.try_get(0)?;
        let known = stored.get(&name);
        match (is_view, known) {
            (Some(true), Some(known)) if *known == select => continue,
            // A stream may have that name, or a person's own view.
            (Some(_), None) | (Some(false), _) => {
                tracing::warn!(view = full, "a view is not made, because something else has its name");
                continue;
            }
            _ => {}
        }
        let comment = literal(&format!("The stream {stream}, its nested data taken apart"));
        let create = format!("create view {full} as {select}");
        let comment = format!("comment on view {full} is {comment}");
        if is_view.is_some() {
            replace(transaction, &full, create, comment).await?;
        } else {
            transaction.batch_execute(&format!("{create}; {comment}")).await?;
        }
        stored.insert(name, select);
        is_changed = true;
    }
    if is_changed {
        let sql = "update sync.streams set views = $3::text::jsonb where source = $1 and stream = $2";
        let views = serde_json::to_string(&stored).unwrap_or_default();
        transaction.execute_typed(sql, &[(&source, Type::TEXT), (&stream, Type::TEXT), (&views, Type::TEXT)]).await?;
    }
    Ok(())
}

/// Makes a view anew, with those who may read it, and with the views on it.
async fn replace(
    transaction: &Transaction<'_>,
    full: &str,
    create: String,
    comment: String,
) -> Result<(), SingerError> {
    let mut captured = dependents::capture(transaction, &[full.to_owned()], true, "").await?;
    for view in captured.iter_mut().filter(|view| view.depth == 0) {
        view.definition = Some(create.clone());
        // What is about single columns may be about one that is gone.
        view.after.retain(|statement| {
            statement.starts_with("alter ") || statement.starts_with("grant ") && !statement.contains('(')
        });
        view.after.insert(0, comment.clone());
    }
    dependents::take_away(transaction, &captured).await?;
    dependents::make_again(transaction, &captured).await?;
    Ok(())
}
