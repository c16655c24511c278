//! Results that people keep in the console: the rows that hold an id of a forgotten person go, and the result says so.
//!
//! A result is a text for every value, of whatever query: nothing in it says what is an id. So a row is the person's if one of
//! its values is an id, or holds one as JSON has it, in quotes, or as an array or a row does; where a column is of numbers, only if
//! its name ends with `id`.

use std::collections::BTreeMap;
use std::io;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::Type;

use super::{Ids, Request};
use crate::console::run::rows::{Column, Most, Packer, Rows, Values, unpack};
use crate::retention::{RetentionError, begin};

pub const TABLE: &str = "console.results";

const NEXT: &str = include_str!("../sql/forget_results_next.sql");
const CHANGE: &str = include_str!("../sql/forget_results_change.sql");
const TEXTS: &str = include_str!("../sql/forget_results_texts.sql");
/// What a result says from then on.
const REMARK: &str = "rows of people who were forgotten are no longer here";
/// Rows only become fewer.
const ALL: Most = Most { rows: u64::MAX, bytes: u64::MAX };

/// Removes the person's rows; returns how many they were.
pub async fn empty(client: &mut ClientWrapper, request: &Request, ids: &Ids) -> Result<i64, RetentionError> {
    let mut removed = 0;
    let mut after = String::new();
    while let Some(result) = next(client, request, &after).await? {
        if let Some(left) = without(&result, ids)? {
            let cut = match result.cut {
                Some(cut) if cut.contains(REMARK) => cut,
                Some(cut) => format!("{cut}; {REMARK}"),
                None => REMARK.to_owned(),
            };
            let transaction = begin(client).await?;
            let (rows, bytes) = (left.row_count as i64, left.byte_count as i64);
            transaction.batch_execute("set local weir.forgets = 'on'").await?;
            transaction
                .execute_typed(
                    CHANGE,
                    &[
                        (&result.id, Type::TEXT),
                        (&rows, Type::INT8),
                        (&bytes, Type::INT8),
                        (&cut, Type::TEXT),
                        (&left.packed, Type::BYTEA),
                    ],
                )
                .await?;
            transaction.commit().await?;
            removed += result.row_count - rows;
        }
        after = result.id;
    }
    Ok(removed)
}

pub async fn count(client: &ClientWrapper, request: &Request, ids: &Ids) -> Result<i64, RetentionError> {
    let mut found = 0;
    let mut after = String::new();
    while let Some(result) = next(client, request, &after).await? {
        let matcher = Matcher::new(&result.columns, ids);
        for values in unpack(&result.packed)? {
            found += i64::from(matcher.is_meant(&values?));
        }
        after = result.id;
    }
    Ok(found)
}

/// How many saved queries, and runs, hold an id of the person's in their text: those are their authors' to change.
pub async fn texts(client: &ClientWrapper, ids: &Ids) -> Result<BTreeMap<String, i64>, RetentionError> {
    let mut found = BTreeMap::new();
    for row in client.query_typed(TEXTS, &[(&ids.list(), Type::TEXT_ARRAY)]).await? {
        let count: i64 = row.try_get("count")?;
        if count > 0 {
            found.insert(row.try_get("what")?, count);
        }
    }
    Ok(found)
}

struct Kept {
    id: String,
    columns: Vec<Column>,
    cut: Option<String>,
    row_count: i64,
    packed: Vec<u8>,
}

/// One at a time: each may have some dozen megabytes.
async fn next(client: &ClientWrapper, request: &Request, after: &str) -> Result<Option<Kept>, RetentionError> {
    if request.source.is_some() {
        // What a query was about nobody can tell from its rows.
        return Ok(None);
    }
    let rows = client.query_typed(NEXT, &[(&after, Type::TEXT)]).await?;
    let kept = |row: &tokio_postgres::Row| {
        let columns: &str = row.try_get("columns")?;
        Ok::<_, RetentionError>(Kept {
            id: row.try_get("result_id")?,
            columns: serde_json::from_str(columns).map_err(io::Error::from)?,
            cut: row.try_get("cut")?,
            row_count: row.try_get("row_count")?,
            packed: row.try_get("rows")?,
        })
    };
    rows.first().map(kept).transpose()
}

/// The rows that are not the person's, if any is.
fn without(result: &Kept, ids: &Ids) -> io::Result<Option<Rows>> {
    let matcher = Matcher::new(&result.columns, ids);
    let mut packer = Packer::new(result.columns.clone(), ALL)?;
    let mut is_changed = false;
    for values in unpack(&result.packed)? {
        let values = values?;
        if matcher.is_meant(&values) {
            is_changed = true;
        } else {
            packer.push(values.iter().map(Option::as_deref))?;
        }
    }
    is_changed.then(|| packer.finish()).transpose()
}

struct Matcher<'a> {
    ids: &'a Ids,
    /// As JSON has them.
    quoted: Vec<String>,
    /// By column: whether its values may be ids.
    may_be: Vec<bool>,
}

impl<'a> Matcher<'a> {
    fn new(columns: &[Column], ids: &'a Ids) -> Self {
        Self {
            ids,
            quoted: ids.list().into_iter().map(|id| serde_json::Value::from(id).to_string()).collect(),
            may_be: columns
                .iter()
                .map(|column| !column.is_number() || column.name.to_ascii_lowercase().ends_with("id"))
                .collect(),
        }
    }

    fn is_meant(&self, values: &Values) -> bool {
        values.iter().enumerate().any(|(place, value)| {
            let may_be = self.may_be.get(place).copied().unwrap_or(true);
            value.as_deref().is_some_and(|text| {
                let is_meant = |text: &str| self.ids.has(text);
                // PostgreSQL's arrays and rows have plain values without quotes.
                let is_in_list =
                    || text.starts_with(['{', '(']) && text.split(['{', '}', '(', ')', ',', '"']).any(is_meant);
                let is_quoted = || self.quoted.iter().any(|quoted| text.contains(quoted.as_str()));
                may_be && (is_meant(text) || is_quoted() || is_in_list())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::forget::Kind;

    #[test]
    fn numbers_are_ids_only_where_the_column_says_so() {
        let column = |name: &str, type_name: &str| Column { name: name.to_owned(), type_name: type_name.to_owned() };
        let request = Request { kind: Kind::User, id: "42".to_owned(), source: None };
        let ids = Ids::of(&request).with(vec!["a\"b".to_owned()]);
        let columns =
            [column("path", "text"), column("views", "int8"), column("customer_id", "int8"), column("traits", "jsonb")];
        let matcher = Matcher::new(&columns, &ids);
        for (values, is_meant) in [
            ([Some("/"), Some("42"), Some("7"), Some("{}")], false),
            ([Some("/"), Some("1"), Some("42"), Some("{}")], true),
            ([Some("42"), None, None, None], true),
            ([Some("{7,42}"), None, None, None], true),
            ([Some("(42,3)"), None, None, None], true),
            ([Some("{7,421}"), None, None, None], false),
            ([Some("/42"), None, None, Some("{\"n\": 42}")], false),
            ([None, None, None, Some("{\"user\": \"42\"}")], true),
            ([None, None, None, Some(r#"["a\"b"]"#)], true),
        ] {
            let values: Values = values.map(|value| value.map(str::to_owned)).to_vec();
            assert_eq!(matcher.is_meant(&values), is_meant, "{values:?}");
        }
    }
}
