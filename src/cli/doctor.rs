//! `weir doctor`: what was found, for people or for scripts, and an exit code that says how bad it is.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::start;
use crate::config::{Config, ConfigError};
use crate::doctor::{Finding, Level, examine, unusable, worst};
use crate::run::World;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Looks, and tells. Settings that cannot be read are a finding.
pub async fn run(config: Result<Config, ConfigError>, data_dir: &Path, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings = match config {
        Err(error) => vec![unusable(&error)],
        Ok(mut config) => {
            if let Ok(url) = super::database_url(&config, data_dir) {
                config.database.url = url;
            }
            let geo = data_dir.join("geo");
            if config.enrich.geo_database.is_none() && geo.is_dir() {
                config.enrich.geo_database = Some(geo);
            }
            let journal = start::used_journal_dir(&config, data_dir);
            examine(&config, &journal, &World::default()).await
        }
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        tell(&mut out, &findings)?;
    }
    Ok(match worst(&findings) {
        Level::Ok | Level::Note => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(1),
        Level::Problem => ExitCode::from(2),
    })
}

/// The worst first; what is in order in one line each.
fn tell(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    for Finding { level, check, found, why, cure } in sorted {
        writeln!(out, "{:<8} {check}: {found}", level.name())?;
        if !why.is_empty() {
            writeln!(out, "         why: {why}")?;
        }
        if !cure.is_empty() {
            writeln!(out, "        cure: {cure}")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(
        out,
        "{} problems, {} warnings, {} notes, {} in order",
        count(Level::Problem),
        count(Level::Warning),
        count(Level::Note),
        count(Level::Ok)
    )
}
