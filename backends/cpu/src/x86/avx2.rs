//! Products of packed rows with panels, by AVX2 and FMA.
//!
//! A panel's 16 columns are two registers. Each block is unpacked once, into a buffer, and multiplied with all rows,
//! four at a time, whose sums over K lie in memory meanwhile. Integers are multiplied by `vpmaddubsw`, four of whose
//! results an int16 has room for (4 · 2 · 24 · 128 < 2^15), and so give the bits of AVX-512; BF16 is widened to float32.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and halves index several arrays of registers"
)]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernel::Operands;
use crate::packed::Numbers;
use crate::panel::{BLOCK, COLUMNS, Kind, ORDINARY};

/// Rows that share the weights that are loaded.
const TILE: usize = 4;

/// See [`PanelKernels::multiply`](crate::kernel::PanelKernels::multiply).
pub(super) fn multiply(operands: &Operands<'_>, sums: &mut [f32]) {
    let panels = operands.check(sums);
    // SAFETY: the lengths were checked, and the table that holds this function is made only where the instructions are.
    unsafe { product(operands, panels, sums) }
}

/// # Safety
///
/// [`Operands::check`] gave `count`, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn product(operands: &Operands<'_>, count: usize, sums: &mut [f32]) {
    let Operands { numbers, kind, blocks, panels, picks, .. } = *operands;
    let width = count * COLUMNS;
    sums[..picks.len() * width].fill(0.0);
    for p in 0..count {
        let panel = &panels[p * kind.bytes(blocks)..];
        for block in 0..blocks {
            let [group, scales, codes] = kind.places(block);
            let group = panel[group..].as_ptr();
            let row = |pick: u32| {
                operands.rows[pick as usize * operands.stride + block * numbers.record()..].as_ptr()
            };
            // SAFETY: the panel and the rows have the block, and there is room for the sums.
            unsafe {
                let (scales, codes) = (group.add(scales), group.add(codes));
                let scales = match kind {
                    Kind::Mxfp4 | Kind::Fp8Tile128 => Scales::Exponents(exponents(scales)),
                    Kind::Nvfp4 => Scales::Halves([widened(scales), widened(scales.add(COLUMNS))]),
                };
                let weights = match (numbers, kind) {
                    (Numbers::Integers | Numbers::Halves, _) => unpack_integers(codes),
                    (Numbers::Floats, Kind::Fp8Tile128) => unpack_tile(codes),
                    (Numbers::Floats, _) => unpack_floats(codes),
                };
                let (weights, scales) = (&weights, &scales);
                for (picks, sums) in picks.chunks(TILE).zip(sums.chunks_mut(TILE * width)) {
                    let sums = sums[p * COLUMNS..].as_mut_ptr();
                    match *picks {
                        [a] => tile(numbers, weights, scales, [a].map(row), sums, width),
                        [a, b] => tile(numbers, weights, scales, [a, b].map(row), sums, width),
                        [a, b, c] => tile(numbers, weights, scales, [a, b, c].map(row), sums, width),
                        [a, b, c, d] => tile(numbers, weights, scales, [a, b, c, d].map(row), sums, width),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// The weights of a block of 16 columns: for each word of a row 64 bytes of integers, or for each element along K (in the
/// order of a row) 16 float32.
#[repr(align(32))]
struct Weights([u8; 4 * BLOCK * COLUMNS]);

/// The scales of a block's columns, in two registers.
enum Scales {
    /// Bits of float32, for the whole block.
    Exponents([__m256i; 2]),
    /// For each half.
    Halves([[__m256; 2]; 2]),
}

/// The bits of E8M0 scales in float32; those of blocks of zeros raised as AVX-512 does.
///
/// # Safety
///
/// There are 16 scales, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn exponents(scales: *const u8) -> [__m256i; 2] {
    // SAFETY: as the caller says.
    let bytes = unsafe { _mm_loadu_si128(scales.cast()) };
    let bytes = _mm_max_epu8(bytes, _mm_set1_epi8(*ORDINARY.start() as i8));
    [bytes, _mm_srli_si128::<8>(bytes)].map(|half| _mm256_slli_epi32::<23>(_mm256_cvtepu8_epi32(half)))
}

/// E4M3 scales, numbers and not negative, in float32: with their bits where float32 has them they are 2^120 times too
/// small, and perhaps subnormal.
///
/// # Safety
///
/// There are 16 scales, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn widened(scales: *const u8) -> [__m256; 2] {
    // SAFETY: as the caller says.
    let bytes = unsafe { _mm_loadu_si128(scales.cast()) };
    let up = _mm256_set1_ps(f32::from_bits((127 + 120) << 23));
    [bytes, _mm_srli_si128::<8>(bytes)].map(|half| {
        let bits = _mm256_slli_epi32::<20>(_mm256_cvtepu8_epi32(half));
        _mm256_mul_ps(_mm256_castsi256_ps(bits), up)
    })
}

/// Doubled and 12 too great, as bytes.
///
/// # Safety
///
/// The codes are there, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn unpack_integers(codes: *const u8) -> Weights {
    let mut weights = Weights([0; 4 * BLOCK * COLUMNS]);
    let values = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    let (table, low) = (_mm256_broadcastsi128_si256(values), _mm256_set1_epi8(15));
    for quarter in 0..4 {
        for half in 0..2 {
            // SAFETY: as the caller says, and two words of 64 bytes for each quarter fit.
            unsafe {
                let packed = _mm256_loadu_si256(codes.add(64 * quarter + 32 * half).cast());
                let to = weights.0.as_mut_ptr().add(128 * quarter + 32 * half);
                let first = _mm256_shuffle_epi8(table, _mm256_and_si256(packed, low));
                let second = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), low);
                _mm256_store_si256(to.cast(), first);
                _mm256_store_si256(to.add(64).cast(), _mm256_shuffle_epi8(table, second));
            }
        }
    }
    weights
}

/// In float32.
///
/// # Safety
///
/// The codes are there, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn unpack_floats(codes: *const u8) -> Weights {
    let mut weights = Weights([0; 4 * BLOCK * COLUMNS]);
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
                    let to = weights.0.as_mut_ptr().cast::<f32>().add(COLUMNS * element + 8 * half);
                    _mm256_store_ps(to, value);
                    packed = _mm256_srli_epi32::<4>(packed);
                }
            }
        }
    }
    weights
}

/// Of E4M3 in float32; see [`widened`].
///
/// # Safety
///
/// The codes are there, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn unpack_tile(codes: *const u8) -> Weights {
    let mut weights = Weights([0; 4 * BLOCK * COLUMNS]);
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
                    let to = weights.0.as_mut_ptr().cast::<f32>().add(COLUMNS * element + 8 * half);
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
unsafe fn tile<const R: usize>(
    numbers: Numbers,
    weights: &Weights,
    scales: &Scales,
    records: [*const u8; R],
    sums: *mut f32,
    stride: usize,
) {
    let parts = match scales {
        Scales::Exponents(_) => 1,
        Scales::Halves(_) => 2,
    };
    for part in 0..parts {
        // SAFETY: as the caller says.
        unsafe {
            let part_sums = match numbers {
                Numbers::Integers => integers(weights, &records, 0..2, 36),
                Numbers::Halves => integers(weights, &records, part..part + 1, 40 + 4 * part),
                Numbers::Floats => {
                    floats(weights, &records, part * BLOCK / 2 / parts..(part + 1) * BLOCK / 2 / parts)
                }
            };
            let scale_at = match numbers {
                Numbers::Integers => 32,
                Numbers::Halves => 32 + 4 * part,
                Numbers::Floats => 64,
            };
            for r in 0..R {
                let of_row = _mm256_set1_epi32(records[r].add(scale_at).cast::<i32>().read_unaligned());
                for half in 0..2 {
                    let scale = match scales {
                        Scales::Exponents(bits) => _mm256_castsi256_ps(_mm256_add_epi32(bits[half], of_row)),
                        Scales::Halves(scales) => {
                            let of_row = match numbers {
                                Numbers::Halves => of_row,
                                _ => _mm256_add_epi32(of_row, _mm256_set1_epi32(127 << 23)),
                            };
                            _mm256_mul_ps(scales[part][half], _mm256_castsi256_ps(of_row))
                        }
                    };
                    let sum = sums.add(r * stride + 8 * half);
                    _mm256_storeu_ps(sum, _mm256_fmadd_ps(part_sums[r][half], scale, _mm256_loadu_ps(sum)));
                }
            }
        }
    }
}

/// Sums of the given runs of four words of weights; what they start at is in the record, at `start`.
///
/// # Safety
///
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn integers<const R: usize>(
    weights: &Weights,
    records: &[*const u8; R],
    fours: Range<usize>,
    start: usize,
) -> [[__m256; 2]; R] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    // SAFETY: as the caller says.
    unsafe {
        for r in 0..R {
            sums[r] = [_mm256_set1_epi32(records[r].add(start).cast::<i32>().read_unaligned()); 2];
        }
        for four in fours {
            let mut short = [[_mm256_setzero_si256(); 2]; R];
            for word in 4 * four..4 * four + 4 {
                let weights = weights.0.as_ptr().add(64 * word);
                let weights = [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
                for r in 0..R {
                    let activations =
                        _mm256_set1_epi32(records[r].add(4 * word).cast::<i32>().read_unaligned());
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(weights[half], activations);
                        short[r][half] = _mm256_add_epi16(short[r][half], products);
                    }
                }
            }
            for r in 0..R {
                for half in 0..2 {
                    let pairs = _mm256_madd_epi16(short[r][half], ones);
                    sums[r][half] = _mm256_add_epi32(sums[r][half], pairs);
                }
            }
        }
    }
    sums.map(|row| row.map(|sum| _mm256_cvtepi32_ps(sum)))
}

/// Sums of the given pairs of elements.
///
/// # Safety
///
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
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
            let pair = weights.0.as_ptr().cast::<f32>().add(2 * COLUMNS * word);
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
