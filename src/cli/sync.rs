//! `weir sync`: other data, brought next to the events.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::io::BufReader;
use tokio_postgres::types::Type;

use super::{SyncCommand, replication, tap};
use crate::config::{self, Config};
use crate::database::{Database, migrate};
use crate::sync::settings::{Singer, Source};
use crate::sync::singer::load::Loaded;
use crate::sync::singer::run;

/// Reading the pipe in larger pieces costs less.
const INPUT_BYTES: usize = 256 * 1024;

pub async fn sync(config: Config, file: Option<PathBuf>, data_dir: &Path, command: SyncCommand) -> anyhow::Result<()> {
    config.check()?;
    if let SyncCommand::Add(args) = command {
        let dir = data_dir.join("sync").join(&args.name);
        let file = file.unwrap_or_else(|| PathBuf::from(config::DEFAULT_FILE));
        return tokio::task::spawn_blocking(move || tap::add(&config, &file, dir, &args)).await?;
    }
    of_database(&super::database(&config, data_dir)?, &config, command).await
}

async fn of_database(database: &Database, config: &Config, command: SyncCommand) -> anyhow::Result<()> {
    match command {
        SyncCommand::Add(_) => bail!("`weir sync add` needs no database"),
        SyncCommand::Load { name } => {
            migrate::run(database).await?;
            let (schema, settings) = loaded(config, &name)?;
            let input = BufReader::with_capacity(INPUT_BYTES, tokio::io::stdin());
            let loaded = run::load(database, &name, &schema, &settings, input, echo).await?;
            // STATE alone goes to stdout.
            eprintln!("{}", told(&name, loaded));
        }
        SyncCommand::Run { name } => {
            migrate::run(database).await?;
            let Some(source @ Source::Singer(settings)) = config.sync.get(&name) else {
                bail!("there is no [sync.{name}] with kind = \"singer\" in the settings");
            };
            println!("{}", told(&name, run::run(database, &name, source.schema(&name), settings).await?));
        }
        SyncCommand::List => list(database, config).await?,
        SyncCommand::Log { name } => {
            let sql = "select started_at::text, outcome, error, log from sync.runs where source = $1 order by run_id desc limit 1";
            let client = database.client().await?;
            let rows = client.query_typed(sql, &[(&name, Type::TEXT)]).await?;
            let row = rows.first().with_context(|| format!("{name} has not been run yet"))?;
            let (started, outcome): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            println!("{started}: {outcome}");
            for text in [row.try_get::<_, Option<String>>(2)?, row.try_get(3)?].into_iter().flatten() {
                println!("{}", text.trim_end());
            }
        }
        SyncCommand::Rejects { name, limit } => {
            let sql = "select rejected_at::text, coalesce(stream, ''), reason, left(record, 500) from sync.rejects
                        where source = $1 order by reject_id desc limit $2";
            let client = database.client().await?;
            let limit = i64::from(limit);
            for row in client.query_typed(sql, &[(&name, Type::TEXT), (&limit, Type::INT8)]).await? {
                let [at, stream, reason, record]: [String; 4] =
                    [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
                println!("{at}  {stream}: {reason}\n    {record}");
            }
        }
        SyncCommand::Replication(command) => return replication::replication(database, config, command).await,
    }
    Ok(())
}

/// The schema and the settings to load by; those of a source that nobody has declared are the defaults.
fn loaded(config: &Config, name: &str) -> anyhow::Result<(String, Singer)> {
    match config.sync.get(name) {
        Some(source @ Source::Singer(settings)) => Ok((source.schema(name).to_owned(), settings.clone())),
        Some(_) => bail!("[sync.{name}] is no source of kind singer"),
        None => {
            let settings = Singer::default();
            let source = Source::Singer(settings.clone());
            crate::sync::settings::check(&[(name.to_owned(), source)].into())?;
            Ok((name.to_owned(), settings))
        }
    }
}

/// Lets a tap read everything again.
pub async fn resync_tap(database: &Database, name: &str) -> anyhow::Result<()> {
    let sql = "update sync.sources set state = null, run_id = null where source = $1 and kind = 'singer'";
    let count = database.client().await?.execute_typed(sql, &[(&name, Type::TEXT)]).await?;
    if count == 0 {
        bail!("{name} is no source that has been read");
    }
    println!(
        "{name}: the next run reads everything again, and one that is under way is ended. Rows with a key are replaced by it; \
         tables without one get all rows again: truncate them first"
    );
    Ok(())
}

/// As a target does, so that whoever runs it may keep the state, too.
fn echo(state: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{state}")?;
    out.flush()
}

fn told(name: &str, loaded: Loaded) -> String {
    let Loaded { rows, rejected, unknown, .. } = loaded;
    let rejects = match rejected {
        0 => String::new(),
        _ => format!(", {rejected} fit no table: `weir sync rejects {name}` shows why"),
    };
    let strangers = match unknown {
        0 => String::new(),
        _ => format!(", {unknown} messages of unknown types"),
    };
    format!("{name}: {rows} records taken{rejects}{strangers}")
}

async fn list(database: &Database, config: &Config) -> anyhow::Result<()> {
    let sql = "select s.source, s.kind, s.schema, r.outcome, r.started_at::timestamp(0)::text, r.rows, r.rejected, r.error
                 from sync.sources s
                 left join lateral (select * from sync.runs r where r.source = s.source order by run_id desc limit 1) r on true
                order by 1";
    let client = database.client().await?;
    let mut known = Vec::new();
    for row in client.query_typed(sql, &[]).await? {
        let (source, kind, schema): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        print!("{source}: {kind}, schema {schema}");
        if let Some(outcome) = row.try_get::<_, Option<String>>(3)? {
            let (started, rows, rejected): (String, i64, i64) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
            print!(", last run {started}: {outcome}, {rows} records, {rejected} rejected");
        }
        if let Some(error) = row.try_get::<_, Option<String>>(7)? {
            print!("\n    {error}");
        }
        println!();
        known.push(source);
    }
    for name in config.sync.keys().filter(|name| !known.contains(name)) {
        println!("{name}: not run yet");
    }
    Ok(())
}
