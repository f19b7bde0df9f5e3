//! E4M3, the eight-bit element of MXFP8 and FP8 tiles, and the scale of NVFP4: a sign, four bits of exponent (bias
//! 7), three of mantissa.
//!
//! It has subnormals down to 2^−9 and no infinity; 0x7f and 0xff are NaN. This is the format that others call
//! `float8_e4m3fn`. Source: OCP 8-bit Floating Point Specification (OFP8) 1.0, which MX 1.0 takes over.

/// The largest value: 1.75 · 2^8.
pub const MAX: f32 = 448.0;

/// The exponent of the largest power of two.
pub const EMAX: i32 = 8;

/// Bits of the mantissa, the leading one not counted.
pub const MANTISSA_BITS: u32 = 3;

/// The NaN that [`encode`] makes of a positive one.
pub const NAN: u8 = 0x7f;

/// What each code stands for.
pub const VALUES: [f32; 256] = values();

/// The value of a code.
///
/// ```
/// use mxhal_core::format::e4m3;
/// assert_eq!(e4m3::decode(0x38), 1.0);
/// assert_eq!(e4m3::decode(0x01), 2f32.powi(-9));
/// assert!(e4m3::decode(0xff).is_nan());
/// ```
#[inline]
pub const fn decode(code: u8) -> f32 {
    VALUES[code as usize]
}

/// The code nearest to `value`, ties to the even code; beyond ±448 it saturates, also for infinities.
///
/// The sign of a zero is kept, and that of a NaN.
///
/// ```
/// use mxhal_core::format::e4m3;
/// assert_eq!(e4m3::encode(-1.0), 0xb8);
/// assert_eq!(e4m3::encode(f32::INFINITY), 0x7e);
/// assert_eq!(e4m3::encode(f32::NAN), 0x7f);
/// ```
#[inline]
pub const fn encode(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let magnitude = value.abs();
    sign | if value.is_nan() {
        NAN
    } else if magnitude >= MAX {
        0x7e
    } else if magnitude < LEAST_NORMAL {
        // At 2^14 the last place of a float32 is 2^−9, the unit of the subnormals here: the addition rounds, and
        // what it adds to the bits is the code. 8 is the least normal one, as it should be.
        ((magnitude + ROUNDER).to_bits() - ROUNDER.to_bits()) as u8
    } else {
        // Of 23 bits of mantissa 3 stay; a carry out of them raises the exponent. Then the bias: 127 becomes 7.
        let bits = magnitude.to_bits();
        let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
        ((rounded >> 20) - (120 << 3)) as u8
    }
}

/// 2^−6.
const LEAST_NORMAL: f32 = 1.0 / 64.0;

/// 2^14.
const ROUNDER: f32 = 16384.0;

const fn values() -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = (code as u32 >> 3 & 15, code as u32 & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa as f32 / 512.0,
            _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        values[code] = if code < 128 { magnitude } else { -magnitude };
        code += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By search through all finite codes of the value's sign: the least distance, then the even code.
    fn nearest(value: f32) -> u8 {
        let sign = u8::from(value.is_sign_negative()) << 7;
        let distance = |code: u8| (f64::from(decode(code)) - f64::from(value)).abs();
        (sign..sign + 0x7f)
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))))
            .unwrap()
    }

    #[test]
    fn values_are_those_of_the_specification() {
        assert_eq!(decode(0x7e), 448.0);
        assert_eq!(decode(0x08), 2f32.powi(-6), "least normal");
        assert_eq!(decode(0x07), 7.0 * 2f32.powi(-9), "largest subnormal");
        assert_eq!(decode(0x80).to_bits(), (-0f32).to_bits());
    }

    #[test]
    fn every_code_leads_back() {
        for code in 0..=255 {
            assert_eq!(encode(decode(code)), code);
        }
    }

    #[test]
    fn midpoints_go_to_the_even_code_and_their_neighbours_do_not() {
        for code in 0..0x7e {
            let middle = (decode(code) + decode(code + 1)) / 2.0;
            let even = code + (code & 1);
            assert_eq!(encode(middle), even);
            assert_eq!(encode(-middle), even | 0x80);
            assert_eq!(encode(middle.next_down()), code);
            assert_eq!(encode(middle.next_up()), code + 1);
        }
    }

    #[test]
    fn what_has_no_code_saturates() {
        for value in [448.0f32.next_up(), 464.0, 480.0, 1e30, f32::MAX, f32::INFINITY] {
            assert_eq!(encode(value), 0x7e);
            assert_eq!(encode(-value), 0xfe);
        }
    }

    proptest! {
        /// The exponents end where float64 still holds the distances exactly.
        #[test]
        fn encode_finds_the_nearest(mantissa in -1f32..1.0, exponent in -20i32..16) {
            let value = mantissa * 2f32.powi(exponent);
            prop_assert_eq!(encode(value), nearest(value));
        }

        #[test]
        fn encode_is_monotone(a in any::<f32>(), b in any::<f32>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(decode(encode(low)) <= decode(encode(high)));
        }
    }
}
