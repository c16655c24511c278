//! `weir forget`: removes a person, and shows that nothing of them is left.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::bail;

use super::lake;
use crate::config::Config;
use crate::database::Database;
use crate::lake::Wanted;
use crate::retention::archive;
use crate::retention::forget::{Forgotten, Request, count, forget};
use crate::retention::lake::{days_alone, days_behind};

pub async fn run(database: &Database, config: &Config, request: &Request, is_dry: bool) -> anyhow::Result<()> {
    if is_dry {
        let found = count(database, request).await?;
        let mut out = io::stdout().lock();
        tell(&mut out, &found.rows, "found")?;
        writeln!(out, "{} rows of {} ids; nothing was changed", found.rows.values().sum::<i64>(), found.ids)?;
        return Ok(());
    }
    let forgotten = forget(database, request).await?;
    let mut out = io::stdout().lock();
    tell(&mut out, &forgotten.rows, "removed")?;
    writeln!(
        out,
        "{} rows of {} ids removed; counted again: {} left",
        forgotten.rows.values().sum::<i64>(),
        forgotten.ids,
        forgotten.left.values().sum::<i64>()
    )?;
    tell(&mut out, &forgotten.left, "LEFT")?;
    let lake = config.lake.is_set().then(|| lake::export(database.clone(), config.lake.clone(), Wanted::Changed));
    let lake = match lake {
        Some(export) => Some(export.await),
        None => None,
    };
    if let Some(Ok(summary)) = &lake {
        write!(out, "the lake: ")?;
        lake::tell(&mut out, summary)?;
    }
    let client = database.client().await?;
    let alone = days_alone(&client).await?;
    let behind = if config.lake.is_set() { 0 } else { days_behind(&client).await? };
    tell_what_is_elsewhere(&mut out, config, (alone, behind), &forgotten)?;
    if request.source.is_some() {
        writeln!(
            out,
            "- results that people keep in the console: what a query was about, nobody can tell from its rows"
        )?;
    }
    out.flush()?;
    if let Some(Err(error)) = lake {
        return Err(
            error.context("the lake may still have the person: collectors export the days anew, or `weir lake export`")
        );
    }
    if !forgotten.left.is_empty() {
        bail!("the person is still sending, or someone writes these rows anew: run the same command again, it goes on");
    }
    Ok(())
}

fn tell(out: &mut impl Write, rows: &BTreeMap<String, i64>, what: &str) -> io::Result<()> {
    rows.iter().try_for_each(|(table, rows)| writeln!(out, "{table:<40}  {rows:>10} {what}"))
}

/// What no statement on these tables reaches.
fn tell_what_is_elsewhere(
    out: &mut impl Write,
    config: &Config,
    (days_alone, days_behind): (i64, i64),
    forgotten: &Forgotten,
) -> anyhow::Result<()> {
    writeln!(out, "\nNot reached by this:")?;
    for pending in &forgotten.pending {
        writeln!(
            out,
            "- {} events in the journal of collector {}, last heard of at {}: start it, let it finish, and run this again",
            pending.events, pending.node, pending.heard_at
        )?;
    }
    for (what, count) in &forgotten.texts {
        writeln!(out, "- {count} {what} whose text names the person: they are their authors' to change")?;
    }
    writeln!(out, "- journals keep what they have delivered for journal.retain_s, 15 minutes by default")?;
    if days_alone > 0 {
        writeln!(out, "- {days_alone} days that are in the lake alone: docs/lake.md says how to rewrite one")?;
    }
    if days_behind > 0 {
        writeln!(
            out,
            "- {days_behind} days of a lake that is not set here still have the person: run `weir lake export` with lake.url"
        )?;
    }
    if let Some(dir) = config.retention.archive_dir.as_deref() {
        let files = archive::files(dir)?;
        writeln!(
            out,
            "- {} archived days in {}: docs/retention.md says how to rewrite one",
            files.len(),
            dir.display()
        )?;
    }
    writeln!(out, "- PostgreSQL's own pages until `vacuum analytics.events`, its WAL, its replicas and its backups")?;
    writeln!(out, "- rows elsewhere that you made from these, and what rollups counted before weir.frozen")?;
    Ok(())
}
