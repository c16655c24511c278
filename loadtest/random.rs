//! Random numbers from a seed, so that two runs send the same traffic.

/// `SplitMix64`: one addition and one [`mix`] a number, good enough to choose pages by.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
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

/// Scrambles a number; distinct numbers stay distinct.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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
