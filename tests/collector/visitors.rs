//! Visitors, their addresses, and their wishes, as they reach the database.

use weir::database::Database;
use weir::enrich::visitor::Salts;

use crate::support::{TestDatabase, collector};

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_believed_only_where_trusted() {
    let (database, collector, _journal) = collector(|config| {
        config.receive.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a net")];
        config.privacy.ip = weir::config::IpPolicy::Full;
    })
    .await;
    collector.beacon(r#"{"name":"a"}"#, &["x-forwarded-for: 6.6.6.6, 203.0.113.9"]).await;
    database.until_stored(1).await;
    assert_eq!(database.rows("select ip from analytics.events").await, ["203.0.113.9"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_without_a_name_is_the_same_all_day() {
    let (database, collector, _journal) = collector(|_| {}).await;
    for agent in ["user-agent: A", "user-agent: A", "user-agent: B"] {
        collector.beacon(r#"{"name":"a"}"#, &[agent]).await;
    }
    collector.beacon(r#"{"name":"a","visitor_id":"own"}"#, &["sec-gpc: 1"]).await;
    database.until_stored(4).await;
    assert_eq!(database.number("select count(distinct visitor_id) from analytics.events").await, 2);
    let gpc = "select count(*) from analytics.events where visitor_id is null and ip is null";
    assert_eq!(database.number(gpc).await, 1);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn salts_are_shared_and_destroyed_after_two_days() {
    let database = TestDatabase::new().await;
    let mut settings = weir::Config::default().database;
    database.url.clone_into(&mut settings.url);
    let weir = Database::new(&settings, 1).expect("a valid URL");
    weir::database::migrate::run(&weir).await.expect("migrated");
    let (one, other) = (Salts::new().expect("random"), Salts::new().expect("random"));
    let ip = "203.0.113.9".parse().expect("an address");
    let day = 20_000;
    one.refresh(&weir, day).await.expect("made");
    other.refresh(&weir, day).await.expect("read");
    assert_eq!(one.visitor_id(day, "web", ip, "A"), other.visitor_id(day, "web", ip, "A"));
    assert_eq!(one.visitor_id(day + 1, "web", ip, "A"), other.visitor_id(day + 1, "web", ip, "A"), "tomorrow's too");
    let before = one.visitor_id(day, "web", ip, "A");
    one.refresh(&weir, day).await.expect("again");
    assert_eq!(one.visitor_id(day, "web", ip, "A"), before, "refreshing changes no salt");
    let kept = "select count(*) from weir.salts where day = date '1970-01-01' + 20000";
    one.refresh(&weir, day + 1).await.expect("the next day");
    assert_eq!(database.number(kept).await, 1, "kept for a second day");
    one.refresh(&weir, day + 2).await.expect("the day after");
    assert_eq!(database.number(kept).await, 0, "then gone");
}
