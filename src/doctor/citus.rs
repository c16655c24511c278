//! Whether the events are distributed as `database.distribute` says, and whether every node answers.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Error;

use super::finding::{Finding, Level};
use crate::database::distribute::{Answer, COLUMN, Distribute, Standing, ask_workers, standing};

const LEFT: &str = include_str!("sql/citus_left.sql");
const CHECK: &str = "citus";

pub async fn cluster(client: &ClientWrapper, wanted: Distribute) -> Result<Vec<Finding>, Error> {
    let stops =
        |found: String, cure: &str| Ok(vec![Finding::new(Level::Problem, CHECK, found, "no collector starts", cure)]);
    let column = match (wanted, standing(client).await?) {
        (Distribute::None, Standing::Plain | Standing::Local) => {
            return Ok(vec![Finding::ok(CHECK, "the events lie on one server")]);
        }
        (Distribute::None, Standing::By(_)) => {
            let cure = "database.distribute = \"citus\" in weir.toml, or WEIR_DATABASE__DISTRIBUTE=citus, wherever weir is run";
            return stops("Citus has distributed the events, and database.distribute is \"none\"".to_owned(), cure);
        }
        (Distribute::Citus, Standing::Plain) => {
            let cure = "as a superuser, on every node, in the database of this name: create extension citus;     docs/citus.md";
            return stops("database.distribute is \"citus\", and there is no Citus".to_owned(), cure);
        }
        (Distribute::Citus, Standing::Local) => {
            let why = "the first collector to start distributes them, if there are none yet";
            return Ok(vec![Finding::new(Level::Note, CHECK, "the events are not distributed", why, "weir serve")]);
        }
        (Distribute::Citus, Standing::By(column)) => column,
    };
    if column != COLUMN {
        let cure = "select alter_distributed_table('analytics.events', distribution_column := 'event_id');";
        return stops(format!("the events are distributed by {column}"), cure);
    }
    let mut findings = Vec::new();
    let nodes = ask_workers(&**client, "select 1").await?;
    for Answer { node, said } in &nodes {
        if let Err(reason) = said {
            let found = format!("{node} does not answer: {reason}");
            let why = "a flush is whole or not at all: events gather in the journal until every worker is back";
            findings.push(Finding::new(
                Level::Problem,
                CHECK,
                found,
                why,
                "start it, or select * from pg_dist_node; docs/citus.md",
            ));
        }
    }
    for row in client.query_typed(LEFT, &[]).await? {
        let name: &str = row.try_get("name")?;
        let why = "they were copied to the workers; what is here is in no query, and is not forgotten with a person";
        let cure = format!("select truncate_local_data_after_distributing_table('{name}');");
        findings.push(Finding::new(Level::Warning, CHECK, format!("the coordinator has rows of {name}"), why, cure));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("the events are distributed, and {} nodes answer", nodes.len())));
    }
    Ok(findings)
}
