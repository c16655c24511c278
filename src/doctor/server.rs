//! PostgreSQL itself: its version, its settings, room for connections, its clock, and who keeps its WAL.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Error, Row};

use super::finding::{Finding, Level};
use crate::clock::Clock;
use crate::config::Config;
use crate::database::migrate::POSTGRES_MAJOR_MIN;
use crate::journal::Durability;

const SERVER: &str = include_str!("sql/server.sql");
const SLOTS: &str = include_str!("sql/slots.sql");
const CLOCK: &str = "select extract(epoch from clock_timestamp())::float8";

/// The newest that the tests run on.
const POSTGRES_MAJOR_TESTED: i32 = 18;
const MIB: i64 = 1 << 20;
/// Twice PostgreSQL's default: below it, checkpoints come by size and not by time under any load worth the name.
const MAX_WAL_BYTES_FEW: i64 = 2048 * MIB;
/// PostgreSQL's default.
const SHARED_BUFFERS_BYTES_DEFAULT: i64 = 128 * MIB;
/// Connections that others should find free.
const CONNECTIONS_SPARE: i32 = 5;
const SLOT_KEEPS_MUCH_BYTES: i64 = 1024 * MIB;
/// What an answer over a network may be late by, with clocks that are kept.
const SKEW_SEEN: Duration = Duration::from_secs(2);
/// Days of partitions, hours of rollups and the bounds of events' times go by one clock or the other.
const SKEW_BAD: Duration = Duration::from_secs(60);

/// Of each collector at its busiest.
fn connections_needed(config: &Config) -> i32 {
    let rollups = if config.rollup.concurrency == 0 { 1 } else { config.rollup.concurrency + 2 };
    let console = if config.console.enabled { 9 } else { 0 };
    // Housekeeping, retention, and the watch over people; a tap or a replicated database takes up to three.
    (config.flush.lanes + 1 + rollups + 2 + 2 + console + 3 * config.sync.len()) as i32
}

pub async fn settings(client: &ClientWrapper, config: &Config) -> Result<Vec<Finding>, Error> {
    let row = client.query_typed_one(SERVER, &[]).await?;
    let mut findings = vec![version(&row)?, recovery(&row)?];
    findings.extend(durability(&row, config.journal.durability)?);
    findings.extend(upkeep(&row)?);
    findings.push(connections(&row, connections_needed(config))?);
    Ok(findings)
}

fn version(row: &Row) -> Result<Finding, Error> {
    let (version, number): (&str, i32) = (row.try_get("version")?, row.try_get("version_number")?);
    let major = number / 10_000;
    let found = format!("PostgreSQL {version}");
    Ok(if major.cast_unsigned() < POSTGRES_MAJOR_MIN {
        let why = format!("weir needs {POSTGRES_MAJOR_MIN} or later, and does not start");
        Finding::new(
            Level::Problem,
            "postgres.version",
            found,
            why,
            "upgrade PostgreSQL: pg_upgrade, or your provider's button",
        )
    } else if major > POSTGRES_MAJOR_TESTED {
        let why = format!("weir's tests run on {POSTGRES_MAJOR_MIN} to {POSTGRES_MAJOR_TESTED}");
        Finding::new(Level::Note, "postgres.version", found, why, "")
    } else {
        Finding::ok("postgres.version", found)
    })
}

fn recovery(row: &Row) -> Result<Finding, Error> {
    Ok(if row.try_get("is_standby")? {
        let why = "weir never writes to a server that only reads: events wait in the journal";
        let cure = "set DATABASE_URL to the primary, or name all: postgres://user:password@one,two/db";
        Finding::new(Level::Problem, "postgres.primary", "this server is a standby", why, cure)
    } else {
        Finding::ok("postgres.primary", "the server takes writes")
    })
}

/// What a crash of the server costs.
fn durability(row: &Row, durability: Durability) -> Result<Vec<Finding>, Error> {
    let is_off = |name: &str| Ok::<_, Error>(row.try_get::<_, &str>(name)? == "off");
    let mut findings = Vec::new();
    for (check, name, why) in [
        ("postgres.fsync", "fsync", "a crash of the machine can destroy the whole database"),
        (
            "postgres.full-page-writes",
            "full_page_writes",
            "a crash of the machine can leave torn pages that nothing mends",
        ),
    ] {
        findings.push(if is_off(name)? {
            let cure = format!("alter system set {name} = on; select pg_reload_conf();");
            Finding::new(Level::Problem, check, format!("{name} is off"), why, cure)
        } else {
            Finding::ok(check, format!("{name} is on"))
        });
    }
    let check = "postgres.synchronous-commit";
    findings.push(if is_off("synchronous_commit")? {
        let (level, why) = if durability == Durability::Database {
            (Level::Problem, "a crash of PostgreSQL forgets commits that senders have heard of")
        } else {
            (Level::Warning, "a crash of PostgreSQL forgets its last commits: weir sends them again from the journal, others' are gone")
        };
        let cure = "alter system set synchronous_commit = on; select pg_reload_conf(); and where it is set for the role or the \
                    database: alter role ROLE reset synchronous_commit; alter database NAME reset synchronous_commit;";
        Finding::new(level, check, "synchronous_commit is off for weir's role here", why, cure)
    } else {
        Finding::ok(check, format!("synchronous_commit is {}", row.try_get::<_, &str>("synchronous_commit")?))
    });
    findings.push(if is_off("data_checksums")? {
        let why = "bits that rot on the server's disk are not noticed";
        let cure = "stop PostgreSQL; pg_checksums --enable -D DATA_DIRECTORY; start it";
        Finding::new(Level::Note, "postgres.checksums", "data checksums are off", why, cure)
    } else {
        Finding::ok("postgres.checksums", "data checksums are on")
    });
    Ok(findings)
}

/// What makes it slow in the long run.
fn upkeep(row: &Row) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    findings.push(if row.try_get::<_, &str>("autovacuum")? == "off" {
        let why = "tables grow and statistics go stale; in the end PostgreSQL refuses all writes (wraparound)";
        let cure = "alter system set autovacuum = on; select pg_reload_conf();";
        Finding::new(Level::Warning, "postgres.autovacuum", "autovacuum is off", why, cure)
    } else {
        Finding::ok("postgres.autovacuum", "autovacuum is on")
    });
    let wal: i64 = row.try_get("max_wal_bytes")?;
    findings.push(if wal < MAX_WAL_BYTES_FEW {
        let why = "under load checkpoints come one after the other, each with its pages written whole to the WAL again";
        let cure = "alter system set max_wal_size = '8GB'; select pg_reload_conf();";
        Finding::new(Level::Note, "postgres.max-wal-size", format!("max_wal_size is {} MB", wal / MIB), why, cure)
    } else {
        Finding::ok("postgres.max-wal-size", format!("max_wal_size is {} MB", wal / MIB))
    });
    let buffers: i64 = row.try_get("shared_buffers_bytes")?;
    let found = format!("shared_buffers is {} MB", buffers / MIB);
    findings.push(if buffers <= SHARED_BUFFERS_BYTES_DEFAULT {
        let why = "PostgreSQL's default, small for a machine of its own: the indexes of today's partition should fit";
        let cure = "alter system set shared_buffers = '2GB'; and a restart: a quarter of the machine's memory";
        Finding::new(Level::Note, "postgres.shared-buffers", found, why, cure)
    } else {
        Finding::ok("postgres.shared-buffers", found)
    });
    let encoding: &str = row.try_get("encoding")?;
    findings.push(if encoding == "UTF8" {
        Finding::ok("postgres.encoding", "the database is UTF8")
    } else {
        let why = "events in other scripts go to quarantine";
        let cure = "create database NAME encoding 'UTF8' template template0; and move there";
        Finding::new(Level::Problem, "postgres.encoding", format!("the database is {encoding}"), why, cure)
    });
    Ok(findings)
}

fn connections(row: &Row, needed: i32) -> Result<Finding, Error> {
    let (all, used): (i32, i32) = (row.try_get("connections_max")?, row.try_get("connections")?);
    let mut room = (all, "max_connections", "alter system set max_connections = 200; and a restart".to_owned());
    for (name, cure) in [
        ("role_connections_max", "alter role ROLE connection limit -1;"),
        ("database_connections_max", "alter database NAME connection limit -1;"),
    ] {
        let limit: i32 = row.try_get(name)?;
        if limit >= 0 && limit < room.0 {
            room = (limit, "the connection limit of the role or the database", cure.to_owned());
        }
    }
    let (limit, name, cure) = room;
    let found = format!("{used} connections of {limit} ({name}); a collector takes up to {needed}");
    let why = "what finds no connection waits: events in the journal, people at the console";
    Ok(if needed > limit || used + CONNECTIONS_SPARE > all {
        Finding::new(
            Level::Warning,
            "postgres.connections",
            found,
            why,
            format!("{cure}; or PgBouncer in transaction mode"),
        )
    } else {
        Finding::ok("postgres.connections", found)
    })
}

/// The two clocks beside each other; half of the way there and back is taken off.
pub async fn clock(client: &ClientWrapper, clock: &dyn Clock) -> Result<Vec<Finding>, Error> {
    let before = clock.now();
    let there: f64 = client.query_typed_one(CLOCK, &[]).await?.try_get(0)?;
    let after = clock.now();
    let here = (before.as_millisecond() + after.as_millisecond()) as f64 / 2_000.0;
    Ok(vec![skew(here - there)])
}

fn skew(seconds: f64) -> Finding {
    let found = format!("this machine's clock is {seconds:.1} s ahead of the database's");
    let why = "events' times are judged by one and partitions, rollups and retention go by the other";
    let cure = "timedatectl set-ntp true     (on both machines; chronyc tracking shows the offset)";
    let is_beyond = |limit: Duration| seconds.abs() > limit.as_secs_f64();
    if is_beyond(SKEW_BAD) {
        Finding::new(Level::Problem, "clock", found, why, cure)
    } else if is_beyond(SKEW_SEEN) {
        Finding::new(Level::Warning, "clock", found, why, cure)
    } else {
        Finding::ok("clock", found)
    }
}

/// Slots of this server, whoever made them.
pub async fn slots(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let check = "postgres.slots";
    let mut findings = Vec::new();
    for row in client.query_typed(SLOTS, &[]).await? {
        let (name, is_active): (&str, bool) = (row.try_get("name")?, row.try_get("active")?);
        let (status, kept): (&str, i64) = (row.try_get("wal_status")?, row.try_get("kept_bytes")?);
        let state = if is_active { "active" } else { "inactive" };
        let found = format!("slot {name} is {state} and keeps {} MB of WAL ({status})", kept / MIB);
        let why = "WAL that a slot keeps fills the server's disk, and then everything stops";
        let quoted = name.replace('\'', "''");
        let cure = format!("start who reads it; if nobody does any more: select pg_drop_replication_slot('{quoted}');");
        findings.push(match (is_active, kept >= SLOT_KEEPS_MUCH_BYTES) {
            _ if status == "lost" => {
                let cure = format!(
                    "select pg_drop_replication_slot('{quoted}'); and `weir sync resync NAME` if it was weir's"
                );
                Finding::new(Level::Problem, check, found, "what was to be read by it is gone", cure)
            }
            (false, true) => Finding::new(Level::Problem, check, found, why, cure),
            (false, false) | (true, true) => Finding::new(Level::Warning, check, found, why, cure),
            (true, false) => Finding::ok(check, found),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, "no replication slots on this server"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_in_both_directions() {
        for (seconds, level) in [
            (0.0, Level::Ok),
            (1.9, Level::Ok),
            (-2.1, Level::Warning),
            (59.0, Level::Warning),
            (61.0, Level::Problem),
            (-3_600.0, Level::Problem),
        ] {
            assert_eq!(skew(seconds).level, level, "{seconds}");
        }
    }
}
