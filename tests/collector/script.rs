//! The snippet as a file: its names, its encodings, its hash.

use weir::receive::script::Scripts;

use crate::support::{browser, collector, http};

#[tokio::test(flavor = "multi_thread")]
async fn it_has_the_names_that_the_settings_give() {
    let (_database, collector, _journal) = collector(|config| {
        config.receive.script_path = "/assets/site.js".to_owned();
        config.receive.endpoint_path = "/api/m".to_owned();
        // A path of two parts may be a table's.
        config.receive.formats.push(weir::receive::foreign::Family::Chord);
    })
    .await;
    let own = Scripts::of(&collector.config.receive);
    let get = async |path: &str, headers: &[&str]| http::get(collector.address, path, headers).await;
    for path in ["/assets/site.js", &own.core.versioned_path(), "/w.js", "/w.full.js", "/assets/site.full.js"] {
        let answer = get(path, &[]).await;
        assert_eq!((answer.status, answer.header("vary")), (200, Some("accept-encoding")), "{path}");
        // Whoever asked first: a cache may give the answer to another site.
        for origin in ["origin: https://a.example", "x: y"] {
            let answer = get(path, &[origin]).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        }
        let is_kept = answer.header("cache-control").is_some_and(|value| value.contains("immutable"));
        assert_eq!(is_kept, path == own.core.versioned_path(), "{path}");
        let endpoint = if path.starts_with("/w") { r#""api/m""# } else { r#""../api/m""# };
        let text = answer.text();
        assert!(
            text.contains(endpoint) || text.contains(&endpoint.replace('"', "'")),
            "{path} sends elsewhere: {text}"
        );
        let zipped = get(path, &["accept-encoding: gzip, br"]).await;
        assert_eq!(zipped.header("content-encoding"), Some("br"));
        assert!(zipped.body.len() * 10 < answer.body.len() * 6, "{path}");
        let tag = format!("if-none-match: {}", zipped.header("etag").expect("a tag"));
        assert_eq!(get(path, &["accept-encoding: br", &tag]).await.status, 304, "{path}");
    }
    // A page that pins nothing goes on working after an upgrade.
    let earlier = get("/w.00000000.js", &[]).await;
    assert_eq!((earlier.status, earlier.header("cache-control")), (200, Some("no-cache")));
    assert_eq!(get("/w.000.js", &[]).await.status, 404);
    for path in ["/api/m", "/v1/events"] {
        let key = format!("authorization: Bearer {}", collector.keys.public_key);
        let headers = [key.as_str(), "content-type: application/json"];
        let answer = http::post(collector.address, path, &headers, br#"{"name":"a"}"#).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_its_own_name_pinned_and_behind_a_prefix_it_works() {
    let Some(mut program) = browser::program("js-snippet/test/own-name.mjs") else { return };
    let (database, collector, _journal) = collector(|config| {
        config.receive.script_path = "/assets/site.js".to_owned();
        config.receive.endpoint_path = "/api/m".to_owned();
    })
    .await;
    let core = Scripts::of(&collector.config.receive).core;
    let program = program
        .args(["--collector", &format!("http://{}", collector.address), "--script", &core.versioned_path()])
        .args(["--integrity", core.integrity(), "--endpoint", "/api/m", "--key", &collector.keys.public_key]);
    browser::said(program, browser::TIMEOUT).await;
    database.until_stored(1).await;
    assert_eq!(database.rows("select kind || ' ' || path from analytics.events").await, ["page /"]);
    collector.stop().await;
}
