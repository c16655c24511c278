//! Asks the database: few at a time, not for long, and what was asked a moment ago not again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Transaction};
use futures_util::future::join_all;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::packed::{self, Found};
use super::question::{Question, TEXTS};
use crate::console::Console;
use crate::database::DatabaseError;

/// A panel that takes longer says so.
pub const STATEMENT_TIMEOUT_S: u64 = 5;
/// The rest of the console, and the events on their way, need the database, too.
const AT_ONCE_MAX: usize = 3;
/// Waits for its turn at most so long.
const TURN_TIMEOUT: Duration = Duration::from_secs(15);
/// How old an answer may be: a hundred who look cost as one. Rollups follow within minutes anyway.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Answers that are kept; each has some hundred short rows.
const KEPT_MAX: usize = 300;
/// Of each: enough to keep the visits of some days in memory.
const WORK_MEM: &str = "64MB";

/// One row of any answer. What a number means is the statement's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub list: String,
    pub value: String,
    pub visitors: i64,
    /// Visits, or events.
    pub count: i64,
    pub page_views: i64,
    pub bounces: i64,
    pub duration_ms: i64,
}

/// Why a panel is empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PanelError {
    #[error("This took longer than {STATEMENT_TIMEOUT_S} s: choose a shorter period.")]
    Slow,
    #[error("The database has much to do: load the page again in a moment.")]
    Busy,
    #[error("Not there yet: {waiting} days of the rollup {name} are still to be computed.")]
    Filling { name: &'static str, waiting: i64 },
    #[error("This is read from the rollup {0}, which is not there.")]
    Missing(&'static str),
    #[error("This could not be read. The log of weir says why.")]
    Failed,
}

pub type Answer = Result<Arc<Vec<Line>>, PanelError>;

struct Kept {
    asked: Instant,
    answer: Arc<OnceCell<(Instant, Answer)>>,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        self.answer.get().is_none_or(|(at, _)| at.elapsed() < AGE_MAX)
    }
}

/// The latest answers, and the turns of those who ask.
pub struct Answers {
    kept: Mutex<HashMap<Question, Kept>>,
    turns: Semaphore,
}

impl Default for Answers {
    fn default() -> Self {
        Self { kept: Mutex::default(), turns: Semaphore::new(AT_ONCE_MAX) }
    }
}

impl Answers {
    fn cell(&self, question: &Question) -> Arc<OnceCell<(Instant, Answer)>> {
        // What is guarded is whole after every statement.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, answer| answer.is_fresh());
        if let Some(known) = kept.get(question) {
            return Arc::clone(&known.answer);
        }
        while kept.len() >= KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, answer)| answer.asked).map(|(question, _)| question.clone());
            let Some(oldest) = oldest else { break };
            kept.remove(&oldest);
        }
        let answer = Arc::new(OnceCell::new());
        kept.insert(question.clone(), Kept { asked: Instant::now(), answer: Arc::clone(&answer) });
        answer
    }
}

/// What `question` comes to.
pub async fn ask(console: &Arc<Console>, question: Question) -> Answer {
    let (asking, of) = (Arc::clone(console), question.clone());
    ask_by(console, &question, Box::pin(async move { read(&asking, &of).await })).await
}

/// What `reading` comes to, unless the answer is known.
async fn ask_by(
    console: &Arc<Console>,
    question: &Question,
    reading: impl Future<Output = Answer> + Send + 'static,
) -> Answer {
    let cell = console.answers.cell(question);
    // By itself: whoever goes away leaves the answer to the others, and no statement on a connection that is given back.
    let asking = console.aside.handle().spawn(async move {
        let (_, answer) = cell.get_or_init(async || (Instant::now(), reading.await)).await;
        answer.clone()
    });
    asking.await.unwrap_or(Err(PanelError::Failed))
}

/// Finds what `questions` come to, of the same days, source and filters, by one look at the visits. Then whoever asks one of them is answered at
/// once; if it cannot be found so, each is asked by itself.
pub async fn find_together(console: &Arc<Console>, questions: Vec<Question>) {
    let together = Arc::new((OnceCell::new(), questions));
    let asking = together.1.iter().enumerate().map(|(place, question)| {
        let (asking, of, together) = (Arc::clone(console), question.clone(), Arc::clone(&together));
        let reading = Box::pin(async move {
            let (answers, questions) = &*together;
            match answers.get_or_init(|| read_together(&asking, questions)).await {
                Ok(Some(answers)) => answers.get(place).cloned().ok_or(PanelError::Failed),
                Ok(None) => read(&asking, &of).await,
                Err(error) => Err(error.clone()),
            }
        });
        ask_by(console, question, reading)
    });
    join_all(asking).await;
}

async fn turn(console: &Console) -> Result<SemaphorePermit<'_>, PanelError> {
    let turn = timeout(TURN_TIMEOUT, console.answers.turns.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(PanelError::Busy)
}

async fn read(console: &Console, question: &Question) -> Answer {
    let _turn = turn(console).await?;
    let began = Instant::now();
    let lines = lines(console, question).await;
    let rows = lines.as_ref().ok().and_then(|lines| lines.as_ref().ok()).map_or(0, Vec::len);
    let ms = began.elapsed().as_millis() as u64;
    tracing::debug!(question = question.name, ms, rows, "the dashboard asked");
    lines.unwrap_or_else(|error| Err(told(&error))).map(Arc::new)
}

/// `None`: they cannot be found together.
async fn read_together(console: &Console, questions: &[Question]) -> Result<Option<Vec<Arc<Vec<Line>>>>, PanelError> {
    let _turn = turn(console).await?;
    let began = Instant::now();
    let found = all_lines(console, questions).await.map_err(|error| told(&error))?;
    let ms = began.elapsed().as_millis() as u64;
    match found {
        Found::Lines(all) => {
            for (question, lines) in questions.iter().zip(&all) {
                let rows = lines.len();
                tracing::debug!(question = question.name, ms, rows, together = all.len(), "the dashboard asked");
            }
            Ok(Some(all.into_iter().map(Arc::new).collect()))
        }
        Found::NotPacked => Ok(None),
        Found::Slow => Err(PanelError::Slow),
    }
}

fn told(error: &DatabaseError) -> PanelError {
    if error.sqlstate() == Some(&SqlState::QUERY_CANCELED) {
        return PanelError::Slow;
    }
    tracing::warn!(%error, "a panel of the dashboard could not be read");
    let is_away = matches!(error, DatabaseError::Connect(_) | DatabaseError::Lost);
    if is_away { PanelError::Busy } else { PanelError::Failed }
}

/// Only reads, and not for long; several statements about what is packed see the same rows.
async fn begin(client: &mut Client, is_packed: bool) -> Result<Transaction<'_>, DatabaseError> {
    let mut transaction = client.build_transaction().read_only(true);
    if is_packed {
        // What two statements read of a day belongs together.
        transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
    }
    let transaction = transaction.start().await?;
    // To compile such a statement takes longer than to run it. The table is locked before anything is seen: else it might be
    // exchanged for another one, of which nothing is.
    let settings = format!(
        "set local statement_timeout = {}; set local jit = off; set local work_mem = '{WORK_MEM}'; {}",
        STATEMENT_TIMEOUT_S * 1_000,
        if is_packed { packed::LOCK } else { "" }
    );
    transaction.batch_execute(&settings).await?;
    Ok(transaction)
}

async fn all_lines(console: &Console, questions: &[Question]) -> Result<Found<Vec<Vec<Line>>>, DatabaseError> {
    let mut client = console.database.client().await?;
    packed::all_lines(&begin(&mut client, true).await?, questions).await
}

async fn lines(console: &Console, question: &Question) -> Result<Result<Vec<Line>, PanelError>, DatabaseError> {
    let mut client = console.database.client().await?;
    let transaction = begin(&mut client, question.packed.is_some()).await?;
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> = Vec::with_capacity(TEXTS + 2);
    if let Some(packed) = question.packed {
        match packed::lines(&transaction, question, packed).await? {
            Found::Lines(lines) => return Ok(Ok(lines)),
            Found::Slow => return Ok(Err(PanelError::Slow)),
            Found::NotPacked => {}
        }
    }
    if question.joins_events {
        // Before a new table was first analysed, some hundred visits are believed to be one, and events read for each of them.
        transaction.batch_execute("set local enable_nestloop = off").await?;
    }
    values.extend(question.texts.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)));
    values.push((&question.limit, Type::INT8));
    values.push((&question.until, Type::TEXT));
    let rows = transaction.query_typed(question.sql, &values).await?;
    transaction.commit().await?;
    let line = |row: &tokio_postgres::Row| {
        Ok(Line {
            list: row.try_get(0)?,
            value: row.try_get(1)?,
            visitors: row.try_get(2)?,
            count: row.try_get(3)?,
            page_views: row.try_get(4)?,
            bounces: row.try_get(5)?,
            duration_ms: row.try_get(6)?,
        })
    };
    Ok(Ok(rows.iter().map(line).collect::<Result<_, tokio_postgres::Error>>()?))
}
