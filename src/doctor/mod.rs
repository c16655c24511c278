//! `weir doctor`: what is wrong with an installation, or will be, each with its cure. It only looks.
//!
//! A check is a function that returns findings; what a check could not look at is a finding, too. The checks stand by name in
//! docs/operations.md.

mod citus;
mod collector;
mod events;
mod files;
mod finding;
mod jobs;
mod journal;
mod schema;
mod senders;
mod server;

use std::fmt::Display;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use jiff::tz::TimeZone;
use tokio::time::timeout;

pub use finding::{Finding, Level, worst};

use crate::config::Config;
use crate::database::Database;
use crate::run::World;

/// One check: a database that is slower is a finding itself.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// What is given up on here must end there, too; and behind a pooler a session's settings would be somebody else's.
const LOOK: &str = "begin read only; set local statement_timeout = '15s'; set local lock_timeout = '2s'";

/// Why something could not be looked at.
#[derive(Debug)]
struct Failed(String);

impl Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Looks at everything that these settings name; `journal` is the directory of the collector.
pub async fn examine(config: &Config, journal: &Path, world: &World) -> Vec<Finding> {
    let mut findings = of_settings(config);
    findings.extend(of_machine(config, journal, world).await);
    findings.extend(of_database(config, journal, world).await);
    findings
}

/// Settings that no collector would start with.
fn of_settings(config: &Config) -> Vec<Finding> {
    vec![match config.check() {
        Ok(()) => Finding::ok("settings", "the settings are in order"),
        Err(error) => unusable(&error),
    }]
}

/// Settings that are refused, or cannot even be read.
pub fn unusable(error: &dyn Display) -> Finding {
    let why = "no collector starts with these settings";
    Finding::new(
        Level::Problem,
        "settings",
        error.to_string(),
        why,
        "weir.toml, or the variables WEIR_*: each is explained in weir.toml",
    )
}

async fn of_machine(config: &Config, journal: &Path, world: &World) -> Vec<Finding> {
    let mut findings = vec![collector::admin(&config.admin)];
    findings.extend(journal::directory(journal, &config.journal));
    findings.extend(journal::leftovers(world.disk.as_ref(), journal));
    let (own, now) = (config.clone(), world.clock.now());
    // Files are read, and the collector is asked, without holding up anything else.
    let work = move || {
        let mut findings =
            vec![files::geo(own.enrich.geo_database.clone(), now), files::certificate(&own.receive, now)];
        findings.extend(collector::ask(&own));
        findings
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(more) => findings.extend(more),
        Err(error) => findings.push(not_looked_at("collector", &error)),
    }
    findings
}

async fn of_database(config: &Config, journal: &Path, world: &World) -> Vec<Finding> {
    let check = "postgres.connection";
    let away = |error: &dyn Display| {
        let why = "events gather in the journal, and nothing arrives";
        let cure =
            "psql \"$DATABASE_URL\" -c 'select 1'     from this machine; then docs/operations.md, \"WeirDatabaseAway\"";
        vec![Finding::new(Level::Problem, check, error.to_string(), why, cure)]
    };
    let database = match Database::reading(&config.database, 1) {
        Ok(database) => database,
        Err(error) => return away(&error),
    };
    let client = match timeout(CHECK_TIMEOUT, database.client()).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return away(&error),
        Err(_) => return away(&"the database does not answer"),
    };
    let mut findings = vec![Finding::ok(check, "the database answers")];
    let client: &ClientWrapper = &client;
    findings.extend(told(client, "postgres.settings", server::settings(client, config)).await);
    findings.extend(told(client, "clock", server::clock(client, world.clock.as_ref())).await);
    findings.extend(told(client, "postgres.slots", server::slots(client)).await);
    findings.extend(told(client, "usage", jobs::usage(client)).await);
    match schema::is_there(client).await {
        Ok(true) => {}
        Ok(false) => {
            findings.push(schema::missing());
            return findings;
        }
        Err(error) => {
            findings.push(not_looked_at("schema", &error));
            return findings;
        }
    }
    let today = world.clock.now().to_zoned(TimeZone::UTC).date();
    findings.extend(told(client, "schema", schema::version(client)).await);
    findings.extend(told(client, "grants", schema::grants(client)).await);
    findings.extend(told(client, "citus", citus::cluster(client, config.database.distribute)).await);
    findings.extend(told(client, "partitions", events::partitions(client, config, today)).await);
    findings.extend(told(client, "accounting", events::accounting(client)).await);
    findings.extend(told(client, "quarantine", events::quarantine(client)).await);
    findings.extend(told(client, "keys", senders::sources(client)).await);
    findings.extend(told(client, "proxies", senders::proxies(client, &config.receive)).await);
    findings.extend(told(client, "rollups", jobs::rollups(client)).await);
    findings.extend(told(client, "sync", jobs::sync(client)).await);
    findings.extend(told(client, "lake", jobs::lake(client, &config.lake)).await);
    findings.extend(told(client, "clickhouse", jobs::clickhouse(client, config.clickhouse.is_set())).await);
    findings.extend(told(client, "journal.forks", journal::forks(world.disk.as_ref(), journal, &database)).await);
    database.close();
    findings
}

async fn told<E: Display>(
    client: &ClientWrapper,
    check: &'static str,
    looked: impl Future<Output = Result<Vec<Finding>, E>>,
) -> Vec<Finding> {
    let look = async {
        client.batch_execute(LOOK).await.map_err(|error| error.to_string())?;
        let findings = looked.await.map_err(|error| error.to_string());
        client.batch_execute("rollback").await.map_err(|error| error.to_string())?;
        findings
    };
    match timeout(CHECK_TIMEOUT, look).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => vec![not_looked_at(check, &error)],
        Err(_) => vec![not_looked_at(check, &format!("no answer within {} s", CHECK_TIMEOUT.as_secs()))],
    }
}

fn not_looked_at(check: &'static str, error: &dyn Display) -> Finding {
    let why = "whether it is in order is not known";
    Finding::new(
        Level::Warning,
        check,
        format!("could not be looked at: {error}"),
        why,
        "weir doctor     once more, as the collector's user",
    )
}
