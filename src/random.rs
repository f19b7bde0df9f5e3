//! Random numbers from a seed, and with them the bytes of tensors: for checkpoints and benchmarks, where what matters
//! of a weight is that it is one.

/// A generator (xorshift64*): the same numbers from the same seed, on every machine.
pub(crate) struct Random(u64);

/// What the bytes of a tensor stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    /// Any bits: two codes of E2M1 a byte, or an int8, each as likely as the others.
    Bits,
    /// E4M3 codes but NaN, each as likely as the others.
    E4m3,
    /// E4M3 scales: numbers from 1/4 to 4.
    E4m3Scales,
    /// E8M0 scales: this byte, the one below and the one above.
    E8m0(u8),
    /// BF16 numbers of about a normal distribution with this deviation.
    Bf16(f32),
    /// The same in float32.
    F32(f32),
    /// Rows of I64: so many different ones below the second number, the experts of a token.
    Experts(usize, usize),
}

impl Content {
    /// E8M0 scales that give products over `k` weights about the size of what they are multiplied with; `mean_square` is
    /// that of the codes.
    pub(crate) fn e8m0(mean_square: f32, k: usize) -> Self {
        let exponent = -0.5 * (mean_square * k as f32).log2();
        Self::E8m0((127.0 + exponent.round()).clamp(1.0, 253.0) as u8)
    }

    /// What a piece of a tensor is a multiple of, in bytes.
    pub(crate) const fn granule(self) -> usize {
        match self {
            Self::Experts(top_k, _) => 8 * top_k,
            _ => 8,
        }
    }
}

/// The mean square of E2M1's values.
pub(crate) const E2M1_MEAN_SQUARE: f32 = 8.5625;

/// The mean square of E4M3's values, about.
pub(crate) const E4M3_MEAN_SQUARE: f32 = 11_500.0;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds that follow each other lead to numbers that have nothing in common (splitmix64), and none leads to 0.
        let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((bits ^ (bits >> 31)).max(1))
    }

    /// Numbers that belong to a name: the same whatever else is drawn.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, which is positive.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.bits() >> 32) % end as u64) as usize
    }

    /// The sum of four uniform numbers, with mean 0 and deviation 1.
    pub(crate) fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 3.0_f32.sqrt()
    }

    /// Different numbers below `end`, as many as there are places.
    pub(crate) fn choose(&mut self, end: usize, chosen: &mut [i32]) {
        for place in 0..chosen.len() {
            chosen[place] = loop {
                let candidate = self.below(end) as i32;
                if !chosen[..place].contains(&candidate) {
                    break candidate;
                }
            };
        }
    }

    /// Writes bytes of this content, a multiple of its granule but for the last ones of a tensor.
    pub(crate) fn fill(&mut self, content: Content, out: &mut [u8]) {
        match content {
            Content::Bits => self.words(out, |bits| bits),
            // A NaN has all bits but the sign set; without its last one it is the largest number.
            Content::E4m3 => self.words(out, |bits| {
                let magnitudes = bits & 0x7f7f_7f7f_7f7f_7f7f;
                let nan = ((magnitudes + 0x0101_0101_0101_0101) >> 7) & 0x0101_0101_0101_0101;
                bits & !nan
            }),
            Content::E4m3Scales => {
                self.words(out, |bits| (bits & 0x1f1f_1f1f_1f1f_1f1f) + 0x2828_2828_2828_2828);
            }
            Content::E8m0(center) => {
                for byte in out {
                    *byte = center - 1 + (self.bits() >> 62).min(2) as u8;
                }
            }
            Content::Bf16(deviation) => {
                for value in out.as_chunks_mut().0 {
                    let bits = mxhal::core::format::bf16::from_f32(self.normal() * deviation);
                    *value = bits.to_le_bytes();
                }
            }
            Content::F32(deviation) => {
                for value in out.as_chunks_mut().0 {
                    *value = (self.normal() * deviation).to_le_bytes();
                }
            }
            Content::Experts(top_k, experts) => {
                let mut chosen = vec![0; top_k];
                for row in out.chunks_mut(8 * top_k) {
                    self.choose(experts, &mut chosen);
                    for (id, bytes) in chosen.iter().zip(row.as_chunks_mut().0) {
                        *bytes = i64::from(*id).to_le_bytes();
                    }
                }
            }
        }
    }

    fn words(&mut self, out: &mut [u8], word: impl Fn(u64) -> u64) {
        let (words, rest) = out.as_chunks_mut();
        for bytes in words {
            *bytes = word(self.bits()).to_le_bytes();
        }
        let last = word(self.bits()).to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal::core::format::{bf16, e2m1, e4m3};

    fn filled(content: Content, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        Random::new(3).fill(content, &mut out);
        out
    }

    #[test]
    fn mean_squares_are_those_of_the_codes() {
        let codes = filled(Content::Bits, 1 << 16);
        let square = |value: f32| f64::from(value * value);
        let nibbles = codes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        let mean = nibbles.map(|code| square(e2m1::decode(code))).sum::<f64>() / (2.0 * codes.len() as f64);
        assert!((mean - f64::from(E2M1_MEAN_SQUARE)).abs() < 0.2, "{mean}");

        let codes = filled(Content::E4m3, 1 << 18);
        assert!(codes.iter().all(|code| code & 0x7f != 0x7f));
        let mean = codes.iter().map(|code| square(e4m3::decode(*code))).sum::<f64>() / codes.len() as f64;
        assert!((mean / f64::from(E4M3_MEAN_SQUARE) - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn numbers_are_as_large_as_was_said_and_depend_on_seed_and_name() {
        let bytes = filled(Content::Bf16(0.5), 1 << 16);
        let values =
            bytes.as_chunks().0.iter().map(|bytes| f64::from(bf16::to_f32(u16::from_le_bytes(*bytes))));
        let square = values.map(|value| value * value).sum::<f64>() / (1 << 15) as f64;
        assert!((square - 0.25).abs() < 0.01, "{square}");
        let scales = filled(Content::e8m0(E2M1_MEAN_SQUARE, 4096), 1000);
        assert!(scales.iter().all(|scale| (118..=120).contains(scale)));

        let scales = filled(Content::E4m3Scales, 1003);
        assert!(scales.iter().all(|scale| (0.25..=4.0).contains(&e4m3::decode(*scale))));

        let first = |mut random: Random| random.bits();
        assert_eq!(first(Random::named(1, "a")), first(Random::named(1, "a")));
        assert_ne!(first(Random::named(1, "a")), first(Random::named(1, "b")));
        assert_ne!(first(Random::named(1, "a")), first(Random::named(2, "a")));
    }

    #[test]
    fn experts_of_a_token_are_different_ones() {
        let bytes = filled(Content::Experts(6, 7), 8 * 6 * 200);
        for row in bytes.chunks(48) {
            let mut ids: Vec<i64> = row.as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect();
            ids.sort_unstable();
            ids.dedup();
            assert!(ids.len() == 6 && ids.iter().all(|id| (0..7).contains(id)), "{ids:?}");
        }
    }
}
