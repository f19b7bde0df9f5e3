//! Rows converted by AVX2, as [`rows512`](super::rows512) does by AVX-512.

use mxhal_core::op::Score;

use crate::gate::{self, Gate, GateUp};
use crate::score;

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
