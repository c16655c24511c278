//! The tables here follow the publisher's catalog. Nothing is dropped, but what is no longer to come here.

use std::collections::{BTreeMap, HashSet};

use deadpool_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::follower::Follower;
use super::known::{self, ColumnState, Known, KnownColumn, KnownTable, State};
use super::lsn::Lsn;
use super::publisher::{RemoteColumn, RemoteTable};
use super::settings::Postgres;
use super::{ReplicationError, quoted, types};

pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// PostgreSQL's longest name.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// A source, as its settings say.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    /// Here.
    pub schema: String,
    pub settings: Postgres,
}

impl Source {
    pub fn slot(&self) -> String {
        self.settings.slot(&self.name)
    }

    pub fn takes(&self, table: &RemoteTable) -> bool {
        self.settings.chosen().takes(&table.schema, &table.name)
    }

    pub(super) fn takes_column(&self, table: &RemoteTable, column: &RemoteColumn) -> bool {
        self.settings.chosen().takes_column(&table.schema, &table.name, &column.name)
    }

    /// Whether the settings leave out a table of this name, `schema.table`.
    fn excludes(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(schema, table)| self.settings.chosen().excludes(schema, table))
    }

    /// Whether they leave out a column of such a table.
    pub(super) fn excludes_column(&self, table: &str, column: &str) -> bool {
        let parts = table.split_once('.');
        parts.is_some_and(|(schema, table)| !self.settings.chosen().takes_column(schema, table, column))
    }

    /// Why a table that is asked for cannot be taken.
    pub fn objection(&self, table: &RemoteTable, version: i32) -> Option<String> {
        if let Some(objection) = table.objection(version) {
            return Some(objection.to_owned());
        }
        let is_left_out = |column: &&RemoteColumn| {
            table.key.contains(&column.attnum) && (column.is_generated || !self.takes_column(table, column))
        };
        let left_out = table.columns.iter().find(is_left_out)?;
        Some(format!("{} is left out, and without it rows cannot be told apart", left_out.name))
    }
}

/// The name here of a table there.
pub fn local_name(table: &RemoteTable) -> String {
    if table.schema == "public" { table.name.clone() } else { format!("{}_{}", table.schema, table.name) }
}

/// The columns that a table here gets.
pub fn wanted<'a>(source: &'a Source, table: &'a RemoteTable) -> impl Iterator<Item = &'a RemoteColumn> {
    table.columns.iter().filter(|column| !column.is_gone && !column.is_generated && source.takes_column(table, column))
}

/// The statement that makes a table here.
pub fn create_table_sql(source: &Source, relation: &str, table: &RemoteTable) -> String {
    let column = |column: &RemoteColumn| format!("{} {}", quoted(&column.name), types::local(column.type_oid));
    let columns: Vec<String> = wanted(source, table).map(column).collect();
    format!("create table {}.{} ({})", quoted(&source.schema), quoted(relation), columns.join(", "))
}

/// Brings tables and what is known of them to what the publisher has, as of `at`; returns whether anything changed.
pub async fn follow(
    transaction: &Transaction<'_>,
    source: &Source,
    known: &mut Known,
    remotes: &[RemoteTable],
    version: i32,
    at: Lsn,
) -> Result<bool, ReplicationError> {
    let mut tables = known.tables.clone();
    adopt(transaction, source, &mut tables, remotes).await?;
    hold(transaction, source, &mut tables, remotes).await?;
    for remote in remotes.iter().filter(|remote| source.takes(remote)) {
        let objection = match source.objection(remote, version) {
            None if !remote.is_published => Some("its publication does not have it: see `weir sync check`".to_owned()),
            objection => objection.or_else(|| held_key(tables.get(&remote.relid)?, remote)),
        };
        if tables.get(&remote.relid).is_some_and(|table| table.state == State::Held) {
            continue;
        }
        let is_here = |table: &&KnownTable| table.relid != remote.relid && !table.columns.is_empty();
        let names: HashSet<String> = tables.values().filter(is_here).map(|table| table.relation.clone()).collect();
        let follower = Follower { transaction, source, remote, version, at, names };
        let table = match (tables.get(&remote.relid), objection) {
            (None, Some(reason)) => follower.left_out(reason),
            (None, None) => follower.make().await?,
            (Some(table), objection) => follower.change(table.clone(), objection).await?,
        };
        tables.insert(remote.relid, table);
    }
    exchange(transaction, source, &mut tables, remotes).await?;
    for table in tables.values_mut().filter(|table| table.state != State::Gone) {
        let remote = remotes.iter().find(|remote| remote.relid == table.relid);
        if matches!(table.state, State::LeftOut | State::Held)
            && remote.is_some_and(|remote| source.excludes(&remote.full_name()))
        {
            continue;
        }
        if remote.is_none_or(|remote| !source.takes(remote)) {
            let reason = if remote.is_none() { "it was dropped there" } else { "the settings leave it out" };
            known::note(transaction, &source.name, &table.relation, &format!("gone: {reason}"), None).await?;
            (table.state, table.reason) = (State::Gone, Some(reason.to_owned()));
        }
    }
    let mut is_changed = false;
    for (relid, table) in &tables {
        if known.tables.get(relid) != Some(table) {
            is_changed = true;
            if known.tables.get(relid).is_none_or(|before| before.entry != table.entry) {
                known.barrier.forget(*relid);
            }
            known::write(transaction, &source.name, table).await?;
        }
    }
    known.tables = tables;
    Ok(is_changed)
}

/// Tables that the settings leave out are remembered: one that is renamed there does not come here by its new name.
async fn hold(
    transaction: &Transaction<'_>,
    source: &Source,
    tables: &mut BTreeMap<u32, KnownTable>,
    remotes: &[RemoteTable],
) -> Result<(), ReplicationError> {
    for remote in remotes {
        let name = remote.full_name();
        let known = tables.get_mut(&remote.relid);
        if source.excludes(&name) {
            match known {
                None => {
                    let reason = "the settings leave it out".to_owned();
                    tables.insert(remote.relid, KnownTable::left_out(remote, local_name(remote), reason));
                }
                Some(table) if matches!(table.state, State::LeftOut | State::Held) => {
                    (table.state, table.reason) = (State::LeftOut, Some("the settings leave it out".to_owned()));
                    table.remote = name;
                }
                Some(_) => {}
            }
            continue;
        }
        let Some(table) = known else { continue };
        if table.state == State::Held {
            table.remote = name;
        } else if matches!(table.state, State::LeftOut | State::Gone)
            && table.remote != name
            && source.takes(remote)
            && source.excludes(&table.remote)
        {
            let change = format!("{name} stays left out: it was {}", table.remote);
            known::note(transaction, &source.name, &table.relation, &change, None).await?;
            let reason = format!("it was {}: `weir sync resync {} --table {name}` takes it", table.remote, source.name);
            (table.state, table.reason, table.remote) = (State::Held, Some(reason), name);
        }
    }
    Ok(())
}

/// Tables whose names were taken here get them, once they are free: two may exchange theirs.
async fn exchange(
    transaction: &Transaction<'_>,
    source: &Source,
    tables: &mut BTreeMap<u32, KnownTable>,
    remotes: &[RemoteTable],
) -> Result<(), ReplicationError> {
    for remote in remotes.iter().filter(|remote| source.takes(remote)) {
        let name = local_name(remote);
        let is_here = |table: &KnownTable| !table.columns.is_empty();
        if name.len() > NAME_BYTES_MAX || tables.values().any(|table| is_here(table) && table.relation == name) {
            continue;
        }
        let Some(table) = tables.get_mut(&remote.relid).filter(|table| is_here(table) && table.state != State::Gone)
        else {
            continue;
        };
        let sql = "select to_regclass($1) is null";
        let full = format!("{}.{}", quoted(&source.schema), quoted(&name));
        if !transaction.query_typed_one(sql, &[(&full, Type::TEXT)]).await?.try_get::<_, bool>(0)? {
            continue;
        }
        let sql = format!("alter table {} rename to {}", table.sql_name(&source.schema), quoted(&name));
        transaction.batch_execute(&sql).await?;
        known::note(transaction, &source.name, &name, &format!("renamed to {name}"), Some(&sql)).await?;
        table.relation = name;
    }
    Ok(())
}

/// A column that is held is as good as none.
fn held_key(table: &KnownTable, remote: &RemoteTable) -> Option<String> {
    let is_held = |column: &&KnownColumn| column.state == ColumnState::Held && remote.key.contains(&column.attnum);
    let column = table.columns.iter().find(is_held)?;
    Some(format!("{} is left out, and without it rows cannot be told apart", column.name))
}

/// A table that was dropped there and made again under its name goes on in the same table here, so that views stay.
async fn adopt(
    transaction: &Transaction<'_>,
    source: &Source,
    tables: &mut BTreeMap<u32, KnownTable>,
    remotes: &[RemoteTable],
) -> Result<(), ReplicationError> {
    for remote in remotes.iter().filter(|remote| source.takes(remote)) {
        let name = remote.full_name();
        let is_heir = |table: &&KnownTable| {
            table.remote == name && !table.columns.is_empty() && !remotes.iter().any(|other| other.relid == table.relid)
        };
        let Some(old) = tables.values().find(is_heir).map(|table| table.relid) else { continue };
        if tables.contains_key(&remote.relid) {
            continue;
        }
        let Some(mut table) = tables.remove(&old) else { continue };
        let sql = "update sync.tables set relid = $3 where source = $1 and relid = $2";
        let values: [Parameter<'_>; 3] =
            [(&source.name, Type::TEXT), (&i64::from(old), Type::INT8), (&i64::from(remote.relid), Type::INT8)];
        transaction.execute_typed(sql, &values).await?;
        table.relid = remote.relid;
        // Numbers of gone columns are never those of others.
        let mut gone = table.columns.iter().map(|column| column.attnum).min().unwrap_or(0).min(0);
        for column in &mut table.columns {
            let heir = remote.columns.iter().find(|new| !new.is_gone && new.name == column.name);
            if let (Some(new), true) = (heir, column.state == ColumnState::Live) {
                column.attnum = new.attnum;
            } else {
                gone -= 1;
                (column.attnum, column.state) = (gone, ColumnState::Gone);
            }
        }
        table.state = State::Gone;
        tables.insert(remote.relid, table);
    }
    Ok(())
}
