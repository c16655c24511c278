//! The two connections by which roles are made: weir's own, and, where weir's role may not, an administrator's.

use std::pin::pin;

use bytes::Bytes;
use deadpool_postgres::{Object, Transaction};
use futures_util::SinkExt;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::settings::Analyst;
use super::{AnalystError, told};
use crate::config;
use crate::database::{Database, advisory};

/// Two who change roles at once: "pers" in ASCII.
pub(crate) const PERSONS_LOCK: i64 = 0x7065_7273;
/// Waiting longer for a lock would make others queue behind it.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// Granting a thousand partitions takes less; so does giving away all that a person has.
const STATEMENT_TIMEOUT_MS: u32 = 120_000;

const FACTS: &str = include_str!("sql/facts.sql");

pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What is known before anything is done.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// weir's role.
    pub role: String,
    pub database: String,
    pub major: i32,
    can_make_roles: bool,
    /// Since when the server runs: another one has another moment.
    started: String,
}

/// Connections for one command.
pub(crate) struct Connections {
    own: Object,
    admin: Option<Object>,
    pub facts: Facts,
    is_distributed: bool,
}

impl Connections {
    pub async fn open(database: &Database, settings: &Analyst) -> Result<Self, AnalystError> {
        let own = database.client().await?;
        let facts = facts(&own).await?;
        let admin = if settings.admin_url.trim().is_empty() {
            if !facts.can_make_roles {
                let Facts { role, database, major, .. } = facts;
                return Err(AnalystError::NoCreateRole { role, database, major });
            }
            None
        } else {
            let admin = Database::new(
                &config::Database {
                    url: settings.admin_url.clone(),
                    statement_timeout_s: database.statement_timeout().as_secs(),
                    ..config::Database::default()
                },
                1,
            )?;
            let client = admin.client().await?;
            let there = self::facts(&client).await?;
            if there.database != facts.database {
                return Err(AnalystError::OtherDatabase { found: there.database, wanted: facts.database });
            }
            if there.started != facts.started {
                return Err(AnalystError::OtherServer);
            }
            if !there.can_make_roles {
                return Err(AnalystError::NoCreateRole {
                    role: there.role,
                    database: there.database,
                    major: there.major,
                });
            }
            Some(client)
        };
        Ok(Self { own, admin, facts, is_distributed: database.is_distributed() })
    }

    /// Begins, alone among all that change roles here.
    pub async fn begin(&mut self) -> Result<Hands<'_>, AnalystError> {
        let own = begin(&mut self.own, self.is_distributed).await?;
        advisory::wait(&own, PERSONS_LOCK).await?;
        let admin = match &mut self.admin {
            Some(admin) => Some(begin(admin, self.is_distributed).await?),
            None => None,
        };
        Ok(Hands { own: Some(own), admin, facts: &self.facts })
    }

    /// weir's own.
    pub fn own(&self) -> &tokio_postgres::Client {
        &self.own
    }
}

async fn begin(client: &mut Object, is_distributed: bool) -> Result<Transaction<'_>, AnalystError> {
    let transaction = client.transaction().await?;
    let settings = format!(
        "set local search_path = pg_catalog; set local lock_timeout = {LOCK_TIMEOUT_MS};
         set local statement_timeout = {STATEMENT_TIMEOUT_MS}"
    );
    transaction.batch_execute(&settings).await?;
    if is_distributed {
        // What was granted on many shards side by side would forbid what follows.
        transaction.batch_execute("set local citus.multi_shard_modify_mode = 'sequential'").await?;
    }
    Ok(transaction)
}

async fn facts(client: &Object) -> Result<Facts, AnalystError> {
    let row = client.query_typed_one(FACTS, &[]).await?;
    Ok(Facts {
        role: row.try_get("role")?,
        database: row.try_get("database")?,
        major: row.try_get("major")?,
        can_make_roles: row.try_get("can_make_roles")?,
        started: row.try_get("started")?,
    })
}

/// Both connections within transactions: one, where weir's role makes roles itself.
pub(crate) struct Hands<'a> {
    own: Option<Transaction<'a>>,
    admin: Option<Transaction<'a>>,
    pub facts: &'a Facts,
}

impl Hands<'_> {
    /// Runs a statement about roles.
    pub async fn role(&self, what: &str, sql: &str) -> Result<(), AnalystError> {
        run(self.admin.as_ref().or(self.own.as_ref()), what, sql).await
    }

    /// Runs a statement about what is weir's, or a person's.
    pub async fn own(&self, what: &str, sql: &str) -> Result<(), AnalystError> {
        run(self.own.as_ref(), what, sql).await
    }

    /// Adds a row to a table of weir's, by a COPY of text: no log of the server's holds what comes so.
    pub async fn copy(&self, sql: &str, values: &[&str]) -> Result<(), AnalystError> {
        let Some(own) = &self.own else { return Ok(()) };
        let escaped = |value: &&str| value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
        let line = values.iter().map(escaped).collect::<Vec<_>>().join("\t");
        let mut sink = pin!(own.copy_in(sql).await?);
        sink.send(Bytes::from(format!("{line}\n"))).await?;
        sink.finish().await?;
        Ok(())
    }

    /// Runs a statement that one of the two may be allowed, until `is_undone`, if there is one, says that it did what it should:
    /// where PostgreSQL only warns. False: neither may.
    pub async fn either(&self, sql: &str, is_undone: Option<&str>) -> Result<bool, AnalystError> {
        for transaction in [&self.own, &self.admin].into_iter().flatten() {
            transaction.batch_execute("savepoint weir_either").await?;
            let is_done = match (transaction.batch_execute(sql).await, is_undone) {
                (Ok(()), None) => true,
                (Ok(()), Some(is_undone)) => {
                    !transaction.query_typed_one(is_undone, &[]).await?.try_get::<_, bool>(0)?
                }
                (Err(error), _) if error.as_db_error().is_some() => {
                    tracing::debug!(%error, sql, "not allowed");
                    false
                }
                (Err(error), _) => return Err(error.into()),
            };
            if is_done {
                transaction.batch_execute("release savepoint weir_either").await?;
                return Ok(true);
            }
            // Nothing of it, nor any lock, may be in the other's way.
            transaction.batch_execute("rollback to savepoint weir_either").await?;
        }
        Ok(false)
    }

    pub async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, AnalystError> {
        match &self.own {
            Some(own) => Ok(own.query_typed(sql, parameters).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The first column of the first row.
    pub async fn texts(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<String>, AnalystError> {
        let rows = self.query(sql, parameters).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    pub async fn is(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<bool, AnalystError> {
        let rows = self.query(sql, parameters).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
    }

    /// Whether there is a role of that name.
    pub async fn has_role(&self, name: &str) -> Result<bool, AnalystError> {
        self.is("select exists (select from pg_roles where rolname = $1)", &[(&name, Type::TEXT)]).await
    }

    /// An administrator's part is done: weir's connection sees it from now on.
    pub async fn roles_are_done(&mut self) -> Result<(), AnalystError> {
        if let Some(admin) = self.admin.take() {
            admin.commit().await?;
        }
        Ok(())
    }

    /// weir's part is done, where an administrator goes on.
    pub async fn own_is_done(&mut self) -> Result<(), AnalystError> {
        if self.admin.is_some()
            && let Some(own) = self.own.take()
        {
            own.commit().await?;
        }
        Ok(())
    }

    pub async fn commit(self) -> Result<(), AnalystError> {
        for transaction in [self.own, self.admin].into_iter().flatten() {
            transaction.commit().await?;
        }
        Ok(())
    }
}

async fn run(transaction: Option<&Transaction<'_>>, what: &str, sql: &str) -> Result<(), AnalystError> {
    let Some(transaction) = transaction else { return Ok(()) };
    transaction.batch_execute(sql).await.map_err(|error| refused(what, error))
}

/// Without the statement, which may hold a verifier.
fn refused(what: &str, error: tokio_postgres::Error) -> AnalystError {
    match error.as_db_error() {
        Some(refusal) if *refusal.code() != SqlState::QUERY_CANCELED => {
            AnalystError::Refused { what: what.to_owned(), reason: told(&error) }
        }
        _ => error.into(),
    }
}
