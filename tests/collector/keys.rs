//! Keys made, rotated and disabled while collectors run.

use weir::database::Database;
use weir::sources::{self, KeyKind};

use crate::support::{collector, eventually, http};

#[tokio::test(flavor = "multi_thread")]
async fn changes_take_effect_in_running_collectors() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let post = async |key: &str| {
        let key = format!("authorization: Bearer {key}");
        http::post(collector.address, "/v1/events", &[&key], br#"{"name":"a"}"#).await.status
    };
    let shop = sources::add(&weir, "shop", &[]).await.expect("added");
    eventually("a new key works", async || post(&shop.public_key).await == 200).await;

    let rotated = sources::rotate(&weir, "shop", KeyKind::Public, 0).await.expect("rotated");
    eventually("the rotated key works", async || post(&rotated).await == 200).await;
    assert_eq!(post(&shop.public_key).await, 401, "the old one does not");
    assert_eq!(post(&shop.secret_key).await, 200, "the other kind still does");

    let graceful = sources::rotate(&weir, "shop", KeyKind::Secret, 3600).await.expect("rotated");
    eventually("the new secret works", async || post(&graceful).await == 200).await;
    assert_eq!(post(&shop.secret_key).await, 200, "the old secret has grace");

    sources::set_disabled(&weir, "shop", true).await.expect("disabled");
    eventually("a disabled source is refused", async || post(&rotated).await == 401).await;
    sources::set_disabled(&weir, "shop", false).await.expect("enabled");
    eventually("an enabled source is taken", async || post(&rotated).await == 200).await;

    let listed = sources::list(&weir).await.expect("listed");
    let shop = listed.iter().find(|source| source.source == "shop").expect("listed");
    assert_eq!(shop.keys.len(), 3, "{shop:?}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_as_hashes_only() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let secret = &collector.keys.secret_key[10..];
    let sql = format!("select count(*) from weir.write_keys k where k::text like '%{secret}%'");
    assert_eq!(database.number(&sql).await, 0);
    assert_eq!(database.number("select count(*) from weir.write_keys where length(key_hash) = 32").await, 2);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_other_origins_are_refused() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let shop = sources::add(&weir, "shop", &["https://Shop.example/".to_owned()]).await.expect("added");
    let post = async |key: &str, header: &str| {
        let key = format!("authorization: Bearer {key}");
        http::post(collector.address, "/v1/events", &[&key, header], br#"{"name":"a"}"#).await
    };
    eventually("the key works", async || post(&shop.public_key, "origin: https://shop.example").await.status == 200)
        .await;
    for header in ["origin: https://evil.example", "origin: null", "x: y", "referer: https://evil.example/shop.example"]
    {
        let answer = post(&shop.public_key, header).await;
        assert_eq!((answer.status, &answer.json()["error"]), (403, &"wrong_origin".into()), "{header}");
    }
    assert_eq!(post(&shop.public_key, "referer: https://shop.example/page").await.status, 200);
    assert_eq!(post(&shop.secret_key, "x: y").await.status, 200, "servers have no origin");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_origins_are_checked() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    for (name, origin) in
        [("web", "https://a.example"), ("", "https://a.example"), ("a b", "https://a.example"), ("x", "a.example")]
    {
        let error = sources::add(&weir, name, &[origin.to_owned()]).await.expect_err(name);
        assert!(!error.to_string().is_empty());
    }
    assert!(sources::rotate(&weir, "nobody", KeyKind::Public, 0).await.is_err());
    assert!(sources::set_disabled(&weir, "nobody", true).await.is_err());
    collector.stop().await;
}
