//! Connections of people, who come with a role and a password of their own. What they may do is PostgreSQL's to say.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::turns::{Turn, Turns};
use super::{DatabaseError, NETWORK_TIMEOUT, chain, tls};
use crate::config;

/// As what people's connections show up in `pg_stat_activity`.
const APPLICATION: &str = "weir console";

/// A login costs the server a new process, and its first query the reading of the catalogs: some ten milliseconds each. Whatever takes
/// longer goes on beside the others.
const TURN_MAX: Duration = Duration::from_millis(250);
/// Of this machine's processors, one for people and one for events: the database may well be here, too.
const PROCESSORS_FOR_ONE: usize = 2;
/// Longer goodbyes are not waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where people log in.
pub struct Logins {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    timeout: Duration,
    /// Where connections are made and driven.
    on: Handle,
    turns: Turns,
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
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let turns = Turns::new(processors / PROCESSORS_FOR_ONE, TURN_MAX, on.clone());
        Ok(Self { config, tls, timeout, on, turns })
    }

    /// Logs in, when it is one's turn.
    pub async fn connect(&self, role: &str, password: &str) -> Result<Login, LoginError> {
        let turn = self.turn().await;
        self.connect_in(&turn, role, password).await
    }

    /// Waits for a turn to log in and do something.
    pub async fn turn(&self) -> Turn {
        self.turns.take().await
    }

    /// Logs in, within a turn.
    pub async fn connect_in(&self, _turn: &Turn, role: &str, password: &str) -> Result<Login, LoginError> {
        let mut config = self.config.clone();
        config.user(role).password(password);
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
