//! Random numbers that are the same on every machine: integers, and floats made of them by exact steps alone.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), small and good enough to fill tensors.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed that go by this name. Different names give unrelated numbers, so that one tensor more
    /// changes no other.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self(seed ^ hash)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        // The high half of a product: its bias is below limit / 2^64.
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: i32, most: i32) -> i32 {
        least + self.below((most - least + 1) as usize) as i32
    }

    /// Whether a coin of this many sides shows its first.
    pub fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    /// A multiple of 2^−24 from 0 to below 1: exact in float32.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / f64::from(1 << 24)
    }

    /// About a normal number of deviation 1: the sum of four uniform ones, less their mean, a multiple of 2^−20 that
    /// lies within ±3.5.
    pub fn normal(&mut self) -> f64 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        // √3 is the deviation's inverse; 7 / 4 is near it, and exact.
        (sum as f64 - 2.0 * 65535.0) / 65536.0 * 1.75
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Puts these in any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_published_for_splitmix64() {
        let mut random = Random(1234567);
        assert_eq!(random.bits(), 6457827717110365317);
        assert_eq!(random.bits(), 3203168211198807973);
    }

    #[test]
    fn numbers_keep_their_range_and_normal_ones_their_deviation() {
        let mut random = Random::new(7, "range");
        let mut squares = 0.0;
        for _ in 0..10_000 {
            assert!((-3..=5).contains(&random.between(-3, 5)) && random.uniform() < 1.0);
            let normal = random.normal();
            assert!(normal.abs() < 3.6 && f64::from(normal as f32) == normal);
            squares += normal * normal;
        }
        assert!((squares / 10_000.0 - 1.0).abs() < 0.1, "{squares}");
    }

    #[test]
    fn another_name_is_another_stream() {
        assert_ne!(Random::new(1, "a").bits(), Random::new(1, "w").bits());
        assert_eq!(Random::new(1, "a").bits(), Random::new(1, "a").bits());
    }
}
