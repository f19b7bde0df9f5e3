//! E8M0, the scale of the MX formats: eight bits of exponent (bias 127) and nothing else.
//!
//! Byte `b` is 2^(b−127), from 2^−127 to 2^127; 255 is NaN. It has no zero and no sign. Source: OCP Microscaling
//! Formats (MX) specification 1.0, 5.4.1. Which byte a block gets is [`Quantization::scale_byte`].
//!
//! [`Quantization::scale_byte`]: super::Quantization::scale_byte

/// What is subtracted from a byte to give the exponent.
pub const BIAS: i32 = 127;

/// The byte that makes every value of its block NaN.
pub const NAN: u8 = 255;

/// The largest byte that is a number: 2^127.
pub const MAX: u8 = 254;

/// The scale that a byte stands for: exact, and for byte 0 a subnormal float32, 2^−127.
///
/// A product with it is rounded once, so dequantizing an element is one multiplication.
///
/// ```
/// use mxhal_core::format::e8m0;
/// assert_eq!(e8m0::decode(130), 8.0);
/// assert_eq!(e8m0::decode(0), 2f32.powi(-126) / 2.0);
/// assert!(e8m0::decode(e8m0::NAN).is_nan());
/// ```
#[inline]
pub const fn decode(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        NAN => f32::NAN,
        _ => f32::from_bits((byte as u32) << 23),
    }
}

/// One over the scale that a byte stands for: exact too, since the range lies evenly about 1.
///
/// Quantizing an element begins with one multiplication by it. That is exact but where its result underflows, far
/// below what any element format tells from zero, or overflows, where every one saturates.
///
/// ```
/// use mxhal_core::format::e8m0;
/// assert_eq!(e8m0::reciprocal(130), 0.125);
/// assert_eq!(e8m0::reciprocal(0), 2f32.powi(127));
/// ```
#[inline]
pub const fn reciprocal(byte: u8) -> f32 {
    match byte {
        NAN => f32::NAN,
        _ => decode(MAX - byte),
    }
}

/// The byte of 2^`exponent`; `None` outside −127 to 127.
///
/// ```
/// use mxhal_core::format::e8m0;
/// assert_eq!(e8m0::from_exponent(-3), Some(124));
/// assert_eq!(e8m0::from_exponent(128), None);
/// ```
#[inline]
pub const fn from_exponent(exponent: i32) -> Option<u8> {
    if exponent < -BIAS || exponent > BIAS { None } else { Some((exponent + BIAS) as u8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_its_power_of_two() {
        for byte in 0..=MAX {
            let exponent = i32::from(byte) - BIAS;
            assert_eq!(f64::from(decode(byte)), 2f64.powi(exponent));
            assert_eq!(f64::from(reciprocal(byte)), 2f64.powi(-exponent));
            assert_eq!(from_exponent(exponent), Some(byte));
        }
        assert!(decode(NAN).is_nan() && reciprocal(NAN).is_nan());
        assert_eq!((from_exponent(-128), from_exponent(128)), (None, None));
        assert_eq!((from_exponent(i32::MIN), from_exponent(i32::MAX)), (None, None));
    }
}
