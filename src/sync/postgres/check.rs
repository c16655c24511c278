//! Everything that would hurt, or be in the way, before anything is begun: each with its cure.

use std::fmt;

use tokio_postgres::types::Type;

use super::ReplicationError;
use super::follow::Source;
use super::publisher::{Publisher, RemoteTable, there};
use crate::database::Database;

/// The first release whose `pgoutput` and slots are free of the faults of the first ones.
const VERSION_MIN: i32 = 100_004;
/// A slot waits for all transactions that are open when it is made.
const OPEN_TOO_LONG_S: f64 = 300.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing is begun with it.
    Bad,
    /// To be known.
    Warning,
    Good,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub text: String,
    pub cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Bad => "BAD    ",
            Level::Warning => "WARNING",
            Level::Good => "ok     ",
        };
        write!(formatter, "{mark} {}", self.text)?;
        if self.cure.is_empty() { Ok(()) } else { write!(formatter, "\n        cure: {}", self.cure) }
    }
}

/// What was found, and what there is.
#[derive(Debug)]
pub struct Checked {
    pub findings: Vec<Finding>,
    pub version: i32,
    pub system_id: String,
    pub has_publication: bool,
    pub has_slot: bool,
    pub tables: Vec<RemoteTable>,
}

impl Checked {
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Bad)
    }

    fn add(&mut self, level: Level, text: impl Into<String>, cure: impl Into<String>) {
        self.findings.push(Finding { level, text: text.into(), cure: cure.into() });
    }
}

/// Looks at both sides; changes nothing.
pub async fn check(source: &Source, publisher: &Publisher, local: &Database) -> Result<Checked, ReplicationError> {
    let slot = source.slot();
    let version = publisher.version().await?;
    let mut checked = Checked {
        findings: Vec::new(),
        version,
        system_id: publisher.system_id().await?,
        has_publication: publisher.has_publication(&slot).await?,
        has_slot: publisher.slot(&slot).await?.is_some(),
        tables: publisher.tables(&slot).await?,
    };
    let shown = format!("PostgreSQL {}.{}", version / 10_000, version % 10_000);
    if version < VERSION_MIN {
        checked.add(
            Level::Bad,
            format!("the publisher is {shown}"),
            "10.4 or later; for older ones, kind = \"foreign\"",
        );
    } else {
        checked.add(Level::Good, format!("the publisher is {shown}"), "");
    }
    server(&mut checked, publisher).await?;
    role(&mut checked, publisher, &slot).await?;
    here(&mut checked, source, local).await?;
    tables(&mut checked, source);
    Ok(checked)
}

async fn server(checked: &mut Checked, publisher: &Publisher) -> Result<(), ReplicationError> {
    let sql = "select current_setting('wal_level'), current_setting('max_slot_wal_keep_size', true),
                      current_setting('max_replication_slots')::bigint - (select count(*) from pg_replication_slots),
                      current_setting('max_wal_senders')::bigint
                        - (select count(*) from pg_stat_activity where backend_type = 'walsender'),
                      (select max(extract(epoch from now() - xact_start))::float8 from pg_stat_activity
                        where backend_type = 'client backend' and pid <> pg_backend_pid()),
                      current_setting('server_encoding')";
    let row = publisher.client().await?.query_typed_one(sql, &[]).await.map_err(there)?;
    let wal_level: String = row.try_get(0).map_err(there)?;
    if wal_level == "logical" {
        checked.add(Level::Good, "wal_level is logical", "");
    } else {
        let cure = "alter system set wal_level = 'logical', and a restart (Amazon RDS: rds.logical_replication = 1)";
        checked.add(Level::Bad, format!("wal_level is {wal_level}"), cure);
    }
    match row.try_get::<_, Option<String>>(1).map_err(there)?.as_deref() {
        Some("-1") => checked.add(
            Level::Warning,
            "max_slot_wal_keep_size is not set: while weir is away, WAL for it may fill the publisher's disk",
            "alter system set max_slot_wal_keep_size = '20GB'; select pg_reload_conf(): beyond it the slot is given up, \
             the disk is not",
        ),
        Some(size) => checked.add(Level::Good, format!("max_slot_wal_keep_size is {size}"), ""),
        None => checked.add(
            Level::Warning,
            "before PostgreSQL 13 nothing limits the WAL that is kept for weir while it is away",
            "watch weir_replication_slot_bytes; `weir sync stop` lets go",
        ),
    }
    for (column, setting, needed) in [(2, "max_replication_slots", !checked.has_slot), (3, "max_wal_senders", true)] {
        let free: i64 = row.try_get(column).map_err(there)?;
        if free < 1 && needed {
            let cure = format!("alter system set {setting} to more, and a restart");
            checked.add(Level::Bad, format!("none of {setting} is free"), cure);
        }
    }
    let open_s: Option<f64> = row.try_get(4).map_err(there)?;
    if let Some(open_s) = open_s.filter(|&open_s| open_s > OPEN_TOO_LONG_S) {
        let text = format!("a transaction is open there for {open_s:.0} s: a slot can be made only after it");
        checked.add(Level::Warning, text, "end it: select pid, query from pg_stat_activity order by xact_start");
    }
    let encoding: String = row.try_get(5).map_err(there)?;
    if encoding == "SQL_ASCII" {
        let text = "the publisher's encoding is SQL_ASCII: values that are no UTF-8 stop replication";
        checked.add(Level::Warning, text, "leave such columns out by exclude_columns");
    }
    Ok(())
}

async fn role(checked: &mut Checked, publisher: &Publisher, slot: &str) -> Result<(), ReplicationError> {
    let sql = "select rolname::text, rolsuper or rolreplication
                        or exists (select from pg_roles r where r.rolname = 'rds_replication'
                                                           and pg_has_role(current_user, r.oid, 'member')),
                      has_database_privilege(current_database(), 'create'), current_database()::text
                 from pg_roles where rolname = current_user";
    let row = publisher.client().await?.query_typed_one(sql, &[]).await.map_err(there)?;
    let name: String = row.try_get(0).map_err(there)?;
    if row.try_get(1).map_err(there)? {
        checked.add(Level::Good, format!("the role {name} may replicate"), "");
    } else {
        let cure = format!("alter role {name} replication (Amazon RDS: grant rds_replication to {name})");
        checked.add(Level::Bad, format!("the role {name} may not replicate"), cure);
    }
    let database: String = row.try_get(3).map_err(there)?;
    if !checked.has_publication && !row.try_get::<_, bool>(2).map_err(there)? {
        let cure = format!(
            "grant create on database {database} to {name}; or let the tables' owner run what `weir sync plan` shows"
        );
        checked.add(Level::Bad, format!("the role {name} may not make the publication {slot}"), cure);
    }
    Ok(())
}

async fn here(checked: &mut Checked, source: &Source, local: &Database) -> Result<(), ReplicationError> {
    let client = local.client().await?;
    let sql = "select (select system_identifier::text from pg_control_system()),
                      has_database_privilege(current_database(), 'create'),
                      (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = $1)";
    let row = client.query_typed_one(sql, &[(&source.schema, Type::TEXT)]).await?;
    if row.try_get::<_, String>(0)? == checked.system_id {
        let text = "the publisher is the very server that weir's database is on";
        checked.add(Level::Warning, text, "it works; but in one database, views on its tables would do");
    }
    let is_ours: Option<bool> = row.try_get(2)?;
    let may_create: bool = row.try_get(1)?;
    if is_ours == Some(false) || (is_ours.is_none() && !may_create) {
        let cure = format!("as its owner: grant create on this database, or alter schema {} owner", source.schema);
        checked.add(Level::Bad, format!("weir's role may make no tables in the schema {}", source.schema), cure);
    }
    Ok(())
}

fn tables(checked: &mut Checked, source: &Source) {
    let mut found = Vec::new();
    let (mut count, mut bytes, mut rows) = (0, 0, 0);
    for table in checked.tables.iter().filter(|table| source.takes(table)) {
        let name = table.full_name();
        if let Some(objection) = source.objection(table, checked.version) {
            let cure = if table.key.is_empty() {
                format!("alter table {} add primary key (...), or exclude = [\"{name}\"]", table.sql_name())
            } else {
                format!("exclude = [\"{name}\"], or change it there")
            };
            found.push((Level::Warning, format!("{name} is left out: {objection}"), cure));
        } else if !table.is_published && !table.is_owned {
            let cure = format!(
                "as its owner: alter publication {} add table {}; or grant its owner to weir's role there",
                source.slot(),
                table.sql_name()
            );
            found.push((Level::Warning, format!("{name} is left out: only its owner may publish it"), cure));
        } else {
            count += 1;
            bytes += table.bytes;
            rows += table.tuples.max(0);
        }
    }
    for (level, text, cure) in found {
        checked.add(level, text, cure);
    }
    if count == 0 {
        checked.add(Level::Bad, "no table would be taken", "set tables, as [\"public.*\"]");
    } else {
        checked.add(Level::Good, format!("{count} tables, about {rows} rows, {} MB", bytes / 1_000_000), "");
    }
}
