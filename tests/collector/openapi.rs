//! `docs/openapi.json` beside the collector that it describes: its examples are answered as it says, and schemathesis finds no request
//! that is answered otherwise.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::support::http::{self, Answer};
use crate::support::{TestCollector, collector, tool};

/// Test cases of each operation. `make check-openapi` tries more.
const EXAMPLES: &str = "25";
/// The same cases each time; `make check-openapi` takes others.
const SEED: &str = "1";

fn description() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("docs/openapi.json")).expect("JSON")
}

/// What `$ref` names, if there is one.
fn resolved<'d>(root: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => resolved(root, root.pointer(path).unwrap_or_else(|| panic!("{path} is not there"))),
        None => value,
    }
}

/// The schema says which members an object of a JSON answer has to have, and which it may have; what else it says is schemathesis's.
fn has_shape(root: &Value, schema: &Value, found: &Value) -> bool {
    let schema = resolved(root, schema);
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| has_shape(root, schema, found));
    }
    match found {
        Value::Array(items) => items.iter().all(|item| has_shape(root, &schema["items"], item)),
        Value::Object(members) => {
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            let fits = |(name, value): (&String, &Value)| {
                let member = &schema["properties"][name];
                if member.is_null() { schema["additionalProperties"] != false } else { has_shape(root, member, value) }
            };
            required.iter().all(|name| members.contains_key(name.as_str().expect("a name"))) && members.iter().all(fits)
        }
        _ => true,
    }
}

/// That the answer is among those of the operation.
fn is_described(root: &Value, operation: &Value, answer: &Answer) -> bool {
    let response = resolved(root, &operation["responses"][answer.status.to_string()]);
    let Some(content) = response["content"].as_object() else { return !response.is_null() && answer.body.is_empty() };
    let kind = answer.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let Some(schema) = content.get(kind).map(|content| &content["schema"]) else { return false };
    let required =
        response["headers"].as_object().into_iter().flatten().filter(|(_, header)| header["required"] == true);
    required.into_iter().all(|(name, _)| answer.header(&name.to_ascii_lowercase()).is_some())
        && (kind != "application/json" || has_shape(root, schema, &answer.json()))
}

/// How many events a body of the native format has.
fn count(example: &Value) -> usize {
    match example {
        Value::String(lines) => lines.trim().lines().count(),
        Value::Array(events) => events.len(),
        other => other["events"].as_array().map_or(1, Vec::len),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_are_answered_as_described() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let root = description();
    let key = format!("authorization: Bearer {}", collector.keys.secret_key);
    let (mut sent, mut stored) = (0, 0);
    for (path, item) in root["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods").iter().filter(|(name, _)| is_method(name)) {
            let address = if operation["tags"][0] == "admin" { collector.admin } else { collector.address };
            let url = path.replace("{source}", "web");
            let Some(content) = operation["requestBody"]["content"].as_object() else {
                // Of parameters, those with an example.
                let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
                let query = parameters.iter().filter_map(|parameter| {
                    Some(format!("{}={}", parameter["name"].as_str()?, parameter["example"].as_str()?))
                });
                let url = format!("{url}?{}", query.collect::<Vec<_>>().join("&"));
                let answer = http::send(address, &method.to_ascii_uppercase(), &url, &[&key], &[]).await;
                assert!(answer.status == 200 && is_described(&root, operation, &answer), "{url}: {}", answer.shown());
                stored += i64::from(path == "/v1/pixel.gif");
                continue;
            };
            for (kind, content) in content {
                for (name, example) in content["examples"].as_object().into_iter().flatten() {
                    let value = &example["value"];
                    let body = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                    let answer =
                        http::post(address, &url, &[&key, &format!("content-type: {kind}")], body.as_bytes()).await;
                    assert!(is_described(&root, operation, &answer), "{url}, {name}: {}", answer.shown());
                    let events = if path.starts_with("/v1/webhook") { 1 } else { count(value) };
                    let of_all = if path == "/v1/validate" {
                        answer.json()["events"].as_array().map_or(0, Vec::len)
                    } else {
                        stored += events as i64;
                        answer.json()["accepted"].as_u64().unwrap_or(0) as usize
                    };
                    assert_eq!((of_all, &answer.json()["rejected"]), (events, &serde_json::json!([])), "{url}, {name}");
                    sent += 1;
                }
            }
        }
    }
    assert!(sent >= 11, "{sent} examples with a body");
    database.until_stored(stored).await;
    collector.stop().await;
}

fn is_method(name: &str) -> bool {
    matches!(name, "get" | "post" | "put" | "patch" | "delete")
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_described() {
    let (_database, collector, _journal) = collector(|config| config.receive.body_bytes_max = 100_000).await;
    let root = description();
    let events = &root["paths"]["/v1/events"]["post"];
    let key = format!("authorization: Bearer {}", collector.keys.secret_key);
    let long = "x".repeat(100_001);
    for (headers, body, status) in [
        (&[key.as_str()][..], "{}", 400),
        (&[&key], "[{}]", 400),
        (&[&key], "no JSON", 400),
        (&[], r#"{"name":"a"}"#, 401),
        (&["authorization: Bearer pk_unknown"], r#"{"name":"a"}"#, 401),
        (&[&key], &long, 413),
        (&[&key, "content-type: text/html"], "{}", 415),
        (&[&key, "content-encoding: br"], "{}", 415),
    ] {
        let answer = http::post(collector.address, "/v1/events", headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.shown());
        assert!(is_described(&root, events, &answer), "{}", answer.shown());
    }
    let answer = http::get(collector.address, "/v1/events", &[&key]).await;
    assert!(answer.status == 405 && is_described(&root, events, &answer), "{}", answer.shown());
    let answer = http::post(collector.address, "/v1/webhook/web", &[], b"{}").await;
    let webhook = &root["paths"]["/v1/webhook/{source}"]["post"];
    assert!(answer.status == 401 && is_described(&root, webhook, &answer), "{}", answer.shown());
    collector.stop().await;
}

/// Runs schemathesis on the operations of one listener.
async fn check(address: SocketAddr, collector: &TestCollector, tags: &[&str]) -> Option<()> {
    let setting = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let mut command = Command::new(tool("WEIR_TEST_SCHEMATHESIS")?);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--config-file", "tests/openapi/schemathesis.toml", "run", "docs/openapi.json", "--no-color"])
        .args([
            "--max-examples",
            &setting("WEIR_OPENAPI_EXAMPLES", EXAMPLES),
            "--seed",
            &setting("WEIR_OPENAPI_SEED", SEED),
        ])
        .arg(format!("--url=http://{address}"))
        .arg(format!("--header=Authorization: Bearer {}", collector.keys.secret_key))
        .args(tags)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = command.output().await.expect("it runs");
    // A body of ten thousand events is a line of its report.
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let said: String = said.lines().map(|line| line.chars().take(300).collect::<String>() + "\n").collect();
    assert!(output.status.success(), "{said}");
    eprintln!("{said}");
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    if check(collector.address, &collector, &["--exclude-tag=admin"]).await.is_some() {
        check(collector.admin, &collector, &["--include-tag=admin"]).await;
    }
    collector.stop().await;
}
