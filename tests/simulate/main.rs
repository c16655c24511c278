//! Journal and ledger through thousands of random histories: the real writer, recovery and lanes, over a disk that forgets
//! and a model of PostgreSQL that lies, dies and goes back in time. Simulated time, one thread, one seed a history.
//!
//! `WEIR_SIM_SEED=17` repeats one; `WEIR_SIM_SEEDS=100000` runs more. Seeds that once failed stand in `seeds.txt`.

mod disk;
mod history;
mod node;
mod postgres;
mod random;
mod scenarios;
#[path = "../shared/split_mix.rs"]
mod split_mix;

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// In continuous integration.
const SEEDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

#[test]
fn every_history_keeps_every_promise() {
    if let Some(seed) = number("WEIR_SIM_SEED") {
        // What the collectors say, for whoever looks at this one history.
        tracing_subscriber::fmt().with_env_filter("weir=debug").with_test_writer().init();
        return history::run(seed);
    }
    let known: Vec<u64> =
        include_str!("seeds.txt").lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let count = number("WEIR_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("WEIR_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = known.into_iter().chain(first..first + count).collect();
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let failed: Vec<u64> = thread::scope(|scope| {
        let run = || {
            let mut failed = Vec::new();
            while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                if number("WEIR_SIM_SHOW").is_some() {
                    eprintln!("seed {seed}");
                }
                if panic::catch_unwind(|| history::run(*seed)).is_err() {
                    eprintln!("seed {seed} failed: WEIR_SIM_SEED={seed} repeats it");
                    failed.push(*seed);
                    if failed.len() >= 5 {
                        break;
                    }
                }
            }
            failed
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("panics are caught")).collect()
    });
    assert!(failed.is_empty(), "{} of {} histories break a promise: {failed:?}", failed.len(), seeds.len());
    eprintln!("{} histories", seeds.len());
}
