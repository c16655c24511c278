//! `weir analyst`: people's own roles.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};

use crate::analyst::grant::{self, To};
use crate::analyst::remove::{Belongings, remove};
use crate::analyst::settings::Analyst;
use crate::analyst::usage::{missing, usage};
use crate::analyst::{login, people, person};
use crate::database::Database;
use crate::sync::settings::Source;

/// A password is a line.
const PASSWORD_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub enum AnalystCommand {
    /// Add a person, or set right what there is of them; prints their password, which is shown only now.
    Add {
        name: String,
        /// They may operate the console, too: keys, the quarantine, everybody's usage.
        #[arg(long)]
        operator: bool,
        #[command(flatten)]
        password: Password,
    },
    /// Show everybody: what they may read, and what is theirs.
    List {
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Let a person read a synced schema, or let everyone.
    Grant(GrantArgs),
    /// Take that back.
    Revoke(GrantArgs),
    /// Let a person log in no longer, and end their sessions.
    Disable { name: String },
    /// Let them again.
    Enable { name: String },
    /// Give a person another password, and end their sessions.
    Rotate {
        name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Remove a person; refuses where they have made anything.
    #[command(group(ArgGroup::new("belongings").args(["drop", "give_to"])))]
    Remove {
        name: String,
        /// Drop all that they have made, with what stands on it.
        #[arg(long)]
        drop: bool,
        /// Give it to this colleague.
        #[arg(long, value_name = "NAME")]
        give_to: Option<String>,
    },
    /// Show what each person's statements took, by week.
    Usage {
        /// How many weeks, this one included.
        #[arg(long, default_value_t = 4, value_name = "WEEKS")]
        weeks: u16,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
}

impl AnalystCommand {
    /// Refuses to give a person the schema of a source that has not begun yet.
    pub fn check(&self, sources: &BTreeMap<String, Source>) -> anyhow::Result<()> {
        if let Self::Add { name, .. } = self
            && let Some((source, _)) = sources.iter().find(|(source, settings)| settings.schema(source) == name)
        {
            bail!("{name} is the schema of [sync.{source}]: choose another name for the person");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Password {
    /// Read the password from this file, - for standard input, instead of making one.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    fn read(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let mut text = String::new();
        let read = if file == Path::new("-") {
            io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text)
        } else {
            std::fs::File::open(file).and_then(|file| file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text))
        };
        read.with_context(|| file.display().to_string())?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

#[derive(Debug, Args)]
pub struct GrantArgs {
    /// The person, and the synced schema: alice stripe. With --everyone only the schema, with --operator only the person.
    #[arg(required = true, num_args = 1..=2, value_names = ["NAME", "SCHEMA"])]
    names: Vec<String>,
    /// Everybody, also who comes later.
    #[arg(long, conflicts_with = "operator")]
    everyone: bool,
    /// Not a schema: the console's operation.
    #[arg(long)]
    operator: bool,
}

/// What [`GrantArgs`] name.
enum Granted<'a> {
    Schema(To<'a>, &'a str),
    Operator(&'a str),
}

impl GrantArgs {
    fn read(&self) -> anyhow::Result<Granted<'_>> {
        match (self.names.as_slice(), self.everyone, self.operator) {
            ([schema], true, false) => Ok(Granted::Schema(To::Everyone, schema)),
            ([name], false, true) => Ok(Granted::Operator(name)),
            ([name, schema], false, false) => Ok(Granted::Schema(To::Person(name), schema)),
            _ => bail!("name a person and a schema, or a schema with --everyone, or a person with --operator"),
        }
    }
}

pub async fn analyst(database: &Database, settings: &Analyst, command: AnalystCommand) -> anyhow::Result<()> {
    match command {
        AnalystCommand::Add { name, operator, password } => {
            let chosen = password.read()?;
            let added = person::add(database, settings, &name, operator, chosen.as_deref()).await?;
            for warning in &added.warnings {
                eprintln!("weir: {warning}");
            }
            match (added.password, added.is_new) {
                (Some(password), _) => tell_login(database, &name, &password),
                (None, true) => println!("{name} is added, with the password that was given"),
                (None, false) if chosen.is_some() => {
                    println!("{name} was here already, and has the given password now");
                }
                (None, false) => println!(
                    "{name} was here already; what was missing is mended. The password is as it was: `weir analyst rotate \
                     {name}` makes another"
                ),
            }
        }
        AnalystCommand::List { json } => list(database, json).await?,
        AnalystCommand::Grant(args) => match args.read()? {
            Granted::Operator(name) => {
                grant::set_operator(database, settings, name, true).await?;
                println!("{name} may operate the console");
            }
            Granted::Schema(to, schema) => {
                grant::grant(database, settings, to, schema).await?;
                println!("{} reads {schema}, with tables that come later", who(to));
            }
        },
        AnalystCommand::Revoke(args) => match args.read()? {
            Granted::Operator(name) => {
                grant::set_operator(database, settings, name, false).await?;
                println!("{name} may operate the console no longer");
            }
            Granted::Schema(to, schema) => {
                let left = grant::revoke(database, settings, to, schema).await?;
                println!("that is taken back; {schema} is read by {}", listed(&left, "nobody"));
            }
        },
        AnalystCommand::Disable { name } => {
            let ended = person::set_enabled(database, settings, &name, false).await?;
            println!("{name} cannot log in; {ended} sessions were ended");
        }
        AnalystCommand::Enable { name } => {
            person::set_enabled(database, settings, &name, true).await?;
            println!("{name} can log in");
        }
        AnalystCommand::Rotate { name, password } => {
            match person::rotate(database, settings, &name, password.read()?.as_deref()).await? {
                Some(password) => tell_login(database, &name, &password),
                None => println!("{name} has the given password now; their sessions were ended"),
            }
        }
        AnalystCommand::Remove { name, drop, give_to } => {
            let belongings = match &give_to {
                Some(heir) => Belongings::GiveTo(heir),
                None if drop => Belongings::Drop,
                None => Belongings::Refuse,
            };
            let removed = remove(database, settings, &name, belongings).await?;
            match &give_to {
                Some(heir) => println!("{name} is removed; {heir} has {}", listed(&removed.objects, "nothing new")),
                None => println!("{name} is removed; dropped: {}", listed(&removed.objects, "nothing")),
            }
            if !removed.dependents.is_empty() {
                println!("with it went {}", removed.dependents.join(", "));
            }
        }
        AnalystCommand::Usage { weeks, json } => show_usage(database, weeks, json).await?,
    }
    Ok(())
}

fn tell_login(database: &Database, name: &str, password: &str) {
    println!("{name}'s password, shown only now:  {password}");
    println!("psql '{}'", login::url(database.url(), name, password));
}

fn who(to: To<'_>) -> &str {
    match to {
        To::Person(name) => name,
        To::Everyone => "everybody",
    }
}

fn listed(names: &[String], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

async fn list(database: &Database, is_json: bool) -> anyhow::Result<()> {
    let people = people(&**database.client().await?).await?;
    let mut out = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, &people)?;
        writeln!(out)?;
        return Ok(());
    }
    let (title, seen) = ("name", "last seen");
    writeln!(out, "{title:<20}  {:<8}  {:>12}  {:>11}  {seen:<20}  reads", "state", "made, bytes", "connections")?;
    for person in &people {
        let state = match (person.can_login, person.is_operator) {
            (false, _) => "disabled",
            (true, true) => "operator",
            (true, false) => "enabled",
        };
        let connections = format!("{} of {}", person.connections, person.connections_max);
        writeln!(
            out,
            "{:<20}  {state:<8}  {:>12}  {connections:>11}  {:<20}  analytics{}",
            person.name,
            shown(person.schema_bytes),
            shown(person.seen_at.as_deref()),
            person.schemas.iter().map(|schema| format!(", {schema}")).collect::<String>()
        )?;
    }
    if people.is_empty() {
        writeln!(out, "nobody yet: weir analyst add NAME")?;
    }
    Ok(())
}

async fn show_usage(database: &Database, weeks: u16, is_json: bool) -> anyhow::Result<()> {
    let client = database.client().await?;
    let found = usage(&client, weeks).await?;
    let mut out = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<10}  {:<20}  {:>10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>14}  {:>14}  {:>14}",
        "week",
        "person",
        "statements",
        "seconds",
        "change",
        "blocks read",
        "hit",
        "temp, bytes",
        "made, bytes",
        "change"
    )?;
    for week in &found {
        let seconds = |seconds: Option<f64>| seconds.map(|seconds| format!("{seconds:.1}"));
        writeln!(
            out,
            "{:<10}  {:<20}  {:>10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>14}  {:>14}  {:>14}",
            week.week,
            week.person,
            shown(week.statements),
            shown(seconds(week.exec_seconds)),
            shown(week.exec_seconds_change.map(|change| format!("{change:+.1}"))),
            shown(week.blocks_read),
            shown(week.blocks_hit),
            shown(week.temp_bytes),
            shown(week.schema_bytes),
            shown(week.schema_bytes_change.map(|change| format!("{change:+}")))
        )?;
    }
    if found.is_empty() {
        writeln!(out, "nothing yet: a running collector counts every five minutes")?;
    }
    if let Some(missing) = missing(&client).await? {
        writeln!(out, "{missing}")?;
    }
    Ok(())
}

fn shown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
