//! Whether a journal's owner is alive, as far as the database can tell: a collector that has anything in its journal reports
//! it there every ten seconds. On another machine its lock cannot be seen.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::AdoptError;
use crate::database::{Database, DatabaseError};

const OWNER: &str = include_str!("sql/owner.sql");
/// Once more than the interval of reports (`housekeeping`), for one that is late.
const SILENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_secs(1);

/// What the database knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// Whether it has ever heard of this journal.
    pub is_known: bool,
    /// Since the last report; `None`: there is none.
    pub silent: Option<Duration>,
    reported_at: Option<String>,
}

pub async fn ask(database: &Database, node: &str) -> Result<Owner, DatabaseError> {
    let row = database.client().await?.query_typed_one(OWNER, &[(&node, Type::TEXT)]).await?;
    let silent_s: Option<f64> = row.try_get("silent_s")?;
    Ok(Owner {
        is_known: row.try_get("is_known")?,
        silent: silent_s.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        reported_at: row.try_get("reported_at")?,
    })
}

/// Returns once the owner has been silent for long enough; fails if it reports meanwhile.
pub async fn until_silent(
    database: &Database,
    node: &str,
    first: &Owner,
    mut tell: impl FnMut(Duration),
) -> Result<(), AdoptError> {
    let mut is_told = false;
    loop {
        let now = ask(database, node).await?;
        let silent = now.silent.unwrap_or(Duration::MAX);
        if now.reported_at != first.reported_at {
            return Err(AdoptError::Alive { node: node.to_owned(), silent_s: silent.as_secs() });
        }
        if silent >= SILENCE {
            return Ok(());
        }
        if !is_told {
            tell(SILENCE.saturating_sub(silent));
            is_told = true;
        }
        tokio::time::sleep(POLL).await;
    }
}
