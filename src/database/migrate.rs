//! Migrations at start: the numbered files of `schema/migrations`, run once each, whoever starts first.

use std::time::Duration;

use super::{Database, DatabaseError, advisory};

/// The oldest PostgreSQL whose behaviour the tests know.
pub const POSTGRES_MAJOR_MIN: u32 = 14;
/// The key of the advisory lock: "weir" in ASCII. Any number of collectors may start at once; one migrates.
pub(crate) const MIGRATION_LOCK: i64 = 0x7765_6972;
const MIGRATIONS_TABLE: &str = "weir.migrations";
/// Another collector's migration may take this long before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(60);

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
    runner.set_migration_table_name(MIGRATIONS_TABLE);
    // During a rolling upgrade an older program meets migrations that it does not know; they only expand.
    let runner = runner.set_abort_missing(false);
    let report =
        runner.run_async(&mut **client).await.map_err(|error| DatabaseError::Migration(super::chain(&error)))?;
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "migrated");
    }
    lock.commit().await?;
    Ok(())
}
