//! Refused rows of a forgotten person: nothing of the event stays, but that there was one, for `weir.accounting`.

use deadpool_postgres::ClientWrapper;
use serde_json::Value;
use tokio_postgres::types::Type;

use super::{Ids, Request};
use crate::retention::{RetentionError, begin};
use crate::row;

pub const TABLE: &str = "weir.quarantine";

const PAGE: &str = include_str!("../sql/forget_quarantine_page.sql");
const EMPTY: &str = include_str!("../sql/forget_quarantine_empty.sql");
/// Read at once: a refused row is rarely larger than some kB.
const PAGE_ROWS: i64 = 500;

/// Empties the person's rows; returns how many they were.
pub async fn empty(client: &mut ClientWrapper, request: &Request, ids: &Ids) -> Result<i64, RetentionError> {
    let mut after = 0;
    let mut rows = 0;
    while let Some((last, found)) = page(client, request, ids, after).await? {
        if !found.is_empty() {
            let transaction = begin(client).await?;
            rows += transaction.execute_typed(EMPTY, &[(&found, Type::INT8_ARRAY)]).await?.cast_signed();
            transaction.commit().await?;
        }
        after = last;
    }
    Ok(rows)
}

pub async fn count(client: &ClientWrapper, request: &Request, ids: &Ids) -> Result<i64, RetentionError> {
    let mut after = 0;
    let mut rows = 0;
    while let Some((last, found)) = page(client, request, ids, after).await? {
        rows += found.len() as i64;
        after = last;
    }
    Ok(rows)
}

/// The person's among the rows that follow `after`, and the last that was looked at.
async fn page(
    client: &ClientWrapper,
    request: &Request,
    ids: &Ids,
    after: i64,
) -> Result<Option<(i64, Vec<i64>)>, RetentionError> {
    let rows = client
        .query_typed(PAGE, &[(&after, Type::INT8), (&PAGE_ROWS, Type::INT8), (&request.source, Type::TEXT)])
        .await?;
    let (mut last, mut found) = (None, Vec::new());
    for row in rows {
        let id = row.try_get("id")?;
        last = Some(id);
        let tuple: &[u8] = row.try_get("tuple")?;
        // What cannot be read as a row is looked at as what a person would see.
        let event = row::to_json(tuple).or_else(|_| serde_json::from_str(row.try_get("event").unwrap_or("{}")));
        let event = event.unwrap_or_default();
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        if request.kind.is_meant(ids, text("visitor_id"), text("user_id")) {
            found.push(id);
        }
    }
    Ok(last.map(|last| (last, found)))
}
