//! Finds the user-agent patterns and the licence-free facts that the binary embeds.
//!
//! The patterns (uap-core's `regexes.yaml`) ship inside the pinned `uaparser` package. Cargo knows where it unpacked
//! that package, so the file is taken from there and never copied into this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=schema/migrations");
    println!("cargo::rerun-if-env-changed=WEIR_UA_REGEXES");

    let patterns = env::var_os("WEIR_UA_REGEXES").map_or_else(patterns_of_uaparser, PathBuf::from);
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("regexes.yaml");
    fs::copy(&patterns, target).unwrap_or_else(|error| panic!("copy {}: {error}", patterns.display()));
}

fn patterns_of_uaparser() -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target])
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "uaparser")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("uaparser is a dependency");
    Path::new(manifest).with_file_name("src").join("core/regexes.yaml")
}
