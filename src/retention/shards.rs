//! What partitions come to that Citus has distributed. The coordinator has an empty table of each, whose size says nothing; the
//! nodes have the shards.

use std::collections::HashMap;

use deadpool_postgres::ClientWrapper;
use serde::Deserialize;

use super::listing::Leaf;
use crate::database::DatabaseError;
use crate::database::distribute::{Answer, DistributeError, ask_workers};

const ON_EACH_NODE: &str = include_str!("sql/shards.sql");
const WHOSE: &str = include_str!("sql/shards_of.sql");

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
    let mut answers = ask_workers(&**client, ON_EACH_NODE).await?;
    answers.push(Answer { node: "coordinator".to_owned(), said: Ok(here) });
    for Answer { node, said } in answers {
        let shards = said.and_then(|said| serde_json::from_str::<Vec<Shard>>(&said).map_err(|_| said));
        let shards =
            shards.map_err(|reason| DatabaseError::Distribute(Box::new(DistributeError::Node { node, reason })))?;
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
