//! Random decisions that can be repeated: everything follows from one printed number.

use crate::split_mix::SplitMix64;

/// A stream of numbers that follows from its seed.
#[derive(Debug, Clone)]
pub struct Chance(SplitMix64);

impl Chance {
    /// From `WEIR_TEST_SEED`, else from the operating system. Printed, so that a failure can be tried again; what the
    /// kernel and the network make of it still differs from run to run.
    pub fn told() -> Self {
        let seed = match std::env::var("WEIR_TEST_SEED") {
            Ok(seed) => seed.parse().expect("WEIR_TEST_SEED is a number"),
            Err(_) => getrandom::u64().expect("random bytes"),
        };
        eprintln!("WEIR_TEST_SEED={seed}");
        Self(SplitMix64::new(seed))
    }

    /// Another stream, for someone who decides on their own.
    pub fn branch(&mut self) -> Self {
        Self(SplitMix64::new(self.0.next()))
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.next() % (most - least + 1)
    }

    /// True in `percent` of a hundred.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.0.next() % 100 < percent
    }
}

/// How often a test does what it does: `make soak` asks for more by an environment variable.
pub fn rounds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |rounds| rounds.parse().expect("a number of rounds"))
}
