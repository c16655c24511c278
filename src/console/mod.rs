//! The console: a website on the admin listener where colleagues look at what happens, write SQL, and share what it came to.
//!
//! # Who may see what
//!
//! People sign in with their own PostgreSQL role, and whatever they write runs on a connection of theirs ([`run`]): there
//! is no check here that could be got around, PostgreSQL's own rights decide. What the console itself keeps
//! (`schema/migrations/V14__console.sql`) only weir's role reads, and every page asks whose it is. Live and the dashboard are
//! fixed statements over `analytics`, which all people may read, so they run as weir's role, read-only.
//!
//! # Layout
//!
//! ```text
//! auth       sessions, sign-in, and the guard before every page
//! page       what all pages have in common
//! live       what happens now
//! dashboard  what visitors do, from rollups
//! run        a text becomes statements, these a result
//! results    /r/ID: what a run came to, as it was
//! queries    /q/SLUG: texts that are kept, with schedules
//! operate    what keeps weir running
//! ```

pub mod aside;
pub mod assets;
pub mod audit;
pub mod auth;
pub mod dashboard;
pub mod error;
pub mod links;
pub mod live;
pub mod operate;
pub mod page;
pub mod queries;
pub mod results;
pub mod routes;
pub mod run;
pub mod schema;
pub mod settings;
pub mod shared;
pub mod sql_page;
pub mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin::Operator;
use crate::clock::Clock;
use crate::config::Config;
use crate::database::login::Logins;
use crate::database::{Database, DatabaseError};
use crate::demo::Demo;
use crate::entropy::Entropy;
use aside::Aside;
use auth::session::Sessions;
use auth::sign_in::Asked;
use auth::throttle::Throttle;
use error::ConsoleError;
use run::rows::Most;
use run::runs::{Bounds, Runs};

/// Short statements of weir's own, and three of the dashboard's; what people write has connections of its own.
const CONNECTIONS: usize = 7;
/// Files of results, and pages with their first rows, that are made or on their way: tens of megabytes each.
const FILES_MAX: usize = 8;
/// Whoever waits longer for a file's turn is told to come again.
const FILE_WAIT: Duration = Duration::from_secs(20);
/// By which runs are noted and kept.
const RUNS_CONNECTIONS: usize = 2;

/// What all pages share.
pub struct Console {
    pub database: Database,
    pub logins: Arc<Logins>,
    pub sessions: Sessions,
    pub throttle: Throttle,
    pub runs: Arc<Runs>,
    pub operator: Arc<Operator>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub trusted_proxies: Vec<IpNet>,
    /// The source that `weir up` made, whose key can be shown.
    pub first_source: Option<Demo>,
    /// How long it is believed that a password is still the person's.
    pub proof_age_max: Duration,
    /// As others reach it; empty: as the browser says.
    pub public_url: String,
    pub operating: operate::Operating,
    live: live::Live,
    answers: dashboard::answer::Answers,
    /// Whether this collector computes rollups.
    follows_rollups: bool,
    files: Arc<Semaphore>,
    /// Roles that PostgreSQL was seen to ask for a password.
    pub asked: Asked,
    /// For what takes processors.
    aside: Aside,
}

/// What is guarded in the console is whole after every statement, also where a thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    pub fn new(
        config: &Config,
        operator: Arc<Operator>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        first_source: Option<Demo>,
        aside: Aside,
    ) -> Result<Self, DatabaseError> {
        let settings = &config.console;
        let database = Database::new(&config.database, CONNECTIONS)?;
        let runs_database = Database::new(&config.database, RUNS_CONNECTIONS)?;
        let url = if settings.database_url.is_empty() { &config.database.url } else { &settings.database_url };
        let logins = Arc::new(Logins::new(url, &config.database, aside.handle().clone())?);
        let bounds = Bounds {
            concurrency: settings.queries_max,
            most: Most { rows: settings.result_rows_max, bytes: settings.result_bytes_max },
            timeout: Duration::from_secs(settings.statement_timeout_s),
        };
        Ok(Self {
            runs: Arc::new(Runs::new(
                runs_database,
                Arc::clone(&logins),
                Arc::clone(&entropy),
                bounds,
                aside.handle().clone(),
            )),
            aside,
            database,
            logins,
            sessions: Sessions::new(Duration::from_secs(settings.session_hours * 3_600)),
            throttle: Throttle::default(),
            operator,
            clock,
            entropy,
            trusted_proxies: config.receive.trusted_proxies.clone(),
            first_source,
            proof_age_max: Duration::from_secs(settings.password_check_s),
            public_url: settings.public_url.clone(),
            operating: operate::Operating::new(config)?,
            live: live::Live::default(),
            answers: dashboard::answer::Answers::default(),
            follows_rollups: config.rollup.concurrency > 0,
            asked: Asked::default(),
            files: Arc::new(Semaphore::new(FILES_MAX)),
        })
    }

    /// Waits until another result may be taken into memory; held until it has left again.
    async fn file_turn(&self) -> Result<OwnedSemaphorePermit, ConsoleError> {
        let turn = tokio::time::timeout(FILE_WAIT, Arc::clone(&self.files).acquire_owned()).await;
        // It is never closed.
        let busy = || ConsoleError::Busy("many results are being fetched: try again in a moment".to_owned());
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }
}
