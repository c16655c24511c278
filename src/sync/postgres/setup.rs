//! A source is started, copied anew, and let go.

use deadpool_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::check::{Checked, Level, check};
use super::engine::begin;
use super::follow::{Source, create_table_sql, follow, local_name};
use super::known::{self, Known, State};
use super::lsn::Lsn;
use super::publisher::{
    Publisher, RemoteTable, add_tables_sql, create_publication_sql, create_slot_sql, drop_publication_sql,
    drop_slot_sql, remove_table_sql, there,
};
use super::{ReplicationError, publish, quoted};
use crate::database::Database;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A slot that is in use by a connection of ours is free some moments after that has ended.
const FREE_TRIES: u32 = 50;
const FREE_WAIT: std::time::Duration = std::time::Duration::from_millis(200);

/// Statements, before any is run.
#[derive(Debug, Default)]
pub struct Plan {
    pub there: Vec<String>,
    pub here: Vec<String>,
}

/// What `start` would do.
pub fn plan(source: &Source, checked: &Checked) -> Plan {
    let slot = source.slot();
    let mut plan = Plan::default();
    let publication = publish::plan(source, &checked.tables, checked.version);
    if checked.has_publication {
        plan.there.extend(publication.remove.iter().map(|table| remove_table_sql(&slot, table)));
        let missing: Vec<&RemoteTable> = publication.add.iter().chain(&publication.ask).copied().collect();
        if !missing.is_empty() {
            plan.there.push(add_tables_sql(&slot, &missing));
        }
    } else {
        let all: Vec<&RemoteTable> = publication.add.iter().chain(&publication.ask).copied().collect();
        plan.there.push(create_publication_sql(&slot, &all, checked.version));
    }
    if !checked.has_slot {
        plan.there.push(create_slot_sql(&slot));
    }
    plan.here.push(create_schema_sql(source));
    for table in checked.tables.iter().filter(|table| source.takes(table)) {
        if source.objection(table, checked.version).is_none() {
            plan.here.push(create_table_sql(source, &local_name(table), table));
        }
    }
    plan
}

/// Makes publication, slot and tables; whoever runs `weir serve` copies and follows from then on.
pub async fn start(source: &Source, publisher: &Publisher, local: &Database) -> Result<Checked, ReplicationError> {
    if known::read(&**local.client().await?, &source.name).await?.is_some() {
        return Err(ReplicationError::Started(source.name.clone()));
    }
    let slot = source.slot();
    let mut checked = check(source, publisher, local).await?;
    if !checked.is_good() {
        let bad = checked.findings.iter().filter(|finding| finding.level == Level::Bad);
        let lines: Vec<String> = bad.map(ToString::to_string).collect();
        return Err(ReplicationError::Refused(lines.join("\n")));
    }
    if checked.has_slot {
        return Err(ReplicationError::Refused(format!(
            "the publisher has a slot {slot} already: another weir's? Set slot = \"...\" to another name; if it is nobody's, \
             run there: {}",
            drop_slot_sql(&slot)
        )));
    }
    if !checked.has_publication {
        let publication = publish::plan(source, &checked.tables, checked.version);
        publisher.run(&create_publication_sql(&slot, &publication.add, checked.version)).await?;
        checked.tables = publisher.tables(&slot).await?;
    }
    publish::publish(publisher, source, &slot, &mut checked.tables, checked.version).await?;
    let at = publisher.create_slot(&slot).await?;
    let result = prepare(source, publisher, local, &mut checked, at).await;
    if result.is_err() {
        // It would keep WAL for nobody.
        if let Err(error) = publisher.drop_slot(&slot).await {
            tracing::error!(%error, sql = drop_slot_sql(&slot), "the slot is left behind: run this on the publisher");
        }
    }
    result?;
    Ok(checked)
}

async fn prepare(
    source: &Source,
    publisher: &Publisher,
    local: &Database,
    checked: &mut Checked,
    at: Lsn,
) -> Result<(), ReplicationError> {
    let slot = source.slot();
    let mut client = local.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction).await?;
    transaction.batch_execute(&create_schema_sql(source)).await?;
    let sql = "insert into sync.sources (source, kind, schema) values ($1, 'postgres', $2)
               on conflict (source) do update set kind = excluded.kind, schema = excluded.schema";
    transaction.execute_typed(sql, &[(&source.name, Type::TEXT), (&source.schema, Type::TEXT)]).await?;
    let sql = "insert into sync.replications (source, slot, system_id, applied_lsn)
               values ($1, $2, $3, $4::text::pg_lsn)";
    let values: [Parameter<'_>; 4] = [
        (&source.name, Type::TEXT),
        (&slot, Type::TEXT),
        (&checked.system_id, Type::TEXT),
        (&at.to_string(), Type::TEXT),
    ];
    transaction.execute_typed(sql, &values).await?;
    // As it is after the slot was made: what changes later comes by the stream.
    checked.tables = publisher.tables(&slot).await?;
    let mut known = Known {
        slot,
        system_id: checked.system_id.clone(),
        stored: at,
        reached: at,
        tables: std::collections::BTreeMap::new(),
        barrier: super::barrier::Barrier::default(),
    };
    follow(&transaction, source, &mut known, &checked.tables, checked.version, at).await?;
    transaction.commit().await?;
    Ok(())
}

fn create_schema_sql(source: &Source) -> String {
    format!("create schema if not exists {}", quoted(&source.schema))
}

/// Has one table copied anew, named as there or as here; what is held of it comes, too.
pub async fn resync_table(source: &Source, local: &Database, table: &str) -> Result<(), ReplicationError> {
    let mut client = local.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction).await?;
    // Not while a collector follows: it writes what it knows.
    let claim = "select from sync.replications where source = $1 for update";
    transaction.query_typed(claim, &[(&source.name, Type::TEXT)]).await?;
    let columns = "update sync.columns c set state = 'left out' from sync.tables t
                    where t.source = $1 and (t.remote = $2 or t.relation = $2)
                      and (c.source, c.relid, c.state) = (t.source, t.relid, 'held')";
    let tables = "update sync.tables set state = case state when 'held' then 'left out' else 'copy' end,
                         wait_lsn = null, reason = 'asked for'
                   where source = $1 and (remote = $2 or relation = $2) and state in ('live', 'copy', 'held')";
    let values: [Parameter<'_>; 2] = [(&source.name, Type::TEXT), (&table, Type::TEXT)];
    transaction.execute_typed(columns, &values).await?;
    if transaction.execute_typed(tables, &values).await? == 0 {
        return Err(ReplicationError::Refused(format!("{} has no live table {table}", source.name)));
    }
    Ok(transaction.commit().await?)
}

/// Makes a new slot, and has all tables copied anew.
pub async fn resync(source: &Source, publisher: &Publisher, local: &Database) -> Result<(), ReplicationError> {
    let known = known::read(&**local.client().await?, &source.name).await?;
    let known = known.ok_or_else(|| ReplicationError::NotStarted(source.name.clone()))?;
    let version = publisher.version().await?;
    let system_id = publisher.system_id().await?;
    let mut tables = publisher.tables(&known.slot).await?;
    if !publisher.has_publication(&known.slot).await? {
        let publication = publish::plan(source, &tables, version);
        publisher.run(&create_publication_sql(&known.slot, &publication.add, version)).await?;
        tables = publisher.tables(&known.slot).await?;
    }
    publish::publish(publisher, source, &known.slot, &mut tables, version).await?;
    let is_other = system_id != known.system_id || publisher.position().await? < known.stored;
    drop_slot(publisher, &known.slot).await?;
    let at = publisher.create_slot(&known.slot).await?;
    let mut client = local.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction).await?;
    let sql =
        "update sync.replications set applied_lsn = $2::text::pg_lsn, system_id = $3, error = null where source = $1";
    let values: [Parameter<'_>; 3] =
        [(&source.name, Type::TEXT), (&at.to_string(), Type::TEXT), (&system_id, Type::TEXT)];
    transaction.execute_typed(sql, &values).await?;
    let sql = "update sync.tables set state = 'copy', wait_lsn = $2::text::pg_lsn, reason = 'all are copied anew'
                where source = $1 and state in ('live', 'copy')";
    transaction.execute_typed(sql, &[(&source.name, Type::TEXT), (&at.to_string(), Type::TEXT)]).await?;
    if is_other {
        forget_numbers(&transaction, &source.name).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Numbers of another cluster's tables mean others: tables here are found by their names, and get small ones until then,
/// which no table has that is not PostgreSQL's own.
async fn forget_numbers(transaction: &Transaction<'_>, source: &str) -> Result<(), ReplicationError> {
    for sql in [
        "delete from sync.tables t where source = $1 and not exists (
             select from sync.columns c where (c.source, c.relid) = (t.source, t.relid))",
        // In two steps: one of them may have such a number still.
        "update sync.tables t set relid = -n.number
           from (select relid, row_number() over (order by relid) as number from sync.tables where source = $1) n
          where t.source = $1 and t.relid = n.relid",
        "update sync.tables set relid = -relid where source = $1",
    ] {
        transaction.execute_typed(sql, &[(&source, Type::TEXT)]).await?;
    }
    Ok(())
}

/// Drops a slot, also one that a collector is reading.
async fn drop_slot(publisher: &Publisher, slot: &str) -> Result<(), ReplicationError> {
    for _ in 0..FREE_TRIES {
        match publisher.slot(slot).await? {
            None => return Ok(()),
            Some(found) if found.is_active => {
                let sql = "select pg_terminate_backend(active_pid) from pg_replication_slots
                            where slot_name = $1 and active_pid is not null";
                publisher.client().await?.query_typed(sql, &[(&slot, Type::TEXT)]).await.map_err(there)?;
                tokio::time::sleep(FREE_WAIT).await;
            }
            // Somebody may have taken it just now.
            Some(_) => match publisher.drop_slot(slot).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(%error, "the slot is not dropped yet");
                    tokio::time::sleep(FREE_WAIT).await;
                }
            },
        }
    }
    Err(ReplicationError::SlotBusy(slot.to_owned()))
}

/// What came of letting go.
#[derive(Debug)]
pub struct Stopped {
    /// What is still to be run on the publisher, and why.
    pub left: Vec<String>,
    pub error: Option<ReplicationError>,
    /// Tables that stay because something stands on them.
    pub kept: Vec<String>,
}

/// Lets go of the publisher; tables here stay, unless they are to be dropped.
pub async fn stop(
    source: &Source,
    publisher: &Publisher,
    local: &Database,
    drops_data: bool,
) -> Result<Stopped, ReplicationError> {
    let known = known::read(&**local.client().await?, &source.name).await?;
    let slot = known.as_ref().map_or_else(|| source.slot(), |known| known.slot.clone());
    let mut stopped = Stopped { left: Vec::new(), error: None, kept: Vec::new() };
    let mut client = local.client().await?;
    // First: then no collector connects any more.
    let sql = "delete from sync.replications where source = $1";
    client.execute_typed(sql, &[(&source.name, Type::TEXT)]).await?;
    if let Err(error) = let_go(publisher, &slot).await {
        stopped.left = vec![drop_slot_sql(&slot), drop_publication_sql(&slot)];
        stopped.error = Some(error);
    }
    if drops_data {
        for table in known.iter().flat_map(|known| known.tables.values()).filter(|table| !table.columns.is_empty()) {
            let full = table.sql_name(&source.schema);
            let transaction = client.transaction().await?;
            begin(&transaction).await?;
            match transaction.batch_execute(&format!("drop table if exists {full}")).await {
                Ok(()) => transaction.commit().await?,
                Err(error) => {
                    let reason = error.as_db_error().map_or_else(
                        || error.to_string(),
                        |refusal| refusal.detail().unwrap_or_else(|| refusal.message()).to_owned(),
                    );
                    stopped.kept.push(format!("{full}: {reason}"));
                }
            }
        }
        client.execute_typed("delete from sync.sources where source = $1", &[(&source.name, Type::TEXT)]).await?;
        if stopped.kept.is_empty() {
            // Others may have put something into it.
            let _ = client.batch_execute(&format!("drop schema if exists {}", quoted(&source.schema))).await;
        }
    }
    Ok(stopped)
}

async fn let_go(publisher: &Publisher, slot: &str) -> Result<(), ReplicationError> {
    drop_slot(publisher, slot).await?;
    publisher.run(&drop_publication_sql(slot)).await
}

/// Tables by their states, for people.
pub fn summary(known: &Known) -> String {
    let count = |state| known.tables.values().filter(|table| table.state == state).count();
    [State::Live, State::Copy, State::LeftOut, State::Held, State::Gone]
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {}", count(state), state.name()))
        .collect::<Vec<_>>()
        .join(", ")
}
