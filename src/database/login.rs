//! Connections of people, who come with a role and a password of their own. What they may do is PostgreSQL's to say.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseError, NETWORK_TIMEOUT, chain, tls};
use crate::config;

/// As what people's connections show up in `pg_stat_activity`.
const APPLICATION: &str = "weir console";

/// Each costs the server a new process and some milliseconds, and this one as many of hashing: a hundred people who come at
/// nine must not take every processor from events. Two, so that one whose packets are lost holds nobody up.
const LOGINS_AT_ONCE: usize = 2;
/// Longer goodbyes are not waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where people log in.
pub struct Logins {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    timeout: Duration,
    /// Where connections are made and driven.
    on: Handle,
    turns: Semaphore,
}

/// One person's connection; it ends with this.
pub struct Login {
    pub client: Client,
    tls: MakeRustlsConnect,
    driver: Driver,
}

/// Moves the bytes of a connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        // A statement under way would keep its connection until all its rows are read.
        self.0.abort();
    }
}

/// Ends the statement under way, from elsewhere.
#[derive(Clone)]
pub struct Cancel {
    token: CancelToken,
    tls: MakeRustlsConnect,
}

/// Why a person did not get in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("role or password is wrong, or the role may not log in")]
    Refused,
    #[error("this role has as many connections as it may; wait until one of them is done")]
    TooMany,
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl Logins {
    /// At `url`, whose own role and password are not used; on the threads of `on`.
    pub fn new(url: &str, settings: &config::Database, on: Handle) -> Result<Self, DatabaseError> {
        if url.trim().is_empty() {
            return Err(DatabaseError::NoUrl);
        }
        let (url, tls) = tls::configure(url)?;
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| DatabaseError::BadUrl(chain(&error)))?;
        // Without a name PostgreSQL takes the role's: each person would be sent to another database.
        if let (None, Some(user)) = (config.get_dbname(), config.get_user()) {
            let user = user.to_owned();
            config.dbname(user);
        }
        let timeout = Duration::from_secs(settings.connect_timeout_s.max(1));
        config.connect_timeout(timeout).application_name(APPLICATION);
        config
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .keepalives_idle(NETWORK_TIMEOUT / 2)
            .keepalives_interval(NETWORK_TIMEOUT / 6);
        Ok(Self { config, tls, timeout, on, turns: Semaphore::new(LOGINS_AT_ONCE) })
    }

    /// Logs in.
    pub async fn connect(&self, role: &str, password: &str) -> Result<Login, LoginError> {
        let mut config = self.config.clone();
        config.user(role).password(password);
        // It is never closed.
        let _turn = self.turns.acquire().await;
        let (tls, timeout) = (self.tls.clone(), self.timeout * 2);
        let connecting = self.on.spawn(async move { tokio::time::timeout(timeout, config.connect(tls)).await });
        let connected = connecting.await.map_err(|_| DatabaseError::Lost)?.map_err(|_| DatabaseError::Lost)?;
        let (client, connection) = connected.map_err(|error| match error.code() {
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => LoginError::TooMany,
            Some(code)
                if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                LoginError::Refused
            }
            _ => LoginError::Database(error.into()),
        })?;
        let driver = self.on.spawn(async move {
            // Whoever uses the client hears of it.
            let _ = connection.await;
        });
        Ok(Login { client, tls: self.tls.clone(), driver: Driver(driver) })
    }
}

impl Login {
    pub fn cancel(&self) -> Cancel {
        Cancel { token: self.client.cancel_token(), tls: self.tls.clone() }
    }

    /// Says goodbye, so that the server does not take it for an accident.
    pub async fn close(self) {
        let Self { client, mut driver, .. } = self;
        drop(client);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut driver.0).await;
    }
}

impl Cancel {
    /// Asks the server to end the statement under way. Whether there was one is not known.
    pub async fn send(&self) -> Result<(), DatabaseError> {
        Ok(self.token.cancel_query(self.tls.clone()).await?)
    }
}
