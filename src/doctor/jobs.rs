//! What runs beside the events: rollups, other data, and the count of people's usage.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Error;

use super::finding::{Finding, Level};
use crate::analyst::AnalystError;
use crate::analyst::usage::missing;
use crate::clickhouse::{ClickHouseError, book};
use crate::lake::in_use;
use crate::lake::settings::Lake;
use crate::rollup::{RollupError, catalog};

const SYNC: &str = include_str!("sql/sync.sql");
/// As the alert does.
const LAG_MAX_S: f64 = 3_600.0;

pub async fn rollups(client: &ClientWrapper) -> Result<Vec<Finding>, RollupError> {
    let known = catalog::read(&**client).await?;
    let mut findings = Vec::new();
    for rollup in &known {
        let name = &rollup.name;
        if rollup.failures > 0 {
            let error = rollup.error.as_deref().unwrap_or_default();
            let found = format!("{name} failed {} times in a row: {error}", rollup.failures);
            let why = "its table shows the events as of its last success";
            let cure = "weir rollup check; mend the file or what it reads; it is tried again by itself";
            findings.push(Finding::new(Level::Warning, "rollups", found, why, cure));
        } else if rollup.lag_s > LAG_MAX_S {
            let found = format!("{name} is {:.0} minutes behind, {} buckets wait", rollup.lag_s / 60.0, rollup.dirty);
            let why =
                "it is computed by a running collector with rollup.concurrency above 0, and perhaps takes too long";
            let cure = format!("weir rollup list; weir rollup run {name}");
            findings.push(Finding::new(Level::Warning, "rollups", found, why, cure));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("rollups", format!("{} rollups, none failing or behind", known.len())));
    }
    Ok(findings)
}

pub async fn sync(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for row in client.query_typed(SYNC, &[]).await? {
        let source: &str = row.try_get("source")?;
        let error: Option<&str> = row.try_get("error")?;
        let found = format!("{source} fails: {}", error.unwrap_or("its process was lost"));
        let cure = format!("weir sync list; weir sync log {source}");
        findings.push(Finding::new(Level::Warning, "sync", found, "its tables are as of its last success", cure));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("sync", "no source of other data fails"));
    }
    Ok(findings)
}

/// Days wait for a lake that is in use, whatever the settings here are.
pub async fn lake(client: &ClientWrapper, settings: &Lake) -> Result<Vec<Finding>, Error> {
    let Some(used) = in_use::read(client).await? else {
        return Ok(vec![Finding::ok("lake", "no lake is in use")]);
    };
    let (url, silent_s) = (used.name(), used.silent_s);
    let why = format!(
        "days that are over stay until the lake has them; somebody with lake.url was at work {silent_s:.0} s ago"
    );
    Ok(vec![if !settings.is_set() {
        let found = format!("a lake is in use ({url}), and lake.url is not set here");
        let cure =
            "lake.url in weir.toml, as the other collectors have it; or weir lake stop, if there is no lake any more";
        Finding::new(Level::Warning, "lake", found, why, cure)
    } else if !used.url.is_empty() && settings.url != url {
        let found = format!("lake.url is {} here, and {url} elsewhere", settings.url);
        Finding::new(Level::Warning, "lake", found, why, "lake.url in weir.toml: the same for all collectors")
    } else {
        Finding::ok("lake", format!("{} is in use", settings.url))
    }])
}

/// What follows the events elsewhere.
pub async fn clickhouse(client: &ClientWrapper, is_set: bool) -> Result<Vec<Finding>, ClickHouseError> {
    let Some(status) = book::status(client).await? else {
        return Ok(vec![Finding::ok("clickhouse", "none follows")]);
    };
    let waits = format!("{:.0} s behind", status.waiting_s.unwrap_or(0.0).max(0.0));
    let why = "what it lacks waits in PostgreSQL: by id for five minutes, then by the hour";
    Ok(vec![match status.error {
        Some(error) => {
            let cure = "weir clickhouse status; it is tried again by itself";
            Finding::new(Level::Warning, "clickhouse", format!("it does not follow, {waits}: {error}"), why, cure)
        }
        None if !status.is_followed && is_set => {
            let found = format!("no collector follows, {waits}");
            Finding::new(Level::Warning, "clickhouse", found, why, "start a collector with clickhouse.url")
        }
        None => Finding::ok("clickhouse", waits),
    }])
}

/// People's usage is told by an extension.
pub async fn usage(client: &ClientWrapper) -> Result<Vec<Finding>, AnalystError> {
    Ok(vec![match missing(client).await? {
        None => Finding::ok("usage", "people's statements are counted"),
        Some(missing) => {
            let (found, cure) = missing.split_once(": ").unwrap_or((&missing, ""));
            Finding::new(Level::Note, "usage", found, "analytics.usage shows no statements", format!("{cure};"))
        }
    }])
}
