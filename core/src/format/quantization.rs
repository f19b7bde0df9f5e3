//! What to quantize to, and by which rule a block's scale is chosen.

use core::fmt;
use core::str::FromStr;

use super::{Format, e2m1, e4m3, e8m0};

/// How the scale of a block follows from its largest magnitude, amax.
///
/// The first three choose an E8M0 byte, a power of two. With emax the exponent of the largest power of two among
/// the elements (E2M1 2, E4M3 8, int8 / 64 0):
///
/// | rule | scale | known from |
/// | --- | --- | --- |
/// | [`ScaleRule::Ceil`] | the least at which no element saturates | DeepSeek, NVIDIA's round-up |
/// | [`ScaleRule::Floor`] | 2^(floor(log2 amax) − emax) | OCP MX 1.0, 6.3 |
/// | [`ScaleRule::Even`] | as `Floor`, after amax is rounded (half up) to the element's mantissa | Quark, compressed-tensors |
/// | [`ScaleRule::Nearest`] | the E4M3 number nearest to amax / 6, in units of the row's factor | NVFP4, and no other |
///
/// The numbers are those of `mxhal_scale_rule` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u32)]
pub enum ScaleRule {
    /// The least power of two at which no element saturates.
    Ceil = 1,
    /// The rule of OCP MX 1.0; the largest elements of a block may saturate.
    Floor = 2,
    /// `Floor` of the rounded amax; elements saturate less often.
    Even = 3,
    /// Round the scale itself to nearest: NVFP4, whose scale has a mantissa.
    Nearest = 4,
}

impl ScaleRule {
    /// Every rule, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Ceil, Self::Floor, Self::Even, Self::Nearest];

    /// The rule with this number in the C header, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| *rule as u32 == number)
    }

    /// The name used in `config.toml`, on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ceil => "ceil",
            Self::Floor => "floor",
            Self::Even => "even",
            Self::Nearest => "nearest",
        }
    }
}

impl fmt::Display for ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ScaleRule {
    type Err = UnknownScaleRule;

    fn from_str(name: &str) -> Result<Self, UnknownScaleRule> {
        Self::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| UnknownScaleRule(name.to_owned()))
    }
}

/// A name that is no scale rule's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScaleRule(
    /// What was given.
    pub String,
);

impl fmt::Display for UnknownScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a scale rule; the rules are ", self.0)?;
        for (index, rule) in ScaleRule::ALL.into_iter().enumerate() {
            write!(f, "{}{rule}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownScaleRule {}

/// What values are quantized to: a format, and how its scales are chosen.
///
/// ```
/// use mxhal_core::format::{Format, Quantization, ScaleRule};
///
/// let ocp = Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Floor);
/// assert!(ocp.validate().is_ok());
/// assert!(Quantization::new(Format::Fp8Tile128).validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// A format quantized row by row; or F32, BF16 or F16 for no quantization at all.
    pub format: Format,
    /// How a block's scale is chosen; without effect where nothing is quantized.
    pub rule: ScaleRule,
    /// A block's amax is taken to be at least this; 0 for no floor.
    pub amax_floor: f32,
}

impl Quantization {
    /// The format with its usual rule, [`ScaleRule::Ceil`] ([`ScaleRule::Nearest`] for NVFP4), and no floor on amax.
    pub const fn new(format: Format) -> Self {
        let rule = match format {
            Format::Nvfp4 => ScaleRule::Nearest,
            _ => ScaleRule::Ceil,
        };
        Self { format, rule, amax_floor: 0.0 }
    }

    /// Values stay BF16.
    pub const fn none() -> Self {
        Self::new(Format::Bf16)
    }

    /// DeepSeek's activations: E4M3 per 128, `ceil`, amax at least 1e-4.
    pub const fn deepseek() -> Self {
        Self::new(Format::Mxfp8G128).with_amax_floor(1e-4)
    }

    /// The same with another rule.
    pub const fn with_rule(self, rule: ScaleRule) -> Self {
        Self { rule, ..self }
    }

    /// The same with another floor on amax.
    pub const fn with_amax_floor(self, amax_floor: f32) -> Self {
        Self { amax_floor, ..self }
    }

    /// Whether values stay plain floats, and no scale is chosen.
    pub const fn is_none(&self) -> bool {
        self.format.is_plain_float()
    }

    /// Whether format, rule and floor go together.
    pub const fn validate(&self) -> Result<(), QuantizationError> {
        let Self { format, rule, amax_floor } = *self;
        if !format.is_row_quantized() && !format.is_plain_float() {
            return Err(QuantizationError::Format(format));
        }
        if matches!(format, Format::Nvfp4) != matches!(rule, ScaleRule::Nearest) {
            return Err(QuantizationError::Rule { format, rule });
        }
        let floor_fits = match format {
            Format::Nvfp4 => amax_floor == 0.0,
            _ => amax_floor.is_finite() && amax_floor >= 0.0,
        };
        if floor_fits { Ok(()) } else { Err(QuantizationError::AmaxFloor { format, amax_floor }) }
    }

    /// The E8M0 byte of a block whose largest magnitude is `amax`, the floor on amax applied; [`e8m0::NAN`] where
    /// `amax` is infinite or NaN.
    ///
    /// It is exact, without logarithm or division, and clamped to 0..=254; an amax of 0 gives byte 0. `None` where
    /// blocks have no E8M0 scale: for NVFP4 and plain floats, and for [`ScaleRule::Nearest`].
    ///
    /// ```
    /// use mxhal_core::format::{Format, Quantization, ScaleRule};
    ///
    /// let mxfp4 = Quantization::new(Format::Mxfp4);
    /// assert_eq!(mxfp4.scale_byte(6.0), Some(127));
    /// assert_eq!(mxfp4.scale_byte(6.5), Some(128));
    /// assert_eq!(mxfp4.with_rule(ScaleRule::Floor).scale_byte(7.5), Some(127));
    /// assert_eq!(mxfp4.with_rule(ScaleRule::Even).scale_byte(7.5), Some(128));
    /// ```
    #[inline]
    pub const fn scale_byte(&self, amax: f32) -> Option<u8> {
        let Some(element) = Element::of(self.format) else { return None };
        // The exponent grows by one where the fraction of amax reaches this.
        let threshold = match self.rule {
            ScaleRule::Ceil => element.max_fraction + 1,
            ScaleRule::Floor => 1 << FRACTION_BITS,
            ScaleRule::Even => (1 << FRACTION_BITS) - (1 << (FRACTION_BITS - 1 - element.mantissa_bits)),
            ScaleRule::Nearest => return None,
        };
        if !amax.is_finite() {
            return Some(e8m0::NAN);
        }
        let mut amax = amax.abs();
        if amax < self.amax_floor {
            amax = self.amax_floor;
        }
        if amax == 0.0 {
            return Some(0);
        }
        let (exponent, fraction) = exponent_and_fraction(amax);
        let byte = e8m0::BIAS + exponent - element.emax + (fraction >= threshold) as i32;
        Some(match byte {
            ..0 => 0,
            0..255 => byte as u8,
            _ => e8m0::MAX,
        })
    }
}

/// Why a [`Quantization`] cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantizationError {
    /// The format is neither quantized row by row nor a plain float.
    Format(Format),
    /// The rule does not choose scales of this format's kind.
    Rule {
        /// The format asked for.
        format: Format,
        /// The rule that does not go with it.
        rule: ScaleRule,
    },
    /// The floor on amax is negative, infinite or NaN, or given for NVFP4, which has none.
    AmaxFloor {
        /// The format asked for.
        format: Format,
        /// The floor asked for.
        amax_floor: f32,
    },
}

impl fmt::Display for QuantizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Format(format) => {
                write!(f, "nothing can be quantized to {format}; expected one of ")?;
                let fits = Format::ALL.into_iter().filter(|f| f.is_row_quantized() || f.is_plain_float());
                for (index, format) in fits.enumerate() {
                    write!(f, "{}{format}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Rule { format: Format::Nvfp4, rule } => write!(
                f,
                "nvfp4 with scale rule `{rule}`: its scales are E4M3 numbers, and the only rule for them is `nearest`"
            ),
            Self::Rule { format, rule } => write!(
                f,
                "{format} with scale rule `{rule}`: that is the rule of nvfp4; expected `ceil`, `floor` or `even`"
            ),
            Self::AmaxFloor { format: Format::Nvfp4, amax_floor } => {
                write!(f, "nvfp4 with a floor on amax of {amax_floor}: it has none; expected 0")
            }
            Self::AmaxFloor { format, amax_floor } => {
                write!(
                    f,
                    "{format} with a floor on amax of {amax_floor}: expected a finite number, 0 or more"
                )
            }
        }
    }
}

impl std::error::Error for QuantizationError {}

/// What the scale rules must know of an element format.
struct Element {
    /// The exponent of the largest power of two.
    emax: i32,
    /// The largest value is 1.f · 2^emax; this is f, as the fraction bits of a float32.
    max_fraction: u32,
    mantissa_bits: u32,
}

impl Element {
    /// The elements of a format whose scales are E8M0 and chosen per row.
    const fn of(format: Format) -> Option<Self> {
        let (max, emax, mantissa_bits) = match format {
            Format::Mxfp4 => (e2m1::MAX, e2m1::EMAX, e2m1::MANTISSA_BITS),
            Format::Mxfp8 | Format::Mxfp8G128 => (e4m3::MAX, e4m3::EMAX, e4m3::MANTISSA_BITS),
            // int8 / 64: one bit before the point and six behind it.
            Format::Mxint8 => (127.0 / 64.0, 0, 6),
            _ => return None,
        };
        Some(Self { emax, max_fraction: max.to_bits() & FRACTION_MASK, mantissa_bits })
    }
}

/// Of a float32.
const FRACTION_BITS: u32 = 23;
const FRACTION_MASK: u32 = (1 << FRACTION_BITS) - 1;

/// e and f of 1.f · 2^e, f as 23 bits; `magnitude` is finite and above 0.
const fn exponent_and_fraction(magnitude: f32) -> (i32, u32) {
    // A subnormal is made normal first, exactly.
    let (normal, shift) =
        if magnitude < f32::MIN_POSITIVE { (magnitude * 16_777_216.0, 24) } else { (magnitude, 0) };
    let bits = normal.to_bits();
    ((bits >> FRACTION_BITS) as i32 - 127 - shift, bits & FRACTION_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const E8M0_FORMATS: [(Format, f64); 4] = [
        (Format::Mxfp4, 6.0),
        (Format::Mxfp8, 448.0),
        (Format::Mxfp8G128, 448.0),
        (Format::Mxint8, 127.0 / 64.0),
    ];

    fn byte(format: Format, rule: ScaleRule, amax: f32) -> u8 {
        Quantization::new(format).with_rule(rule).scale_byte(amax).unwrap()
    }

    #[test]
    fn names_and_numbers_lead_back() {
        for rule in ScaleRule::ALL {
            assert_eq!(ScaleRule::from_number(rule as u32), Some(rule));
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        assert_eq!(ScaleRule::from_number(0), None);
        assert_eq!(
            "up".parse::<ScaleRule>().unwrap_err().to_string(),
            "`up` is not a scale rule; the rules are ceil, floor, even, nearest"
        );
    }

    #[test]
    fn what_new_gives_is_valid_where_rows_can_be_quantized() {
        for format in Format::ALL {
            let valid = Quantization::new(format).validate().is_ok();
            assert_eq!(valid, format.is_row_quantized() || format.is_plain_float(), "{format}");
        }
        assert!(Quantization::none().is_none());
        assert_eq!(Quantization::deepseek().validate(), Ok(()));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let message = |quantization: Quantization| quantization.validate().unwrap_err().to_string();
        assert_eq!(
            message(Quantization::new(Format::Fp8Tile128)),
            "nothing can be quantized to fp8-tile128; expected one of \
             f32, bf16, f16, mxfp4, mxfp8, mxfp8-g128, mxint8, nvfp4"
        );
        let nvfp4 = Quantization::new(Format::Nvfp4);
        assert!(message(nvfp4.with_rule(ScaleRule::Ceil)).contains("`ceil`"));
        assert!(message(nvfp4.with_amax_floor(1.0)).contains("expected 0"));
        let mxfp4 = Quantization::new(Format::Mxfp4);
        assert!(message(mxfp4.with_rule(ScaleRule::Nearest)).contains("expected `ceil`, `floor` or `even`"));
        for floor in [-1.0, f32::INFINITY, f32::NAN] {
            assert!(message(mxfp4.with_amax_floor(floor)).contains("expected a finite number"));
        }
    }

    #[test]
    fn the_ends_of_the_range_are_clamped() {
        for (format, _) in E8M0_FORMATS {
            for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                assert_eq!(byte(format, rule, 0.0), 0);
                assert_eq!(byte(format, rule, f32::from_bits(1)), 0);
                assert_eq!(byte(format, rule, f32::INFINITY), e8m0::NAN);
                assert_eq!(byte(format, rule, f32::NAN), e8m0::NAN);
            }
        }
        // 2^128 would be needed, and there is none.
        assert_eq!(byte(Format::Mxint8, ScaleRule::Ceil, f32::MAX), 254);
        // Just below 2^−126: the int8 elements end at 127/64.
        assert_eq!(byte(Format::Mxint8, ScaleRule::Ceil, f32::MIN_POSITIVE.next_down()), 1);
    }

    #[test]
    fn other_formats_have_no_e8m0_byte_of_a_row() {
        assert_eq!(Quantization::new(Format::Nvfp4).scale_byte(1.0), None);
        assert_eq!(Quantization::none().scale_byte(1.0), None);
        assert_eq!(Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Nearest).scale_byte(1.0), None);
    }

    #[test]
    fn a_floor_on_amax_holds_below_it_only() {
        let deepseek = Quantization::deepseek();
        assert_eq!(deepseek.scale_byte(0.0), deepseek.scale_byte(1e-4));
        assert_eq!(deepseek.scale_byte(0.0), Some(105), "1e-4 / 448 lies between 2^-23 and 2^-22");
        assert_eq!(deepseek.scale_byte(448.0), Some(127));
    }

    proptest! {
        #[test]
        fn ceil_is_the_least_scale_without_saturation(amax in 1e-30f32..3e38) {
            for (format, max) in E8M0_FORMATS {
                let byte = byte(format, ScaleRule::Ceil, amax);
                let limit = |byte: u8| max * 2f64.powi(i32::from(byte) - 127);
                prop_assert!(byte == 254 || f64::from(amax) <= limit(byte));
                prop_assert!(f64::from(amax) > limit(byte - 1));
            }
        }

        #[test]
        fn floor_brings_amax_to_the_largest_power_of_two(amax in 1e-30f32..3e38) {
            for (format, emax) in [(Format::Mxfp4, 2), (Format::Mxfp8, 8), (Format::Mxint8, 0)] {
                let scaled = amax * e8m0::reciprocal(byte(format, ScaleRule::Floor, amax));
                prop_assert!((2f32.powi(emax)..2f32.powi(emax + 1)).contains(&scaled));
            }
        }

        #[test]
        fn even_is_floor_or_one_more(amax in 1e-30f32..1e38) {
            for (format, mantissa_bits) in [(Format::Mxfp4, 1), (Format::Mxfp8, 3), (Format::Mxint8, 6)] {
                let floor = byte(format, ScaleRule::Floor, amax);
                let (_, fraction) = exponent_and_fraction(amax);
                let steps = (1.0 + f64::from(fraction) / 8_388_608.0) * f64::from(1 << mantissa_bits);
                let carries = (steps + 0.5).floor() >= f64::from(2 << mantissa_bits);
                prop_assert_eq!(byte(format, ScaleRule::Even, amax), floor + u8::from(carries));
            }
        }

        #[test]
        fn a_power_of_two_goes_through(amax in 1f32..2.0, exponent in -90i32..100) {
            for (format, _) in E8M0_FORMATS {
                for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                    let one = i32::from(byte(format, rule, amax));
                    let moved = i32::from(byte(format, rule, amax * 2f32.powi(exponent)));
                    prop_assert_eq!(moved, one + exponent);
                }
            }
        }
    }
}
