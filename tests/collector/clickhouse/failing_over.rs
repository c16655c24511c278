//! PostgreSQL fails over to a standby that lacks commits of which `ClickHouse` has the rows already.

use super::{equal, followed};
use crate::failover::{ENOUGH, Pair};
use crate::support::chance::Chance;
use crate::support::clickhouse::{ClickHouse, Kind};
use crate::support::eventually;
use crate::support::server::End;

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_postgresql_forgets_and_gets_again_are_there_once() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let mut pair = Pair::start(|config| config.clickhouse = clickhouse.settings()).await;
        followed(&pair.database).await;
        let clients = pair.clients(&mut Chance::told());
        let (follower, kept) = pair.leave_standby_behind().await;
        // All that comes now is forgotten: some of it when it is in ClickHouse, and no longer named; some while it is on its way.
        eventually("more is in ClickHouse than the standby has", async || {
            clickhouse.number("select count() from events").await > kept + ENOUGH as i64
        })
        .await;
        let had = clickhouse.number("select count() from events").await;
        pair.primary.end(End::Kill);
        pair.standby.promote().await;
        let before = clients.taken();
        eventually("events are taken afterwards", async || clients.taken() > before + ENOUGH).await;
        let record = clients.finish().await;
        record.until_exact(&follower.client).await;
        let rows = equal(&follower, &clickhouse, &kind).await;
        eprintln!("{kind:?}: {rows} rows, {} of them in ClickHouse before PostgreSQL forgot them", had - kept);
        pair.collector.stop().await;
    }
}
