//! What is known here of a source: the schema `sync`'s tables about replication.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use tokio_postgres::GenericClient;
use tokio_postgres::types::{ToSql, Type};

use super::barrier::Barrier;
use super::lsn::Lsn;
use super::publisher::{RemoteTable, Slot};
use super::{ReplicationError, quoted};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// How a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is to be copied; until then its changes are skipped.
    Copy,
    Live,
    LeftOut,
    /// It was left out by another name: it stays out until it is asked for.
    Held,
    /// Dropped there, or not asked for any more.
    Gone,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Live => "live",
            Self::LeftOut => "left out",
            Self::Held => "held",
            Self::Gone => "gone",
        }
    }

    fn read(name: &str) -> Self {
        [Self::Copy, Self::Live, Self::LeftOut, Self::Held]
            .into_iter()
            .find(|state| state.name() == name)
            .unwrap_or(Self::Gone)
    }
}

/// How a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnState {
    Live,
    /// It is not to come here.
    LeftOut,
    /// It was left out by another name: it stays out until it is asked for.
    Held,
    Gone,
}

impl ColumnState {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::LeftOut => "left out",
            Self::Held => "held",
            Self::Gone => "gone",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownColumn {
    pub attnum: i16,
    /// There, and here.
    pub name: String,
    pub type_oid: u32,
    pub type_mod: i32,
    /// Here.
    pub type_: String,
    pub state: ColumnState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTable {
    pub relid: u32,
    /// `schema.table` there.
    pub remote: String,
    /// Its table here, without its schema.
    pub relation: String,
    pub state: State,
    pub reason: Option<String>,
    pub key: Vec<i16>,
    pub filenode: i64,
    /// Of the publication.
    pub entry: i64,
    /// Of a partitioned table: partitions, and their files.
    pub leaves: Vec<i64>,
    pub wait: Option<Lsn>,
    /// Changes before here may be in the copy already.
    pub copied: Option<Lsn>,
    pub copied_rows: Option<i64>,
    pub columns: Vec<KnownColumn>,
}

impl KnownTable {
    /// One of which nothing is here.
    pub fn left_out(remote: &RemoteTable, relation: String, reason: String) -> Self {
        Self {
            relid: remote.relid,
            remote: remote.full_name(),
            relation,
            state: State::LeftOut,
            reason: Some(reason),
            key: Vec::new(),
            filenode: remote.filenode,
            entry: remote.entry,
            leaves: remote.leaves.clone(),
            wait: None,
            copied: None,
            copied_rows: None,
            columns: Vec::new(),
        }
    }

    pub fn column(&self, attnum: i16) -> Option<&KnownColumn> {
        self.columns.iter().find(|column| column.attnum == attnum)
    }

    /// Those that have values here.
    pub fn live(&self) -> impl Iterator<Item = &KnownColumn> {
        self.columns.iter().filter(|column| column.state == ColumnState::Live)
    }

    /// As SQL has it.
    pub fn sql_name(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(&self.relation))
    }

    /// Whether all of its key is here.
    pub fn has_key(&self) -> bool {
        let is_live = |attnum: &i16| self.column(*attnum).is_some_and(|column| column.state == ColumnState::Live);
        !self.key.is_empty() && self.key.iter().all(is_live)
    }
}

/// Everything about one source.
#[derive(Debug, Clone)]
pub struct Known {
    pub slot: String,
    pub system_id: String,
    /// All before here is in the tables, as stored with them.
    pub stored: Lsn,
    /// All before here was read; since `stored`, nothing of it was for us.
    pub reached: Lsn,
    pub tables: BTreeMap<u32, KnownTable>,
    /// Which of them may be copied.
    pub barrier: Barrier,
}

/// `None`: it was not started.
pub async fn read(client: &impl GenericClient, source: &str) -> Result<Option<Known>, ReplicationError> {
    let sql = "select slot, system_id, applied_lsn::text from sync.replications where source = $1";
    let Some(row) = client.query_typed(sql, &[(&source, Type::TEXT)]).await?.into_iter().next() else {
        return Ok(None);
    };
    let stored = lsn(row.try_get(2)?)?;
    let mut known = Known {
        slot: row.try_get(0)?,
        system_id: row.try_get(1)?,
        stored,
        reached: stored,
        tables: BTreeMap::new(),
        barrier: Barrier::default(),
    };
    let sql = "select relid, remote, relation, state, reason, key, filenode, wait_lsn::text, copied_rows, entry, leaves, copied_lsn::text
                 from sync.tables where source = $1";
    for row in client.query_typed(sql, &[(&source, Type::TEXT)]).await? {
        let relid = row.try_get::<_, i64>(0)? as u32;
        let (wait, copied): (Option<&str>, Option<&str>) = (row.try_get(7)?, row.try_get(11)?);
        let table = KnownTable {
            relid,
            remote: row.try_get(1)?,
            relation: row.try_get(2)?,
            state: State::read(row.try_get(3)?),
            reason: row.try_get(4)?,
            key: row.try_get(5)?,
            filenode: row.try_get(6)?,
            wait: wait.map(lsn).transpose()?,
            copied: copied.map(lsn).transpose()?,
            copied_rows: row.try_get(8)?,
            entry: row.try_get(9)?,
            leaves: row.try_get(10)?,
            columns: Vec::new(),
        };
        known.tables.insert(relid, table);
    }
    let sql = "select relid, attnum, name, type_oid, type, state, type_mod from sync.columns where source = $1
                order by relid, attnum";
    for row in client.query_typed(sql, &[(&source, Type::TEXT)]).await? {
        let relid = row.try_get::<_, i64>(0)? as u32;
        let state: &str = row.try_get(5)?;
        let column = KnownColumn {
            attnum: row.try_get(1)?,
            name: row.try_get(2)?,
            type_oid: row.try_get::<_, i64>(3)? as u32,
            type_mod: row.try_get(6)?,
            type_: row.try_get(4)?,
            state: match state {
                "live" => ColumnState::Live,
                "left out" => ColumnState::LeftOut,
                "held" => ColumnState::Held,
                _ => ColumnState::Gone,
            },
        };
        if let Some(table) = known.tables.get_mut(&relid) {
            table.columns.push(column);
        }
    }
    Ok(Some(known))
}

/// Writes a table as it now is, with its columns.
pub async fn write(transaction: &Transaction<'_>, source: &str, table: &KnownTable) -> Result<(), ReplicationError> {
    let relid = i64::from(table.relid);
    let text = |lsn: Option<Lsn>| lsn.map(|lsn| lsn.to_string());
    let (state, wait, copied) = (table.state.name(), text(table.wait), text(table.copied));
    let sql =
        "insert into sync.tables (source, relid, remote, relation, state, reason, key, filenode, wait_lsn, copied_rows, entry,
                                 leaves, copied_lsn)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::pg_lsn, $10, $11, $12, $13::text::pg_lsn)
               on conflict (source, relid) do update
                  set remote = excluded.remote, relation = excluded.relation, state = excluded.state,
                      reason = excluded.reason, key = excluded.key, filenode = excluded.filenode,
                      wait_lsn = excluded.wait_lsn, copied_rows = excluded.copied_rows,
                      entry = excluded.entry, leaves = excluded.leaves,
                      copied_lsn = excluded.copied_lsn,
                      copied_at = case when excluded.state = 'live' and sync.tables.state <> 'live' then now()
                                       else sync.tables.copied_at end";
    let values: [Parameter<'_>; 13] = [
        (&source, Type::TEXT),
        (&relid, Type::INT8),
        (&table.remote, Type::TEXT),
        (&table.relation, Type::TEXT),
        (&state, Type::TEXT),
        (&table.reason, Type::TEXT),
        (&table.key, Type::INT2_ARRAY),
        (&table.filenode, Type::INT8),
        (&wait, Type::TEXT),
        (&table.copied_rows, Type::INT8),
        (&table.entry, Type::INT8),
        (&table.leaves, Type::INT8_ARRAY),
        (&copied, Type::TEXT),
    ];
    transaction.execute_typed(sql, &values).await?;
    let sql = "delete from sync.columns where source = $1 and relid = $2";
    transaction.execute_typed(sql, &[(&source, Type::TEXT), (&relid, Type::INT8)]).await?;
    let attnums: Vec<i16> = table.columns.iter().map(|column| column.attnum).collect();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let oids: Vec<i64> = table.columns.iter().map(|column| i64::from(column.type_oid)).collect();
    let types: Vec<&str> = table.columns.iter().map(|column| column.type_.as_str()).collect();
    let mods: Vec<i32> = table.columns.iter().map(|column| column.type_mod).collect();
    let states: Vec<&str> = table.columns.iter().map(|column| column.state.name()).collect();
    let sql = "insert into sync.columns (source, relid, attnum, name, type_oid, type, state, type_mod)
               select $1, $2, * from unnest($3::smallint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::int[])";
    let values: [Parameter<'_>; 8] = [
        (&source, Type::TEXT),
        (&relid, Type::INT8),
        (&attnums, Type::INT2_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&oids, Type::INT8_ARRAY),
        (&types, Type::TEXT_ARRAY),
        (&states, Type::TEXT_ARRAY),
        (&mods, Type::INT4_ARRAY),
    ];
    transaction.execute_typed(sql, &values).await?;
    Ok(())
}

/// Takes the right to move the source on, for this transaction, if nobody else has moved it.
pub async fn claim(transaction: &Transaction<'_>, source: &str, applied: Lsn) -> Result<(), ReplicationError> {
    let sql = "select applied_lsn::text from sync.replications where source = $1 for update";
    let row = transaction.query_typed(sql, &[(&source, Type::TEXT)]).await?.into_iter().next();
    match row {
        Some(row) if lsn(row.try_get(0)?)? == applied => Ok(()),
        Some(_) => Err(ReplicationError::Overtaken),
        None => Err(ReplicationError::NotStarted(source.to_owned())),
    }
}

/// All before `applied` is here; the newest of it was committed at that time.
pub async fn advance(
    transaction: &Transaction<'_>,
    source: &str,
    applied: Lsn,
    committed_us: Option<i64>,
) -> Result<(), ReplicationError> {
    let sql = "update sync.replications
                  set applied_lsn = $2::text::pg_lsn,
                      applied_at = coalesce(to_timestamp($3::bigint / 1000000.0), applied_at)
                where source = $1";
    let values: [Parameter<'_>; 3] =
        [(&source, Type::TEXT), (&applied.to_string(), Type::TEXT), (&committed_us, Type::INT8)];
    transaction.execute_typed(sql, &values).await?;
    Ok(())
}

/// Notes a change that was followed.
pub async fn note(
    transaction: &Transaction<'_>,
    source: &str,
    relation: &str,
    change: &str,
    statement: Option<&str>,
) -> Result<(), ReplicationError> {
    let sql = "insert into sync.changes (source, relation, change, statement) values ($1, $2, $3, $4)";
    let values: [Parameter<'_>; 4] =
        [(&source, Type::TEXT), (&relation, Type::TEXT), (&change, Type::TEXT), (&statement, Type::TEXT)];
    transaction.execute_typed(sql, &values).await?;
    tracing::info!(source, relation, change, "a change of the application's tables is followed");
    Ok(())
}

/// Notes how the slot is, and that the publisher was looked at.
pub async fn note_slot(
    client: &impl GenericClient,
    source: &str,
    slot: &Slot,
    lag_s: f64,
) -> Result<(), ReplicationError> {
    let sql =
        "update sync.replications set checked_at = now(), slot_state = $2, slot_bytes = $3, lag_s = $4, error = null
                where source = $1";
    let values: [Parameter<'_>; 4] =
        [(&source, Type::TEXT), (&slot.state, Type::TEXT), (&slot.bytes, Type::INT8), (&lag_s, Type::FLOAT8)];
    client.query_typed(sql, &values).await?;
    Ok(())
}

/// Notes why it stopped.
pub async fn note_error(client: &impl GenericClient, source: &str, error: &str) -> Result<(), ReplicationError> {
    let sql = "update sync.replications set errors = errors + 1, error = $2, error_at = now() where source = $1";
    client.query_typed(sql, &[(&source, Type::TEXT), (&error, Type::TEXT)]).await?;
    Ok(())
}

fn lsn(text: &str) -> Result<Lsn, ReplicationError> {
    text.parse().map_err(ReplicationError::Unexpected)
}
