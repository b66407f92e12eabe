//! Random numbers that a seed repeats.

/// SplitMix64: a run can be repeated by its seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of seed 0, as published with the generator (Vigna, splitmix64.c).
    #[test]
    fn numbers_are_those_of_the_seed() {
        let mut random = Random::new(0);
        assert_eq!(random.below(u64::MAX), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.below(u64::MAX), 0x6e78_9e6a_a1b9_65f4);
    }
}
