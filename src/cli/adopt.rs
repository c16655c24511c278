//! `weir journal adopt`: what it did, in words.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use crate::adopt::{Fate, Options, Outcome, Progress, Told, adopt};
use crate::config::Config;
use crate::run::World;

/// Progress is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(2);
/// Longer than a database is away for a restart; a collector waits for ever, and a command should not.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The dead collector's journal, wherever its disk is mounted now.
    dir: PathBuf,
    /// Only say what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Do not watch for 15 seconds whether its collector still reports to the database: you know that it is gone.
    #[arg(long)]
    now: bool,
    /// Send it to a database that has never heard of this journal, too.
    #[arg(long)]
    any_database: bool,
}

pub async fn run(config: &Config, args: &AdoptArgs) -> anyhow::Result<()> {
    let options =
        Options { dry_run: args.dry_run, is_owner_dead: args.now, any_database: args.any_database, patience: PATIENCE };
    let mut told_at = Instant::now();
    let outcome = adopt(config, &World::default(), &args.dir, options, |progress| match progress {
        Progress::Found { node, segments, events, silent } => {
            let silent =
                silent.map_or_else(String::new, |silent| format!(", last heard of {} s ago", silent.as_secs()));
            println!("{}: {segments} segments, {events} events; node {node}{silent}", args.dir.display());
        }
        Progress::Watching(left) => {
            eprintln!(
                "its collector reported a moment ago: watching for {} s whether it does again",
                left.as_secs() + 1
            );
        }
        Progress::Sending { sent_bytes, bytes } if told_at.elapsed() >= TOLD_EVERY => {
            told_at = Instant::now();
            eprintln!("{sent_bytes} of {bytes} bytes sent ({} %)", sent_bytes * 100 / (*bytes).max(1));
        }
        Progress::Sending { .. } => {}
    })
    .await?;
    for told in &outcome.segments {
        println!("{}", line(told));
    }
    println!("{}", summary(&outcome, args.dry_run));
    if let Some(reason) = &outcome.unmarked {
        eprintln!("the directory could not be marked as adopted ({reason}); nothing depends on that");
    }
    if outcome.is_whole() {
        return Ok(());
    }
    bail!(
        "not all that was promised in this journal is in the database: keep the directory, and see docs/operations.md"
    );
}

fn line(told: &Told) -> String {
    let name = told.path.file_name().unwrap_or_default().to_string_lossy();
    let damaged = if told.damaged_bytes > 0 {
        format!("; {} bytes are damaged, and what was in them cannot be read", told.damaged_bytes)
    } else {
        String::new()
    };
    let came_to = told.came_to();
    let what = match told.fate {
        Fate::Known => format!("{} events, all known", told.events),
        Fate::Sent => format!(
            "{} events applied, {} duplicates, {} quarantined ({} of {} were known)",
            came_to.stored,
            came_to.duplicate,
            came_to.quarantined,
            told.known(),
            told.events
        ),
        Fate::Waiting => format!("{} events wait ({} of {} are known)", told.waiting(), told.known(), told.events),
        Fate::Forked => format!(
            "{} events set aside: the database knows another file of this name, so a copy of this journal was written to",
            told.events
        ),
        Fate::Unreadable => "its header is damaged".to_owned(),
    };
    format!("{name}  {what}{damaged}")
}

fn summary(outcome: &Outcome, is_dry: bool) -> String {
    let damaged = outcome.sum(|told| told.damaged_bytes);
    if is_dry {
        return format!(
            "would be sent: {} events; known already: {}; damaged: {damaged} bytes; nothing was changed",
            outcome.sum(|told| if told.fate == Fate::Waiting { told.waiting() } else { 0 }),
            outcome.sum(Told::known),
        );
    }
    format!(
        "{} events applied, {} duplicates, {} quarantined; known before: {}; set aside: {}; damaged: {damaged} bytes",
        outcome.sum(|told| told.came_to().stored),
        outcome.sum(|told| told.came_to().duplicate),
        outcome.sum(|told| told.came_to().quarantined),
        outcome.sum(Told::known),
        outcome.sum(|told| if told.fate == Fate::Forked { told.events } else { 0 }),
    )
}
