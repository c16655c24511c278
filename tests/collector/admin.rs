//! The operator's listener: seen by who may.

use std::process::Stdio;

use tokio::process::Command;
use weir::config::Config;

use crate::support::{collector, http, within};

const TOKEN: &str = "a-token-of-32-characters-or-more";

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_health_is_open() {
    let change = |config: &mut Config| {
        TOKEN.clone_into(&mut config.admin.token);
        config.console.enabled = false;
    };
    let (_database, collector, _journal) = collector(change).await;
    let status = async |path: &str, header: &str| http::get(collector.admin, path, &[header]).await.status;
    for header in [
        "x: y".to_owned(),
        "authorization:".to_owned(),
        "authorization: Bearer".to_owned(),
        "authorization: Bearer ".to_owned(),
        format!("authorization: {TOKEN}"),
        format!("authorization: Basic {TOKEN}"),
        format!("authorization: Bearer {}", &TOKEN[1..]),
        format!("authorization: Bearer {}", &TOKEN[..TOKEN.len() - 1]),
        format!("authorization: Bearer {TOKEN}x"),
        format!("authorization: Bearer {}", TOKEN.to_uppercase()),
        format!("authorization: Bearer {}", collector.keys.secret_key),
    ] {
        for path in ["/", "/metrics", "/nothing", "/healthz/", "//healthz", "/%68ealthz", "/healthz/../metrics"] {
            let answer = http::get(collector.admin, path, &[&header]).await;
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{path} {header}");
            assert_eq!(answer.json()["error"], "unauthorized");
            assert!(!answer.text().contains("weir_"), "{path} {header}");
        }
        assert_eq!((status("/healthz", &header).await, status("/readyz", &header).await), (200, 200), "{header}");
    }
    for header in [format!("authorization: Bearer {TOKEN}"), format!("authorization: bearer  {TOKEN}")] {
        assert_eq!((status("/", &header).await, status("/metrics", &header).await), (200, 200), "{header}");
        assert_eq!(status("/nothing", &header).await, 404);
    }
    assert_eq!(status(&format!("/metrics?token={TOKEN}"), "x: y").await, 401, "addresses are logged");
    let healthcheck = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("healthcheck")
        .env("WEIR_ADMIN__LISTEN", collector.admin.to_string())
        .current_dir(std::env::temp_dir())
        .output();
    let healthcheck = within("a healthcheck", healthcheck).await.expect("the program runs");
    assert!(healthcheck.status.success(), "{}", String::from_utf8_lossy(&healthcheck.stderr));
    collector.stop().await;
}

/// The console has a guard of its own: its people have no token, and a token makes nobody one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_for_the_console() {
    let (_database, collector, _journal) = collector(|config| TOKEN.clone_into(&mut config.admin.token)).await;
    let bearer = format!("authorization: Bearer {TOKEN}");
    for (path, header, expected) in [
        ("/metrics", "x: y", 401),
        ("/metrics", &bearer, 200),
        ("/sign-in", "accept: text/html", 200),
        ("/", &bearer, 401),
        ("/live/data", &bearer, 401),
        ("/nothing", &bearer, 401),
        ("//metrics", "x: y", 401),
        ("/%6detrics", "x: y", 401),
    ] {
        let answer = http::get(collector.admin, path, &[header]).await;
        assert_eq!(answer.status, expected, "{path} {header}");
        assert!(expected == 200 || !answer.text().contains("weir_"), "{path} {header}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_admin_address_without_a_token_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let weir = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(args)
            .env_remove("DATABASE_URL")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    };
    for (args, variables, said) in [
        (&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"][..], &[][..], "0.0.0.0:0"),
        (&["up", "--listen", "127.0.0.1:0", "--admin-listen", "[::]:0"], &[], "[::]:0"),
        (&["serve", "--listen", "127.0.0.1:0"], &[("WEIR_ADMIN__LISTEN", "0.0.0.0:0")], "0.0.0.0:0"),
        (&["up", "--listen", "127.0.0.1:0"], &[("WEIR_ADMIN__LISTEN", "0.0.0.0:0")], "0.0.0.0:0"),
        (&["serve", "--admin-listen", "0.0.0.0:0"], &[("WEIR_ADMIN__TOKEN", "short")], "at least 16"),
    ] {
        let output = weir(args).envs(variables.iter().copied()).output();
        let output = within("it gives up", output).await.expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr.contains("admin.token") && stderr.contains(said), "{args:?}: {stderr}");
        let left: Vec<_> = std::fs::read_dir(directory.path()).expect("listed").collect();
        assert!(left.is_empty(), "nothing was begun: {left:?}");
    }
    // With one it gets further: to the database, which is not there.
    let output = weir(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"])
        .envs([("WEIR_ADMIN__TOKEN", TOKEN), ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")])
        .output();
    let output = within("it gives up", output).await.expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("database") && !stderr.contains(TOKEN), "{stderr}");
}
