//! Events that were accepted before, and are still on their way: collectors say each second what they promised, and the
//! ledger says how far it has arrived.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::retention::RetentionError;

const PROMISED: &str = include_str!("../sql/forget_promised.sql");
const MISSING: &str = include_str!("../sql/forget_missing.sql");
/// After so long, what a collector had taken before is in its report.
const REPORT_WAIT: Duration = Duration::from_secs(2);
/// A collector that is well needs less than a second; one that is away is not waited for.
const ARRIVAL_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);

/// Events that one collector holds and the database does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub node: String,
    pub events: i64,
    /// When it was last heard of.
    pub heard_at: String,
}

/// Waits until all that was accepted by now is in the database; returns what is not.
pub async fn until_arrived(client: &ClientWrapper) -> Result<Vec<Pending>, RetentionError> {
    let started = Instant::now();
    tokio::time::sleep(REPORT_WAIT).await;
    let (mut segments, mut sources, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
    for row in client.query_typed(PROMISED, &[]).await? {
        segments.push(row.try_get::<_, Uuid>("segment_id")?);
        sources.push(row.try_get::<_, String>("source")?);
        accepted.push(row.try_get::<_, i64>("accepted")?);
    }
    loop {
        let missing = client
            .query_typed(
                MISSING,
                &[(&segments, Type::UUID_ARRAY), (&sources, Type::TEXT_ARRAY), (&accepted, Type::INT8_ARRAY)],
            )
            .await?;
        let mut pending = Vec::new();
        for row in missing {
            pending.push(Pending {
                node: row.try_get("node")?,
                events: row.try_get("events")?,
                heard_at: row.try_get("heard_at")?,
            });
        }
        if pending.is_empty() || started.elapsed() > ARRIVAL_WAIT {
            return Ok(pending);
        }
        tokio::time::sleep(POLL).await;
    }
}
