//! Products of float32, by AVX2: the portable loop with four rows by two at a time. Multiplication and addition stay two
//! operations, and sums are added up in the same order, so it gives the same bits.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and columns index several arrays of registers"
)]

use std::arch::x86_64::*;

use crate::kernel::LANES;

/// See [`Kernels::products`](crate::kernel::Kernels::products).
pub(super) fn products(k: usize, a: &[f32], w: &[f32], sums: &mut [f32]) {
    let (rows, columns) = (a.len() / k, w.len() / k);
    assert!(k.is_multiple_of(LANES) && sums.len() >= rows * columns);
    for row in (0..rows).step_by(4) {
        for column in (0..columns).step_by(2) {
            let (a, w) = (a[row * k..].as_ptr(), w[column * k..].as_ptr());
            let sums = sums[row * columns + column..].as_mut_ptr();
            // SAFETY: from here there are as many rows and columns as are taken, and places for their sums, and the
            // table that holds this function is made only where the instructions are.
            unsafe {
                match ((rows - row).min(4), (columns - column).min(2)) {
                    (4, 2) => dots::<4, 2>(k, a, w, columns, sums),
                    (4, _) => dots::<4, 1>(k, a, w, columns, sums),
                    (3, 2) => dots::<3, 2>(k, a, w, columns, sums),
                    (3, _) => dots::<3, 1>(k, a, w, columns, sums),
                    (2, 2) => dots::<2, 2>(k, a, w, columns, sums),
                    (2, _) => dots::<2, 1>(k, a, w, columns, sums),
                    (_, 2) => dots::<1, 2>(k, a, w, columns, sums),
                    _ => dots::<1, 1>(k, a, w, columns, sums),
                }
            }
        }
    }
}

/// `R · C` dot products; row `r` of the result begins at `r · stride`.
///
/// # Safety
///
/// There are so many rows of `k` values, a multiple of [`LANES`], and places for the sums, and this machine has the
/// instructions.
#[target_feature(enable = "avx2")]
unsafe fn dots<const R: usize, const C: usize>(
    k: usize,
    a: *const f32,
    w: *const f32,
    stride: usize,
    sums: *mut f32,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut lanes = [[_mm256_setzero_ps(); C]; R];
        for step in (0..k).step_by(LANES) {
            let mut columns = [_mm256_setzero_ps(); C];
            for c in 0..C {
                columns[c] = _mm256_loadu_ps(w.add(c * k + step));
            }
            for r in 0..R {
                let row = _mm256_loadu_ps(a.add(r * k + step));
                for c in 0..C {
                    lanes[r][c] = _mm256_add_ps(lanes[r][c], _mm256_mul_ps(row, columns[c]));
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                // Lanes 4 apart, then 2, then 1.
                let (low, high) =
                    (_mm256_castps256_ps128(lanes[r][c]), _mm256_extractf128_ps::<1>(lanes[r][c]));
                let four = _mm_add_ps(low, high);
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
                *sums.add(r * stride + c) = _mm_cvtss_f32(one);
            }
        }
    }
}
