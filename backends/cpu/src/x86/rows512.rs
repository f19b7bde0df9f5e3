//! Rows converted by AVX-512: decoded, rounded, quantized, activated, summed. The portable twins are the core's codecs
//! and the operators' own loops; but for SwiGLU, see [`gate`](crate::gate), results are the same to the bit.

use std::arch::x86_64::*;

use mxhal_core::format::{dequantize_row, e2m1, e4m3, e8m0, quantize_row};
use mxhal_core::{Format, Quantization, ScaleRule};

use super::pack512::widened;
use crate::gate::{self, Gate, GateUp};
use crate::kernel::WeightedRow;

/// See [`RowKernels::decode`](crate::kernel::RowKernels::decode).
pub(super) fn decode(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    let blocks = out.len() / 32;
    let whole = out.len().is_multiple_of(32)
        && data.len() == format.row_bytes(out.len())
        && scales.len() == format.row_scales(out.len());
    // SAFETY: elements, scales and places are as many as the format wants, and the table that holds this function is
    // made only where the instructions are.
    unsafe {
        match format {
            Format::Bf16 if data.len() == 2 * out.len() => decode_bf16(data, out),
            Format::Mxfp4 if whole => decode_mxfp4(data, scales, out),
            Format::Mxint8 if whole => decode_mxint8(data, scales, out),
            Format::Mxfp8 if whole => decode_mxfp8(data, |block| scales[block], blocks, out),
            Format::Mxfp8G128 if whole => decode_mxfp8(data, |block| scales[block / 4], blocks, out),
            _ => dequantize_row(format, data, scales, factor, out),
        }
    }
}

/// # Safety
///
/// `data` has two bytes for each place of `out`, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn decode_bf16(data: &[u8], out: &mut [f32]) {
    let (whole, rest) = out.as_chunks_mut::<16>();
    for (i, out) in whole.iter_mut().enumerate() {
        // SAFETY: as the caller says.
        unsafe {
            let halves = _mm256_loadu_si256(data.as_ptr().add(32 * i).cast());
            let words = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), words);
        }
    }
    let done = 32 * whole.len();
    for (bytes, out) in data[done..].as_chunks().0.iter().zip(rest) {
        *out = mxhal_core::format::bf16::to_f32(u16::from_ne_bytes(*bytes));
    }
}

/// # Safety
///
/// `data` has 16 bytes for each scale, `out` 32 places, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn decode_mxfp4(data: &[u8], scales: &[u8], out: &mut [f32]) {
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    // SAFETY: as the caller says. The upper bits of an index are not looked at.
    unsafe {
        let values = _mm512_loadu_ps(e2m1::VALUES.as_ptr());
        for (block, scale) in scales.iter().enumerate() {
            let table = _mm512_mul_ps(values, _mm512_set1_ps(e8m0::decode(*scale)));
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(data.as_ptr().add(16 * block).cast()));
            let low = _mm512_permutexvar_ps(bytes, table);
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), table);
            let out = out.as_mut_ptr().add(32 * block);
            _mm512_storeu_ps(out, _mm512_permutex2var_ps(low, first, high));
            _mm512_storeu_ps(out.add(16), _mm512_permutex2var_ps(low, second, high));
        }
    }
}

/// # Safety
///
/// `data` has 32 bytes for each scale, `out` 32 places, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn decode_mxint8(data: &[u8], scales: &[u8], out: &mut [f32]) {
    for half in 0..2 * scales.len() {
        // SAFETY: as the caller says.
        unsafe {
            let codes = _mm512_cvtepi8_epi32(_mm_loadu_si128(data.as_ptr().add(16 * half).cast()));
            let values = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_set1_ps(1.0 / 64.0));
            let scale = _mm512_set1_ps(e8m0::decode(scales[half / 2]));
            _mm512_storeu_ps(out.as_mut_ptr().add(16 * half), _mm512_mul_ps(values, scale));
        }
    }
}

/// # Safety
///
/// `data` has 32 bytes for each block, `out` 32 places, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn decode_mxfp8(data: &[u8], scale: impl Fn(usize) -> u8, blocks: usize, out: &mut [f32]) {
    for block in 0..blocks {
        // SAFETY: as the caller says.
        unsafe {
            let codes = data.as_ptr().add(32 * block);
            let (halves, are_numbers) = widened(codes);
            let out = &mut out[32 * block..][..32];
            let scale = e8m0::decode(scale(block));
            if !are_numbers {
                for (out, code) in out.iter_mut().zip(&data[32 * block..]) {
                    *out = e4m3::decode(*code) * scale;
                }
                continue;
            }
            let scale = _mm512_set1_ps(scale);
            let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
            let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(halves));
            for (half, out) in [low, high].into_iter().zip(out.as_chunks_mut::<16>().0) {
                let values = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(half));
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_mul_ps(values, scale));
            }
        }
    }
}

/// See [`RowKernels::round_bf16`](crate::kernel::RowKernels::round_bf16).
pub(super) fn round_bf16(values: &[f32], out: &mut [u8]) {
    assert!(out.len() == 2 * values.len());
    // SAFETY: there are two bytes for each value, and the table that holds this function is made only where the
    // instructions are.
    unsafe { round_bf16_unchecked(values, out.as_mut_ptr()) }
}

/// # Safety
///
/// `out` has two bytes for each value, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn round_bf16_unchecked(values: &[f32], out: *mut u8) {
    let whole = values.as_chunks::<16>().0;
    for (i, values) in whole.iter().enumerate() {
        // SAFETY: as the caller says.
        unsafe {
            let bits = _mm512_loadu_si512(values.as_ptr().cast());
            _mm256_storeu_si256(out.add(32 * i).cast(), _mm512_cvtepi32_epi16(rounded_to_bf16(bits)));
        }
    }
    for (i, values) in values.chunks(16).enumerate().skip(whole.len()) {
        let mask = (u32::MAX >> (32 - values.len())) as u16;
        // SAFETY: as the caller says; what the mask excludes is not touched.
        unsafe {
            let bits = _mm512_maskz_loadu_epi32(mask, values.as_ptr().cast());
            let halves = _mm512_cvtepi32_epi16(rounded_to_bf16(bits));
            _mm256_mask_storeu_epi16(out.add(32 * i).cast(), mask, halves);
        }
    }
}

/// The upper halves, rounded to nearest even, as the low ones of each word.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rounded_to_bf16(bits: __m512i) -> __m512i {
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounder = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, rounder));
    let magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff_ffff));
    let nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f80_0000));
    let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
    _mm512_mask_mov_epi32(rounded, nan, quiet)
}

/// See [`RowKernels::quantize`](crate::kernel::RowKernels::quantize).
pub(super) fn quantize(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    let format = to.format;
    let fits = x.len().is_multiple_of(32)
        && data.len() == format.row_bytes(x.len())
        && scales.len() == format.row_scales(x.len());
    // SAFETY: elements and scales are as many as the format wants, and the table that holds this function is made only
    // where the instructions are.
    unsafe {
        match format {
            Format::Mxfp4 if fits => blocks::<1, 16>(to, x, data, scales, |x, data| encode_e2m1(x, data)),
            Format::Mxint8 if fits => blocks::<1, 32>(to, x, data, scales, |x, data| encode_int8(x, data)),
            Format::Mxfp8 if fits => blocks::<1, 32>(to, x, data, scales, |x, data| encode_e4m3(x, data)),
            Format::Mxfp8G128 if fits => blocks::<4, 32>(to, x, data, scales, |x, data| encode_e4m3(x, data)),
            _ => return quantize_row(to, x, data, scales),
        }
    }
    1.0
}

/// Quantizes blocks of `PARTS` · 32 values (fewer in the last one), `BYTES` bytes for each 32.
///
/// # Safety
///
/// Elements and scales are as many as the format wants, `encode` writes `BYTES` bytes, and this machine has the
/// instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn blocks<const PARTS: usize, const BYTES: usize>(
    to: &Quantization,
    x: &[f32],
    data: &mut [u8],
    scales: &mut [u8],
    encode: impl Fn([__m512; 2], *mut u8),
) {
    let rule = Rule::of(to);
    let values = x.chunks(32 * PARTS).zip(data.chunks_mut(BYTES * PARTS));
    for ((x, data), scale) in values.zip(scales) {
        let mut amax = _mm512_setzero_si512();
        for x in x.as_chunks::<16>().0 {
            // SAFETY: there are 16.
            let bits = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
            amax = _mm512_max_epi32(amax, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff_ffff)));
        }
        let amax = f32::from_bits(_mm512_reduce_max_epi32(amax).cast_unsigned());
        let byte = rule.scale_byte(to, amax);
        *scale = byte;
        if byte == e8m0::NAN {
            data.fill(0);
            continue;
        }
        let reciprocal = _mm512_set1_ps(e8m0::reciprocal(byte));
        for (x, data) in x.as_chunks::<32>().0.iter().zip(data.as_chunks_mut::<BYTES>().0) {
            // SAFETY: there are 32.
            let x = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))] };
            let scaled = [_mm512_mul_ps(x[0], reciprocal), _mm512_mul_ps(x[1], reciprocal)];
            encode(scaled, data.as_mut_ptr());
        }
    }
}

/// [`Quantization::scale_byte`] for magnitudes that are neither tiny nor huge: an addition whose carry is the rule.
struct Rule {
    /// What is added to a magnitude's bits.
    carry: u32,
    emax: u32,
    /// The bits of the magnitudes that this is for.
    fast: std::ops::Range<u32>,
}

impl Rule {
    fn of(to: &Quantization) -> Self {
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
        // From an exponent above every emax on, and from the floor on amax on; below one that could carry too far.
        let least = to.amax_floor.to_bits().max(16 << 23);
        Self { carry, emax: emax.cast_unsigned(), fast: least..(253 << 23) }
    }

    #[inline(always)]
    fn scale_byte(&self, to: &Quantization, amax: f32) -> u8 {
        let bits = amax.to_bits();
        if self.fast.contains(&bits) {
            return (((bits + self.carry) >> 23) - self.emax) as u8;
        }
        to.scale_byte(amax).unwrap_or(e8m0::NAN)
    }
}

/// # Safety
///
/// There are 16 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn encode_e2m1([a, b]: [__m512; 2], data: *mut u8) {
    // SAFETY: as the caller says.
    unsafe {
        let codes =
            _mm256_set_m128i(_mm512_cvtepi32_epi8(e2m1_codes(b)), _mm512_cvtepi32_epi8(e2m1_codes(a)));
        let pairs = _mm256_or_si256(codes, _mm256_srli_epi16::<4>(codes));
        _mm_storeu_si128(data.cast(), _mm256_cvtepi16_epi8(pairs));
    }
}

/// The nearest codes, ties to even; no value is a NaN.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn e2m1_codes(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let magnitude = _mm512_abs_ps(values);
    // Below 1 codes count halves.
    let small = _mm512_cvtps_epi32(_mm512_add_ps(magnitude, magnitude));
    // From 1 on they are what is left of a float32 with one bit of mantissa.
    let magnitude_bits = _mm512_castps_si512(magnitude);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<22>(magnitude_bits), _mm512_set1_epi32(1));
    let rounder = _mm512_add_epi32(odd, _mm512_set1_epi32(0x1f_ffff));
    let rounded = _mm512_srli_epi32::<22>(_mm512_add_epi32(magnitude_bits, rounder));
    let large = _mm512_min_epi32(_mm512_sub_epi32(rounded, _mm512_set1_epi32(252)), _mm512_set1_epi32(7));
    let is_small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(magnitude, _mm512_set1_ps(1.0));
    let code = _mm512_mask_mov_epi32(large, is_small, small);
    let sign = _mm512_and_si512(_mm512_srli_epi32::<28>(bits), _mm512_set1_epi32(8));
    _mm512_or_si512(code, sign)
}

/// # Safety
///
/// There are 32 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn encode_int8(values: [__m512; 2], data: *mut u8) {
    for (i, values) in values.into_iter().enumerate() {
        let scaled = _mm512_mul_ps(values, _mm512_set1_ps(64.0));
        let clamped = _mm512_max_ps(_mm512_min_ps(scaled, _mm512_set1_ps(127.0)), _mm512_set1_ps(-127.0));
        let codes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped));
        // SAFETY: as the caller says.
        unsafe { _mm_storeu_si128(data.add(16 * i).cast(), codes) };
    }
}

/// # Safety
///
/// There are 32 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn encode_e4m3(values: [__m512; 2], data: *mut u8) {
    const ROUNDER: f32 = 16384.0;
    for (i, values) in values.into_iter().enumerate() {
        let magnitude = _mm512_abs_ps(values);
        let bits = _mm512_castps_si512(magnitude);
        // As in the core's codec: the last place at 2^14 is that of the subnormals, and from 2^−6 on three bits of
        // mantissa are left.
        let shifted = _mm512_castps_si512(_mm512_add_ps(magnitude, _mm512_set1_ps(ROUNDER)));
        let small = _mm512_sub_epi32(shifted, _mm512_set1_epi32(ROUNDER.to_bits().cast_signed()));
        let odd = _mm512_and_si512(_mm512_srli_epi32::<20>(bits), _mm512_set1_epi32(1));
        let rounder = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7_ffff));
        let rounded = _mm512_srli_epi32::<20>(_mm512_add_epi32(bits, rounder));
        let normal = _mm512_sub_epi32(rounded, _mm512_set1_epi32(120 << 3));
        let large = _mm512_min_epi32(normal, _mm512_set1_epi32(0x7e));
        let is_small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(magnitude, _mm512_set1_ps(1.0 / 64.0));
        let code = _mm512_mask_mov_epi32(large, is_small, small);
        let sign =
            _mm512_and_si512(_mm512_srli_epi32::<24>(_mm512_castps_si512(values)), _mm512_set1_epi32(0x80));
        let codes = _mm512_cvtepi32_epi8(_mm512_or_si512(code, sign));
        // SAFETY: as the caller says.
        unsafe { _mm_storeu_si128(data.add(16 * i).cast(), codes) };
    }
}

/// See [`RowKernels::activate`](crate::kernel::RowKernels::activate).
pub(super) fn activate(gate: &Gate, x: GateUp<'_>, values: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { activate_unchecked(gate, x, values) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
unsafe fn activate_unchecked(gate: &Gate, x: GateUp<'_>, values: &mut [f32]) {
    gate::activate(gate, x, values);
}

/// See [`RowKernels::accumulate`](crate::kernel::RowKernels::accumulate).
pub(super) fn accumulate(values: &[f32], weight: f32, sums: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { accumulate_unchecked(values, weight, sums) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
unsafe fn accumulate_unchecked(values: &[f32], weight: f32, sums: &mut [f32]) {
    // The compiler does it as well as anybody, if it knows the registers.
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += *value * weight;
    }
}

/// See [`RowKernels::accumulate_bf16`](crate::kernel::RowKernels::accumulate_bf16).
pub(super) fn accumulate_bf16(rows: &[WeightedRow<'_>], sums: &mut [f32]) {
    assert!(rows.iter().all(|(row, _)| row.len() == 2 * sums.len()), "rows are as long as their sum");
    // SAFETY: the lengths were checked, and the table that holds this function is made only where the instructions are.
    unsafe { accumulate_rows(rows, sums) }
}

/// # Safety
///
/// Rows have two bytes for each sum, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn accumulate_rows(rows: &[WeightedRow<'_>], sums: &mut [f32]) {
    let (whole, rest) = sums.as_chunks_mut::<32>();
    for (i, sums) in whole.iter_mut().enumerate() {
        // SAFETY: as the caller says.
        unsafe {
            let (first, second) = (sums.as_mut_ptr(), sums.as_mut_ptr().add(16));
            let mut totals = [_mm512_loadu_ps(first), _mm512_loadu_ps(second)];
            for (row, weight) in rows {
                let weight = _mm512_set1_ps(*weight);
                for (half, total) in totals.iter_mut().enumerate() {
                    let halves = _mm256_loadu_si256(row.as_ptr().add(64 * i + 32 * half).cast());
                    let values = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)));
                    *total = _mm512_add_ps(*total, _mm512_mul_ps(values, weight));
                }
            }
            _mm512_storeu_ps(first, totals[0]);
            _mm512_storeu_ps(second, totals[1]);
        }
    }
    let done = 64 * whole.len();
    for (row, weight) in rows {
        for (sum, bytes) in rest.iter_mut().zip(row[done..].as_chunks().0) {
            *sum += mxhal_core::format::bf16::to_f32(u16::from_ne_bytes(*bytes)) * weight;
        }
    }
}
