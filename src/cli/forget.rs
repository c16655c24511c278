//! `weir forget`: removes a person, and shows that nothing of them is left.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::bail;

use crate::database::Database;
use crate::retention::archive;
use crate::retention::forget::{Forgotten, Request, count, forget};

pub async fn run(
    database: &Database,
    archive_dir: Option<&Path>,
    request: &Request,
    is_dry: bool,
) -> anyhow::Result<()> {
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
    tell_what_is_elsewhere(&mut out, archive_dir, &forgotten)?;
    out.flush()?;
    if !forgotten.left.is_empty() {
        bail!("the person is still sending, or someone writes these rows anew: run the same command again, it goes on");
    }
    Ok(())
}

fn tell(out: &mut impl Write, rows: &BTreeMap<String, i64>, what: &str) -> io::Result<()> {
    rows.iter().try_for_each(|(table, rows)| writeln!(out, "{table:<40}  {rows:>10} {what}"))
}

/// What no statement on these tables reaches.
fn tell_what_is_elsewhere(out: &mut impl Write, dir: Option<&Path>, forgotten: &Forgotten) -> anyhow::Result<()> {
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
    if let Some(dir) = dir {
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
