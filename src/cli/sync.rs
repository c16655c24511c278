//! `weir sync`: other data, brought next to the events.

use super::SyncCommand;
use crate::config::Config;
use crate::database::Database;

pub async fn sync(database: &Database, config: &Config, command: SyncCommand) -> anyhow::Result<()> {
    match command {
        SyncCommand::Load { name } => {
            anyhow::bail!("{name}");
        }
        SyncCommand::Replication(command) => super::replication::replication(database, config, command).await,
    }
}
