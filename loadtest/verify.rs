//! Whether exactly the events that were answered with a success are in the database.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use futures_util::StreamExt;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::traffic::Sent;

/// A backlog of the most events that a phase may send drains in a fraction of it.
const LANDING_TIMEOUT: Duration = Duration::from_secs(300);
const LANDING_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The collector reports what it promised once a second.
const ACCOUNTING_TIMEOUT: Duration = Duration::from_secs(15);
const ACCOUNTING_POLL_INTERVAL: Duration = Duration::from_millis(250);
const EXAMPLES_SHOWN: usize = 3;

/// Harm done to the rows just before they are compared: the test must fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Deletes a row.
    #[value(name = "lose-one")]
    Lose,
    /// Stores a row once more; on another day, because no day takes an id twice.
    #[value(name = "double-one")]
    Double,
    /// Stores a row that nobody sent.
    #[value(name = "invent-one")]
    Invent,
}

impl Sabotage {
    pub async fn commit(self, client: &Client) -> anyhow::Result<()> {
        const EVENTS: &str = "analytics.events";
        let copy_with = |changes: &str| {
            format!("insert into {EVENTS} select (jsonb_populate_record(e, {changes})).* from {EVENTS} e limit 1")
        };
        let statement = match self {
            Self::Lose => format!(
                "delete from {EVENTS} where (event_id, occurred_at) in (select event_id, occurred_at from {EVENTS} limit 1)"
            ),
            Self::Double => copy_with("jsonb_build_object('occurred_at', e.occurred_at + interval '1 day')"),
            Self::Invent => copy_with("jsonb_build_object('event_id', gen_random_uuid())"),
        };
        let rows = client.execute(&statement, &[]).await?;
        ensure!(rows == 1, "the sabotage changed {rows} rows");
        Ok(())
    }
}

/// Events that the ledger knows to be committed, ever.
pub async fn committed(client: &Client) -> anyhow::Result<u64> {
    let query = "select coalesce(sum(accepted), 0)::bigint from weir.ledger_sources";
    let events: i64 = client.query_one(query, &[]).await?.try_get(0)?;
    Ok(events.cast_unsigned())
}

/// Waits until the ledger has counted `target` events.
pub async fn wait_for_commit(client: &Client, target: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let events = committed(client).await?;
        if events >= target {
            return Ok(());
        }
        not_too_late(started, events, target)?;
        tokio::time::sleep(LANDING_POLL_INTERVAL).await;
    }
}

/// Gives up when landing takes too long.
pub fn not_too_late(started: Instant, events: u64, target: u64) -> anyhow::Result<()> {
    ensure!(
        started.elapsed() < LANDING_TIMEOUT,
        "only {events} of {target} events had reached the database after {} s",
        LANDING_TIMEOUT.as_secs()
    );
    Ok(())
}

/// Compares the events answered with a success with the rows, one by one; then asks the accounting.
pub async fn check(client: &Client, answered: &[Sent], source: &str) -> anyhow::Result<()> {
    let mut sent: Vec<Uuid> = answered.iter().flat_map(|sent| sent.event_ids(source)).collect();
    sent.sort_unstable();
    let distinct = sent.windows(2).all(|pair| pair[0] != pair[1]);
    ensure!(distinct, "the generator sent an id twice");
    let mut stored = stored_ids(client).await?;
    stored.sort_unstable();
    compare(&sent, &stored)?;
    check_accounting(client).await
}

async fn stored_ids(client: &Client) -> anyhow::Result<Vec<Uuid>> {
    let copy = "copy (select event_id from analytics.events) to stdout (format binary)";
    let rows = BinaryCopyOutStream::new(client.copy_out(copy).await?, &[Type::UUID]);
    let mut rows = pin!(rows);
    let mut ids = Vec::new();
    while let Some(row) = rows.next().await {
        ids.push(row?.try_get(0)?);
    }
    Ok(ids)
}

/// Both sorted.
fn compare(sent: &[Uuid], stored: &[Uuid]) -> anyhow::Result<()> {
    if sent == stored {
        return Ok(());
    }
    let lacks = |ids: &[Uuid], others: &[Uuid]| -> Vec<Uuid> {
        let missing = ids.iter().filter(|id| others.binary_search(id).is_err());
        missing.copied().collect()
    };
    let missing = lacks(sent, stored);
    let unknown = lacks(stored, sent);
    let twice: Vec<Uuid> = stored.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    let told: Vec<String> = [
        ("answered with success but not stored", missing),
        ("stored but never answered with success", unknown),
        ("stored twice", twice),
    ]
    .into_iter()
    .filter(|(_, ids)| !ids.is_empty())
    .map(|(what, ids)| {
        let examples: Vec<String> = ids.iter().take(EXAMPLES_SHOWN).map(ToString::to_string).collect();
        format!("{} {what} (as {})", ids.len(), examples.join(", "))
    })
    .collect();
    bail!("of {} events answered with success and {} rows: {}", sent.len(), stored.len(), told.join("; "))
}

/// Bytes on disk of an event: of the tables with what is stored apart from them, and of their indexes.
pub async fn storage(client: &Client, events: u64) -> anyhow::Result<(f64, f64)> {
    let query = "select sum(pg_table_size(inhrelid))::bigint, sum(pg_indexes_size(inhrelid))::bigint
                   from pg_inherits where inhparent = 'analytics.events'::regclass";
    let row = client.query_one(query, &[]).await?;
    let per_event = |bytes: i64| bytes as f64 / events as f64;
    Ok((per_event(row.try_get(0)?), per_event(row.try_get(1)?)))
}

async fn check_accounting(client: &Client) -> anyhow::Result<()> {
    let query = "select coalesce(sum(abs(unexplained)), 0)::bigint, coalesce(sum(pending), 0)::bigint,
                        coalesce(sum(quarantined + duplicate), 0)::bigint from weir.accounting";
    let deadline = Instant::now() + ACCOUNTING_TIMEOUT;
    loop {
        let row = client.query_one(query, &[]).await?;
        let (unexplained, pending): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let refused: i64 = row.try_get(2)?;
        ensure!(refused == 0, "weir.accounting tells of {refused} duplicate or quarantined events");
        if unexplained == 0 && pending == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "weir.accounting does not come to rest: {unexplained} unexplained, {pending} pending"
        );
        tokio::time::sleep(ACCOUNTING_POLL_INTERVAL).await;
    }
}
