//! weir's own tables: of which version they are, and whether its role may use them.

use std::cmp::Ordering;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Error;

use super::finding::{Finding, Level};
use crate::database::migrate;

const SCHEMA: &str = include_str!("sql/schema.sql");
const MIGRATED: &str = include_str!("sql/migrated.sql");
const GRANTS: &str = include_str!("sql/grants.sql");

/// Whether weir's tables are there at all.
pub async fn is_there(client: &ClientWrapper) -> Result<bool, Error> {
    client.query_typed_one(SCHEMA, &[]).await?.try_get(0)
}

pub fn missing() -> Finding {
    let why = "the first collector to start makes them";
    Finding::new(Level::Note, "schema", "this database has no tables of weir's", why, "weir serve")
}

pub async fn version(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let there: i64 = client.query_typed_one(MIGRATED, &[]).await?.try_get(0)?;
    let own = migrate::newest();
    let found = format!("the schema is of version {there}, this program's of {own}");
    Ok(vec![match there.cmp(&own) {
        Ordering::Greater => {
            let why = "a newer weir was here; this one works on beside it, and does not know what is new";
            let cure = "upgrade this weir as the others: docs/operations.md, \"Upgrades\"";
            Finding::new(Level::Warning, "schema", found, why, cure)
        }
        Ordering::Less => {
            let why = "the next collector of this version to start migrates it";
            Finding::new(Level::Note, "schema", found, why, "systemctl restart weir")
        }
        Ordering::Equal => Finding::ok("schema", found),
    }])
}

pub async fn grants(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for row in client.query_typed(GRANTS, &[]).await? {
        let (missing, cure): (String, String) = (row.try_get("missing")?, row.try_get("cure")?);
        let why = "flush lanes stand still, or upkeep fails, as soon as they need it";
        findings.push(Finding::new(Level::Problem, "grants", missing, why, format!("as a superuser: {cure};")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("grants", "weir's role owns what it has to"));
    }
    Ok(findings)
}
