//! One run of a tap: from its STATE, into the tables.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Transaction};
use tokio::time::{Instant, sleep, timeout};

use super::SingerError;
use super::config::{TapConfig, TapConfigError};
use super::load::{Loaded, Loader};
use super::registry::Run;
use super::tap::{Running, Tap};
use crate::database::{Database, advisory};
use crate::disk::write_private;
use crate::sync::settings::Singer;

/// What the advisory locks of sources begin with: "sync" in ASCII.
pub(crate) const SOURCE_LOCKS: i64 = 0x7379_6e63 << 32;
/// So long PostgreSQL may take to notice that a process is gone which had the lock.
const LOCK_GRACE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Runs the tap once.
pub async fn run(database: &Database, name: &str, schema: &str, settings: &Singer) -> Result<Loaded, SingerError> {
    // The tap works there, so what is relative would be relative to that.
    let dir = std::path::absolute(&settings.dir).map_err(|error| SingerError::Tap(error.to_string()))?;
    let tap = Tap { dir, name: settings.tap.clone(), environment: settings.environment.clone() };
    if settings.tap.is_empty() {
        return Err(SingerError::Tap(format!("[sync.{name}] has no tap: rows come by `weir sync load {name}`")));
    }
    let mut holder = Object::take(database.client().await?);
    let alone = alone(&mut holder, name).await?;
    let result = run_tap(database, name, schema, settings, &tap).await;
    release(alone).await;
    result
}

async fn run_tap(
    database: &Database,
    name: &str,
    schema: &str,
    settings: &Singer,
    tap: &Tap,
) -> Result<Loaded, SingerError> {
    // Before anything that may fail: so that sync.runs tells of it, and it is not tried again at once.
    let (run, state) = Run::start(database, name, schema, settings.on_delete).await?;
    let files = match RunFiles::of(tap) {
        Ok(files) => files,
        Err(error) => {
            let error = SingerError::Tap(error.to_string());
            run.finish(database, Some(&error.to_string()), None, false).await?;
            return Err(error);
        }
    };
    let config = Arc::clone(&files.config);
    let (mut result, log) = match start(tap, &config, state.as_deref()) {
        Ok(running) => follow(database, &run, running, settings).await,
        Err(error) => {
            let reason = format!("{} does not start: {error}", tap.program().display());
            (Err(SingerError::Tap(reason)), String::new())
        }
    };
    // Without it, a tap whose token was replaced could not log in any more.
    if let Err(error) = files.keep() {
        result =
            result.and(Err(SingerError::Tap(format!("what the tap has changed in its settings is lost: {error}"))));
    }
    drop(files);
    let told = result.as_ref().err().map(|error| config.hide(&error.to_string()));
    let has_no_state = result.as_ref().is_ok_and(|loaded| loaded.states == 0);
    run.finish(database, told.as_deref(), Some(&log), has_no_state).await?;
    result.map_err(|error| match (error, told) {
        (SingerError::Tap(_), Some(told)) => SingerError::Tap(told),
        (error, _) => error,
    })
}

/// Loads what a tap writes that somebody else has started.
pub async fn load(
    database: &Database,
    name: &str,
    schema: &str,
    settings: &Singer,
    input: impl tokio::io::AsyncBufRead + Unpin,
    committed: impl FnMut(&str) -> io::Result<()>,
) -> Result<Loaded, SingerError> {
    let mut holder = Object::take(database.client().await?);
    let alone = alone(&mut holder, name).await?;
    let result = load_alone(database, name, schema, settings, input, committed).await;
    release(alone).await;
    result
}

async fn load_alone(
    database: &Database,
    name: &str,
    schema: &str,
    settings: &Singer,
    input: impl tokio::io::AsyncBufRead + Unpin,
    committed: impl FnMut(&str) -> io::Result<()>,
) -> Result<Loaded, SingerError> {
    let (run, _) = Run::start(database, name, schema, settings.on_delete).await?;
    let result = Loader::new(database.clone(), run.clone(), settings.batch_bytes_max).load(input, committed).await;
    // Whether the tap has ended well, only the shell knows.
    let result = result.map(|(loaded, _)| loaded);
    let told = result.as_ref().err().map(ToString::to_string);
    let has_no_state = result.as_ref().is_ok_and(|loaded| loaded.states == 0);
    run.finish(database, told.as_deref(), None, has_no_state).await?;
    result
}

/// No other process runs this source while the transaction lives. Its connection must not be used by others afterwards: the
/// lock goes with it.
async fn alone<'a>(holder: &'a mut ClientWrapper, name: &str) -> Result<Transaction<'a>, SingerError> {
    let lock = SOURCE_LOCKS | i64::from(crc32c::crc32c(name.as_bytes()));
    let transaction = advisory::holder(holder).await?;
    let until = Instant::now() + LOCK_GRACE;
    while !advisory::try_take(&transaction, lock).await? {
        if Instant::now() >= until {
            return Err(SingerError::Busy(name.to_owned()));
        }
        sleep(LOCK_PAUSE).await;
    }
    Ok(transaction)
}

/// Before the caller goes on: of a connection that is dropped, PostgreSQL hears some moments later.
async fn release(alone: Transaction<'_>) {
    // A connection that is broken has no lock any more.
    let _ = alone.rollback().await;
}

/// The files of one run, beside the tap's own.
const RUN_CONFIG: &str = "run-config.json";
const RUN_STATE: &str = "run-state.json";

fn start(tap: &Tap, config: &Arc<TapConfig>, state: Option<&str>) -> Result<Running, SingerError> {
    let failed = |error: &dyn std::fmt::Display| SingerError::Tap(error.to_string());
    let (config_file, state_file, catalog) = (tap.file(RUN_CONFIG), tap.file(RUN_STATE), tap.file("catalog.json"));
    config.write(&config_file).map_err(|error| failed(&error))?;
    let mut arguments: Vec<(&str, &Path)> = vec![("--config", &config_file)];
    if catalog.is_file() {
        arguments.push(("--catalog", &catalog));
    }
    // What `--catalog` was called before; some know only that.
    let properties = tap.file("properties.json");
    if properties.is_file() {
        arguments.push(("--properties", &properties));
    }
    if let Some(state) = state {
        write_private(&state_file, state.as_bytes()).map_err(|error| failed(&error))?;
        arguments.push(("--state", &state_file));
    }
    tap.start(&arguments, Arc::clone(config)).map_err(|error| failed(&error))
}

/// What a tap is given for one run. Nothing secret stays longer than it is needed, also where the run is cut off.
struct RunFiles {
    config: Arc<TapConfig>,
    config_file: PathBuf,
    given: PathBuf,
    state: PathBuf,
}

impl RunFiles {
    fn of(tap: &Tap) -> Result<Self, TapConfigError> {
        let (config_file, given, state) = (tap.file("config.json"), tap.file(RUN_CONFIG), tap.file(RUN_STATE));
        if given.is_file() {
            TapConfig::keep_of_lost_run(&config_file, &given)?;
        }
        let config = Arc::new(TapConfig::read(&config_file, |variable| std::env::var(variable).ok())?);
        Ok(Self { config, config_file, given, state })
    }

    /// What the tap has changed in its settings.
    fn keep(&self) -> Result<bool, TapConfigError> {
        self.config.keep(&self.config_file, &self.given)
    }
}

impl Drop for RunFiles {
    fn drop(&mut self) {
        // Once more, for a run that was cut off; nobody is there to hear of a failure.
        let _ = self.keep();
        for file in [&self.given, &self.state] {
            // There may be none.
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn follow(
    database: &Database,
    run: &Run,
    mut running: Running,
    settings: &Singer,
) -> (Result<Loaded, SingerError>, String) {
    let Some(output) = running.output() else {
        return (Err(SingerError::Tap("its output could not be had".to_owned())), String::new());
    };
    let loader = Loader::new(database.clone(), run.clone(), settings.batch_bytes_max);
    let limit = Duration::from_secs(settings.timeout_s);
    let mut loading = std::pin::pin!(timeout(limit, loader.load(output, |_| Ok(()))));
    let outcome = tokio::select! {
        outcome = &mut loading => outcome,
        // What it has started may hold its output open: what is in there is read, and no more is written.
        () = running.gone() => loading.await,
    };
    let result = match outcome {
        Ok(result) => result,
        Err(_) => Err(SingerError::Tap(format!("it took longer than timeout_s, {} s", settings.timeout_s))),
    };
    let (counts, held) = match result {
        Ok(done) => done,
        Err(error) => {
            running.end().await;
            return (Err(error), running.log());
        }
    };
    let status = running.ended().await;
    let log = running.log();
    let result = match status {
        Ok(status) if status.success() && counts.messages == 0 => {
            let reason = format!("{} has written nothing: are its streams selected in catalog.json?", settings.tap);
            Err(SingerError::Tap(reason))
        }
        Ok(status) if status.success() => run.activate_held(database, &held).await.map(|()| counts),
        Ok(status) => {
            let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Err(SingerError::Tap(format!("{} ended with {status}: {last}", settings.tap)))
        }
        Err(error) => Err(SingerError::Tap(format!("how it ended is not known: {error}"))),
    };
    (result, log)
}
