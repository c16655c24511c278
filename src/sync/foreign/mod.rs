//! The application's PostgreSQL, by foreign tables: for servers that are too old to be replicated, or where that is not allowed.
//!
//! ```text
//! the application's server ◀──each query── foreign tables in the source's schema                 snapshot = false
//! the application's server ◀──each copy─── foreign tables in SCHEMA_live ──▶ tables in SCHEMA    snapshot = true
//! ```
//!
//! Its catalog is looked at every minute. When its tables have changed, all foreign tables are made anew in one transaction,
//! with their grants, and so are all views above them; what cannot be made again is in `sync.broken_views`.
//!
//! Columns of types that are not PostgreSQL's own are of the domain `sync.foreign_text`. `postgres_fdw` sends no condition on a
//! type that is not built in, and that is what it is for: `enum = text` would be refused there.

mod refresh;
pub mod runner;
pub mod settings;
mod snapshot;

use deadpool_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use crate::config;
use crate::database::dependents::{Broken, DependentsError};
use crate::database::{Database, DatabaseError};
use crate::sync::postgres::quoted;
use settings::Foreign;

/// Longer would make analysts queue behind us.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// Of weir's own: one works, one tells.
const CONNECTIONS: usize = 2;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a source's tables are not seen.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error("weir's database: {0}")]
    Local(#[from] DatabaseError),
    #[error("the application's server: {0}")]
    There(DatabaseError),
    #[error(transparent)]
    Dependents(#[from] DependentsError),
    #[error("{0}")]
    Settings(String),
    #[error("{0} is not started: `weir sync start {0}`")]
    NotStarted(String),
    #[error("no table there would be seen: set tables, as [\"public.*\"], and let weir's role read them")]
    NoTables,
    #[error(
        "weir's database has no postgres_fdw for weir's role ({0}): as superuser, `create extension if not exists \
         postgres_fdw; grant usage on foreign data wrapper postgres_fdw to ROLE`"
    )]
    NoWrapper(String),
}

impl From<tokio_postgres::Error> for ForeignError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Local(error.into())
    }
}

/// One source.
pub struct Bridge {
    pub name: String,
    /// Of the tables that analysts use.
    pub schema: String,
    pub settings: Foreign,
    pub local: Database,
    remote: Database,
    url: String,
}

/// What came of a refresh.
#[derive(Debug, Default)]
pub struct Refreshed {
    pub tables: usize,
    pub broken: Vec<Broken>,
}

impl Bridge {
    pub fn new(database: &config::Database, name: &str, settings: &Foreign) -> Result<Self, ForeignError> {
        let url = settings.url(name).map_err(ForeignError::Settings)?;
        let remote = config::Database { url: url.clone(), ..database.clone() };
        let schema = if settings.schema.is_empty() { name } else { &settings.schema };
        Ok(Self {
            name: name.to_owned(),
            schema: schema.to_owned(),
            settings: settings.clone(),
            local: Database::new(database, CONNECTIONS)?,
            remote: Database::reading(&remote, 1).map_err(ForeignError::There)?,
            url,
        })
    }

    /// The foreign server's name.
    fn server(&self) -> String {
        format!("weir_{}", self.name)
    }

    /// Where the foreign tables are.
    fn live_schema(&self) -> String {
        if self.settings.snapshot { format!("{}_live", self.schema) } else { self.schema.clone() }
    }

    /// By which a copied table is known to be the source's: others may put theirs beside it.
    fn mark(&self) -> String {
        format!("weir sync {}: copied from the foreign table", self.name)
    }

    /// Makes everything; whoever runs `weir serve` follows from then on.
    pub async fn start(&self) -> Result<Refreshed, ForeignError> {
        let mut client = self.local.client().await?;
        let wrapper = "create extension if not exists postgres_fdw";
        if let Err(error) = client.batch_execute(wrapper).await {
            return Err(ForeignError::NoWrapper(told(&error)));
        }
        let transaction = client.transaction().await?;
        begin(&transaction, self.local.statement_timeout().as_millis()).await?;
        for schema in [&self.schema, &self.live_schema()] {
            transaction.batch_execute(&format!("create schema if not exists {}", quoted(schema))).await?;
        }
        let sql = "insert into sync.sources (source, kind, schema) values ($1, 'foreign', $2)
                   on conflict (source) do update set kind = excluded.kind, schema = excluded.schema, state = null";
        transaction.execute_typed(sql, &[(&self.name, Type::TEXT), (&self.schema, Type::TEXT)]).await?;
        transaction.commit().await?;
        drop(client);
        let refreshed = self.refresh().await?.unwrap_or_default();
        if self.settings.snapshot {
            self.snapshot().await?;
        }
        Ok(refreshed)
    }

    /// Forgets the source; with `drops_data`, drops its tables, too. Returns those that stay because something stands on them.
    pub async fn stop(&self, drops_data: bool) -> Result<Vec<String>, ForeignError> {
        let mut client = self.local.client().await?;
        let mut kept = Vec::new();
        if drops_data {
            let sql = "select format('%I.%I', n.nspname, c.relname), c.relkind = 'f'
                         from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         left join pg_foreign_table f on f.ftrelid = c.oid
                         left join pg_foreign_server s on s.oid = f.ftserver
                        where s.srvname = $2
                           or (n.nspname = $1 and c.relkind = 'r' and obj_description(c.oid, 'pg_class') = $3)";
            let values: [Parameter<'_>; 3] =
                [(&self.schema, Type::TEXT), (&self.server(), Type::TEXT), (&self.mark(), Type::TEXT)];
            for row in client.query_typed(sql, &values).await? {
                let (name, is_foreign): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
                let what = if is_foreign { "foreign table" } else { "table" };
                let transaction = client.transaction().await?;
                begin(&transaction, self.local.statement_timeout().as_millis()).await?;
                match transaction.batch_execute(&format!("drop {what} {name}")).await {
                    Ok(()) => transaction.commit().await?,
                    Err(error) => kept.push(format!("{name}: {}", told(&error))),
                }
            }
            if kept.is_empty() {
                client.batch_execute(&format!("drop server if exists {} cascade", quoted(&self.server()))).await?;
                for schema in [&self.live_schema(), &self.schema] {
                    // Others may have put something into it.
                    let _ = client.batch_execute(&format!("drop schema if exists {}", quoted(schema))).await;
                }
            }
        }
        let sql = "delete from sync.sources where source = $1 and kind = 'foreign'";
        client.execute_typed(sql, &[(&self.name, Type::TEXT)]).await?;
        Ok(kept)
    }

    pub fn close(&self) {
        self.local.close();
        self.remote.close();
    }
}

async fn begin(transaction: &Transaction<'_>, statement_ms: u128) -> Result<(), tokio_postgres::Error> {
    let settings = format!(
        "set local search_path = pg_catalog; set local lock_timeout = {LOCK_TIMEOUT_MS};
         set local statement_timeout = {statement_ms}"
    );
    transaction.batch_execute(&settings).await
}

fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |refusal| refusal.detail().map_or_else(|| refusal.message().to_owned(), ToOwned::to_owned),
    )
}
