//! `weir sync`: other data, brought next to the events.

use super::SyncCommand;
use crate::config::Config;
use crate::database::Database;

pub async fn sync(_database: &Database, _config: &Config, command: SyncCommand) -> anyhow::Result<()> {
    match command {
        SyncCommand::Load { name } => {
            anyhow::bail!("{name}");
        }
    }
}
