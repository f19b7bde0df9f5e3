//! Sums that know what they have lost.

use super::format::Float;

/// A sum of float64 in two parts, whose error is that of about twice the precision, and which knows whether there was
/// any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
    exact: bool,
}

impl Sum {
    /// The empty sum.
    pub const ZERO: Self = Self { high: 0.0, low: 0.0, exact: true };

    /// Adds a term.
    pub fn add(&mut self, term: f64) {
        let (high, rest) = two_sum(self.high, term);
        let (low, lost) = two_sum(self.low, rest);
        self.high = high;
        self.low = low;
        self.exact &= lost == 0.0;
    }

    /// The sum, as float64 has it. NaN and infinities follow IEEE 754, whatever the order of the terms.
    pub fn value(self) -> f64 {
        if self.high.is_finite() { self.high + self.low } else { self.high }
    }

    /// Whether nothing at all was lost: then [`Sum::round`] is the exact sum rounded once.
    pub fn is_exact(self) -> bool {
        self.exact || !self.high.is_finite()
    }

    /// The sum rounded once to nearest, ties to even, not by way of float64.
    pub fn round(self, to: Float) -> f64 {
        if !self.high.is_finite() {
            return self.high;
        }
        let (high, low) = two_sum(self.high, self.low);
        if low == 0.0 {
            return to.round(high);
        }
        // Of the two float64 that enclose the sum, the one with an odd last bit: it lies on the same side of every
        // number of 24 bits, and of every middle between two of them, as the sum itself.
        let bits = high.to_bits();
        let odd = if bits & 1 == 1 {
            bits
        } else if low.is_sign_negative() == high.is_sign_negative() {
            bits + 1
        } else {
            bits - 1
        };
        to.round(f64::from_bits(odd))
    }
}

/// `a + b` and what its rounding lost (Knuth's TwoSum: exact for any order of magnitudes).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    let from_a = sum - from_b;
    (sum, (a - from_a) + (b - from_b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_cancels_keeps_its_small_part() {
        let mut sum = Sum::ZERO;
        for term in [1e30, 1.0, -1e30, 2f64.powi(-60)] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 1.0 + 2f64.powi(-60));
        assert!(sum.is_exact());
        sum.add(1e30);
        sum.add(1e-30);
        assert!(!sum.is_exact());
    }

    #[test]
    fn a_middle_with_a_little_more_is_rounded_up() {
        let middle = 1.0 + 2f64.powi(-24);
        for (rest, expected) in [(0.0, 1.0), (2f64.powi(-80), 1.0 + 2f64.powi(-23)), (-2f64.powi(-80), 1.0)] {
            let mut sum = Sum::ZERO;
            sum.add(middle);
            sum.add(rest);
            assert_eq!(sum.round(Float::F32), expected);
        }
    }

    #[test]
    fn nan_and_infinity_stay() {
        let mut sum = Sum::ZERO;
        sum.add(f64::INFINITY);
        sum.add(-5.0);
        assert_eq!((sum.value(), sum.round(Float::BF16)), (f64::INFINITY, f64::INFINITY));
        sum.add(f64::NEG_INFINITY);
        assert!(sum.value().is_nan() && sum.round(Float::F32).is_nan());
    }
}
