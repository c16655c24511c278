//! Migrations at start: the numbered files of `schema/migrations`, run once each, whoever starts first.
//!
//! Most only add, and a program that is older than the schema works on. One that takes something away says so by its name,
//! `V21__no_more_x_needs_18.sql`: a program that does not know it, and whose own newest migration is older than 18, would
//! fail on what is gone, and does not start. The name is in `weir.migrations`, where programs of any age find it.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Database, DatabaseError, advisory, distribute};

/// The oldest PostgreSQL whose behaviour the tests know.
pub const POSTGRES_MAJOR_MIN: u32 = 14;
/// The key of the advisory lock: "weir" in ASCII. Any number of collectors may start at once; one migrates.
pub(crate) const MIGRATION_LOCK: i64 = 0x7765_6972;
const MIGRATIONS_TABLE: &str = "weir.migrations";
/// Another collector's migration may take this long before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// A migration waits five seconds for a lock, so that nobody queues behind it for longer. A rollup under way ends within its
/// statement timeout; a dump may take longer, and is then named in the error.
const ATTEMPTS_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_secs(5);

mod embedded {
    refinery::embed_migrations!("schema/migrations");
}

/// The version of this program's schema.
pub fn newest() -> i64 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

/// Brings the database to this program's schema.
///
/// The lock is held by a transaction on one connection while the migrations run on another: that works through
/// PgBouncer in transaction mode, where a session lock would be left behind on a stranger's connection.
pub async fn run(database: &Database) -> Result<(), DatabaseError> {
    let mut guard = database.client().await?;
    let version: String =
        guard.query_typed_one("select current_setting('server_version_num')", &[]).await?.try_get(0)?;
    if version.parse::<u32>().is_ok_and(|number| number / 10_000 < POSTGRES_MAJOR_MIN) {
        return Err(DatabaseError::TooOld { found: version });
    }
    let lock = guard.transaction().await?;
    let wait_ms = LOCK_WAIT.as_millis();
    lock.batch_execute(&format!(
        "set local lock_timeout = {wait_ms}; set local idle_in_transaction_session_timeout = 0"
    ))
    .await?;
    advisory::wait(&lock, MIGRATION_LOCK).await?;

    let mut client = database.client().await?;
    let exists = "select exists (select from pg_namespace where nspname = 'weir')";
    if !client.query_typed_one(exists, &[]).await?.try_get::<_, bool>(0)? {
        client.batch_execute("create schema weir").await?;
    }
    let mut runner = embedded::migrations::runner();
    let newest = runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or_default();
    refuse_newer(&mut client, newest).await?;
    runner.set_migration_table_name(MIGRATIONS_TABLE);
    // During a rolling upgrade an older program meets migrations that it does not know, and can work with.
    let runner = runner.set_abort_missing(false);
    let mut attempt = 1;
    let report = loop {
        match runner.run_async(&mut **client).await {
            Ok(report) => break report,
            // Each migration is a transaction of its own, and those before it stay.
            Err(error) if attempt < ATTEMPTS_MAX && is_busy(&error) => {
                let error = super::chain(&error);
                tracing::warn!(error, attempt, "a table that a migration changes is in use: it is tried again");
            }
            Err(error) => return Err(DatabaseError::Migration(super::chain(&error))),
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    };
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "migrated");
    }
    distribute::settle(&mut client, database.distribute).await?;
    lock.commit().await?;
    Ok(())
}

/// Whether somebody else had what the migration needs: a dump, or a rollup that is being computed.
fn is_busy(error: &refinery::Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.any(|cause| {
        let code = cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        code.is_some_and(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code))
    })
}

/// Refuses a database that programs of this age cannot work with any more.
async fn refuse_newer(client: &mut ClientWrapper, newest: i32) -> Result<(), DatabaseError> {
    let is_there = "select to_regclass('weir.migrations') is not null";
    if !client.query_typed_one(is_there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    let unknown = "select version, name from weir.migrations where version > $1 order by version";
    for row in client.query_typed(unknown, &[(&newest, Type::INT4)]).await? {
        let (version, name): (i32, String) = (row.try_get("version")?, row.try_get("name")?);
        if needs(&name).is_some_and(|least| newest < least) {
            return Err(DatabaseError::TooNew { migration: format!("V{version}__{name}"), newest });
        }
    }
    Ok(())
}

/// The oldest schema whose programs work with what this migration left.
fn needs(name: &str) -> Option<i32> {
    name.rsplit_once("_needs_")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_says_by_its_name_whom_it_shuts_out() {
        assert_eq!(needs("no_more_x_needs_18"), Some(18));
        assert_eq!(needs("what_x_needs_18_needs_20"), Some(20));
        assert_eq!(needs("access"), None);
        assert_eq!(needs("what_x_needs_most"), None);
    }

    #[test]
    fn nobody_is_shut_out_by_a_migration_of_the_same_program() {
        for migration in embedded::migrations::runner().get_migrations() {
            let least = needs(migration.name());
            assert!(
                least.is_none_or(|least| least < migration.version()),
                "{migration} leaves no release to upgrade from"
            );
        }
    }
}
