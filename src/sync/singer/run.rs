//! One run of a tap: from its STATE, into the tables.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Transaction};
use tokio::time::{Instant, sleep, timeout};

use super::SingerError;
use super::config::TapConfig;
use super::load::{Loaded, Loader};
use super::store::Run;
use super::tap::{Running, Tap};
use crate::database::{Database, advisory};
use crate::disk::write_private;
use crate::sync::settings::Singer;

/// What the advisory locks of sources begin with: "sync" in ASCII.
const SOURCE_LOCKS: i64 = 0x7379_6e63 << 32;
/// So long PostgreSQL may take to notice that a process is gone which had the lock.
const LOCK_GRACE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Runs the tap once.
pub async fn run(database: &Database, name: &str, schema: &str, settings: &Singer) -> Result<Loaded, SingerError> {
    // The tap works there, so what is relative would be relative to that.
    let dir = std::path::absolute(&settings.dir).map_err(|error| SingerError::Tap(error.to_string()))?;
    let tap = Tap { dir, name: settings.tap.clone() };
    if settings.tap.is_empty() {
        return Err(SingerError::Tap(format!("[sync.{name}] has no tap: rows come by `weir sync load {name}`")));
    }
    let mut holder = Object::take(database.client().await?);
    let alone = alone(&mut holder, name).await?;
    let (config_file, run_config) = (tap.file("config.json"), tap.file(RUN_CONFIG));
    if run_config.is_file() {
        TapConfig::keep_of_lost_run(&config_file, &run_config).map_err(|error| SingerError::Tap(error.to_string()))?;
    }
    let config = TapConfig::read(&config_file, |variable| std::env::var(variable).ok());
    let config = Arc::new(config.map_err(|error| SingerError::Tap(error.to_string()))?);
    let (run, state) = Run::start(database, name, schema, settings.on_delete).await?;
    let (mut result, log) = match start(&tap, &config, state.as_deref()) {
        Ok(running) => follow(database, &run, running, settings).await,
        Err(error) => {
            let reason = format!("{} does not start: {error}", tap.program().display());
            (Err(SingerError::Tap(reason)), String::new())
        }
    };
    // Without it, a tap whose token was replaced could not log in any more.
    if let Err(error) = config.keep(&config_file, &run_config) {
        result =
            result.and(Err(SingerError::Tap(format!("what the tap has changed in its settings is lost: {error}"))));
    }
    forget(&tap);
    let told = result.as_ref().err().map(|error| config.hide(&error.to_string()));
    run.finish(database, told.as_deref(), Some(&log)).await?;
    // The next run need not wait for it. Lost with its connection, the lock is free, too.
    let _ = alone.rollback().await;
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
    let (run, _) = Run::start(database, name, schema, settings.on_delete).await?;
    let result = Loader::new(database.clone(), run.clone(), settings.batch_bytes_max).load(input, committed).await;
    let told = result.as_ref().err().map(ToString::to_string);
    run.finish(database, told.as_deref(), None).await?;
    let _ = alone.rollback().await;
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

/// Nothing secret stays longer than it is needed.
fn forget(tap: &Tap) {
    for file in [RUN_CONFIG, RUN_STATE] {
        // There may be none.
        let _ = std::fs::remove_file(tap.file(file));
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
    let result = match timeout(limit, loader.load(output, |_| Ok(()))).await {
        Ok(result) => result,
        Err(_) => Err(SingerError::Tap(format!("it took longer than timeout_s, {} s", settings.timeout_s))),
    };
    if result.is_err() {
        running.end().await;
        return (result, running.log());
    }
    let status = running.ended().await;
    let log = running.log();
    let result = match status {
        Ok(status) if status.success() => result,
        Ok(status) => {
            let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Err(SingerError::Tap(format!("{} ended with {status}: {last}", settings.tap)))
        }
        Err(error) => Err(SingerError::Tap(format!("how it ended is not known: {error}"))),
    };
    (result, log)
}
