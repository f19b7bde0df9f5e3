//! How the byte of an E8M0 scale follows from the largest magnitude of a block, for kernels.

use mxhal_core::format::{e2m1, e4m3};
use mxhal_core::{Format, Quantization, ScaleRule};

/// [`Quantization::scale_byte`] as an addition whose carry is the rule: the byte is `(bits + carry) >> 23` less `emax`, for
/// the bits of magnitudes in [`Carry::RANGE`] that are not below the floor.
#[derive(Clone, Copy)]
pub(crate) struct Carry {
    /// What is added to a magnitude's bits.
    pub(crate) carry: u32,
    pub(crate) emax: u32,
}

impl Carry {
    /// The bits of magnitudes that are neither tiny nor huge: from an exponent above every emax on, and below one that
    /// could carry too far.
    pub(crate) const RANGE: std::ops::Range<u32> = 16 << 23..253 << 23;

    /// For a format with E8M0 scales that is quantized row by row.
    pub(crate) fn of(to: &Quantization) -> Self {
        let (max, emax, mantissa_bits) = match to.format {
            Format::Mxfp4 => (e2m1::MAX, e2m1::EMAX, e2m1::MANTISSA_BITS),
            Format::Mxint8 => (127.0 / 64.0, 0, 6),
            _ => (e4m3::MAX, e4m3::EMAX, e4m3::MANTISSA_BITS),
        };
        let carry = match to.rule {
            ScaleRule::Ceil => 0x7f_ffff - (max.to_bits() & 0x7f_ffff),
            ScaleRule::Even => 1 << (22 - mantissa_bits),
            _ => 0,
        };
        Self { carry, emax: emax.cast_unsigned() }
    }
}
