//! Connections to PostgreSQL: the pool, TLS, and migrations.
//!
//! Everything works through PgBouncer in transaction mode: no session state, no prepared statement that outlives its
//! transaction, timeouts by `set local`. The role owns its database and needs nothing more.

pub mod advisory;
pub mod dependents;
pub mod distribute;
pub mod login;
pub mod migrate;
pub mod text;
pub(crate) mod tls;
pub mod turns;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;

use crate::config;
use distribute::{Distribute, DistributeError};

/// What is sent must be confirmed within this.
pub(crate) const NETWORK_TIMEOUT: Duration = Duration::from_secs(30);
/// One to work with, and one that holds the lock of a migration meanwhile.
const CONNECTIONS_MIN: usize = 2;

/// A pool of connections to the one database.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    statement_timeout: Duration,
    distribute: Distribute,
    url: String,
}

/// The database cannot be used, or said no.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("no database is set: set DATABASE_URL, or use `weir up`, which brings its own")]
    NoUrl,
    #[error("the database URL is not valid: {0}")]
    BadUrl(String),
    #[error("certificates for the database: {0}")]
    Tls(String),
    #[error("no connection to the database: {}", chain(.0))]
    Connect(Box<PoolError>),
    #[error("{}", chain(.0))]
    Query(#[from] tokio_postgres::Error),
    #[error("the database does not answer")]
    Lost,
    #[error("migration: {0}")]
    Migration(String),
    #[error(transparent)]
    Distribute(Box<DistributeError>),
    #[error("PostgreSQL {found} is too old; weir needs {} or later", migrate::POSTGRES_MAJOR_MIN)]
    TooOld { found: String },
    #[error(
        "the database was changed by a newer weir ({migration}), and this one (schema {newest}) would not work on it: \
         start the newer one, or restore the backup made before (docs/upgrading.md)"
    )]
    TooNew { migration: String, newest: i32 },
}

/// An error with its causes: `tokio_postgres` keeps the interesting part there.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl DatabaseError {
    /// The SQLSTATE, where PostgreSQL gave one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Query(error) => error.code(),
            _ => None,
        }
    }
}

impl Database {
    /// Prepares a pool of at most `connections`; connects only when a client is asked for.
    ///
    /// A connection is driven by the runtime that asked for it first, so runtimes do not share a pool.
    pub fn new(settings: &config::Database, connections: usize) -> Result<Self, DatabaseError> {
        // After a failover the old primary may still answer: rows must never go to it.
        Self::with(settings, connections, TargetSessionAttrs::ReadWrite)
    }

    /// As [`Self::new`], of a database that is only read: a standby will do.
    pub fn reading(settings: &config::Database, connections: usize) -> Result<Self, DatabaseError> {
        Self::with(settings, connections, TargetSessionAttrs::Any)
    }

    fn with(settings: &config::Database, connections: usize, to: TargetSessionAttrs) -> Result<Self, DatabaseError> {
        if settings.url.trim().is_empty() {
            return Err(DatabaseError::NoUrl);
        }
        let (url, tls) = tls::configure(&settings.url)?;
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| DatabaseError::BadUrl(chain(&error)))?;
        config.connect_timeout(Duration::from_secs(settings.connect_timeout_s));
        config.target_session_attrs(to);
        // A host that vanished without a word must not hold a connection for the kernel's quarter of an hour.
        config
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .keepalives_idle(NETWORK_TIMEOUT / 2)
            .keepalives_interval(NETWORK_TIMEOUT / 6);
        if config.get_application_name().is_none() {
            config.application_name("weir");
        }
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls, recycling);
        let wait = Duration::from_secs(settings.connect_timeout_s.max(1));
        let pool = Pool::builder(manager)
            .max_size(connections.max(CONNECTIONS_MIN))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(wait), create: Some(wait), recycle: Some(wait) })
            .build()
            .map_err(|error| DatabaseError::BadUrl(error.to_string()))?;
        Ok(Self {
            pool,
            statement_timeout: Duration::from_secs(settings.statement_timeout_s),
            distribute: settings.distribute,
            url: settings.url.clone(),
        })
    }

    /// A connection, new or used before.
    pub async fn client(&self) -> Result<Object, DatabaseError> {
        self.pool.get().await.map_err(|error| DatabaseError::Connect(Box::new(error)))
    }

    /// The longest that a statement may run.
    pub fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Whether its events lie on several servers.
    pub fn is_distributed(&self) -> bool {
        self.distribute != Distribute::None
    }

    /// Until this has ended, who has seen a committed row of weir's own may not see the events that it tells of, where these lie on
    /// other servers.
    pub async fn events_are_committed(&self, client: &impl tokio_postgres::GenericClient) -> Result<(), DatabaseError> {
        if self.is_distributed() { distribute::committed(client).await } else { Ok(()) }
    }

    /// Where it is, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes all connections as they come back.
    pub fn close(&self) {
        self.pool.close();
    }
}
