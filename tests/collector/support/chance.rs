//! Random decisions that can be repeated: everything follows from one printed number.

/// A stream of numbers that follows from its seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From `WEIR_TEST_SEED`, else from the operating system. Printed, so that a failure can be tried again; what the
    /// kernel and the network make of it still differs from run to run.
    pub fn told() -> Self {
        let seed = match std::env::var("WEIR_TEST_SEED") {
            Ok(seed) => seed.parse().expect("WEIR_TEST_SEED is a number"),
            Err(_) => getrandom::u64().expect("random bytes"),
        };
        eprintln!("WEIR_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another stream, for someone who decides on their own.
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// True in `percent` of a hundred.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How often a test does what it does: `make soak` asks for more by an environment variable.
pub fn rounds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |rounds| rounds.parse().expect("a number of rounds"))
}
