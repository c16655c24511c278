//! Runs under way: begun by one request, asked after by others, ended by whoever began them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::execute::{self, Failure, Outcomes};
use super::history::{self, Begun, Kind};
use super::rows::Most;
use super::statements::{self, Statement, StatementError};
use crate::console::error::ConsoleError;
use crate::console::lock;
use crate::console::results::store::{self, Made};
use crate::database::Database;
use crate::database::login::{Login, Logins};
use crate::database::turns::Turn;
use crate::entropy::{Entropy, random_id};

/// Of one person, by hand, with those that wait: their role's connections are few, too.
const PERSON_RUNS_MAX: usize = 4;
/// Of everyone, with those that wait.
const WAITING_RUNS_MAX: usize = 500;
/// How long an answer that nobody has fetched is remembered. The result itself stays.
const MEMORY: Duration = Duration::from_secs(600);
/// After its cancellation, PostgreSQL has this long to say so.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// What a run needs to know.
pub struct Ask {
    /// Whose run it is.
    pub role: String,
    /// As whom it logs in.
    pub login: String,
    pub password: String,
    pub kind: Kind,
    pub sql: String,
    pub parameters: BTreeMap<String, String>,
    pub query: Option<AskedQuery>,
    /// Somebody else's text: it may only read.
    pub is_foreign: bool,
}

/// The saved query that is run, at the version with just this text.
pub struct AskedQuery {
    pub id: i64,
    pub version: i32,
    pub title: String,
    pub chart: Option<String>,
    /// Whether colleagues see what it comes to.
    pub shares_results: bool,
}

/// How a run is.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Running {
        is_waiting: bool,
    },
    Done {
        results: Vec<String>,
        messages: Vec<String>,
    },
    Failed {
        error: Failure,
        /// What came before.
        results: Vec<String>,
        messages: Vec<String>,
    },
    Cancelled {
        results: Vec<String>,
        messages: Vec<String>,
    },
}

impl State {
    fn failed(error: Failure) -> Self {
        Self::Failed { error, results: Vec::new(), messages: Vec::new() }
    }

    fn is_over(&self) -> bool {
        !matches!(self, Self::Running { .. })
    }
}

/// One run.
pub struct Run {
    pub id: String,
    pub role: String,
    kind: Kind,
    query_id: Option<i64>,
    began: Instant,
    cancel: CancellationToken,
    state: watch::Sender<State>,
}

impl Run {
    /// How it is now, or once it is over, if that is within `wait`.
    pub async fn state(&self, wait: Duration) -> State {
        let mut watched = self.state.subscribe();
        let over = tokio::time::timeout(wait, watched.wait_for(State::is_over)).await;
        match over {
            Ok(Ok(state)) => state.clone(),
            _ => self.state.borrow().clone(),
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Ends it, if it is not over.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// All runs of this process.
pub struct Runs {
    database: Database,
    logins: Arc<Logins>,
    entropy: Arc<dyn Entropy>,
    most: Most,
    timeout: Duration,
    by_id: Mutex<HashMap<String, Arc<Run>>>,
    turns: Semaphore,
    closing: CancellationToken,
    on: Handle,
}

/// What bounds runs.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At the same time, of everyone.
    pub concurrency: usize,
    pub most: Most,
    pub timeout: Duration,
}

impl Runs {
    /// Runs are on the threads of `on`, and so are the connections of `database`.
    pub fn new(database: Database, logins: Arc<Logins>, entropy: Arc<dyn Entropy>, bounds: Bounds, on: Handle) -> Self {
        Self {
            database,
            logins,
            entropy,
            most: bounds.most,
            timeout: bounds.timeout,
            by_id: Mutex::default(),
            turns: Semaphore::new(bounds.concurrency.max(1)),
            closing: CancellationToken::new(),
            on,
        }
    }

    /// Begins a run.
    ///
    /// `database` is one of the caller's threads.
    pub async fn begin(self: &Arc<Self>, database: &Database, ask: Ask) -> Result<Arc<Run>, ConsoleError> {
        let told = |error: StatementError| ConsoleError::BadRequest(error.to_string());
        let parsed = statements::parse(&ask.sql, &ask.parameters).map_err(told)?;
        if ask.is_foreign && parsed.len() != 1 {
            let reason = "a query of somebody else's can only be one statement that reads: fork it to run this";
            return Err(ConsoleError::BadRequest(reason.to_owned()));
        }
        let run = Arc::new(Run {
            id: random_id(self.entropy.as_ref())?.simple().to_string(),
            role: ask.role.clone(),
            kind: ask.kind,
            query_id: ask.query.as_ref().map(|query| query.id),
            began: Instant::now(),
            cancel: self.closing.child_token(),
            state: watch::Sender::new(State::Running { is_waiting: true }),
        });
        self.remember(&run)?;
        let begun = Begun {
            id: &run.id,
            role: &ask.role,
            kind: ask.kind,
            query_id: ask.query.as_ref().map(|query| query.id),
            sql: &ask.sql,
            parameters: &ask.parameters,
        };
        if let Err(error) = history::begin(database, &begun).await {
            lock(&self.by_id).remove(&run.id);
            return Err(error.into());
        }
        // On its own: whoever asked may close the page.
        self.on.spawn(Arc::clone(self).work(Arc::clone(&run), ask, parsed));
        Ok(run)
    }

    fn remember(&self, run: &Arc<Run>) -> Result<(), ConsoleError> {
        let mut by_id = lock(&self.by_id);
        by_id.retain(|_, run| !run.state.borrow().is_over() || run.began.elapsed() < MEMORY + self.timeout);
        let under_way = || by_id.values().filter(|run| !run.state.borrow().is_over());
        // What runs by itself waits its turn, and takes no place of the person's.
        let is_of_person = |other: &&Arc<Run>| other.kind == Kind::Person && other.role == run.role;
        if run.kind == Kind::Person && under_way().filter(is_of_person).count() >= PERSON_RUNS_MAX {
            let reason = format!("{PERSON_RUNS_MAX} queries of yours run already: wait for one, or cancel it");
            return Err(ConsoleError::Busy(reason));
        }
        if under_way().count() >= WAITING_RUNS_MAX {
            return Err(ConsoleError::Busy("too many queries wait: try again in a moment".to_owned()));
        }
        by_id.insert(run.id.clone(), Arc::clone(run));
        Ok(())
    }

    /// Whether the query's last run by schedule is not over.
    pub fn is_under_way(&self, query_id: i64) -> bool {
        lock(&self.by_id)
            .values()
            .any(|run| run.kind == Kind::Schedule && run.query_id == Some(query_id) && !run.state.borrow().is_over())
    }

    /// A run of this person's.
    pub fn find(&self, id: &str, role: &str) -> Option<Arc<Run>> {
        lock(&self.by_id).get(id).filter(|run| run.role == role).cloned()
    }

    /// Ends all that are under way.
    pub fn close(&self) {
        self.closing.cancel();
    }

    async fn work(self: Arc<Self>, run: Arc<Run>, ask: Ask, parsed: Vec<Statement>) {
        let turns = async {
            let turn = self.turns.acquire().await.ok()?;
            // A short one has it until its end.
            Some((turn, self.logins.turn().await))
        };
        let turns = tokio::select! {
            turns = turns => turns,
            () = run.cancel.cancelled() => None,
        };
        let state = if let Some((_turn, short)) = turns {
            run.state.send_replace(State::Running { is_waiting: false });
            self.run(&run, &ask, &parsed, &short).await
        } else {
            State::Cancelled { results: Vec::new(), messages: Vec::new() }
        };
        let (word, error) = match &state {
            State::Done { .. } | State::Running { .. } => ("done", None),
            State::Failed { error, .. } => ("failed", Some(error.message.as_str())),
            State::Cancelled { .. } => ("cancelled", None),
        };
        let noted = history::end(&self.database, &run.id, run.elapsed_ms() as f64, word, error).await;
        if let Err(error) = noted {
            tracing::warn!(%error, role = run.role, "how a run ended is not in console.runs");
        }
        run.state.send_replace(state);
    }

    async fn run(&self, run: &Run, ask: &Ask, parsed: &[Statement], turn: &Turn) -> State {
        let login = match self.logins.connect_in(turn, &ask.login, &ask.password).await {
            Ok(login) => login,
            Err(error) => return State::failed(Failure::plain(error.to_string())),
        };
        let (outcomes, ending) = self.execute(run, ask, parsed, &login).await;
        login.close().await;
        let kept = self.keep(run, ask, &outcomes).await;
        let Outcomes { messages, failure, .. } = outcomes;
        let results = match kept {
            Ok(results) => results,
            Err(reason) => {
                let reason = format!("it ran, but what it came to could not be kept: {reason}");
                return State::failed(Failure::plain(reason));
            }
        };
        match (ending, failure) {
            (Ending::Cancelled, _) => State::Cancelled { results, messages },
            (Ending::TimedOut, _) => {
                let reason = format!("ended after {} s, which is console.statement_timeout_s", self.timeout.as_secs());
                State::Failed { error: Failure::plain(reason), results, messages }
            }
            (Ending::Itself, Some(error)) => State::Failed { error, results, messages },
            (Ending::Itself, None) => State::Done { results, messages },
        }
    }

    /// What the statements came to, and what ended them.
    async fn execute(&self, run: &Run, ask: &Ask, parsed: &[Statement], login: &Login) -> (Outcomes, Ending) {
        let (cancel, stop) = (login.cancel(), CancellationToken::new());
        let executing = async {
            match parsed {
                [only] if ask.is_foreign => execute::read_only(login, only, self.most, &stop).await,
                _ => execute::all(login, parsed, self.most, &stop).await,
            }
        };
        tokio::pin!(executing);
        let ending = tokio::select! {
            outcomes = &mut executing => return (outcomes, Ending::Itself),
            () = run.cancel.cancelled() => Ending::Cancelled,
            () = tokio::time::sleep(self.timeout) => Ending::TimedOut,
        };
        stop.cancel();
        // A connection that is simply closed leaves its statement running.
        if let Err(error) = cancel.send().await {
            tracing::debug!(%error, "a statement could not be cancelled");
        }
        (tokio::time::timeout(CANCEL_GRACE, executing).await.unwrap_or_default(), ending)
    }

    /// Keeps all results; returns their ids.
    async fn keep(&self, run: &Run, ask: &Ask, outcomes: &Outcomes) -> Result<Vec<String>, ConsoleError> {
        let mut results = Vec::new();
        for outcome in &outcomes.results {
            let id = random_id(self.entropy.as_ref())?.simple().to_string();
            let made = Made {
                id: &id,
                run_id: &run.id,
                role: &ask.role,
                query: ask.query.as_ref(),
                sql: &ask.sql,
                parameters: &ask.parameters,
            };
            store::keep(&self.database, &made, outcome).await?;
            results.push(id);
        }
        Ok(results)
    }
}

/// What ended the statements.
enum Ending {
    Itself,
    Cancelled,
    TimedOut,
}
