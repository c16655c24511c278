//! Random numbers from a seed, so that two runs send the same traffic.

use crate::split_mix::SplitMix64;

pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of the product: uniform enough for bounds far below 2^64.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Ranks by Zipf's law: the n-th is chosen 1/n as often as the first.
pub struct Zipf {
    /// Sums of the weights up to each rank, scaled to the range of a `u64`.
    sums: Vec<u64>,
}

impl Zipf {
    pub fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let scale = u64::MAX as f64 / sum;
        Self { sums: sums.iter().map(|sum| (sum * scale) as u64).collect() }
    }

    pub fn pick(&self, random: &mut Random) -> usize {
        let number = random.next();
        let rank = self.sums.partition_point(|sum| *sum < number);
        rank.min(self.sums.len() - 1)
    }
}
