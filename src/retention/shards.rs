//! What partitions come to that Citus has distributed. The coordinator has an empty table of each, whose size says nothing; the
//! nodes have the shards.

use std::collections::HashMap;

use deadpool_postgres::ClientWrapper;
use serde::Deserialize;
use tokio_postgres::types::Type;

use super::listing::Leaf;
use crate::database::DatabaseError;
use crate::database::distribute::DistributeError;

const ON_EACH_NODE: &str = include_str!("sql/shards.sql");
const WHOSE: &str = include_str!("sql/shards_of.sql");
const ASK: &str = "select nodename || ':' || nodeport as node, success, result
    from run_command_on_all_nodes($1) join pg_dist_node using (nodeid)";

/// One shard.
#[derive(Debug, Deserialize)]
struct Shard {
    id: i64,
    rows: i64,
    heap_bytes: i64,
    index_bytes: i64,
    inserted: i64,
    blocks: i64,
}

/// Gives `leaves` the sums of their shards; those that Citus does not know stay as they are.
pub(super) async fn measure(client: &ClientWrapper, leaves: &mut [Leaf]) -> Result<(), DatabaseError> {
    let mut of: HashMap<String, Vec<Shard>> = HashMap::new();
    let mut names: HashMap<i64, String> = HashMap::new();
    for row in client.query_typed(WHOSE, &[]).await? {
        let name: String = row.try_get("name")?;
        of.entry(name.clone()).or_default();
        names.insert(row.try_get("shard")?, name);
    }
    for row in client.query_typed(ASK, &[(&ON_EACH_NODE, Type::TEXT)]).await? {
        let (node, result): (String, Option<String>) = (row.try_get("node")?, row.try_get("result")?);
        let shards: Option<Vec<Shard>> = match &result {
            // The coordinator may have no shards, and then says nothing.
            Some(text) if row.try_get("success")? => serde_json::from_str(text).ok(),
            None => Some(Vec::new()),
            Some(_) => None,
        };
        let Some(shards) = shards else {
            let reason = result.unwrap_or_default();
            return Err(DatabaseError::Distribute(Box::new(DistributeError::Node { node, reason })));
        };
        for shard in shards {
            // One that is no longer anybody's is Citus' to clean up.
            if let Some(name) = names.get(&shard.id) {
                of.entry(name.clone()).or_default().push(shard);
            }
        }
    }
    for leaf in leaves {
        let Some(shards) = of.get(&leaf.name) else { continue };
        let sum = |of: fn(&Shard) -> i64| shards.iter().map(of).sum::<i64>();
        leaf.rows = shards.iter().all(|shard| shard.rows >= 0).then(|| sum(|shard| shard.rows));
        leaf.heap_bytes = sum(|shard| shard.heap_bytes);
        leaf.index_bytes = sum(|shard| shard.index_bytes);
        leaf.inserted = sum(|shard| shard.inserted);
        // A stretch of the heap is one of each shard's: src/retention/sweep.rs.
        leaf.blocks = shards.iter().map(|shard| shard.blocks).max().unwrap_or_default();
    }
    Ok(())
}
