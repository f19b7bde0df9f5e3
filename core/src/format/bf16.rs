//! bfloat16: the upper half of an IEEE 754 binary32. A value is kept as its 16 bits.

/// The nearest bfloat16, ties to even; beyond the largest one it is infinite.
///
/// A NaN stays one with its sign and the upper bits of its payload, and becomes quiet.
///
/// A sum held in float64 must not come here through `as f32`, which would round it twice: see [`from_f64`].
///
/// ```
/// use mxhal_core::format::bf16;
/// assert_eq!(bf16::from_f32(1.0), 0x3f80);
/// assert_eq!(bf16::from_f32(1.0 + 1.0 / 256.0), 0x3f80, "halfway, to even");
/// ```
#[inline]
pub const fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | QUIET;
    }
    // The carry may run into the exponent, and from the largest exponent into infinity, as it should.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The value of a bfloat16, exactly.
///
/// ```
/// use mxhal_core::format::bf16;
/// assert_eq!(bf16::to_f32(0xc000), -2.0);
/// ```
#[inline]
pub const fn to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The bfloat16 nearest to a float64, ties to even, rounded once.
///
/// ```
/// use mxhal_core::format::bf16;
/// let above_half = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
/// assert_eq!(bf16::from_f64(above_half), 0x3f81);
/// assert_eq!(bf16::from_f32(above_half as f32), 0x3f80, "rounded twice");
/// ```
#[inline]
pub const fn from_f64(value: f64) -> u16 {
    from_f32(to_odd_f32(value))
}

/// Rounds to odd: toward zero, and then the last bit says whether anything was lost.
///
/// Rounding that again, to nearest and at least two bits shorter, gives what one rounding would have given
/// (Boldo and Melquiond, "Emulation of a FMA and Correctly Rounded Sums", 2008).
#[inline]
pub(super) const fn to_odd_f32(value: f64) -> f32 {
    let near = value as f32;
    if near as f64 == value || value.is_nan() {
        return near;
    }
    let away_from_zero = (near as f64).abs() > value.abs();
    f32::from_bits((near.to_bits() - away_from_zero as u32) | 1)
}

const QUIET: u16 = 0x0040;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bits of infinity: one more than those of the largest finite number.
    const INFINITY: u16 = 0x7f80;

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
            // Half a last place more: beyond the largest number, half of what the last place would be.
            let middle = f32::from_bits(u32::from(lower) << 16 | 0x8000);
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
    fn what_float64_alone_can_hold_is_infinite_or_zero() {
        for (value, bits) in
            [(1e300, INFINITY), (f64::INFINITY, INFINITY), (1e-300, 0), (f64::MIN_POSITIVE, 0)]
        {
            assert_eq!(from_f64(value), bits);
            assert_eq!(from_f64(-value), bits | 0x8000);
        }
        assert!(to_f32(from_f64(f64::NAN)).is_nan());
    }

    #[test]
    fn a_signalling_nan_does_not_become_infinite() {
        assert_eq!(from_f32(f32::from_bits(0x7f80_0001)), 0x7fc0);
        assert_eq!(from_f32(f32::from_bits(0xffff_ffff)), 0xffff);
    }

    proptest! {
        #[test]
        fn rounding_is_monotone(a in any::<f64>(), b in any::<f64>()) {
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
