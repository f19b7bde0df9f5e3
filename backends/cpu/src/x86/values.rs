//! Products of float32: the portable loop, compiled for AVX2. Multiplication and addition stay two operations, so it
//! gives the same bits.

use crate::kernel;

/// See [`Kernels::products`](crate::kernel::Kernels::products).
pub(super) fn products(k: usize, a: &[f32], w: &[f32], sums: &mut [f32]) {
    // SAFETY: the table that holds this function is made only where the instructions are.
    unsafe { products_with_avx2(k, a, w, sums) }
}

#[target_feature(enable = "avx2")]
fn products_with_avx2(k: usize, a: &[f32], w: &[f32], sums: &mut [f32]) {
    kernel::products_inlined(k, a, w, sums);
}
