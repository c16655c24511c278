//! Partitions of the rows that come next, made while others are written: PostgreSQL takes some milliseconds for each, and a history has
//! many days.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Day;
use crate::database::Database;
use crate::flush::FlushError;
use crate::flush::postgres::{Connection, Postgres};
use crate::flush::store::Store;

/// Whoever writes waits for it no longer.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection of its own, beside the one that writes.
pub struct Ahead {
    postgres: Arc<Postgres>,
    session: Option<Connection>,
    /// Not where workers have the rows, for there a partition and the rows of others may wait for each other; and no longer once it failed.
    is_wanted: bool,
}

impl Ahead {
    pub fn new(postgres: &Arc<Postgres>, database: &Database) -> Self {
        Self { postgres: Arc::clone(postgres), session: None, is_wanted: !database.is_distributed() }
    }

    /// Makes those of these days that are missing, if it can: whoever writes looks itself, and says what is wrong.
    pub async fn prepare(&mut self, days: &BTreeSet<Day>) {
        if !self.is_wanted {
            return;
        }
        match timeout(PREPARE_TIMEOUT, self.attempt(days)).await {
            Ok(Ok(session)) => self.session = Some(session),
            Ok(Err(error)) => self.give_up(&error.to_string()),
            Err(_) => self.give_up("that takes too long"),
        }
    }

    /// Whoever writes is not to wait for this again and again.
    fn give_up(&mut self, why: &str) {
        tracing::debug!(why, "partitions are not made ahead any more");
        self.is_wanted = false;
    }

    /// One that failed, or was given up, may be in the midst of anything, and is dropped.
    async fn attempt(&mut self, days: &BTreeSet<Day>) -> Result<Connection, FlushError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.postgres.connect().await?,
        };
        session.prepare_days(days.clone()).await?;
        Ok(session)
    }
}
