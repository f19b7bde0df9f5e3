//! Rows converted in operations that vectorise: the core's codecs without their branches and tables.
//!
//! They are for machines with vectors for which nobody has written instructions down, and give the same bits. Each function
//! is to be called from one that is compiled for such a machine.

use mxhal_core::format::{bf16, dequantize_row, e2m1, e4m3, e8m0, quantize_row};
use mxhal_core::{Format, Quantization};

use crate::carry::Carry;

/// As [`RowKernels::quantize`](crate::kernel::RowKernels::quantize).
#[inline(always)]
pub(crate) fn quantize(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    let format = to.format;
    let fits = x.len().is_multiple_of(format.column_multiple())
        && data.len() == format.row_bytes(x.len())
        && scales.len() == format.row_scales(x.len());
    match format {
        Format::Mxfp4 if fits => blocks::<1, 16>(to, x, data, scales, |x, reciprocal, data| {
            encode_e2m1(x, data, |x| x * reciprocal);
        }),
        Format::Mxint8 if fits => blocks::<1, 32>(to, x, data, scales, |x, reciprocal, data| {
            for (x, code) in x.iter().zip(data) {
                *code = int8_code(x * reciprocal);
            }
        }),
        Format::Mxfp8 if fits => blocks::<1, 32>(to, x, data, scales, encode_e4m3),
        Format::Mxfp8G128 if fits => blocks::<4, 32>(to, x, data, scales, encode_e4m3),
        Format::Nvfp4 if fits => return nvfp4(x, data, scales),
        _ => return quantize_row(to, x, data, scales),
    }
    1.0
}

/// Quantizes blocks of `PARTS` · 32 values (fewer in the last one); `encode` is given 32 of them, one over their scale, and
/// their bytes.
#[inline(always)]
fn blocks<const PARTS: usize, const BYTES: usize>(
    to: &Quantization,
    x: &[f32],
    data: &mut [u8],
    scales: &mut [u8],
    encode: impl Fn(&[f32; 32], f32, &mut [u8; BYTES]),
) {
    let rule = Carry::of(to);
    let parts = x.as_chunks::<32>().0.chunks(PARTS).zip(data.as_chunks_mut::<BYTES>().0.chunks_mut(PARTS));
    for ((x, data), scale) in parts.zip(scales) {
        let amax = x.iter().map(amax_bits).max().unwrap_or(0);
        *scale = scale_byte(to, rule, amax);
        for (x, data) in x.iter().zip(data) {
            if *scale == e8m0::NAN {
                data.fill(0);
            } else {
                encode(x, e8m0::reciprocal(*scale), data);
            }
        }
    }
}

/// The bits of the largest magnitude. They order like magnitudes, NaNs above infinity.
#[inline(always)]
fn amax_bits<const N: usize>(x: &[f32; N]) -> u32 {
    x.iter().fold(0, |amax, x| amax.max(x.to_bits() & 0x7fff_ffff))
}

/// [`Quantization::scale_byte`], quickly where [`Carry`] says how.
#[inline(always)]
fn scale_byte(to: &Quantization, rule: Carry, amax: u32) -> u8 {
    if Carry::RANGE.contains(&amax) && amax >= to.amax_floor.to_bits() {
        return (((amax + rule.carry) >> 23) - rule.emax) as u8;
    }
    to.scale_byte(f32::from_bits(amax)).unwrap_or(e8m0::NAN)
}

/// [`e2m1::encode`] of a number below 2^22.
///
/// Below 2 codes count halves, from there to 4 ones and above that twos, and in each of these ways of counting the codes
/// of the others come out too great. An addition to a number whose last place is such a unit rounds to it.
#[inline(always)]
fn e2m1_code(value: f32) -> u8 {
    const HALVES: f32 = 4_194_304.0;
    const ONES: f32 = 8_388_608.0;
    const TWOS: f32 = 16_777_216.0;
    let magnitude = value.abs();
    let counted = |by: f32, from: u32| (magnitude + by).to_bits() - by.to_bits() + from;
    let code = counted(HALVES, 0).min(counted(ONES, 2)).min(counted(TWOS, 4)).min(7);
    (code | value.to_bits() >> 28 & 8) as u8
}

/// The codes of scaled values, two a byte.
#[inline(always)]
fn encode_e2m1<const N: usize>(x: &[f32; N], data: &mut [u8], scaled: impl Fn(f32) -> f32) {
    let mut codes = [0; N];
    for (x, code) in x.iter().zip(&mut codes) {
        *code = e2m1_code(scaled(*x));
    }
    for (pair, byte) in codes.as_chunks::<2>().0.iter().zip(data) {
        *byte = pair[0] | pair[1] << 4;
    }
}

/// The int8 nearest to 64 · `value`, ties to even, between −127 and 127.
#[inline(always)]
fn int8_code(value: f32) -> u8 {
    // At 1.5 · 2^23 the last place is 1, and the integer in the low bits.
    ((value * 64.0).clamp(-127.0, 127.0) + 12_582_912.0).to_bits() as u8
}

#[inline(always)]
fn encode_e4m3(x: &[f32; 32], reciprocal: f32, data: &mut [u8; 32]) {
    for (x, code) in x.iter().zip(data) {
        *code = e4m3_code(x * reciprocal);
    }
}

/// [`e4m3::encode`] of a number, both ways at once.
#[inline(always)]
fn e4m3_code(value: f32) -> u8 {
    const ROUNDER: f32 = 16384.0;
    let bits = value.to_bits() & 0x7fff_ffff;
    let magnitude = f32::from_bits(bits);
    let small = (magnitude + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits());
    let rounded = (bits + 0x7_ffff + (bits >> 20 & 1)) >> 20;
    let large = rounded.wrapping_sub(120 << 3).min(0x7e);
    let code = if magnitude < 1.0 / 64.0 { small } else { large };
    (code | value.to_bits() >> 24 & 0x80) as u8
}

/// Quantizes to NVFP4, and gives the row's factor.
#[inline(always)]
fn nvfp4(x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    let finite = |x: &f32| {
        let bits = x.to_bits() & 0x7fff_ffff;
        if bits < 0x7f80_0000 { bits } else { 0 }
    };
    let amax_row = f32::from_bits(x.iter().map(finite).fold(0, u32::max));
    let factor = (amax_row / (e2m1::MAX * e4m3::MAX)).max(f32::MIN_POSITIVE);
    let blocks = x.as_chunks::<16>().0.iter().zip(data.as_chunks_mut::<8>().0);
    for ((x, data), scale) in blocks.zip(scales) {
        let amax = f32::from_bits(amax_bits(x));
        if !amax.is_finite() {
            *scale = e4m3::NAN;
            data.fill(0);
            continue;
        }
        let wanted = (amax / e2m1::MAX / factor).clamp(e4m3::VALUES[1], e4m3::MAX);
        *scale = if amax == 0.0 { 0 } else { e4m3_code(wanted) };
        // For an all-zero block anything but 0, which would make its zeros NaN.
        let divisor = if amax == 0.0 { 1.0 } else { e4m3::decode(*scale) * factor };
        encode_e2m1(x, data, |x| x / divisor);
    }
    factor
}

/// As [`RowKernels::decode`](crate::kernel::RowKernels::decode).
#[inline(always)]
pub(crate) fn decode(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    let fits = out.len().is_multiple_of(format.column_multiple())
        && data.len() == format.row_bytes(out.len())
        && scales.len() == format.row_scales(out.len());
    match format {
        Format::Bf16 => {
            for (bytes, out) in data.as_chunks().0.iter().zip(out) {
                *out = bf16::to_f32(u16::from_ne_bytes(*bytes));
            }
        }
        Format::Mxfp4 if fits => {
            let blocks = data.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<32>().0);
            for ((data, out), scale) in blocks.zip(scales) {
                decode_e2m1(data, out, e8m0::decode(*scale));
            }
        }
        Format::Mxint8 if fits => {
            let blocks = data.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<32>().0);
            for ((data, out), scale) in blocks.zip(scales) {
                let scale = e8m0::decode(*scale);
                for (code, out) in data.iter().zip(out) {
                    *out = f32::from(code.cast_signed()) * (1.0 / 64.0) * scale;
                }
            }
        }
        Format::Mxfp8 | Format::Mxfp8G128 if fits => {
            let share = if format == Format::Mxfp8 { 1 } else { 4 };
            let blocks = data.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<32>().0);
            for (block, (data, out)) in blocks.enumerate() {
                let scale = e8m0::decode(scales[block / share]);
                for (code, out) in data.iter().zip(out) {
                    *out = e4m3_value(*code) * scale;
                }
            }
        }
        // For blocks of 16 values a table of as many is as good as anything.
        _ => dequantize_row(format, data, scales, factor, out),
    }
}

/// Values of a block, two a byte.
#[inline(always)]
fn decode_e2m1(data: &[u8; 16], out: &mut [f32; 32], scale: f32) {
    let mut codes = [0; 32];
    for (byte, pair) in data.iter().zip(codes.as_chunks_mut::<2>().0) {
        *pair = [byte & 15, byte >> 4];
    }
    for (code, out) in codes.iter().zip(out) {
        *out = e2m1_value(*code) * scale;
    }
}

/// [`e2m1::decode`] of four bits: two of exponent and one of mantissa where float32 has its own, and 0.5 apart.
#[inline(always)]
fn e2m1_value(code: u8) -> f32 {
    let (sign, magnitude) = (u32::from(code) >> 3 << 31, u32::from(code) & 7);
    let normal = (magnitude << 22) + (126 << 23);
    let small = if magnitude == 0 { 0 } else { 0.5f32.to_bits() };
    f32::from_bits(if magnitude < 2 { small } else { normal } | sign)
}

/// [`e4m3::decode`], both ways at once.
#[inline(always)]
fn e4m3_value(code: u8) -> f32 {
    let (sign, magnitude) = (u32::from(code) >> 7 << 31, u32::from(code) & 0x7f);
    let normal = f32::from_bits((magnitude << 20) + (120 << 23));
    let small = magnitude as f32 * (1.0 / 512.0);
    let value = if magnitude < 8 { small } else { normal };
    let value = if magnitude == 0x7f { f32::NAN } else { value };
    f32::from_bits(value.to_bits() | sign)
}

/// As [`RowKernels::round_bf16`](crate::kernel::RowKernels::round_bf16).
#[inline(always)]
pub(crate) fn round_bf16(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        let bits = value.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        let quiet = (bits >> 16) as u16 | 0x40;
        *out = if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }.to_ne_bytes();
    }
}

/// As [`RowKernels::accumulate`](crate::kernel::RowKernels::accumulate).
#[inline(always)]
pub(crate) fn accumulate(values: &[f32], weight: f32, sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += *value * weight;
    }
}
