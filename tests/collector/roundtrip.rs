//! Any event that is accepted comes back from SELECT as it was sent. Nothing that the generator makes may be refused; and
//! nothing that fuzzing has found and the collector accepts may be refused by PostgreSQL.

#[path = "../../fuzz/mutate.rs"]
mod mutate;

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::{collector, http};
use mutate::Random;

/// Enough to meet every kind of text and number; a row each, in batches.
const EVENTS: usize = 1_500;
const BATCH: usize = 100;
/// Inputs of the fuzzers' corpus, changed a little: enough to meet every kind again, few enough for some seconds.
const MUTATIONS: usize = 300;
/// Fixed, so that a failure can be met again.
const SEED: u64 = 7;

/// Text of every sort: quotes, escapes, controls, other planes; never empty, which counts as absent.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 /?&=%#+-]{1,40}",
        "\\PC{1,40}",
        proptest::collection::vec(any::<char>(), 1..20).prop_map(|chars| chars.into_iter().collect()),
        Just("\u{0}".to_owned()),
        Just("\"\\\u{7f}\u{2028}𝄞".to_owned()),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Map<String, Value>> {
    const COLUMNS: [&str; 9] =
        ["name", "visitor_id", "user_id", "session_id", "title", "referrer", "language", "screen", "url"];
    let texts = proptest::collection::vec(proptest::option::of(text()), COLUMNS.len());
    let object = || proptest::option::of(proptest::collection::btree_map(text(), json_value(), 0..4));
    (texts, object(), object()).prop_map(|(texts, properties, context)| {
        let mut event = Map::new();
        for (column, text) in COLUMNS.iter().zip(texts) {
            if let Some(text) = text {
                event.insert((*column).to_owned(), text.into());
            }
        }
        event.entry("name").or_insert_with(|| "always".into());
        if let Some(properties) = properties {
            event.insert("properties".to_owned(), Value::Object(properties.into_iter().collect()));
        }
        if let Some(context) = context {
            event.insert("context".to_owned(), Value::Object(context.into_iter().collect()));
        }
        event
    })
}

/// What PostgreSQL cannot hold is mended to U+FFFD on the way.
fn mended(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace('\0', "\u{fffd}").into(),
        Value::Array(items) => items.iter().map(mended).collect::<Vec<_>>().into(),
        // Keys that become equal by mending: of two the last one stays, in `jsonb` and here.
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.replace('\0', "\u{fffd}"), mended(value))).collect())
        }
        other => other.clone(),
    }
}

/// `numeric` keeps all digits and drops the exponent: numbers are compared by value.
fn equal(sent: &Value, found: &Value) -> bool {
    match (sent, found) {
        (Value::Number(sent), Value::Number(found)) => sent == found || nearly(sent, found),
        (Value::Array(sent), Value::Array(found)) => {
            sent.len() == found.len() && sent.iter().zip(found).all(|(sent, found)| equal(sent, found))
        }
        (Value::Object(sent), Value::Object(found)) => {
            sent.len() == found.len()
                && sent.iter().all(|(name, sent)| found.get(name).is_some_and(|found| equal(sent, found)))
        }
        _ => sent == found,
    }
}

/// `serde_json` reads the 300 digits that PostgreSQL writes to within a bit or two.
fn nearly(sent: &serde_json::Number, found: &serde_json::Number) -> bool {
    let (Some(sent), Some(found)) = (sent.as_f64(), found.as_f64()) else {
        return false;
    };
    (sent - found).abs() <= sent.abs() * 1e-14
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_comes_back_equal() {
    let (database, collector, _journal) = collector(|_| {}).await;
    // The seed is fixed by default, so that a failure can be met again; PROPTEST_RNG_SEED chooses another.
    let mut runner = TestRunner::new_with_rng(
        RunnerConfig::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let strategy = event();
    let events: Vec<Map<String, Value>> =
        (0..EVENTS).map(|_| strategy.new_tree(&mut runner).expect("generated").current()).collect();
    for (index, batch) in events.chunks(BATCH).enumerate() {
        let numbered: Vec<Value> = batch
            .iter()
            .enumerate()
            .map(|(offset, event)| {
                let mut event = event.clone();
                event.insert("number".to_owned(), json!(index * BATCH + offset));
                event.into()
            })
            .collect();
        let answer = collector.post(&Value::from(numbered).to_string()).await;
        assert_eq!(answer.json()["accepted"], batch.len(), "{}", answer.text());
    }
    let all = i64::try_from(EVENTS).expect("few");
    database.until_accounted(all, all, 0, 0).await;

    let sql = "select (context ->> 'number')::bigint, to_jsonb(e) - '{event_id,received_at,occurred_at}'::text[] from analytics.events e";
    for line in database.rows(sql).await {
        let (number, row) = line.split_once('|').expect("two columns");
        let row: Value = serde_json::from_str(row).expect("JSON");
        let sent = &events[number.parse::<usize>().expect("a number")];
        for (name, value) in sent {
            let mut found = row[name].clone();
            if name == "context" {
                found.as_object_mut().expect("an object").remove("number");
            }
            assert!(equal(&mended(value), &found), "{name}: sent {value}, found {found}");
        }
    }
    collector.stop().await;
}

/// What the fuzzer of the native decoder found worth keeping.
fn corpus() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let files = std::fs::read_dir(fuzz.join("corpus/native")).expect("a corpus");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let inputs = paths.iter().map(|path| std::fs::read(path).expect("readable")).collect();
    let dictionary = std::fs::read_to_string(fuzz.join("dictionary.txt")).expect("a dictionary");
    (inputs, mutate::dictionary(&dictionary))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_takes_whatever_is_accepted() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let (mut inputs, dictionary) = corpus();
    let mut random = Random::new(SEED);
    let mutations: Vec<_> = (0..MUTATIONS).map(|_| mutate::mutate(&mut random, &inputs, &dictionary)).collect();
    inputs.extend(mutations);
    let mut accepted = 0;
    for input in &inputs {
        // Server, browser, and lines.
        for (key, kind) in [
            (&collector.keys.secret_key, "application/json"),
            (&collector.keys.public_key, "text/plain"),
            (&collector.keys.secret_key, "application/x-ndjson"),
        ] {
            let headers = [&*format!("authorization: Bearer {key}"), &*format!("content-type: {kind}")];
            let answer = http::post(collector.address, "/v1/events", &headers, input).await;
            assert!(matches!(answer.status, 200 | 400 | 413), "{}: {}", answer.text(), input.escape_ascii());
            accepted += answer.json()["accepted"].as_i64().unwrap_or_default();
        }
    }
    assert!(accepted > 0);
    let at_rest =
        format!("select (accepted = {accepted} and pending = 0 and unexplained = 0)::int::bigint from weir.accounting");
    database.until(&at_rest, 1).await;
    let refused = database.rows("select sqlstate, message from weir.quarantine").await;
    assert!(refused.is_empty(), "of {accepted} events: {refused:?}");
    collector.stop().await;
}
