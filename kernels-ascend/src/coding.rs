//! How a scale is chosen, in the terms of the quantizing kernel.

use mxhal_core::{Format, Quantization, ScaleRule};

/// A quantization to E2M1 or E4M3 with E8M0 scales.
///
/// A block's byte is `((bits(amax) + carry) >> 23) − emax`, kept between 0 and 254: `carry` reaches the exponent of a
/// magnitude `1.f · 2^e` where f is at least what the rule asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleCoding {
    /// Whether elements are E2M1; else they are E4M3.
    pub is_e2m1: bool,
    /// Columns of a block: 32 or 128.
    pub block: usize,
    /// The exponent of the largest power of two that an element holds.
    pub emax: u32,
    /// What is added to the bits of a magnitude.
    pub carry: u32,
    /// The least magnitude that a block is taken to have.
    pub amax_floor: f32,
}

impl ScaleCoding {
    /// The coding of a quantization; `None` for formats that the kernel does not make.
    pub fn of(to: &Quantization) -> Option<Self> {
        let (is_e2m1, emax, largest_fraction, mantissa_bits) = match to.format {
            Format::Mxfp4 => (true, 2, 0x40_0000, 1),
            Format::Mxfp8 | Format::Mxfp8G128 => (false, 8, 0x60_0000, 3),
            _ => return None,
        };
        let carry = match to.rule {
            ScaleRule::Floor => 0,
            // From just above the largest element on.
            ScaleRule::Ceil => (1 << 23) - (largest_fraction + 1),
            // From half a step below the next power of two on.
            ScaleRule::Even => 1 << (22 - mantissa_bits),
            _ => return None,
        };
        let block = to.format.blocks()?.columns;
        Some(Self { is_e2m1, block, emax, carry, amax_floor: to.amax_floor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_is_the_cores_for_every_exponent_and_the_fractions_at_its_edges() {
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128] {
            for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                let to = Quantization::new(format).with_rule(rule);
                let coding = ScaleCoding::of(&to).unwrap();
                for exponent in 0..255_u32 {
                    for fraction in
                        (0..1 << 23_u32).step_by(0x8_0000).flat_map(|at| [at, at + 1, at + 0x7_ffff])
                    {
                        let bits = exponent << 23 | fraction;
                        let byte = ((bits + coding.carry) >> 23) as i32 - coding.emax as i32;
                        let wanted = to.scale_byte(f32::from_bits(bits));
                        assert_eq!(u8::try_from(byte.clamp(0, 254)).ok(), wanted, "{to:?} {bits:#x}");
                    }
                }
            }
        }
        assert_eq!(ScaleCoding::of(&Quantization::new(Format::Nvfp4)), None);
        assert_eq!(ScaleCoding::of(&Quantization::new(Format::Mxint8)), None);
    }
}
