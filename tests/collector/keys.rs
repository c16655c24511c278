//! Keys made, rotated and disabled while collectors run.

use sha2::Digest;
use weir::database::Database;
use weir::sources::{self, KeyKind};

use crate::support::{TestDatabase, collector, eventually, http, within};

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
async fn the_first_command_on_a_new_database_makes_its_tables_or_says_who_does() {
    let database = TestDatabase::new().await;
    let weir = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).env("DATABASE_URL", &database.url);
        let output = within("a command", command.output()).await.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for arguments in [&["source", "list"][..], &["quarantine", "list"], &["lake", "status"], &["partitions", "prune"]] {
        let (is_well, said) = weir(arguments).await;
        let is_told = said.contains("no tables of this weir's yet") && said.contains("`weir serve` makes them");
        assert!(!is_well && is_told, "{arguments:?}: {said}");
    }
    assert_eq!(database.number("select count(*) from pg_namespace where nspname = 'weir'").await, 0);
    let (is_well, said) = weir(&["source", "add", "shop"]).await;
    assert!(is_well && said.contains("public key, for pages:"), "{said}");
    let (is_well, said) = weir(&["source", "list"]).await;
    assert!(is_well && said.starts_with("shop\tenabled"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_as_hashes_only() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let secret = &collector.keys.secret_key[10..];
    let sql = format!("select count(*) from weir.write_keys k where k::text like '%{secret}%'");
    assert_eq!(database.number(&sql).await, 0);
    assert_eq!(database.number("select count(*) from weir.write_keys where length(key_hash) = 32").await, 2);
    // Looked up by the hash, too: how far a guess agrees with a key cannot be seen, because there is no key to compare.
    let copy = collector.config.journal.dir.join("keys.json");
    let copy: serde_json::Value = serde_json::from_slice(&std::fs::read(copy).expect("there")).expect("JSON");
    let hashes: Vec<_> = copy.as_array().expect("keys").iter().map(|key| key["hash"].clone()).collect();
    for key in [&collector.keys.public_key, &collector.keys.secret_key] {
        let hash = serde_json::json!(sha2::Sha256::digest(key.as_bytes()).as_slice());
        assert!(hashes.contains(&hash), "{hashes:?}");
        assert!(!copy.to_string().contains(&key[8..]), "{copy}");
    }
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
    for header in [
        "origin: https://evil.example",
        "origin: null",
        "x: y",
        "referer: https://evil.example/shop.example",
        "origin:",
        "origin: http://shop.example",
        "origin: https://shop.example:8443",
        "origin: https://shop.example.",
        "origin: https://shop.example/",
        "origin: https://shop.example.evil.com",
        "origin: https://evil-shop.example",
        "origin: https://a.shop.example",
        "origin: https://shop.example@evil.com",
        "origin: https://shop.example, https://evil.com",
        "origin: https://shop.example https://evil.com",
        "origin: https://shop%2eexample",
        "origin: shop.example",
        "origin: *",
        "referer: https://shop.example.evil.com/",
        "referer: https://shop.example@evil.com/",
        "referer: https://evil.com/https://shop.example",
        "referer: https://evil.com#https://shop.example/",
        "referer: http://shop.example/",
        "referer: https://shop.example:8443/",
        "referer: about:blank",
        "referer: nonsense",
        // What a browser says of where the script runs counts, not where the page is.
        "origin: null\r\nreferer: https://shop.example/",
        "origin: https://evil.example\r\nreferer: https://shop.example/",
    ] {
        let answer = post(&shop.public_key, header).await;
        assert_eq!((answer.status, &answer.json()["error"]), (403, &"wrong_origin".into()), "{header}");
    }
    for header in [
        "referer: https://shop.example/page",
        "referer: https://user:password@shop.example:443/page?a#b",
        "origin: HTTPS://SHOP.example",
    ] {
        assert_eq!(post(&shop.public_key, header).await.status, 200, "{header}");
    }
    assert_eq!(post(&shop.secret_key, "x: y").await.status, 200, "servers have no origin");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_does_not_work_gets_the_same_answer() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let expired = sources::add(&weir, "expired", &[]).await.expect("added");
    let disabled = sources::add(&weir, "disabled", &["https://shop.example".to_owned()]).await.expect("added");
    let authorized = |key: &str| format!("authorization: Bearer {key}");
    eventually("the keys are known", async || {
        let header = authorized(&disabled.secret_key);
        http::post(collector.address, "/v1/events", &[&header], br#"{"name":"a"}"#).await.status == 200
    })
    .await;
    let new = sources::rotate(&weir, "expired", KeyKind::Public, 0).await.expect("rotated");
    sources::rotate(&weir, "expired", KeyKind::Secret, 0).await.expect("rotated");
    sources::set_disabled(&weir, "disabled", true).await.expect("disabled");
    eventually("all have heard of it", async || {
        let mut statuses = Vec::new();
        for key in [&new, &expired.secret_key, &disabled.secret_key] {
            let header = authorized(key);
            statuses.push(http::post(collector.address, "/v1/events", &[&header], br#"{"name":"a"}"#).await.status);
        }
        statuses == [200, 401, 401]
    })
    .await;
    let good = &collector.keys.secret_key;
    let mut dead = vec![
        "pk_unknown".to_owned(),
        "x".to_owned(),
        "\u{1f511}".to_owned(),
        "'; select 1; --".to_owned(),
        "k".repeat(30_000),
        expired.public_key,
        expired.secret_key,
        disabled.public_key,
        disabled.secret_key,
        good.to_uppercase(),
        format!("{good}x"),
        format!(" {good}"),
        good.replacen("sk_", "pk_", 1),
    ];
    // Nearly right is as wrong as anything.
    dead.extend((1..good.len()).map(|length| good[..length].to_owned()));
    let mut answers = std::collections::BTreeSet::new();
    for key in &dead {
        let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        for body in [&br#"{"name":"a"}"#[..], b"not JSON", b""] {
            let answer = http::post(collector.address, &format!("/v1/events?key={key}"), &[], body).await;
            answers.insert(answer.shown());
        }
    }
    for key in dead.iter().filter(|key| key.is_ascii()) {
        let header = authorized(key);
        if key.trim() != good {
            answers.insert(http::post(collector.address, "/v1/events", &[&header], b"{}").await.shown());
        }
        let body = serde_json::json!({"key": key, "name": "a"}).to_string();
        if key.len() < 500 {
            answers.insert(http::post(collector.address, "/v1/events", &[], body.as_bytes()).await.shown());
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert!(answers.first().is_some_and(|answer| answer.starts_with("401")), "{answers:#?}");
    database.until("select count(*) from analytics.events where source = 'web'", 0).await;
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
