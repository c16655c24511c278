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
/// Not the coordinator, which may not be let in to itself: it answers without.
const ASK: &str = "select nodename || ':' || nodeport as node, success, coalesce(result, '') as result
    from run_command_on_workers($1)";

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
    if names.is_empty() {
        return Ok(());
    }
    let here = client.query_typed_one(ON_EACH_NODE, &[]).await?.try_get::<_, String>(0)?;
    let mut answers = vec![("coordinator".to_owned(), true, here)];
    for row in client.query_typed(ASK, &[(&ON_EACH_NODE, Type::TEXT)]).await? {
        answers.push((row.try_get("node")?, row.try_get("success")?, row.try_get("result")?));
    }
    for (node, is_answer, said) in answers {
        let shards = if is_answer { serde_json::from_str::<Vec<Shard>>(&said).ok() } else { None };
        let Some(shards) = shards else {
            return Err(DatabaseError::Distribute(Box::new(DistributeError::Node { node, reason: said })));
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
