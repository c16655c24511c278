//! `weir sync`: an application's PostgreSQL.

use std::sync::Arc;

use anyhow::bail;
use clap::Subcommand;
use tokio_postgres::types::Type;

use crate::config::Config;
use crate::database::Database;
use crate::metrics::Metrics;
use crate::sync::foreign::Bridge;
use crate::sync::postgres::check::{Checked, check};
use crate::sync::postgres::engine::Engine;
use crate::sync::postgres::known::{self, State};
use crate::sync::postgres::{runner, setup};
use crate::sync::settings::Source as Settings;

/// Of what was followed, so much is shown.
const CHANGES_SHOWN: i64 = 10;

#[derive(Debug, Subcommand)]
pub enum ReplicationCommand {
    /// Tell everything that would hurt or be in the way, with its cure; changes nothing.
    Check { name: String },
    /// Show every statement that `start` runs, for each side; changes nothing.
    Plan { name: String },
    /// Make publication, slot and tables; running collectors copy the rows, and follow.
    Start { name: String },
    /// Show how it is: tables, lag, what is wrong.
    Status { name: String },
    /// Copy anew: one table, or all of them through a new slot.
    Resync {
        name: String,
        /// As schema.table there, or as its table here.
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
    },
    /// Let go of the application's PostgreSQL; what came stays.
    Stop {
        name: String,
        /// Drop what came, too.
        #[arg(long)]
        drop_data: bool,
    },
}

impl ReplicationCommand {
    fn name(&self) -> &str {
        match self {
            Self::Check { name }
            | Self::Plan { name }
            | Self::Start { name }
            | Self::Status { name }
            | Self::Resync { name, .. }
            | Self::Stop { name, .. } => name,
        }
    }
}

pub async fn replication(database: &Database, config: &Config, command: ReplicationCommand) -> anyhow::Result<()> {
    config.check()?;
    let name = command.name();
    let engine = match config.sync.get(name) {
        Some(Settings::Postgres(settings)) => {
            let mut own = config.database.clone();
            database.url().clone_into(&mut own.url);
            runner::engine(&own, name, settings, &Arc::new(Metrics::new()))?
        }
        Some(Settings::Foreign(settings)) => {
            let mut own = config.database.clone();
            database.url().clone_into(&mut own.url);
            return foreign(&Bridge::new(&own, name, settings)?, &command).await;
        }
        Some(Settings::Singer(_)) | None if matches!(command, ReplicationCommand::Resync { table: None, .. }) => {
            return super::sync::resync_tap(database, name).await;
        }
        Some(Settings::Singer(_)) => bail!(
            "[sync.{name}] is a tap: this is for kind = \"postgres\" and \"foreign\"; `weir sync list` and `weir sync log {name}` tell of it"
        ),
        None => bail!("the settings have no [sync.{name}]"),
    };
    let Engine { source, local, publisher, .. } = &engine;
    match &command {
        ReplicationCommand::Check { .. } => {
            let checked = check(source, publisher, local).await?;
            show(&checked);
            if !checked.is_good() {
                bail!("it cannot be started like this");
            }
        }
        ReplicationCommand::Plan { .. } => {
            let checked = check(source, publisher, local).await?;
            let plan = setup::plan(source, &checked);
            println!("-- on the publisher");
            plan.there.iter().for_each(|statement| println!("{statement};"));
            println!("\n-- in weir's database");
            plan.here.iter().for_each(|statement| println!("{statement};"));
        }
        ReplicationCommand::Start { .. } => {
            let checked = setup::start(source, publisher, local).await?;
            show(&checked);
            println!("{name} is started: running collectors copy its tables now; `weir sync status {name}`");
        }
        ReplicationCommand::Status { .. } => status(&engine).await?,
        ReplicationCommand::Resync { table: Some(table), .. } => {
            setup::resync_table(source, local, table).await?;
            println!("{table} is copied anew by the collector that replicates");
        }
        ReplicationCommand::Resync { table: None, .. } => {
            setup::resync(source, publisher, local).await?;
            println!("{name} has a new slot; its tables are copied anew by the collector that replicates");
        }
        ReplicationCommand::Stop { drop_data, .. } => {
            let stopped = setup::stop(source, publisher, local, *drop_data).await?;
            stopped.kept.iter().for_each(|kept| println!("kept: {kept}"));
            if let Some(error) = stopped.error {
                eprintln!("the publisher could not be told ({error}). Until this is run there, it keeps WAL for weir:");
                stopped.left.iter().for_each(|statement| println!("{statement};"));
                bail!("{name} is stopped here, and not there");
            }
            println!("{name} is stopped");
        }
    }
    Ok(())
}

async fn foreign(bridge: &Bridge, command: &ReplicationCommand) -> anyhow::Result<()> {
    match command {
        ReplicationCommand::Check { .. } | ReplicationCommand::Plan { .. } => {
            bail!("nothing is changed on the application's server by kind = \"foreign\": there is nothing to plan")
        }
        ReplicationCommand::Start { name } => {
            let refreshed = bridge.start().await?;
            println!("{name}: {} foreign tables", refreshed.tables);
        }
        ReplicationCommand::Resync { name, .. } => {
            if let Some(refreshed) = bridge.refresh().await? {
                println!("{name}: {} foreign tables were made anew", refreshed.tables);
                refreshed.broken.iter().for_each(|view| println!("broken view {}: {}", view.name, view.reason));
            }
            if bridge.settings.snapshot {
                println!("{name}: {} rows were copied", bridge.snapshot().await?);
            }
        }
        ReplicationCommand::Status { name } => {
            let sql = "select run_id, outcome, rows, started_at::timestamptz(0)::text, error from sync.runs
                        where source = $1 order by run_id desc limit $2";
            let client = bridge.local.client().await?;
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(name, Type::TEXT), (&CHANGES_SHOWN, Type::INT8)];
            for row in client.query_typed(sql, &values).await? {
                let (outcome, rows, at): (String, i64, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                let error: Option<String> = row.try_get(4)?;
                println!("{at}  {outcome}, {rows} rows {}", error.unwrap_or_default());
            }
            broken_views(&client).await?;
        }
        ReplicationCommand::Stop { name, drop_data } => {
            bridge.stop(*drop_data).await?.iter().for_each(|kept| println!("kept: {kept}"));
            println!("{name} is stopped");
        }
    }
    Ok(())
}

async fn broken_views(client: &tokio_postgres::Client) -> anyhow::Result<()> {
    for row in client.query_typed("select name, reason from sync.broken_views order by name", &[]).await? {
        let (view, reason): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        println!("broken view {view}: {reason}");
    }
    Ok(())
}

fn show(checked: &Checked) {
    checked.findings.iter().for_each(|finding| println!("{finding}"));
}

async fn status(engine: &Engine) -> anyhow::Result<()> {
    let (name, client) = (&engine.source.name, engine.local.client().await?);
    let Some(known) = known::read(&**client, name).await? else {
        println!("{name} is not started: `weir sync plan {name}`");
        return Ok(());
    };
    println!("{name}: {}", setup::summary(&known));
    match engine.publisher.slot(&known.slot).await {
        Ok(Some(slot)) => {
            let active = if slot.is_active { "read" } else { "not read by anyone" };
            let safe =
                slot.safe_bytes.map_or_else(String::new, |safe| format!(", {} MB more at most", safe / 1_000_000));
            let kept = slot.bytes / 1_000_000;
            println!("slot {}: {}, {active}; {kept} MB of WAL kept{safe}", known.slot, slot.state);
        }
        Ok(None) => println!("slot {}: gone: `weir sync resync {name}`", known.slot),
        Err(error) => println!("slot {}: unknown: {error}", known.slot),
    }
    let sql = "select coalesce(round(lag_s::numeric, 1)::text, 'unknown'), applied_at::text, error
                 from sync.replications where source = $1";
    for row in client.query_typed(sql, &[(name, Type::TEXT)]).await? {
        let applied: Option<String> = row.try_get(1)?;
        let applied = applied.unwrap_or_else(|| "none yet".to_owned());
        println!("lag: {} s; newest change that is here: {applied}", row.try_get::<_, String>(0)?);
        if let Some(error) = row.try_get::<_, Option<String>>(2)? {
            println!("error: {error}");
        }
    }
    for table in known.tables.values() {
        let rows = table.copied_rows.filter(|_| table.state == State::Copy);
        let rows = rows.map_or_else(String::new, |rows| format!(", {rows} rows so far"));
        let reason = table.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        println!(
            "  {}\t{}.{}\t{}{rows}{reason}",
            table.remote,
            engine.source.schema,
            table.relation,
            table.state.name()
        );
    }
    let sql = "select changed_at::timestamptz(0)::text, relation, change from sync.changes where source = $1
                order by change_id desc limit $2";
    for row in client.query_typed(sql, &[(name, Type::TEXT), (&CHANGES_SHOWN, Type::INT8)]).await? {
        let (at, relation, change): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        println!("  {at}  {relation}: {change}");
    }
    broken_views(&client).await
}
