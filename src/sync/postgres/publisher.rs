//! What the application's PostgreSQL is asked, and the few things that are made there: a publication and a slot.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use super::barrier::Snapshot;
use super::copy;
use super::known::{Known, State};
use super::lsn::Lsn;
use super::{ReplicationError, quoted};
use crate::config;
use crate::database::{Database, DatabaseError};

const TABLES: &str = include_str!("sql/remote_tables.sql");

/// Nobody there should wait behind us for a lock.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '2s'; set local statement_timeout = '60s'";
/// A copy runs as long as it takes; statements about the catalog do not.
const STATEMENT_TIMEOUT_S: u64 = 60;
/// One asks, one copies.
const CONNECTIONS: usize = 2;

/// A column there; attnums of gone ones stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteColumn {
    pub attnum: i16,
    pub name: String,
    pub type_oid: u32,
    pub type_mod: i32,
    pub is_gone: bool,
    /// Computed there, and not sent.
    pub is_generated: bool,
    pub has_default: bool,
    /// What rows have that are older than the column.
    pub missing: Option<String>,
}

/// A table there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct RemoteTable {
    pub relid: u32,
    pub schema: String,
    pub name: String,
    pub is_partitioned: bool,
    pub identity: String,
    pub filenode: i64,
    /// Of a partitioned table: each partition that has rows, and its file.
    pub leaves: Vec<i64>,
    /// Rows may have come by a partition, or gone with what it was, and the stream does not tell: [`Publisher::notice`].
    pub is_refilled: bool,
    /// One of its partitions tells its rows apart in another way.
    pub is_unlike: bool,
    /// Attnums of what identifies a row; empty: nothing does.
    pub key: Vec<i16>,
    pub is_published: bool,
    /// Of the publication: another one, if it was taken out and put back; 0: there is none.
    pub entry: i64,
    pub is_owned: bool,
    pub is_readable: bool,
    pub tuples: i64,
    pub bytes: i64,
    pub columns: Vec<RemoteColumn>,
}

impl RemoteTable {
    /// As people write it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// As SQL has it.
    pub fn sql_name(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Why it must not be published: the application's own UPDATE and DELETE would fail.
    pub fn objection(&self, version: i32) -> Option<&'static str> {
        if !self.is_readable {
            return Some("weir's role may not read it: grant select on it");
        }
        if self.is_partitioned && version < 130_000 {
            return Some("it is partitioned, which publications know from PostgreSQL 13 on");
        }
        if self.is_unlike {
            return Some(
                "a partition has another replica identity than it: the application could not update it any more",
            );
        }
        match self.identity.as_str() {
            "n" => Some("its replica identity is nothing: the application could not update it any more"),
            _ if self.key.is_empty() => {
                Some("it has no primary key: the application could not update it any more if it were published")
            }
            _ => None,
        }
    }
}

/// A slot there.
#[derive(Debug, Clone)]
pub struct Slot {
    pub is_active: bool,
    /// `reserved`, `extended`, `unreserved`, or `lost`; before PostgreSQL 13 always `reserved`.
    pub state: String,
    pub confirmed: Lsn,
    /// WAL that is kept for it.
    pub bytes: i64,
    /// Bytes until it may be lost; none: no limit.
    pub safe_bytes: Option<i64>,
    pub plugin: String,
}

/// See the module.
#[derive(Clone)]
pub struct Publisher {
    database: Database,
    pub url: String,
}

impl Publisher {
    pub fn new(url: &str, connect_timeout_s: u64) -> Result<Self, DatabaseError> {
        let settings = config::Database {
            url: url.to_owned(),
            connect_timeout_s,
            statement_timeout_s: STATEMENT_TIMEOUT_S,
            ..config::Database::default()
        };
        Ok(Self { database: Database::new(&settings, CONNECTIONS)?, url: url.to_owned() })
    }

    pub async fn client(&self) -> Result<Object, ReplicationError> {
        self.database.client().await.map_err(ReplicationError::Publisher)
    }

    pub fn close(&self) {
        self.database.close();
    }

    /// As a number, as 150004.
    pub async fn version(&self) -> Result<i32, ReplicationError> {
        let sql = "select current_setting('server_version_num')::int";
        self.client().await?.query_typed_one(sql, &[]).await.map_err(there)?.try_get(0).map_err(there)
    }

    /// Which cluster it is.
    pub async fn system_id(&self) -> Result<String, ReplicationError> {
        let sql = "select system_identifier::text from pg_control_system()";
        self.client().await?.query_typed_one(sql, &[]).await.map_err(there)?.try_get(0).map_err(there)
    }

    /// Where its WAL ends now.
    pub async fn position(&self) -> Result<Lsn, ReplicationError> {
        let row =
            self.client().await?.query_typed_one("select pg_current_wal_lsn()::text", &[]).await.map_err(there)?;
        read_lsn(row.try_get(0).map_err(there)?)
    }

    /// Begins a transaction, and returns its number: all that have one already have a smaller one.
    pub async fn next_transaction(&self) -> Result<u64, ReplicationError> {
        let row = self.client().await?.query_typed_one("select txid_current()", &[]).await.map_err(there)?;
        Ok(row.try_get::<_, i64>(0).map_err(there)?.cast_unsigned())
    }

    /// Which transactions are over, and a position that is not before any of their commits.
    pub async fn snapshot(&self) -> Result<(Snapshot, Lsn), ReplicationError> {
        // The snapshot is taken before the statement runs.
        let sql = "select txid_current_snapshot()::text, pg_current_wal_lsn()::text";
        let row = self.client().await?.query_typed_one(sql, &[]).await.map_err(there)?;
        Ok((read_snapshot(row.try_get(0).map_err(there)?)?, read_lsn(row.try_get(1).map_err(there)?)?))
    }

    pub async fn tables(&self, publication: &str) -> Result<Vec<RemoteTable>, ReplicationError> {
        // Of one array of the column's type: as text, each value is as it would be sent.
        let version = self.version().await?;
        let missing = if version >= 110_000 { "(a.attmissingval::text::text[])[1]" } else { "null::text" };
        let generated = if version >= 120_000 { "a.attgenerated <> ''" } else { "false" };
        let sql = TABLES.replace("MISSING", missing).replace("GENERATED", generated);
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(there)?;
        // Defaults of added columns come as text.
        transaction.batch_execute(copy::SETTINGS).await.map_err(there)?;
        let rows = transaction.query_typed(&sql, &[(&publication, Type::TEXT)]).await.map_err(there)?;
        transaction.commit().await.map_err(there)?;
        rows.iter().map(read_table).collect::<Result<_, _>>().map_err(there)
    }

    /// Notes which partitioned tables have rows that no stream brought: a partition has another file, since it was truncated
    /// or rewritten, or was attached with rows. Those of one that is gone stay here.
    pub async fn notice(&self, known: &Known, remotes: &mut [RemoteTable]) -> Result<(), ReplicationError> {
        for remote in remotes.iter_mut().filter(|remote| remote.is_partitioned) {
            let Some(table) = known.tables.get(&remote.relid).filter(|table| table.state == State::Live) else {
                continue;
            };
            for leaf in remote.leaves.chunks(2).filter(|leaf| !table.leaves.chunks(2).any(|before| before == *leaf)) {
                let is_new = !table.leaves.chunks(2).any(|before| before.first() == leaf.first());
                remote.is_refilled |= !is_new || self.has_rows(leaf[0]).await?;
            }
        }
        Ok(())
    }

    /// Whether a table has rows, or cannot be read just now.
    async fn has_rows(&self, relid: i64) -> Result<bool, ReplicationError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(there)?;
        transaction.batch_execute(LOCK_TIMEOUT).await.map_err(there)?;
        let sql =
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                    where c.oid::bigint = $1";
        let name = transaction.query_typed_opt(sql, &[(&relid, Type::INT8)]).await.map_err(there)?;
        let Some(name) = name else { return Ok(false) };
        let sql = format!("select exists (select from only {})", name.try_get::<_, String>(0).map_err(there)?);
        let row = transaction.query_typed_one(&sql, &[]).await;
        Ok(row.and_then(|row| row.try_get(0)).unwrap_or(true))
    }

    /// `None`: there is none of that name.
    pub async fn slot(&self, name: &str) -> Result<Option<Slot>, ReplicationError> {
        let sql = "select active, coalesce(to_jsonb(s) ->> 'wal_status', 'reserved'), confirmed_flush_lsn::text,
                          pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, plugin::text,
                          (to_jsonb(s) ->> 'safe_wal_size')::bigint
                     from pg_replication_slots s where slot_name = $1";
        let row = self.client().await?.query_typed_opt(sql, &[(&name, Type::TEXT)]).await.map_err(there)?;
        let Some(row) = row else { return Ok(None) };
        let confirmed: Option<String> = row.try_get(2).map_err(there)?;
        Ok(Some(Slot {
            is_active: row.try_get(0).map_err(there)?,
            state: row.try_get(1).map_err(there)?,
            confirmed: confirmed.as_deref().map_or(Ok(Lsn(0)), read_lsn)?,
            bytes: row.try_get::<_, Option<i64>>(3).map_err(there)?.unwrap_or(0),
            plugin: row.try_get::<_, Option<String>>(4).map_err(there)?.unwrap_or_default(),
            safe_bytes: row.try_get(5).map_err(there)?,
        }))
    }

    /// Makes a slot; returns from where on it has all changes.
    pub async fn create_slot(&self, name: &str) -> Result<Lsn, ReplicationError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(there)?;
        transaction.batch_execute(LOCK_TIMEOUT).await.map_err(there)?;
        let sql = "select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')";
        let row = transaction.query_typed_one(sql, &[(&name, Type::TEXT)]).await.map_err(|error| {
            if error.code() == Some(&tokio_postgres::error::SqlState::QUERY_CANCELED) {
                ReplicationError::SlotWaits
            } else {
                there(error)
            }
        })?;
        let lsn = read_lsn(row.try_get(0).map_err(there)?)?;
        transaction.commit().await.map_err(there)?;
        Ok(lsn)
    }

    pub async fn drop_slot(&self, name: &str) -> Result<(), ReplicationError> {
        self.run(&drop_slot_sql(name)).await
    }

    pub async fn has_publication(&self, name: &str) -> Result<bool, ReplicationError> {
        let sql = "select exists (select from pg_publication where pubname = $1)";
        let row = self.client().await?.query_typed_one(sql, &[(&name, Type::TEXT)]).await.map_err(there)?;
        row.try_get(0).map_err(there)
    }

    /// Runs one statement, not waiting long for locks.
    pub async fn run(&self, statement: &str) -> Result<(), ReplicationError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(there)?;
        transaction.batch_execute(LOCK_TIMEOUT).await.map_err(there)?;
        transaction.batch_execute(statement).await.map_err(there)?;
        transaction.commit().await.map_err(there)
    }

    /// Waits until a slot is free: its last connection may still be ending.
    pub async fn until_free(&self, slot: &str) -> Result<Option<Slot>, ReplicationError> {
        const TRIES: u32 = 50;
        for _ in 0..TRIES {
            match self.slot(slot).await? {
                Some(slot) if slot.is_active => tokio::time::sleep(Duration::from_millis(200)).await,
                other => return Ok(other),
            }
        }
        Err(ReplicationError::SlotBusy(slot.to_owned()))
    }
}

/// What makes the publication.
pub fn create_publication_sql(name: &str, tables: &[&RemoteTable], version: i32) -> String {
    let for_tables = if tables.is_empty() { String::new() } else { format!(" for table {}", list(tables)) };
    let options = match version {
        130_000.. => "publish = 'insert, update, delete, truncate', publish_via_partition_root = true",
        110_000.. => "publish = 'insert, update, delete, truncate'",
        _ => "publish = 'insert, update, delete'",
    };
    format!("create publication {}{for_tables} with ({options})", quoted(name))
}

pub fn add_tables_sql(name: &str, tables: &[&RemoteTable]) -> String {
    format!("alter publication {} add table {}", quoted(name), list(tables))
}

pub fn remove_table_sql(name: &str, table: &RemoteTable) -> String {
    format!("alter publication {} drop table only {}", quoted(name), table.sql_name())
}

pub fn create_slot_sql(name: &str) -> String {
    format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")
}

pub fn drop_slot_sql(name: &str) -> String {
    format!("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{name}'")
}

pub fn drop_publication_sql(name: &str) -> String {
    format!("drop publication if exists {}", quoted(name))
}

fn list(tables: &[&RemoteTable]) -> String {
    // Children of inheritance are tables of their own.
    let only = |table: &&RemoteTable| format!("only {}", table.sql_name());
    tables.iter().map(only).collect::<Vec<_>>().join(", ")
}

pub fn read_snapshot(text: &str) -> Result<Snapshot, ReplicationError> {
    Snapshot::parse(text).ok_or_else(|| ReplicationError::Unexpected(format!("{text:?} is no snapshot")))
}

pub fn read_lsn(text: &str) -> Result<Lsn, ReplicationError> {
    text.parse().map_err(ReplicationError::Unexpected)
}

fn read_table(row: &tokio_postgres::Row) -> Result<RemoteTable, tokio_postgres::Error> {
    let attnums: Vec<i16> = row.try_get("attnums")?;
    let names: Vec<String> = row.try_get("names")?;
    let types: Vec<i64> = row.try_get("types")?;
    let mods: Vec<i32> = row.try_get("mods")?;
    let dropped: Vec<bool> = row.try_get("dropped")?;
    let missing: Vec<Option<String>> = row.try_get("missing")?;
    let generated: Vec<bool> = row.try_get("generated")?;
    let defaults: Vec<bool> = row.try_get("defaults")?;
    let entry: Option<i64> = row.try_get("entry")?;
    let columns = attnums.iter().zip(names).zip(types).zip(mods).zip(dropped).zip(missing).zip(generated).zip(defaults);
    Ok(RemoteTable {
        relid: row.try_get::<_, i64>("relid")? as u32,
        schema: row.try_get("schema")?,
        name: row.try_get("name")?,
        is_partitioned: row.try_get::<_, String>("kind")? == "p",
        identity: row.try_get("identity")?,
        filenode: row.try_get::<_, Option<i64>>("filenode")?.unwrap_or(0),
        leaves: row.try_get::<_, Option<Vec<i64>>>("leaves")?.unwrap_or_default(),
        is_refilled: false,
        is_unlike: row.try_get("is_unlike")?,
        key: row.try_get("key")?,
        is_published: entry.is_some(),
        entry: entry.unwrap_or(0),
        is_owned: row.try_get("is_owned")?,
        is_readable: row.try_get("is_readable")?,
        tuples: row.try_get("tuples")?,
        bytes: row.try_get::<_, Option<i64>>("bytes")?.unwrap_or(0),
        columns: columns
            .map(|(((((((attnum, name), type_oid), type_mod), is_gone), missing), is_generated), has_default)| {
                RemoteColumn {
                    attnum: *attnum,
                    name,
                    type_oid: type_oid as u32,
                    type_mod,
                    is_gone,
                    is_generated,
                    has_default,
                    missing,
                }
            })
            .collect(),
    })
}

/// An error of the publisher's, not of weir's own database.
pub fn there(error: tokio_postgres::Error) -> ReplicationError {
    ReplicationError::Publisher(error.into())
}
