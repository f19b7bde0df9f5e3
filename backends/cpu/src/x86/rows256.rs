//! Rows converted by AVX2, as [`rows512`](super::rows512) does by AVX-512.

use crate::gate::{self, Gate, GateUp};

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
