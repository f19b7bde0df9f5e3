//! E2M1, the four-bit element of MXFP4 and NVFP4: a sign, two bits of exponent (bias 1), one of mantissa.
//!
//! It has no infinity and no NaN. Two elements make a byte; the one with the even index lies in the low nibble.
//! Source: OCP Microscaling Formats (MX) specification 1.0, 5.3.3; the nibble order is that of the checkpoints.

/// What each code stands for; code 8 is −0.
pub const VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The largest value.
pub const MAX: f32 = 6.0;

/// The exponent of the largest power of two: `MAX` is 1.5 · 2^`EMAX`.
pub const EMAX: i32 = 2;

/// Bits of the mantissa, the leading one not counted.
pub const MANTISSA_BITS: u32 = 1;

/// The value of a code; the upper four bits are ignored.
///
/// ```
/// use mxhal_core::format::e2m1;
/// assert_eq!(e2m1::decode(0x5), 3.0);
/// assert_eq!(e2m1::decode(0xd), -3.0);
/// ```
#[inline]
pub const fn decode(code: u8) -> f32 {
    VALUES[(code & 15) as usize]
}

/// The code nearest to `value`, ties to the even code; beyond ±6 it saturates, also for infinities.
///
/// The sign of a zero is kept. A NaN, which the format cannot hold, gives 0x7 (6), as NVIDIA's conversion does.
///
/// ```
/// use mxhal_core::format::e2m1;
/// assert_eq!(e2m1::encode(-2.5), 0xc, "halfway between -2 and -3");
/// assert_eq!(e2m1::encode(1e9), 0x7);
/// ```
#[inline]
pub const fn encode(value: f32) -> u8 {
    if value.is_nan() {
        return 0x7;
    }
    // One step for each midpoint passed. A midpoint itself belongs to its even neighbour, which is the lower one
    // for every other midpoint.
    let magnitude = value.abs();
    let code = (magnitude > 0.25) as u8
        + (magnitude >= 0.75) as u8
        + (magnitude > 1.25) as u8
        + (magnitude >= 1.75) as u8
        + (magnitude > 2.5) as u8
        + (magnitude >= 3.5) as u8
        + (magnitude > 5.0) as u8;
    code | (value.is_sign_negative() as u8) << 3
}

/// Two codes in a byte: `low` is the element with the even index. Their upper four bits are ignored.
#[inline]
pub const fn pack(low: u8, high: u8) -> u8 {
    (low & 15) | high << 4
}

/// The two codes of a byte, the one with the even index first.
///
/// ```
/// use mxhal_core::format::e2m1;
/// assert_eq!(e2m1::unpack(0x21), (0x1, 0x2));
/// ```
#[inline]
pub const fn unpack(byte: u8) -> (u8, u8) {
    (byte & 15, byte >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By search through all codes of the value's sign: the least distance, then the even code.
    fn nearest(value: f32) -> u8 {
        let sign = u8::from(value.is_sign_negative()) << 3;
        let distance = |code: u8| (f64::from(VALUES[usize::from(code)]) - f64::from(value)).abs();
        (sign..sign + 8)
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))))
            .unwrap()
    }

    #[test]
    fn every_code_leads_back() {
        for code in 0..16 {
            assert_eq!(encode(decode(code)), code);
            assert_eq!(decode(code | 0xf0).to_bits(), decode(code).to_bits());
        }
    }

    #[test]
    fn every_byte_is_its_two_codes() {
        for byte in 0..=255 {
            let (low, high) = unpack(byte);
            assert_eq!(pack(low, high), byte);
        }
    }

    #[test]
    fn midpoints_go_to_the_even_code_and_their_neighbours_do_not() {
        for code in 0..7 {
            let middle = (decode(code) + decode(code + 1)) / 2.0;
            let even = code + (code & 1);
            assert_eq!(encode(middle), even);
            assert_eq!(encode(-middle), even | 8);
            assert_eq!(encode(middle.next_down()), code);
            assert_eq!(encode(middle.next_up()), code + 1);
        }
    }

    #[test]
    fn what_has_no_code_saturates() {
        assert_eq!(encode(f32::INFINITY), 0x7);
        assert_eq!(encode(f32::NEG_INFINITY), 0xf);
        assert_eq!(encode(f32::NAN), 0x7);
        assert_eq!(encode(-f32::NAN), 0x7);
    }

    proptest! {
        #[test]
        fn encode_finds_the_nearest(value in -8f32..8.0) {
            prop_assert_eq!(encode(value), nearest(value));
        }

        #[test]
        fn encode_is_monotone(a in any::<f32>(), b in any::<f32>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(decode(encode(low)) <= decode(encode(high)));
        }
    }
}
