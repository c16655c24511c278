//! The fuzz targets without a fuzzer: the corpus is replayed and mutated a bounded number of times, on stable Rust.
//!
//! `WEIR_FUZZ_RUNS` and `WEIR_FUZZ_SEED` choose how many mutations and which; `make fuzz` looks for new inputs.

#[path = "../fuzz/mutate.rs"]
mod mutate;
#[path = "shared/split_mix.rs"]
mod split_mix;
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use mutate::Random;
use targets::TARGETS;

/// Mutations of a target: all targets together then take some seconds.
const RUNS: u64 = 10_000;
/// A mutation of a user agent costs as much as twenty others.
const COSTLY: u64 = 20;
/// Fixed, so that a failure can be met again.
const SEED: u64 = 3;

#[test]
fn any_body_is_refused_or_becomes_rows_that_say_what_was_sent() {
    fuzz("native", 1);
}

#[test]
fn any_query_is_refused_or_becomes_a_row() {
    fuzz("pixel", 1);
}

#[test]
fn any_bytes_are_no_frame_or_the_frame_that_was_written() {
    fuzz("frame", 1);
}

#[test]
fn any_row_comes_back_from_its_tuple() {
    fuzz("row", 1);
}

#[test]
fn any_body_is_inflated_within_its_limit_or_refused() {
    fuzz("body", 1);
}

#[test]
fn no_header_makes_an_invented_address_believed() {
    fuzz("client_ip", 1);
}

#[test]
fn any_credentials_give_the_key_they_hold() {
    fuzz("credentials", 1);
}

#[test]
fn any_url_is_taken_apart_into_texts() {
    fuzz("location", 1);
}

#[test]
fn any_user_agent_is_parsed_in_bounded_time() {
    fuzz("user_agent", COSTLY);
}

#[test]
fn every_target_has_a_corpus_a_fuzzer_and_a_test() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    for (directory, ending) in [("corpus", ""), ("fuzz_targets", ".rs")] {
        let found: BTreeSet<String> =
            files_in(&fuzz_directory().join(directory)).iter().map(|path| name_of(path)).collect();
        let expected: BTreeSet<String> = names.iter().map(|name| format!("{name}{ending}")).collect();
        assert_eq!(found, expected, "fuzz/{directory}");
    }
    for name in names {
        assert!(include_str!("fuzz.rs").contains(&format!("fuzz(\"{name}\", ")), "{name} has no test");
        assert!(!corpus(name).is_empty(), "{name} has no corpus");
    }
}

fn fuzz_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// In order, so that a seed means the same everywhere.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let files = files_in(&fuzz_directory().join("corpus").join(name));
    files.iter().map(|path| fs::read(path).expect("readable")).collect()
}

fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}

fn fuzz(name: &str, cost: u64) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    let (runs, seed) = (setting("WEIR_FUZZ_RUNS", RUNS) / cost, setting("WEIR_FUZZ_SEED", SEED));
    let corpus = corpus(name);
    let dictionary = fs::read_to_string(fuzz_directory().join("dictionary.txt")).expect("a dictionary");
    let dictionary = mutate::dictionary(&dictionary);
    println!("{name}: {} inputs of the corpus, {runs} mutations, seed {seed}", corpus.len());
    for input in &corpus {
        run(name, target, input);
    }
    let mut random = Random::new(seed);
    for _ in 0..runs {
        run(name, target, &mutate::mutate(&mut random, &corpus, &dictionary));
    }
}

/// An input that fails is written down first: it belongs into the corpus, once it passes.
fn run(name: &str, target: targets::Target, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    if let Err(panic) = outcome {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&file, input).expect("written");
        eprintln!("{name} fails on {}: {}", file.display(), input.escape_ascii());
        resume_unwind(panic);
    }
}
