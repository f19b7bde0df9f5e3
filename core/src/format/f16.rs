//! IEEE 754 binary16: five bits of exponent (bias 15), ten of mantissa. A value is kept as its 16 bits.

use super::bf16::to_odd_f32;

/// The largest finite value.
pub const MAX: f32 = 65504.0;

/// The nearest binary16, ties to even, subnormals included; from 65520 on it is infinite.
///
/// A NaN stays one with its sign and the upper bits of its payload, and becomes quiet.
///
/// A sum held in float64 must not come here through `as f32`, which would round it twice: see [`from_f64`].
///
/// ```
/// use mxhal_core::format::f16;
/// assert_eq!(f16::from_f32(-1.5), 0xbe00);
/// assert_eq!(f16::from_f32(1e6), 0x7c00);
/// ```
#[inline]
pub const fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = value.abs();
    sign | if value.is_nan() {
        (bits >> 13) as u16 & 0x3ff | INFINITY | QUIET
    } else if magnitude >= LEAST_INFINITE {
        INFINITY
    } else if magnitude < LEAST_NORMAL {
        // From ½ on the last place of a float32 is 2^−24, the unit of the subnormals here: the addition rounds,
        // and what it adds to the bits is the result.
        ((magnitude + 0.5).to_bits() - 0.5f32.to_bits()) as u16
    } else {
        // Of 23 bits of mantissa 10 stay; a carry out of them raises the exponent. The bias 127 becomes 15.
        let bits = magnitude.to_bits();
        let rounded = bits + 0xfff + (bits >> 13 & 1);
        ((rounded >> 13) - (112 << 10)) as u16
    }
}

/// The value of a binary16, exactly.
///
/// ```
/// use mxhal_core::format::f16;
/// assert_eq!(f16::to_f32(0x0001), 2f32.powi(-24));
/// ```
#[inline]
pub const fn to_f32(bits: u16) -> f32 {
    let (exponent, mantissa) = (bits as u32 >> 10 & 31, bits as u32 & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa as f32 * SUBNORMAL_UNIT,
        31 => f32::from_bits(0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits((exponent + 112) << 23 | mantissa << 13),
    };
    f32::from_bits(magnitude.to_bits() | (bits as u32 & 0x8000) << 16)
}

/// The binary16 nearest to a float64, ties to even, rounded once.
///
/// ```
/// use mxhal_core::format::f16;
/// let above_half = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
/// assert_eq!(f16::from_f64(above_half), 0x3c01);
/// assert_eq!(f16::from_f32(above_half as f32), 0x3c00, "rounded twice");
/// ```
#[inline]
pub const fn from_f64(value: f64) -> u16 {
    from_f32(to_odd_f32(value))
}

const INFINITY: u16 = 0x7c00;
const QUIET: u16 = 0x0200;

/// Halfway between [`MAX`] and the 2^16 that would follow it.
const LEAST_INFINITE: f32 = 65520.0;

/// 2^−14.
const LEAST_NORMAL: f32 = 1.0 / 16384.0;

/// 2^−24.
const SUBNORMAL_UNIT: f32 = 1.0 / 16_777_216.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_those_of_the_standard() {
        assert_eq!(to_f32(0x7bff), MAX);
        assert_eq!(to_f32(0x0400), LEAST_NORMAL);
        assert_eq!(to_f32(0x03ff), 1023.0 * SUBNORMAL_UNIT);
        assert_eq!(to_f32(0xfc00), f32::NEG_INFINITY);
        assert_eq!(to_f32(0x8000).to_bits(), (-0f32).to_bits());
    }

    #[test]
    fn every_value_leads_back() {
        for bits in 0..=u16::MAX {
            let value = to_f32(bits);
            let expected = if value.is_nan() { bits | QUIET } else { bits };
            assert_eq!(from_f32(value), expected);
            assert_eq!(from_f64(f64::from(value)) | QUIET, expected | QUIET);
        }
    }

    #[test]
    fn every_midpoint_goes_to_even_and_its_neighbours_do_not() {
        for lower in 0..INFINITY {
            // Beyond the largest number the next one is taken to be 2^16.
            let upper = if lower + 1 == INFINITY { 65536.0 } else { to_f32(lower + 1) };
            let middle = (to_f32(lower) + upper) / 2.0;
            let even = lower + (lower & 1);
            for (sign, s) in [(0, 1.0), (0x8000, -1.0)] {
                assert_eq!(from_f32(s * middle), sign | even);
                assert_eq!(from_f32(s * middle.next_down()), sign | lower);
                assert_eq!(from_f32(s * middle.next_up()), sign | (lower + 1));
                let middle = f64::from(middle);
                assert_eq!(from_f64(f64::from(s) * middle), sign | even);
                assert_eq!(from_f64(f64::from(s) * middle.next_down()), sign | lower);
                assert_eq!(from_f64(f64::from(s) * middle.next_up()), sign | (lower + 1));
            }
        }
    }

    #[test]
    fn what_lies_outside_is_infinite_or_zero() {
        for (value, bits) in [(1e300, INFINITY), (1e30, INFINITY), (1e-30, 0), (1e-300, 0)] {
            assert_eq!(from_f64(value), bits);
            assert_eq!(from_f64(-value), bits | 0x8000);
            assert_eq!(from_f32(value as f32), bits);
        }
        assert_eq!(from_f32(f32::from_bits(0x7f80_0001)), 0x7e00, "a signalling NaN");
    }

    proptest! {
        #[test]
        fn rounding_is_monotone(a in -70000f64..70000.0, b in any::<f64>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(to_f32(from_f64(low)) <= to_f32(from_f64(high)));
            prop_assert!(to_f32(from_f32(low as f32)) <= to_f32(from_f32(high as f32)));
        }

        #[test]
        fn both_roundings_agree_on_float32(value in any::<f32>()) {
            prop_assert_eq!(from_f32(value), from_f64(f64::from(value)));
        }
    }
}
