//! Products of many packed rows with panels of floats, by AVX2: each block is unpacked to float32 once, into a buffer, and
//! multiplied with all rows, four at a time, whose sums over K lie in memory meanwhile.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and halves index several arrays of registers"
)]

use std::arch::x86_64::*;
use std::ops::Range;

use super::dot256::{Dot, Scales};
use crate::kernel::Operands;
use crate::panel::{BLOCK, COLUMNS};

/// Rows that share the weights that are loaded.
const TILE: usize = 4;

/// # Safety
///
/// [`Operands::check`] gave `count`, `unpack` is for these panels, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn product<D: Dot>(
    operands: &Operands<'_>,
    unpack: Unpack,
    count: usize,
    sums: &mut [f32],
) {
    let Operands { blocks, panels, picks, .. } = *operands;
    let width = count * COLUMNS;
    sums[..picks.len() * width].fill(0.0);
    for p in 0..count {
        let panel = &panels[p * D::KIND.bytes(blocks)..];
        for block in 0..blocks {
            let [group, scales, codes] = D::KIND.places(block);
            let group = panel[group..].as_ptr();
            let row = |pick: u32| {
                operands.rows[pick as usize * operands.stride + block * D::NUMBERS.record()..].as_ptr()
            };
            // SAFETY: the panel and the rows have the block, and there is room for the sums.
            unsafe {
                let scales = &Scales::of(D::KIND, group.add(scales));
                let weights = &unpack(group.add(codes));
                for (picks, sums) in picks.chunks(TILE).zip(sums.chunks_mut(TILE * width)) {
                    let sums = sums[p * COLUMNS..].as_mut_ptr();
                    match *picks {
                        [a] => tile::<D, 1>(weights, scales, [a].map(row), sums, width),
                        [a, b] => tile::<D, 2>(weights, scales, [a, b].map(row), sums, width),
                        [a, b, c] => tile::<D, 3>(weights, scales, [a, b, c].map(row), sums, width),
                        [a, b, c, d] => tile::<D, 4>(weights, scales, [a, b, c, d].map(row), sums, width),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Unpacks the codes of a block, which must be there, on a machine that has the instructions.
pub(super) type Unpack = unsafe fn(*const u8) -> Weights;

/// The weights of a block of 16 columns: for each element along K (in the order of a row) 16 float32.
#[repr(align(32))]
pub(super) struct Weights([f32; BLOCK * COLUMNS]);

/// E2M1 in float32.
///
/// # Safety
///
/// The codes are there, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn unpack_nibbles(codes: *const u8) -> Weights {
    let mut weights = Weights([0.0; BLOCK * COLUMNS]);
    let table = _mm256_setr_ps(0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0);
    let sign = _mm256_set1_epi32(i32::MIN);
    for quarter in 0..4 {
        for half in 0..2 {
            // SAFETY: as the caller says, and eight elements of 64 bytes for each quarter fit. The upper bits of an
            // index are not looked at.
            unsafe {
                let mut packed = _mm256_loadu_si256(codes.add(64 * quarter + 32 * half).cast());
                // The row has its elements in pairs: a nibble of the lower half word, and that of the upper one.
                for nibble in 0..8 {
                    let element = 8 * quarter + nibble % 4 * 2 + nibble / 4;
                    let magnitude = _mm256_permutevar8x32_ps(table, packed);
                    let negative = _mm256_and_si256(_mm256_slli_epi32::<28>(packed), sign);
                    let value = _mm256_or_ps(magnitude, _mm256_castsi256_ps(negative));
                    let to = weights.0.as_mut_ptr().add(COLUMNS * element + 8 * half);
                    _mm256_store_ps(to, value);
                    packed = _mm256_srli_epi32::<4>(packed);
                }
            }
        }
    }
    weights
}

/// E4M3 in float32; see [`Scales`].
///
/// # Safety
///
/// The codes are there, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn unpack_tile(codes: *const u8) -> Weights {
    let mut weights = Weights([0.0; BLOCK * COLUMNS]);
    let up = _mm256_set1_ps(f32::from_bits((127 + 120) << 23));
    let (sign, magnitude) = (_mm256_set1_epi32(i32::MIN), _mm256_set1_epi32(0x7f << 20));
    for line in 0..8 {
        for half in 0..2 {
            // SAFETY: as the caller says, and four elements of 64 bytes for each line fit.
            unsafe {
                let mut packed = _mm256_loadu_si256(codes.add(64 * line + 32 * half).cast());
                // Bytes 0 and 2 of a word are a pair of the row, and so are 1 and 3.
                for byte in 0..4 {
                    let element = 4 * line + byte % 2 * 2 + byte / 2;
                    let bits = _mm256_or_si256(
                        _mm256_and_si256(_mm256_slli_epi32::<24>(packed), sign),
                        _mm256_and_si256(_mm256_slli_epi32::<20>(packed), magnitude),
                    );
                    let value = _mm256_mul_ps(_mm256_castsi256_ps(bits), up);
                    let to = weights.0.as_mut_ptr().add(COLUMNS * element + 8 * half);
                    _mm256_store_ps(to, value);
                    packed = _mm256_srli_epi32::<8>(packed);
                }
            }
        }
    }
    weights
}

/// Adds `R` rows by a block to their sums, `stride` from row to row.
///
/// # Safety
///
/// The rows have a record here, there is room for the sums, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn tile<D: Dot, const R: usize>(
    weights: &Weights,
    scales: &Scales,
    records: [*const u8; R],
    sums: *mut f32,
    stride: usize,
) {
    let parts = D::KIND.parts();
    let pairs = BLOCK / 2 / parts;
    for part in 0..parts {
        // SAFETY: as the caller says.
        unsafe {
            let part_sums = floats(weights, &records, part * pairs..(part + 1) * pairs);
            for r in 0..R {
                for half in 0..2 {
                    let scale = scales.times_row(D::NUMBERS, records[r], part, half);
                    let sum = sums.add(r * stride + 8 * half);
                    _mm256_storeu_ps(sum, _mm256_fmadd_ps(part_sums[r][half], scale, _mm256_loadu_ps(sum)));
                }
            }
        }
    }
}

/// Sums of the given pairs of elements.
///
/// # Safety
///
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn floats<const R: usize>(
    weights: &Weights,
    records: &[*const u8; R],
    pairs: Range<usize>,
) -> [[__m256; 2]; R] {
    let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: as the caller says.
    unsafe {
        for word in pairs {
            let pair = weights.0.as_ptr().add(2 * COLUMNS * word);
            let first = [_mm256_load_ps(pair), _mm256_load_ps(pair.add(8))];
            let second = [_mm256_load_ps(pair.add(16)), _mm256_load_ps(pair.add(24))];
            for r in 0..R {
                let both = _mm256_set1_epi32(records[r].add(4 * word).cast::<i32>().read_unaligned());
                let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both));
                let high = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
                for half in 0..2 {
                    sums[r][half] = _mm256_fmadd_ps(first[half], low, sums[r][half]);
                    sums[r][half] = _mm256_fmadd_ps(second[half], high, sums[r][half]);
                }
            }
        }
    }
    sums
}
