//! `weir rollup`: tables that follow the events.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::RollupCommand;
use crate::database::Database;
use crate::rollup::catalog::{self, Known};
use crate::rollup::check::{self, Verdict};
use crate::rollup::definition::Kind;
use crate::rollup::library::Library;
use crate::rollup::run::run;
use crate::rollup::runner::reconcile;
use crate::rollup::{RollupError, dispatch, plan};

/// A run of a collector's is waited for.
const BUSY_MAX: Duration = Duration::from_secs(600);
const BUSY_POLL: Duration = Duration::from_millis(500);
/// Rounds until nothing waits any more: each makes marks for those that read what was computed.
const ROUNDS_MAX: usize = 20;

pub async fn rollup(database: &Database, library: &Library, command: RollupCommand) -> anyhow::Result<()> {
    match command {
        RollupCommand::Check => {
            let verdict = verdict(database, library).await?;
            for checked in &verdict.good {
                println!("{}: {}", checked.definition.name, checked.definition.file.display());
            }
            if !verdict.problems.is_empty() {
                return Err(RollupError::Definitions(verdict.problems).into());
            }
        }
        RollupCommand::Plan => {
            let verdict = verdict(database, library).await?;
            let known = catalog::all(database).await?;
            let steps = plan::plan(&verdict, &known);
            for step in &steps {
                println!("{step}");
            }
            if steps.is_empty() {
                println!("nothing is to be done");
            }
            if !verdict.problems.is_empty() {
                return Err(RollupError::Definitions(verdict.problems).into());
            }
        }
        RollupCommand::Run { name } => run_now(database, library, name.as_deref()).await?,
        RollupCommand::List => {
            for known in catalog::all(database).await? {
                println!("{}", line(&known));
            }
        }
        RollupCommand::Rebuild { name } => rebuild(database, library, &name).await?,
        RollupCommand::Drop { name } => {
            let verdict = verdict(database, library).await?;
            let is_defined = verdict.good.iter().any(|checked| checked.definition.name == name);
            if is_defined || verdict.bad.contains(&name) {
                return Err(RollupError::StillDefined(name).into());
            }
            plan::drop_rollup(database, &name).await?;
            println!("analytics.{name} is dropped");
        }
    }
    Ok(())
}

async fn verdict(database: &Database, library: &Library) -> Result<Verdict, RollupError> {
    check::check(database, library.read()).await
}

/// Brings definitions into force and computes all that waits, or all that waits for one.
async fn run_now(database: &Database, library: &Library, name: Option<&str>) -> anyhow::Result<()> {
    let mut said = Vec::new();
    for round in 1..=ROUNDS_MAX {
        let reconciled = reconcile(database, library).await?;
        // What a definition lacks may be a column of another one that was rebuilt just now, as after an upgrade: so only what is said twice is true.
        let (errors, others): (Vec<_>, Vec<_>) = reconciled.messages.into_iter().partition(|(_, is_error)| *is_error);
        let is_known = !errors.is_empty() && errors.iter().all(|error| said.contains(error));
        for (message, _) in others.iter().filter(|message| !said.contains(message)) {
            println!("{message}");
        }
        let is_good = is_known || compute(database, &reconciled.order, name).await?;
        if errors.is_empty() && is_good {
            return Ok(());
        }
        if is_known || !is_good || round == ROUNDS_MAX {
            for (message, _) in &errors {
                eprintln!("{message}");
            }
            break;
        }
        said.extend(errors.into_iter().chain(others));
    }
    bail!("not everything could be done");
}

/// Computes all that waits, or all that waits for one, those first that others read; whether all succeeded.
async fn compute(database: &Database, order: &[String], name: Option<&str>) -> anyhow::Result<bool> {
    let rank = |known: &Known| order.iter().position(|name| *name == known.name);
    let mut is_good = true;
    for round in 0..ROUNDS_MAX {
        dispatch::dispatch(database).await?;
        let mut known = catalog::all(database).await?;
        known.retain(|known| name.is_none_or(|name| known.name == name));
        ensure!(!known.is_empty() || name.is_none(), RollupError::Missing(name.unwrap_or_default().to_owned()));
        known.sort_by_key(|known| (rank(known), known.is_building));
        // Those that are computed whole once, the others for as long as something waits.
        known.retain(|known| known.dirty > 0 || known.is_building || (known.kind == Kind::Materialized && round == 0));
        if known.is_empty() {
            break;
        }
        for rollup in &known {
            is_good &= run_one(database, rollup).await?;
        }
        if !is_good {
            break;
        }
    }
    Ok(is_good)
}

/// Whether it succeeded.
async fn run_one(database: &Database, rollup: &Known) -> anyhow::Result<bool> {
    let began = Instant::now();
    loop {
        match run(database, rollup, None).await {
            Ok(ran) => {
                let frozen = if ran.frozen > 0 { format!(", {} frozen", ran.frozen) } else { String::new() };
                let ms = ran.elapsed.as_millis();
                println!("{}: {} buckets, {} rows{frozen}, {ms} ms", rollup.name, ran.buckets, ran.rows);
                return Ok(true);
            }
            Err(RollupError::Busy(_)) if began.elapsed() < BUSY_MAX => tokio::time::sleep(BUSY_POLL).await,
            Err(error) => {
                eprintln!("{}: {error}", rollup.name);
                return Ok(false);
            }
        }
    }
}

async fn rebuild(database: &Database, library: &Library, name: &str) -> anyhow::Result<()> {
    let verdict = verdict(database, library).await?;
    let Some(checked) = verdict.good.iter().find(|checked| checked.definition.name == name) else {
        if verdict.bad.iter().any(|bad| bad == name) {
            return Err(RollupError::Definitions(verdict.problems).into());
        }
        return Err(RollupError::Missing(name.to_owned()).into());
    };
    plan::make(database, checked, true).await?;
    let began = Instant::now();
    loop {
        let known = catalog::all(database).await?;
        // A collector may have done it meanwhile.
        let Some(building) = known.iter().find(|known| known.name == name && (known.is_building || known.fill > 0))
        else {
            println!("{name} is rebuilt ({} s)", began.elapsed().as_secs());
            return Ok(());
        };
        if !run_one(database, building).await? {
            bail!("{name} is not rebuilt: the old one stays");
        }
    }
}

fn line(known: &Known) -> String {
    let buckets = known.bucket.map_or_else(String::new, |bucket| format!(" by {}", bucket.unit()));
    let every = if known.every.is_empty() { String::new() } else { format!(", every {}", known.every) };
    let state = match (known.is_building, known.is_defined, known.fill) {
        (true, ..) => format!("being rebuilt, {} buckets to go", known.fill),
        (_, false, _) => format!("its file is gone: `weir rollup drop {}` drops it", known.name),
        (.., 1..) => format!("being filled, {} buckets to go", known.fill),
        _ if known.dirty > 0 => format!("{} buckets behind by {:.0} s", known.dirty, known.lag_s),
        _ => "up to date".to_owned(),
    };
    let last = match (&known.error, known.succeeded) {
        (Some(error), _) => format!("failed: {error}"),
        (None, Some(at)) => format!("last run {at:.0}"),
        (None, None) if known.kind == Kind::View => "computed when read".to_owned(),
        (None, None) => "not run yet".to_owned(),
    };
    format!("{}\t{}{buckets}{every}\t{state}\t{last}", known.name, known.kind.name())
}
