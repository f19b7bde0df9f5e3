//! Rows converted by AVX2: plain loops, for the most part, compiled for it.

use std::arch::x86_64::*;

use mxhal_core::op::Score;
use mxhal_core::{Format, Quantization};

use crate::gate::{self, Gate, GateUp};
use crate::kernel::{self, WeightedRow};
use crate::score;
use crate::vectors;

/// See [`RowKernels::decode`](crate::kernel::RowKernels::decode).
pub(super) fn decode(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { decode_unchecked(format, data, scales, factor, out) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2")]
unsafe fn decode_unchecked(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    vectors::decode(format, data, scales, factor, out);
}

/// See [`RowKernels::round_bf16`](crate::kernel::RowKernels::round_bf16).
pub(super) fn round_bf16(values: &[f32], out: &mut [u8]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { round_bf16_unchecked(values, out) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2")]
unsafe fn round_bf16_unchecked(values: &[f32], out: &mut [u8]) {
    vectors::round_bf16(values, out);
}

/// See [`RowKernels::quantize`](crate::kernel::RowKernels::quantize).
pub(super) fn quantize(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { quantize_unchecked(to, x, data, scales) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2")]
unsafe fn quantize_unchecked(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    vectors::quantize(to, x, data, scales)
}

/// See [`RowKernels::accumulate`](crate::kernel::RowKernels::accumulate).
pub(super) fn accumulate(values: &[f32], weight: f32, sums: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { accumulate_unchecked(values, weight, sums) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2")]
unsafe fn accumulate_unchecked(values: &[f32], weight: f32, sums: &mut [f32]) {
    vectors::accumulate(values, weight, sums);
}

/// See [`RowKernels::activate`](crate::kernel::RowKernels::activate).
pub(super) fn activate(gate: &Gate, x: GateUp<'_>, values: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { activate_unchecked(gate, x, values) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2,fma")]
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
#[target_feature(enable = "avx2,fma")]
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
#[target_feature(enable = "avx2,fma")]
unsafe fn choose_unchecked(scores: &[i64], bias: Option<&[u8]>, keys: &mut [i64], chosen: &mut [i64]) {
    score::choose(scores, bias, keys, chosen);
}

/// See [`RowKernels::sum_bf16`](crate::kernel::RowKernels::sum_bf16).
pub(super) fn sum_bf16(rows: &[WeightedRow<'_>], _soon: &[&[u8]], out: &mut [u8]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { sum_rows(rows, out) }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx2")]
unsafe fn sum_rows(rows: &[WeightedRow<'_>], out: &mut [u8]) {
    kernel::sum_bf16(rows, out);
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
#[target_feature(enable = "avx2")]
unsafe fn stream(from: &[u8], to: &mut [u8]) {
    let before = to.as_ptr().align_offset(32).min(to.len());
    let end = before + (to.len() - before) / 32 * 32;
    to[..before].copy_from_slice(&from[..before]);
    to[end..].copy_from_slice(&from[end..]);
    for at in (before..end).step_by(32) {
        // SAFETY: 32 bytes are there, and in `to` they are aligned.
        unsafe {
            _mm256_stream_si256(
                to.as_mut_ptr().add(at).cast(),
                _mm256_loadu_si256(from.as_ptr().add(at).cast()),
            );
        };
    }
}
