//! The value of each code, and rounding to a narrower format.
//!
//! Sources: OCP Microscaling Formats 1.0, section 5.3 (E4M3, E2M1, INT8) and 5.4 (E8M0); IEEE 754 for the others.

use super::{Error, Format};

/// The magnitudes of E2M1 by code, without the sign in bit 3.
pub const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The magnitudes of E4M3 by code, without the sign in bit 7 and without the NaN, which is code 127.
pub const E4M3: [f64; 127] = e4m3_magnitudes();

/// The value of the E2M1 code in the low four bits.
pub fn e2m1(code: u8) -> f64 {
    with_sign(code & 8 != 0, E2M1[usize::from(code & 7)])
}

/// The value of an E4M3 code; 0x7f and 0xff are NaN.
pub fn e4m3(code: u8) -> f64 {
    let magnitude = E4M3.get(usize::from(code & 0x7f)).copied().unwrap_or(f64::NAN);
    with_sign(code & 0x80 != 0, magnitude)
}

/// The value of an E8M0 byte, `2^(byte − 127)`; 255 is NaN.
pub fn e8m0(byte: u8) -> f64 {
    if byte == 255 { f64::NAN } else { power_of_two(i32::from(byte) - 127) }
}

/// The value of an MXINT8 code: the byte as a signed integer, in 64ths.
pub fn int8(code: u8) -> f64 {
    f64::from(code as i8) / 64.0
}

/// The value of a bfloat16.
pub fn bf16(bits: u16) -> f64 {
    small_float(u32::from(bits), 8, 7)
}

/// The value of a binary16.
pub fn f16(bits: u16) -> f64 {
    small_float(u32::from(bits), 5, 10)
}

/// The value of a binary32.
pub fn f32_bits(bits: u32) -> f64 {
    small_float(bits, 8, 23)
}

/// The code nearest to `x`, the even one on a tie, the largest where `x` is beyond it, with the sign of `x`.
///
/// `x` is not NaN.
pub fn nearest_e2m1(x: f64) -> u8 {
    nearest(&E2M1, x.abs()) | if x.is_sign_negative() { 8 } else { 0 }
}

/// The code nearest to `x`; see [`nearest_e2m1`].
pub fn nearest_e4m3(x: f64) -> u8 {
    nearest(&E4M3, x.abs()) | if x.is_sign_negative() { 0x80 } else { 0 }
}

/// The MXINT8 code nearest to `x`, from −127 to 127; see [`nearest_e2m1`].
pub fn nearest_int8(x: f64) -> u8 {
    (x * 64.0).round_ties_even().clamp(-127.0, 127.0) as i8 as u8
}

/// A binary floating-point format with infinities, as far as rounding to it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Float {
    /// Bits after the point.
    pub mantissa_bits: i32,
    /// The exponent of the least normal number.
    pub least_exponent: i32,
    /// The largest finite number.
    pub largest: f64,
}

impl Float {
    /// IEEE 754 binary32.
    pub const F32: Self = Self { mantissa_bits: 23, least_exponent: -126, largest: f32::MAX as f64 };
    /// bfloat16.
    pub const BF16: Self =
        Self { mantissa_bits: 7, least_exponent: -126, largest: 255.0 / 128.0 * power_of_two(127) };
    /// IEEE 754 binary16.
    pub const F16: Self = Self { mantissa_bits: 10, least_exponent: -14, largest: 65504.0 };

    /// The float format of a tensor that holds plain floats.
    ///
    /// # Errors
    /// [`Error::Format`] for any other tensor.
    pub fn of(format: Format) -> Result<Self, Error> {
        match format {
            Format::F32 => Ok(Self::F32),
            Format::Bf16 => Ok(Self::BF16),
            Format::F16 => Ok(Self::F16),
            _ => Err(Error::Format { format, role: "an output's format", expected: "f32, bf16, f16" }),
        }
    }

    /// `x` rounded once to nearest, ties to even; infinite where that lies beyond the largest finite number.
    pub fn round(&self, x: f64) -> f64 {
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let unit = self.ulp(x);
        // Both steps but the middle one are exact: `unit` is a power of two.
        let rounded = (x / unit).round_ties_even() * unit;
        if rounded.abs() > self.largest { f64::INFINITY.copysign(x) } else { rounded.abs().copysign(x) }
    }

    /// The distance from `x`, which is finite, to the next number of the format away from zero.
    pub fn ulp(&self, x: f64) -> f64 {
        power_of_two(exponent(x).max(self.least_exponent) - self.mantissa_bits)
    }

    /// The most by which rounding moves a number of magnitude `x` or less.
    pub fn half_ulp(&self, x: f64) -> f64 {
        if x.is_finite() { self.ulp(x.abs().min(self.largest)) / 2.0 } else { 0.0 }
    }

    /// The bits of `x`, which is a number of the format (what [`Float::round`] gives), an infinity or NaN.
    pub fn bits(&self, x: f64) -> u32 {
        let exponent_bits = if self.least_exponent == -14 { 5 } else { 8 };
        let sign = u32::from(x.is_sign_negative()) << (exponent_bits + self.mantissa_bits);
        let all_ones = ((1u32 << exponent_bits) - 1) << self.mantissa_bits;
        if x.is_nan() {
            return sign | all_ones | 1 << (self.mantissa_bits - 1);
        }
        if x.is_infinite() {
            return sign | all_ones;
        }
        let steps = (x.abs() / self.ulp(x)) as u32;
        let above_least = (exponent(x) - self.least_exponent).max(0) as u32;
        // A normal number's steps hold its leading one, which adds the 1 that the biased exponent lacks.
        sign | ((above_least << self.mantissa_bits) + steps)
    }
}

/// `2^exponent`, for exponents from −1022 to 1023.
pub const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// `floor(log2 |x|)`, or −1023 for zero and what is smaller than any normal float64.
pub fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

fn nearest(magnitudes: &[f64], x: f64) -> u8 {
    let above = magnitudes.partition_point(|&magnitude| magnitude < x);
    let code = if above == magnitudes.len() {
        above - 1
    } else if above == 0 {
        0
    } else {
        let middle = (magnitudes[above - 1] + magnitudes[above]) / 2.0;
        if x > middle || (x == middle && above % 2 == 0) { above } else { above - 1 }
    };
    code as u8
}

fn small_float(bits: u32, exponent_bits: i32, mantissa_bits: i32) -> f64 {
    let all_ones = (1 << exponent_bits) - 1;
    let bias = all_ones / 2;
    let biased = (bits >> mantissa_bits) as i32 & all_ones;
    let fraction = f64::from(bits & ((1 << mantissa_bits) - 1)) * power_of_two(-mantissa_bits);
    let magnitude = if biased == all_ones {
        if fraction == 0.0 { f64::INFINITY } else { f64::NAN }
    } else if biased == 0 {
        fraction * power_of_two(1 - bias)
    } else {
        (1.0 + fraction) * power_of_two(biased - bias)
    };
    with_sign(bits >> (exponent_bits + mantissa_bits) & 1 != 0, magnitude)
}

fn with_sign(negative: bool, magnitude: f64) -> f64 {
    if negative { -magnitude } else { magnitude }
}

const fn e4m3_magnitudes() -> [f64; 127] {
    let mut magnitudes = [0.0; 127];
    let mut code = 0;
    while code < 127 {
        let (biased, fraction) = ((code >> 3) as i32, (code & 7) as f64 / 8.0);
        magnitudes[code] = if biased == 0 {
            fraction * power_of_two(-6)
        } else {
            (1.0 + fraction) * power_of_two(biased - 7)
        };
        code += 1;
    }
    magnitudes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_each_format_are_the_published_ones() {
        assert_eq!((e4m3(0x7e), e4m3(0x01), e4m3(0x88)), (448.0, 1.0 / 512.0, -1.0 / 64.0));
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan() && e8m0(255).is_nan());
        assert_eq!((e2m1(7), e2m1(9)), (6.0, -0.5));
        assert_eq!((e8m0(0), e8m0(127), e8m0(254)), (2f64.powi(-127), 1.0, 2f64.powi(127)));
        assert_eq!((int8(0x80), int8(127), int8(0xc0)), (-2.0, 127.0 / 64.0, -1.0));
        assert_eq!((f16(0x7bff), f16(0x0001), f16(0xfc00)), (65504.0, 2f64.powi(-24), f64::NEG_INFINITY));
        assert_eq!((bf16(0x3f80), bf16(0x0001), bf16(0x7f7f)), (1.0, 2f64.powi(-133), Float::BF16.largest));
    }

    #[test]
    fn every_float_of_16_bits_leads_back_to_its_bits() {
        for bits in 0..=u16::MAX {
            for (float, value) in [(Float::BF16, bf16(bits)), (Float::F16, f16(bits))] {
                if !value.is_nan() {
                    assert_eq!(float.round(value).to_bits(), value.to_bits());
                    assert_eq!(float.bits(value), u32::from(bits), "{value:e}");
                }
            }
        }
    }

    #[test]
    fn rounding_to_f32_is_the_processors() {
        let mut state = 1u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // exponents from -170 to 149, so that zero, subnormals and overflow are met
            let exponent = (state >> 33) as i32 % 320 - 170;
            let x = (1.0 + (state >> 12) as f64 * power_of_two(-52)) * power_of_two(exponent);
            assert_eq!(Float::F32.round(-x), f64::from(-x as f32), "{x:e}");
            assert_eq!(Float::F32.bits(Float::F32.round(-x)), (-x as f32).to_bits(), "{x:e}");
        }
    }
}
