//! One source's tables are looked at, and copied when that is due.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::{Bridge, ForeignError};
use crate::schedule::Schedule;

/// What is due is begun.
const TICK: Duration = Duration::from_secs(5);

impl Bridge {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut told = String::new();
        let looks = (self.settings.poll_s / TICK.as_secs()).max(1);
        for count in 0_u64.. {
            let result = tokio::select! {
                result = self.turn(count.is_multiple_of(looks)) => result,
                () = stop.cancelled() => break,
            };
            match result {
                Ok(()) | Err(ForeignError::NotStarted(_)) => told.clear(),
                Err(error) => {
                    let text = error.to_string();
                    if text != told {
                        tracing::warn!(source = self.name, error = text, "foreign tables: trying again");
                        told = text;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = stop.cancelled() => break,
            }
        }
        self.close();
    }

    async fn turn(&self, looks: bool) -> Result<(), ForeignError> {
        if looks {
            self.refresh().await?;
        }
        if self.settings.snapshot && self.is_due().await? {
            self.snapshot().await?;
        }
        Ok(())
    }

    async fn is_due(&self) -> Result<bool, ForeignError> {
        let schedule =
            Schedule::parse(&self.settings.every, &self.settings.timezone).map_err(ForeignError::Settings)?;
        // Of those that were cut off, nobody says that they failed.
        let sql = "select (extract(epoch from max(started_at)))::bigint,
                          (count(*) filter (where outcome = 'failed' and started_at > coalesce(
                              (select max(started_at) from sync.runs d where d.source = $1 and d.outcome = 'done'), '-infinity')))::int
                     from sync.runs where source = $1 and exists (select from sync.sources where source = $1 and kind = 'foreign')";
        let row = self.local.client().await?.query_typed_one(sql, &[(&self.name, Type::TEXT)]).await?;
        let started = row.try_get::<_, Option<i64>>(0)?.and_then(|second| Timestamp::from_second(second).ok());
        let exists = "select exists (select from sync.sources where source = $1 and kind = 'foreign')";
        let is_started: bool =
            self.local.client().await?.query_typed_one(exists, &[(&self.name, Type::TEXT)]).await?.try_get(0)?;
        Ok(is_started && schedule.is_due(started, row.try_get(1)?, Timestamp::now()))
    }
}
