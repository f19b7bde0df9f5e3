//! Rows converted by AVX-512: decoded, rounded, activated, summed. The portable twins are the core's codecs
//! and the operators' own loops; but for SwiGLU, see [`gate`](crate::gate), results are the same to the bit.

use std::arch::x86_64::*;

use mxhal_core::Format;
use mxhal_core::format::{bf16, dequantize_row, e2m1, e4m3, e8m0};
use mxhal_core::op::Score;

use super::pack512::widened;
use crate::gate::{self, Gate, GateUp};
use crate::kernel::WeightedRow;
use crate::score;

/// See [`RowKernels::decode`](crate::kernel::RowKernels::decode).
pub(super) fn decode(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    let blocks = out.len() / 32;
    let whole = out.len().is_multiple_of(format.column_multiple())
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
            Format::Nvfp4 if whole => decode_nvfp4(data, scales, factor, out),
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
        *out = bf16::to_f32(u16::from_ne_bytes(*bytes));
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

/// # Safety
///
/// `data` has 8 bytes for each scale, `out` 16 places, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn decode_nvfp4(data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    // In each 32 bits the byte with the code, which is then in the low nibble, or is shifted there.
    let first = _mm512_set_epi64(
        0x07_0000_0007,
        0x06_0000_0006,
        0x05_0000_0005,
        0x04_0000_0004,
        0x03_0000_0003,
        0x02_0000_0002,
        0x01_0000_0001,
        0,
    );
    let shift = _mm512_set1_epi64(4 << 32);
    let factor = _mm512_set1_ps(factor);
    let blocks = data.as_chunks::<8>().0.chunks(16).zip(out.as_chunks_mut::<16>().0.chunks_mut(16));
    for ((data, out), scales) in blocks.zip(scales.chunks(16)) {
        let mut decoded = [0.0; 16];
        // SAFETY: what the mask excludes is not touched, and the rest is as the caller says. The upper bits of an index are
        // not looked at.
        unsafe {
            let values = _mm512_loadu_ps(e2m1::VALUES.as_ptr());
            let mask = (u32::MAX >> (32 - scales.len())) as u16;
            let codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, scales.as_ptr().cast()));
            _mm512_storeu_ps(decoded.as_mut_ptr(), e4m3_values(codes));
            for ((data, out), scale) in data.iter().zip(out).zip(decoded) {
                let bytes = _mm512_shuffle_epi8(_mm512_set1_epi64(i64::from_le_bytes(*data)), first);
                let codes = _mm512_srlv_epi32(bytes, shift);
                let table = _mm512_mul_ps(_mm512_mul_ps(values, _mm512_set1_ps(scale)), factor);
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_permutexvar_ps(codes, table));
            }
        }
    }
}

/// What codes of E4M3 stand for, in 32 bits each. With a code's bits where float32 has them it is 2^120 times too small, and
/// perhaps subnormal.
#[target_feature(enable = "avx512f")]
fn e4m3_values(codes: __m512i) -> __m512 {
    let magnitude = _mm512_and_si512(codes, _mm512_set1_epi32(0x7f));
    let up = _mm512_set1_ps(f32::from_bits((127 + 120) << 23));
    let value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32::<20>(magnitude)), up);
    let is_nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));
    let value = _mm512_castps_si512(_mm512_mask_mov_ps(value, is_nan, _mm512_set1_ps(f32::NAN)));
    let sign = _mm512_slli_epi32::<24>(_mm512_xor_si512(codes, magnitude));
    _mm512_castsi512_ps(_mm512_or_si512(value, sign))
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
    let whole = values.as_chunks::<32>().0;
    // SAFETY: as many bytes as a register.
    let upper_halves = unsafe { _mm512_loadu_si512(UPPER_HALVES.as_ptr().cast()) };
    for (i, values) in whole.iter().enumerate() {
        // SAFETY: as the caller says.
        unsafe {
            let bits =
                [values.as_ptr(), values.as_ptr().add(16)].map(|values| _mm512_loadu_si512(values.cast()));
            let mut rounded = bits.map(|bits| nearly_rounded_to_bf16(bits));
            if is_nan(bits[0]) | is_nan(bits[1]) != 0 {
                rounded = bits.map(|bits| _mm512_slli_epi32::<16>(rounded_to_bf16(bits)));
            }
            let halves = _mm512_permutex2var_epi16(rounded[0], upper_halves, rounded[1]);
            _mm512_storeu_si512(out.add(64 * i).cast(), halves);
        }
    }
    for (i, values) in values.chunks(16).enumerate().skip(2 * whole.len()) {
        let mask = (u32::MAX >> (32 - values.len())) as u16;
        // SAFETY: as the caller says; what the mask excludes is not touched.
        unsafe {
            let bits = _mm512_maskz_loadu_epi32(mask, values.as_ptr().cast());
            let halves = _mm512_cvtepi32_epi16(rounded_to_bf16(bits));
            _mm256_mask_storeu_epi16(out.add(32 * i).cast(), mask, halves);
        }
    }
}

/// Where the upper halves of two registers are.
const UPPER_HALVES: [u16; 32] = {
    let mut places = [0; 32];
    let mut i = 0;
    while i < 32 {
        places[i] = 2 * i as u16 + 1;
        i += 1;
    }
    places
};

/// The upper halves, rounded to nearest even, as the low ones of each word.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rounded_to_bf16(bits: __m512i) -> __m512i {
    let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
    let rounded = _mm512_srli_epi32::<16>(nearly_rounded_to_bf16(bits));
    _mm512_mask_mov_epi32(rounded, is_nan(bits), quiet)
}

/// The upper halves, rounded to nearest even where they are, unless they are a NaN's; the lower ones are of no use.
#[target_feature(enable = "avx512f")]
fn nearly_rounded_to_bf16(bits: __m512i) -> __m512i {
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd)
}

#[target_feature(enable = "avx512f")]
fn is_nan(bits: __m512i) -> __mmask16 {
    let values = _mm512_castsi512_ps(bits);
    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values)
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

/// See [`RowKernels::score`](crate::kernel::RowKernels::score).
pub(super) fn score(function: Score, logits: &[u8], scores: &mut [i64]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { score_unchecked(function, logits, scores) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
unsafe fn score_unchecked(function: Score, logits: &[u8], scores: &mut [i64]) {
    score::nearly(function, logits, scores);
}

/// See [`RowKernels::choose`](crate::kernel::RowKernels::choose).
pub(super) fn choose(scores: &[i64], bias: Option<&[u8]>, keys: &mut [i64], chosen: &mut [i64]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { choose_unchecked(scores, bias, keys, chosen) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
unsafe fn choose_unchecked(scores: &[i64], bias: Option<&[u8]>, keys: &mut [i64], chosen: &mut [i64]) {
    score::choose(scores, bias, keys, chosen);
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
            *sum += bf16::to_f32(u16::from_ne_bytes(*bytes)) * weight;
        }
    }
}

/// See [`RowKernels::sum_bf16`](crate::kernel::RowKernels::sum_bf16).
pub(super) fn sum_bf16(rows: &[WeightedRow<'_>], soon: &[&[u8]], out: &mut [u8]) {
    assert!(rows.iter().all(|(row, _)| row.len() == out.len()), "rows are as long as their sum");
    // SAFETY: the lengths were checked, and the table that holds this function is made only where the instructions are.
    unsafe { sum_rows(rows, soon, out) }
}

/// # Safety
///
/// Rows are as long as `out`, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sum_rows(rows: &[WeightedRow<'_>], soon: &[&[u8]], out: &mut [u8]) {
    const REGISTERS: usize = 4;
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let (whole, rest) = out.as_chunks_mut::<{ 64 * REGISTERS }>();
    let done = 64 * REGISTERS * whole.len();
    for (i, out) in whole.iter_mut().enumerate() {
        for row in soon {
            for register in 0..REGISTERS {
                // Nothing is read, wherever that is.
                _mm_prefetch::<_MM_HINT_T1>(
                    row.as_ptr().wrapping_add(64 * (REGISTERS * i + register)).cast(),
                );
            }
        }
        // Of each pair of columns the even one, and the odd one.
        let mut sums = [[_mm512_setzero_ps(); 2]; REGISTERS];
        for (row, weight) in rows {
            let weight = _mm512_set1_ps(*weight);
            for (register, [even, odd]) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller says.
                let pairs = unsafe {
                    row.as_ptr().add(64 * (REGISTERS * i + register)).cast::<__m512i>().read_unaligned()
                };
                let first = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
                let second = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
                *even = _mm512_add_ps(*even, _mm512_mul_ps(first, weight));
                *odd = _mm512_add_ps(*odd, _mm512_mul_ps(second, weight));
            }
        }
        for ([even, odd], out) in sums.into_iter().zip(out.as_chunks_mut::<64>().0) {
            let even = rounded_to_bf16(_mm512_castps_si512(even));
            let odd = _mm512_slli_epi32::<16>(rounded_to_bf16(_mm512_castps_si512(odd)));
            // SAFETY: there are 64 bytes.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_mask_mov_epi16(odd, 0x5555_5555, even));
            };
        }
    }
    for (i, out) in rest.as_chunks_mut().0.iter_mut().enumerate() {
        let mut sum = 0.0;
        for (row, weight) in rows {
            sum += bf16::to_f32(u16::from_ne_bytes(row[done..].as_chunks().0[i])) * weight;
        }
        *out = bf16::from_f32(sum).to_ne_bytes();
    }
}

/// See [`RowKernels::copy_past_caches`](crate::kernel::RowKernels::copy_past_caches).
pub(super) fn copy_past_caches(from: &[u8], to: &mut [u8]) {
    assert!(from.len() == to.len());
    // SAFETY: both have one length, and the table that holds this function is made only where the instructions are.
    unsafe { stream(from, to) }
}

/// # Safety
///
/// Both have one length, and this machine has the instructions.
#[target_feature(enable = "avx512f")]
unsafe fn stream(from: &[u8], to: &mut [u8]) {
    let before = to.as_ptr().align_offset(64).min(to.len());
    let end = before + (to.len() - before) / 64 * 64;
    to[..before].copy_from_slice(&from[..before]);
    to[end..].copy_from_slice(&from[end..]);
    for at in (before..end).step_by(64) {
        // SAFETY: 64 bytes are there, and in `to` they are aligned.
        unsafe {
            _mm512_stream_si512(
                to.as_mut_ptr().add(at).cast(),
                _mm512_loadu_si512(from.as_ptr().add(at).cast()),
            );
        };
    }
}

/// See [`RowKernels::settle`](crate::kernel::RowKernels::settle): such stores are not in order with those that tell other
/// threads that the work is done.
pub(super) fn settle() {
    // SAFETY: every x86-64 has it.
    unsafe { _mm_sfence() }
}
