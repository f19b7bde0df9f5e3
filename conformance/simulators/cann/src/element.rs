//! Element types: their numbers in `aclDataType`, and one element's bits to its value and back.

use std::fmt;

use crate::refusal::acl;

macro_rules! types {
    ($($name:ident = $number:literal, $bits:literal, $text:literal;)*) => {
        /// An element type that the simulated operators know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Element { $($name = $number),* }

        impl Element {
            pub(crate) fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            pub(crate) fn bits(self) -> usize {
                match self { $(Self::$name => $bits),* }
            }
        }

        impl fmt::Display for Element {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text),* })
            }
        }
    };
}

types! {
    F32 = 0, 32, "FLOAT";
    F16 = 1, 16, "FLOAT16";
    I8 = 2, 8, "INT8";
    I32 = 3, 32, "INT32";
    U8 = 4, 8, "UINT8";
    I16 = 6, 16, "INT16";
    U16 = 7, 16, "UINT16";
    U32 = 8, 32, "UINT32";
    I64 = 9, 64, "INT64";
    U64 = 10, 64, "UINT64";
    F64 = 11, 64, "DOUBLE";
    Bool = 12, 8, "BOOL";
    Bf16 = 27, 16, "BF16";
    E5m2 = 35, 8, "FLOAT8_E5M2";
    E4m3 = 36, 8, "FLOAT8_E4M3FN";
    E8m0 = 37, 8, "FLOAT8_E8M0";
    E2m1 = 40, 4, "FLOAT4_E2M1";
    E1m2 = 41, 4, "FLOAT4_E1M2";
}

/// How a value between two elements is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearest, ties to even: "rint".
    Rint,
    /// Towards minus infinity: "floor".
    Floor,
    /// To the nearest, ties away from zero: "round".
    Round,
}

/// A small float: mantissa bits, exponent bias, largest finite value.
struct Small {
    mantissa: u32,
    bias: i32,
    max: f64,
}

impl Element {
    fn small(self) -> Option<Small> {
        Some(match self {
            Self::E5m2 => Small { mantissa: 2, bias: 15, max: 57344.0 },
            Self::E4m3 => Small { mantissa: 3, bias: 7, max: 448.0 },
            Self::E2m1 => Small { mantissa: 1, bias: 1, max: 6.0 },
            Self::E1m2 => Small { mantissa: 2, bias: 1, max: 1.75 },
            Self::F16 => Small { mantissa: 10, bias: 15, max: 65504.0 },
            Self::Bf16 => Small { mantissa: 7, bias: 127, max: f64::from(f32::from_bits(0x7F7F_0000)) },
            _ => return None,
        })
    }

    /// The largest exponent of an MX element, and its largest value.
    pub(crate) fn largest(self) -> (i32, f64) {
        match self {
            Self::E5m2 => (15, 57344.0),
            Self::E4m3 => (8, 448.0),
            Self::E1m2 => (0, 1.75),
            _ => (2, 6.0),
        }
    }

    pub(crate) fn is_fp4(self) -> bool {
        matches!(self, Self::E2m1 | Self::E1m2)
    }

    pub(crate) fn is_fp8(self) -> bool {
        matches!(self, Self::E4m3 | Self::E5m2)
    }

    /// The value of an element's bits. Integers are exact up to 2^53; they are read by `integer` instead.
    pub(crate) fn decode(self, bits: u64) -> f64 {
        match self {
            Self::F32 => f64::from(f32::from_bits(bits as u32)),
            Self::F64 => f64::from_bits(bits),
            Self::E8m0 if bits == 0xFF => f64::NAN,
            Self::E8m0 => power(bits as i32 - 127),
            Self::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
            _ => match self.small() {
                Some(small) => self.decode_small(&small, bits),
                None => self.integer(bits) as f64,
            },
        }
    }

    fn decode_small(self, small: &Small, bits: u64) -> f64 {
        let width = self.bits() as u32;
        let sign = if bits >> (width - 1) & 1 == 1 { -1.0 } else { 1.0 };
        let mantissa = bits & ((1 << small.mantissa) - 1);
        let exponent_bits = width - 1 - small.mantissa;
        let exponent = bits >> small.mantissa & ((1 << exponent_bits) - 1);
        let all_ones = exponent == (1 << exponent_bits) - 1;
        match self {
            Self::E4m3 if all_ones && mantissa == 7 => return f64::NAN,
            Self::E5m2 | Self::F16 if all_ones => {
                return if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN };
            }
            _ => {}
        }
        let (significand, exponent) = match exponent {
            0 => (mantissa, 1),
            _ => (mantissa | 1 << small.mantissa, exponent as i32),
        };
        sign * significand as f64 * power(exponent - small.bias - small.mantissa as i32)
    }

    /// The bits nearest to the value. Too large: FP4 and FP8 saturate, the others become infinite.
    pub(crate) fn encode(self, value: f64, rounding: Rounding) -> u64 {
        match self {
            Self::F32 => u64::from((value as f32).to_bits()),
            Self::F64 => value.to_bits(),
            _ => match self.small() {
                Some(small) => self.encode_small(&small, value, rounding),
                None => value as i64 as u64 & (u64::MAX >> (64 - self.bits())),
            },
        }
    }

    fn encode_small(self, small: &Small, value: f64, rounding: Rounding) -> u64 {
        let width = self.bits() as u32;
        let sign = u64::from(value.is_sign_negative()) << (width - 1);
        let exponent_ones = ((1 << (width - 1 - small.mantissa)) - 1) << small.mantissa;
        if value.is_nan() {
            return match self {
                Self::E4m3 => 0x7F,
                Self::E2m1 | Self::E1m2 => 0,
                _ => exponent_ones | 1 << (small.mantissa - 1),
            };
        }
        // The exponent of the value's own binade, not below that of the subnormals.
        let exponent = floor_log2(value.abs()).max(1 - small.bias);
        let unit = power(exponent - small.mantissa as i32);
        let steps = match rounding {
            Rounding::Rint => (value / unit).round_ties_even(),
            Rounding::Floor => (value / unit).floor(),
            Rounding::Round => (value / unit).round(),
        };
        let magnitude = (steps * unit).abs();
        if magnitude > small.max {
            if self.is_fp4() || self.is_fp8() {
                return self.encode_small(small, small.max.copysign(value), Rounding::Rint);
            }
            return sign | exponent_ones;
        }
        if magnitude == 0.0 {
            return sign;
        }
        let exponent = floor_log2(magnitude).max(1 - small.bias);
        let significand = (magnitude / power(exponent - small.mantissa as i32)) as u64;
        // A subnormal lacks the implicit bit, and its exponent field is 0: the sum carries either way.
        let field = (exponent + small.bias - 1) as u64;
        sign | ((field << small.mantissa) + significand)
    }

    /// An integer's value from its bits.
    pub(crate) fn integer(self, bits: u64) -> i64 {
        match self {
            Self::I8 => i64::from(bits as u8 as i8),
            Self::I16 => i64::from(bits as u16 as i16),
            Self::I32 => i64::from(bits as u32 as i32),
            _ => bits as i64,
        }
    }
}

/// 2^exponent, for the exponents of normal float64 values.
pub(crate) fn power(exponent: i32) -> f64 {
    debug_assert!((-1022..1024).contains(&exponent), "2^{exponent}");
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The exponent of a finite value; that of zero lies below all others.
pub(crate) fn floor_log2(value: f64) -> i32 {
    if value == 0.0 {
        return -2000;
    }
    // Every float32 is a normal float64.
    ((value.to_bits() >> 52 & 0x7FF) as i32) - 1023
}

/// As the runtime answers: FP4 has no case of its own and gives 8, so the function says nothing about its bytes.
#[unsafe(no_mangle)]
extern "C" fn aclDataTypeSize(number: i32) -> usize {
    match Element::from_number(number) {
        Some(element) if element.is_fp4() => 8,
        Some(element) => element.bits() / 8,
        None if matches!(number, 29 | 30 | 34) => 1,
        None => 8,
    }
}

#[unsafe(no_mangle)]
extern "C" fn aclFloat16ToFloat(bits: u16) -> f32 {
    Element::F16.decode(u64::from(bits)) as f32
}

#[unsafe(no_mangle)]
extern "C" fn aclFloatToFloat16(value: f32) -> u16 {
    Element::F16.encode(f64::from(value), Rounding::Rint) as u16
}

acl! {
    /// Nothing is configured.
    fn aclnnInit(_config: *const std::ffi::c_char) {
        Ok(())
    }

    fn aclnnFinalize() {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Element, Rounding};

    #[test]
    fn every_small_float_survives_its_value() {
        for element in
            [Element::E2m1, Element::E1m2, Element::E4m3, Element::E5m2, Element::F16, Element::Bf16]
        {
            for bits in 0..1_u64 << element.bits() {
                let value = element.decode(bits);
                if !value.is_nan() && (value.is_finite() || !element.is_fp8()) {
                    assert_eq!(element.encode(value, Rounding::Rint), bits, "{element} {bits:#x} is {value}");
                }
            }
        }
    }

    #[test]
    fn e2m1_is_the_table_and_saturates() {
        let table = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (bits, value) in table.into_iter().enumerate() {
            assert_eq!(Element::E2m1.decode(bits as u64), value);
            assert_eq!(Element::E2m1.decode(bits as u64 | 8), -value);
        }
        assert_eq!(Element::E2m1.encode(100.0, Rounding::Rint), 7);
        assert_eq!(Element::E2m1.encode(-0.0, Rounding::Rint), 8);
    }

    #[test]
    fn ties_go_where_the_mode_says() {
        let with = |value, rounding| Element::E2m1.decode(Element::E2m1.encode(value, rounding));
        assert_eq!(
            [with(2.5, Rounding::Rint), with(2.5, Rounding::Round), with(2.5, Rounding::Floor)],
            [2.0, 3.0, 2.0]
        );
        assert_eq!(
            [with(-2.5, Rounding::Rint), with(-2.5, Rounding::Round), with(-2.5, Rounding::Floor)],
            [-2.0, -3.0, -3.0]
        );
    }
}
