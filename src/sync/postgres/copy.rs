//! A whole table is copied, between two transactions of the stream.

use bytes::Bytes;
use deadpool_postgres::{Object, Transaction};
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::{ToSql, Type};

use super::barrier::settle;
use super::engine::Engine;
use super::known::{self, Known, KnownTable, State};
use super::publisher::{RemoteTable, read_lsn, read_snapshot, there};
use super::{LOCK_TIMEOUT_MS, ReplicationError, VALUES, quoted};

/// How values are written: as the stream writes them. And all rows, or none: a policy that hides some is an error.
pub const SETTINGS: &str = "set local row_security = off; set local timezone = 'UTC';
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
    set local lock_timeout = '2s'; set local datestyle = 'ISO'; set local intervalstyle = 'postgres';
    set local extra_float_digits = 3; set local bytea_output = 'hex'; set local client_encoding = 'UTF8'";
/// Then commits that were read are looked for again.
const UNSEEN_WAIT: std::time::Duration = std::time::Duration::from_millis(250);
/// How far it is is told so often.
const PROGRESS: std::time::Duration = std::time::Duration::from_secs(2);

/// Copies a table, if it is still to be copied.
pub async fn copy(engine: &Engine, known: &mut Known, relid: u32) -> Result<(), ReplicationError> {
    let Some(name) = remote_name(engine, known, relid).await? else {
        // It is gone: looking at the catalog says so.
        return engine.look(known).await;
    };
    // Not the pool's again: where a copy is given up, the rest of it would still come, and its lock would stay as long.
    let mut there_client = Object::take(engine.publisher.client().await?);
    let begin = there_client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let source = begin.start().await.map_err(there)?;
    source.batch_execute(SETTINGS).await.map_err(there)?;
    // From here on nobody changes its columns, and the catalog says what the copy will have.
    source.batch_execute(&format!("lock table only {name} in access share mode")).await.map_err(there)?;
    // Its own, as of now.
    let sql = "select txid_current_snapshot()::text, pg_current_wal_insert_lsn()::text";
    let row = source.query_typed_one(sql, &[]).await.map_err(there)?;
    let snapshot = read_snapshot(row.try_get(0).map_err(there)?)?;
    if !known.barrier.is_seen_by(&snapshot) {
        // A commit waits for its standby. Most do so for moments, and nothing is read until they are seen.
        tokio::time::sleep(UNSEEN_WAIT).await;
        settle(&engine.publisher, known).await?;
        if known.barrier.has_unseen() {
            // The stream goes on, and comes back.
            known.barrier.again(relid, engine.publisher.position().await?);
        }
        return Ok(());
    }
    let over = read_lsn(row.try_get(1).map_err(there)?)?;
    engine.look(known).await?;
    if !known.barrier.is_passed(relid, known.reached) {
        return Ok(());
    }
    let remotes = engine.publisher.tables(&known.slot).await?;
    let (Some(table), Some(remote)) = (known.tables.get(&relid), remotes.iter().find(|remote| remote.relid == relid))
    else {
        return Ok(());
    };
    if table.state != State::Copy || remote.sql_name() != name {
        return Ok(());
    }
    let started = Instant::now();
    let mut table = table.clone();
    table.copied = Some(over);
    let rows = load(engine, known, &source, &table, remote).await?;
    source.commit().await.map_err(there)?;
    (table.state, table.reason, table.wait, table.copied_rows) = (State::Live, None, None, Some(rows));
    let ms = started.elapsed().as_millis() as u64;
    tracing::info!(source = engine.source.name, table = table.relation, rows, ms, "a table was copied");
    let analyze = format!("analyze {}", table.sql_name(&engine.source.schema));
    known.tables.insert(relid, table);
    known.barrier.forget(relid);
    if let Err(error) = engine.local.client().await?.batch_execute(&analyze).await {
        tracing::debug!(%error, "a copied table was not analyzed");
    }
    Ok(())
}

async fn remote_name(engine: &Engine, known: &Known, relid: u32) -> Result<Option<String>, ReplicationError> {
    let remotes = engine.publisher.tables(&known.slot).await?;
    Ok(remotes.iter().find(|remote| remote.relid == relid).map(RemoteTable::sql_name))
}

async fn load(
    engine: &Engine,
    known: &Known,
    from: &Transaction<'_>,
    table: &KnownTable,
    remote: &RemoteTable,
) -> Result<i64, ReplicationError> {
    let schema = &engine.source.schema;
    let full = table.sql_name(schema);
    let mut client = engine.local.client().await?;
    let transaction = client.transaction().await?;
    let settings = format!(
        "set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = 0;
         set local idle_in_transaction_session_timeout = 0; {VALUES}"
    );
    transaction.batch_execute(&settings).await?;
    let key_names: Vec<String> =
        table.key.iter().filter_map(|attnum| table.column(*attnum)).map(|column| column.name.clone()).collect();
    let old_key = primary_key(&transaction, &full).await?;
    let is_new = old_key.is_none();
    let keeps_key = old_key.as_ref().is_some_and(|(_, names)| *names == key_names);
    if keeps_key {
        // Readers have the old rows until the end.
        transaction.batch_execute(&format!("delete from {full}")).await?;
    } else {
        transaction.batch_execute(&format!("truncate {full}")).await?;
        if let Some((constraint, _)) = &old_key {
            let sql = format!("alter table {full} drop constraint {}", quoted(constraint));
            transaction.batch_execute(&sql).await?;
        }
        // A column of the old key may be null now, or be gone there.
        for name in old_key.iter().flat_map(|(_, names)| names).filter(|name| !key_names.contains(name)) {
            let sql = format!("alter table {full} alter column {} drop not null", quoted(name));
            transaction.batch_execute(&sql).await?;
        }
    }
    // A column here that is known there by its number.
    let pairs: Vec<(String, String)> = table
        .live()
        .filter_map(|column| {
            let there = remote.columns.iter().find(|there| there.attnum == column.attnum && !there.is_gone)?;
            Some((quoted(&there.name), quoted(&column.name)))
        })
        .collect();
    let columns_there: Vec<&str> = pairs.iter().map(|(there, _)| there.as_str()).collect();
    let columns: Vec<&str> = pairs.iter().map(|(_, here)| here.as_str()).collect();
    let only = if remote.is_partitioned { "" } else { "only " };
    let out_sql = format!("copy (select {} from {only}{}) to stdout", columns_there.join(", "), remote.sql_name());
    let in_sql = format!("copy {full} ({}) from stdin", columns.join(", "));
    let rows = pipe(engine, from, &transaction, table, &out_sql, &in_sql).await?;
    if !keeps_key {
        let names: Vec<String> = key_names.iter().map(|name| quoted(name)).collect();
        let sql = format!("alter table {full} add primary key ({})", names.join(", "));
        transaction.batch_execute(&sql).await?;
    }
    // Not before: `weir sync stop` does not wait for a copy.
    known::claim(&transaction, &engine.source.name, known.stored).await?;
    let mut copied = table.clone();
    (copied.state, copied.reason, copied.wait, copied.copied_rows) = (State::Live, None, None, Some(rows));
    known::write(&transaction, &engine.source.name, &copied).await?;
    if !is_new {
        known::note(&transaction, &engine.source.name, &table.relation, "copied anew", None).await?;
    }
    transaction.commit().await?;
    Ok(rows)
}

async fn pipe(
    engine: &Engine,
    from: &Transaction<'_>,
    to: &Transaction<'_>,
    table: &KnownTable,
    out_sql: &str,
    in_sql: &str,
) -> Result<i64, ReplicationError> {
    let out = from.copy_out(out_sql).await.map_err(there)?;
    let sink = to.copy_in::<_, Bytes>(in_sql).await?;
    let (mut out, mut sink) = (Box::pin(out), Box::pin(sink));
    let (mut told, mut rows) = (Instant::now(), 0_i64);
    while let Some(chunk) = out.next().await {
        // One message for each row, in this format.
        rows += 1;
        sink.send(chunk.map_err(there)?).await?;
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            progress(engine, table, rows).await?;
        }
    }
    Ok(sink.as_mut().finish().await? as i64)
}

/// On a connection of its own: others see it at once. A source that was stopped meanwhile is copied no further.
async fn progress(engine: &Engine, table: &KnownTable, rows: i64) -> Result<(), ReplicationError> {
    let sql = "update sync.tables set copied_rows = $3 where source = $1 and relid = $2";
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&engine.source.name, Type::TEXT), (&i64::from(table.relid), Type::INT8), (&rows, Type::INT8)];
    match engine.local.client().await?.execute_typed(sql, &values).await? {
        0 => Err(ReplicationError::NotStarted(engine.source.name.clone())),
        _ => Ok(()),
    }
}

/// The constraint of the primary key here, and its columns.
async fn primary_key(
    transaction: &Transaction<'_>,
    table: &str,
) -> Result<Option<(String, Vec<String>)>, ReplicationError> {
    let sql =
        "select c.conname::text, array(select a.attname::text from unnest(c.conkey) with ordinality k(attnum, place)
                        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.place)
                 from pg_constraint c where c.conrelid = $1::text::regclass and c.contype = 'p'";
    let row = transaction.query_typed(sql, &[(&table, Type::TEXT)]).await?.into_iter().next();
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}
