//! Events on several servers, by Citus: `database.distribute = "citus"`.
//!
//! Only `analytics.events` is distributed, by hash of `event_id`: the unique index of each day has that column alone, a retry
//! has the same id and so comes to the same shard, and ids are even. Days that are attached later follow their parent. All
//! other tables stay on the coordinator, with which weir speaks: they are small, and a commit over both is one of two phases.
//!
//! What Citus refuses is refused by name in the checker of tests/collector/citus/rules.rs; docs/citus.md has the reasons.

use std::collections::BTreeSet;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Row};

const HAS_CITUS: &str = "select to_regclass('pg_catalog.pg_dist_partition') is not null as has_citus";
const STANDING: &str = include_str!("sql/distribute_standing.sql");
const ANY_EVENTS: &str = "select exists (select 1 from analytics.events limit 1) as is_any";
const HOLD: &str = "set local lock_timeout = '5s'; lock table analytics.events in share row exclusive mode";
const DISTRIBUTE: &str = "select create_distributed_table('analytics.events', 'event_id')";
/// Classes of SQLSTATE: connection, transaction state, rollback, resources, object state, intervention, system.
const PASSING: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];
const ASK_WORKERS: &str = include_str!("sql/distribute_ask_workers.sql");
const PREPARED: &str = include_str!("sql/distribute_prepared.sql");
/// A worker that is well commits within milliseconds; what it had prepared when it died waits for `citus.recover_2pc_interval`.
const COMMIT_WAIT: Duration = Duration::from_secs(10);
const COMMIT_POLL: Duration = Duration::from_millis(10);
/// The column of which every unique index has to consist or which it has to contain.
pub const COLUMN: &str = "event_id";

/// Whether the events lie on several servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribute {
    #[default]
    None,
    /// `database.url` is a coordinator of Citus.
    Citus,
}

/// The database is not as `database.distribute` says, and cannot be made so.
#[derive(Debug, thiserror::Error)]
pub enum DistributeError {
    #[error(
        "database.distribute is \"citus\", and this database has no Citus: `create extension citus` on the coordinator and on \
         every worker, in a database of this name, as a superuser (docs/citus.md), or leave the setting out"
    )]
    NoExtension,
    #[error(
        "Citus has distributed analytics.events, and database.distribute is \"none\": set it to \"citus\" \
         (WEIR_DATABASE__DISTRIBUTE) wherever weir is run on this database"
    )]
    NotSet,
    #[error(
        "analytics.events has rows, and moving them holds up every flush for as long as it takes: run \
         `{DISTRIBUTE}` yourself when that suits, then start weir (docs/citus.md has the steps)"
    )]
    NotEmpty,
    #[error(
        "analytics.events is distributed by {found}, and weir needs it by event_id: \
         `select alter_distributed_table('analytics.events', distribution_column := 'event_id')`"
    )]
    OtherColumn { found: String },
    #[error("the node {node} of the Citus cluster does not answer as it should: {reason}")]
    Node { node: String, reason: String },
    #[error(
        "a worker has not committed what the coordinator has: {0}; Citus does so with the next recover_prepared_transactions(), \
         each citus.recover_2pc_interval"
    )]
    Uncommitted(String),
    #[error("Citus does not distribute analytics.events: {}", super::chain(.0))]
    Refused(Error),
}

/// Where the table lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no Citus here.
    Plain,
    /// Citus is here, and has not distributed it.
    Local,
    By(String),
}

/// As the catalog says.
pub async fn standing(client: &ClientWrapper) -> Result<Standing, Error> {
    // Without Citus the second statement could not even be read.
    if !client.query_typed_one(HAS_CITUS, &[]).await?.try_get::<_, bool>("has_citus")? {
        return Ok(Standing::Plain);
    }
    Ok(match client.query_typed_opt(STANDING, &[]).await? {
        Some(row) => {
            Standing::By(row.try_get::<_, Option<String>>("column")?.unwrap_or_else(|| "no column".to_owned()))
        }
        None => Standing::Local,
    })
}

/// What a node says.
pub struct Answer {
    pub node: String,
    /// Or why it does not.
    pub said: Result<String, String>,
}

/// Has every worker answer `command`, a SELECT of one text. Not the coordinator, which may not be let in to itself.
pub async fn ask_workers(client: &impl GenericClient, command: &str) -> Result<Vec<Answer>, Error> {
    let rows = client.query_typed(ASK_WORKERS, &[(&command, Type::TEXT)]).await?;
    let answer = |row: &Row| {
        let (is_answer, said): (bool, String) = (row.try_get("success")?, row.try_get("said")?);
        Ok(Answer { node: row.try_get("node")?, said: if is_answer { Ok(said) } else { Err(said) } })
    };
    rows.iter().map(answer).collect()
}

/// Waits until the workers have committed what is committed here by now. The coordinator commits first: who sees a row of a
/// transaction here may not yet see its rows there.
pub(super) async fn committed(client: &impl GenericClient) -> Result<(), super::DatabaseError> {
    let refused = |error: DistributeError| Err(super::DatabaseError::Distribute(Box::new(error)));
    let began = Instant::now();
    let mut waited_for: Option<BTreeSet<String>> = None;
    loop {
        let mut prepared = BTreeSet::new();
        for Answer { node, said } in ask_workers(client, PREPARED).await? {
            match said {
                Ok(said) => prepared.extend(said.split_whitespace().map(str::to_owned)),
                Err(reason) => return refused(DistributeError::Node { node, reason }),
            }
        }
        // What is prepared later is of others.
        if let Some(before) = &waited_for {
            prepared.retain(|transaction| before.contains(transaction));
        }
        if prepared.is_empty() {
            return Ok(());
        }
        if began.elapsed() > COMMIT_WAIT {
            return refused(DistributeError::Uncommitted(prepared.into_iter().collect::<Vec<_>>().join(", ")));
        }
        waited_for = Some(prepared);
        sleep(COMMIT_POLL).await;
    }
}

/// Makes the database what the setting says, under the lock of migrations; most often it is that already.
pub(super) async fn settle(client: &mut ClientWrapper, wanted: Distribute) -> Result<(), super::DatabaseError> {
    let refused = |error: DistributeError| Err(super::DatabaseError::Distribute(Box::new(error)));
    match (wanted, standing(client).await?) {
        (Distribute::None, Standing::By(_)) => refused(DistributeError::NotSet),
        (Distribute::Citus, Standing::Plain) => refused(DistributeError::NoExtension),
        (Distribute::Citus, Standing::By(found)) if found != COLUMN => refused(DistributeError::OtherColumn { found }),
        (Distribute::None, Standing::Plain | Standing::Local) | (Distribute::Citus, Standing::By(_)) => Ok(()),
        (Distribute::Citus, Standing::Local) => {
            let transaction = client.transaction().await?;
            // What came between the question and the answer would be copied, and its first copy stay, where nobody sees it.
            transaction.batch_execute(HOLD).await?;
            if transaction.query_typed_one(ANY_EVENTS, &[]).await?.try_get("is_any")? {
                return refused(DistributeError::NotEmpty);
            }
            match transaction.batch_execute(DISTRIBUTE).await {
                Ok(()) => {}
                // Time heals what a lock or a worker lacks, but not what Citus refuses.
                Err(error) if error.code().is_none_or(|code| PASSING.contains(&&code.code()[..2])) => {
                    return Err(error.into());
                }
                Err(error) => return refused(DistributeError::Refused(error)),
            }
            transaction.commit().await?;
            tracing::info!("analytics.events is distributed by Citus, by event_id");
            Ok(())
        }
    }
}
