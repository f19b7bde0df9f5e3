//! How a block is multiplied by AVX2 and FMA: [`Dot`], for each kind of numbers and panels. The loops are in
//! [`avx2`](super::avx2) and [`many256`](super::many256).

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and halves index several arrays of registers"
)]

use std::arch::x86_64::*;

use super::avx2::TILE;
use super::many256::{self, Unpack};
use crate::packed::Numbers;
use crate::panel::{COLUMNS, Kind, ORDINARY};

/// How a block is multiplied. The methods are inlined into functions that have the instructions.
pub(super) trait Dot {
    const KIND: Kind;
    const NUMBERS: Numbers;
    /// With more rows than this it is quicker to unpack a block's weights once, by this.
    const UNPACKED: Option<(usize, Unpack)> = None;

    /// The sums of a part of a block.
    ///
    /// # Safety
    ///
    /// The codes and the records are there, and this machine has the instructions.
    unsafe fn part<const R: usize>(
        codes: *const u8,
        records: &[*const u8; R],
        part: usize,
    ) -> [[__m256; 2]; R];
}

/// The scales of a block's columns, in two registers.
pub(super) enum Scales {
    /// Bits of float32, for the whole block.
    Exponents([__m256i; 2]),
    /// For each half.
    Halves([[__m256; 2]; 2]),
}

impl Scales {
    /// Those of a block.
    ///
    /// # Safety
    ///
    /// There are as many as [`Kind::block`] gives, and this machine has the instructions.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) unsafe fn of(kind: Kind, scales: *const u8) -> Self {
        // SAFETY: as the caller says.
        unsafe {
            match kind {
                Kind::Mxfp4 | Kind::Fp8Tile128 => Self::Exponents(exponents(scales)),
                Kind::Bf16 => Self::Exponents([_mm256_set1_epi32(127 << 23); 2]),
                Kind::Nvfp4 => Self::Halves([widened(scales), widened(scales.add(COLUMNS))]),
            }
        }
    }

    /// What sums of a part of a block, of eight columns, are multiplied with, for a row with this record.
    ///
    /// # Safety
    ///
    /// The record is there, and this machine has the instructions.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) unsafe fn times_row(
        &self,
        numbers: Numbers,
        record: *const u8,
        part: usize,
        half: usize,
    ) -> __m256 {
        let scale_at = match numbers {
            Numbers::Integers => 32,
            Numbers::Halves => 32 + 4 * part,
            Numbers::Floats => 64,
        };
        // SAFETY: as the caller says.
        unsafe {
            let of_row = _mm256_set1_epi32(record.add(scale_at).cast::<i32>().read_unaligned());
            match self {
                Self::Exponents(bits) => _mm256_castsi256_ps(_mm256_add_epi32(bits[half], of_row)),
                Self::Halves(scales) => {
                    let of_row = match numbers {
                        Numbers::Halves => of_row,
                        _ => _mm256_add_epi32(of_row, _mm256_set1_epi32(127 << 23)),
                    };
                    _mm256_mul_ps(scales[part][half], _mm256_castsi256_ps(of_row))
                }
            }
        }
    }
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
    let (low, high) = (_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes)));
    [_mm256_slli_epi32::<23>(low), _mm256_slli_epi32::<23>(high)]
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
    let mut scales = [up; 2];
    for (scale, half) in scales.iter_mut().zip([bytes, _mm_srli_si128::<8>(bytes)]) {
        let bits = _mm256_slli_epi32::<20>(_mm256_cvtepu8_epi32(half));
        *scale = _mm256_mul_ps(_mm256_castsi256_ps(bits), up);
    }
    scales
}

/// Signed activations by unsigned weights, doubled and 12 too great: the sums start at what makes up for that.
pub(super) struct Integers;

/// The same with a scale per 16.
pub(super) struct Halves;

/// Float32 by float32.
pub(super) struct Floats;

/// The same with a scale per 16.
pub(super) struct HalfFloats;

/// The same with weights in E4M3.
pub(super) struct TileFloats;

/// The same with weights in BF16.
pub(super) struct WideFloats;

impl Dot for Integers {
    const KIND: Kind = Kind::Mxfp4;
    const NUMBERS: Numbers = Numbers::Integers;

    #[inline(always)]
    unsafe fn part<const R: usize>(codes: *const u8, records: &[*const u8; R], _: usize) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe { integers(codes, records, [0, 2], 36) }
    }
}

impl Dot for Halves {
    const KIND: Kind = Kind::Nvfp4;
    const NUMBERS: Numbers = Numbers::Halves;

    #[inline(always)]
    unsafe fn part<const R: usize>(
        codes: *const u8,
        records: &[*const u8; R],
        part: usize,
    ) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe { integers(codes, records, [part, part + 1], 40 + 4 * part) }
    }
}

/// Sums of pairs of quarters of a block; what they start at is in the record, at `start`.
///
/// # Safety
///
/// As [`Dot::part`].
#[inline(always)]
unsafe fn integers<const R: usize>(
    codes: *const u8,
    records: &[*const u8; R],
    [first, end]: [usize; 2],
    start: usize,
) -> [[__m256; 2]; R] {
    // SAFETY: as the caller says.
    unsafe {
        let values = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
        let (table, low) = (_mm256_broadcastsi128_si256(values), _mm256_set1_epi8(15));
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for r in 0..R {
            sums[r] = [word(records[r].add(start)); 2];
        }
        for pair in first..end {
            let mut short = [[_mm256_setzero_si256(); 2]; R];
            for quarter in 2 * pair..2 * pair + 2 {
                let mut packed = words(codes.add(64 * quarter));
                for high in 0..2 {
                    let mut weights = packed;
                    for half in 0..2 {
                        weights[half] = _mm256_shuffle_epi8(table, _mm256_and_si256(packed[half], low));
                        packed[half] = _mm256_srli_epi16::<4>(packed[half]);
                    }
                    for r in 0..R {
                        let activations = word(records[r].add(4 * (2 * quarter + high)));
                        for half in 0..2 {
                            let products = _mm256_maddubs_epi16(weights[half], activations);
                            short[r][half] = _mm256_add_epi16(short[r][half], products);
                        }
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
        let mut floats = [[_mm256_setzero_ps(); 2]; R];
        for r in 0..R {
            floats[r] = [_mm256_cvtepi32_ps(sums[r][0]), _mm256_cvtepi32_ps(sums[r][1])];
        }
        floats
    }
}

impl Dot for Floats {
    const KIND: Kind = Kind::Mxfp4;
    const NUMBERS: Numbers = Numbers::Floats;
    const UNPACKED: Option<(usize, Unpack)> = Some((2 * TILE, many256::unpack_nibbles));

    #[inline(always)]
    unsafe fn part<const R: usize>(codes: *const u8, records: &[*const u8; R], _: usize) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe { nibbles(codes, records, [0, 4]) }
    }
}

impl Dot for HalfFloats {
    const KIND: Kind = Kind::Nvfp4;
    const NUMBERS: Numbers = Numbers::Floats;
    const UNPACKED: Option<(usize, Unpack)> = Some((2 * TILE, many256::unpack_nibbles));

    #[inline(always)]
    unsafe fn part<const R: usize>(
        codes: *const u8,
        records: &[*const u8; R],
        part: usize,
    ) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe { nibbles(codes, records, [2 * part, 2 * part + 2]) }
    }
}

/// Sums of quarters of a block of E2M1.
///
/// # Safety
///
/// As [`Dot::part`].
#[inline(always)]
unsafe fn nibbles<const R: usize>(
    codes: *const u8,
    records: &[*const u8; R],
    [first, end]: [usize; 2],
) -> [[__m256; 2]; R] {
    // SAFETY: as the caller says.
    unsafe {
        let values = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
        let (table, low) = (_mm256_broadcastsi128_si256(values), _mm256_set1_epi8(15));
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for quarter in first..end {
            let packed = words(codes.add(64 * quarter));
            // Doubled: nibbles 0, 2, 4 and 6 of a word as its bytes, and the others.
            let mut doubled = [packed; 2];
            for half in 0..2 {
                let high = _mm256_srli_epi16::<4>(packed[half]);
                doubled[0][half] = _mm256_shuffle_epi8(table, _mm256_and_si256(packed[half], low));
                doubled[1][half] = _mm256_shuffle_epi8(table, _mm256_and_si256(high, low));
            }
            // The row has its elements in pairs: a nibble of the lower half word, and that of the upper one.
            for pair in 0..4 {
                let mut weights = [[_mm256_setzero_ps(); 2]; 2];
                for half in 0..2 {
                    let bytes = doubled[pair % 2][half];
                    let [first, second] = match pair / 2 {
                        0 => [_mm256_slli_epi32::<24>(bytes), _mm256_slli_epi32::<8>(bytes)],
                        _ => [_mm256_slli_epi32::<16>(bytes), bytes],
                    };
                    weights[0][half] = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(first));
                    weights[1][half] = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(second));
                }
                add_pair(&mut sums, &weights, records, 4 * quarter + pair);
            }
        }
        let half = _mm256_set1_ps(0.5);
        for r in 0..R {
            sums[r] = [_mm256_mul_ps(sums[r][0], half), _mm256_mul_ps(sums[r][1], half)];
        }
        sums
    }
}

impl Dot for TileFloats {
    const KIND: Kind = Kind::Fp8Tile128;
    const NUMBERS: Numbers = Numbers::Floats;
    const UNPACKED: Option<(usize, Unpack)> = Some((TILE, many256::unpack_tile));

    #[inline(always)]
    unsafe fn part<const R: usize>(codes: *const u8, records: &[*const u8; R], _: usize) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe {
            let up = _mm256_set1_ps(f32::from_bits((127 + 120) << 23));
            let (sign, magnitude) = (_mm256_set1_epi32(i32::MIN), _mm256_set1_epi32(0x7f << 20));
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for line in 0..8 {
                let packed = words(codes.add(64 * line));
                // Bytes 0 and 2 of a word are a pair of the row, and so are 1 and 3.
                for pair in 0..2 {
                    let mut weights = [[_mm256_setzero_ps(); 2]; 2];
                    for half in 0..2 {
                        let first = match pair {
                            0 => packed[half],
                            _ => _mm256_srli_epi32::<8>(packed[half]),
                        };
                        for (i, code) in [first, _mm256_srli_epi32::<16>(first)].into_iter().enumerate() {
                            let bits = _mm256_or_si256(
                                _mm256_and_si256(_mm256_slli_epi32::<24>(code), sign),
                                _mm256_and_si256(_mm256_slli_epi32::<20>(code), magnitude),
                            );
                            weights[i][half] = _mm256_mul_ps(_mm256_castsi256_ps(bits), up);
                        }
                    }
                    add_pair(&mut sums, &weights, records, 2 * line + pair);
                }
            }
            sums
        }
    }
}

impl Dot for WideFloats {
    const KIND: Kind = Kind::Bf16;
    const NUMBERS: Numbers = Numbers::Floats;

    #[inline(always)]
    unsafe fn part<const R: usize>(codes: *const u8, records: &[*const u8; R], _: usize) -> [[__m256; 2]; R] {
        // SAFETY: as the caller says.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for pair in 0..16 {
                let packed = words(codes.add(64 * pair));
                let (first, second) = (lower(packed), upper(packed));
                add_pair(&mut sums, &[first, second], records, pair);
            }
            sums
        }
    }
}

/// The lower halves of words, BF16, in float32.
///
/// # Safety
///
/// This machine has the instructions.
#[inline(always)]
unsafe fn lower(words: [__m256i; 2]) -> [__m256; 2] {
    // SAFETY: as the caller says.
    unsafe {
        [
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words[0])),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words[1])),
        ]
    }
}

/// The upper halves.
///
/// # Safety
///
/// This machine has the instructions.
#[inline(always)]
unsafe fn upper(words: [__m256i; 2]) -> [__m256; 2] {
    // SAFETY: as the caller says.
    unsafe {
        let mask = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        [
            _mm256_castsi256_ps(_mm256_and_si256(words[0], mask)),
            _mm256_castsi256_ps(_mm256_and_si256(words[1], mask)),
        ]
    }
}

/// Adds the products with a pair of elements of each row.
///
/// # Safety
///
/// As [`Dot::part`].
#[inline(always)]
unsafe fn add_pair<const R: usize>(
    sums: &mut [[__m256; 2]; R],
    weights: &[[__m256; 2]; 2],
    records: &[*const u8; R],
    pair: usize,
) {
    // SAFETY: as the caller says.
    unsafe {
        let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        for r in 0..R {
            let both = word(records[r].add(4 * pair));
            let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both));
            let high = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
            for half in 0..2 {
                sums[r][half] = _mm256_fmadd_ps(weights[0][half], low, sums[r][half]);
                sums[r][half] = _mm256_fmadd_ps(weights[1][half], high, sums[r][half]);
            }
        }
    }
}

/// A word of a record, for all columns.
///
/// # Safety
///
/// It is there, and this machine has the instructions.
#[inline(always)]
unsafe fn word(place: *const u8) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { _mm256_set1_epi32(place.cast::<i32>().read_unaligned()) }
}

/// A word of each column.
///
/// # Safety
///
/// They are there, and this machine has the instructions.
#[inline(always)]
unsafe fn words(codes: *const u8) -> [__m256i; 2] {
    // SAFETY: as the caller says.
    unsafe { [_mm256_loadu_si256(codes.cast()), _mm256_loadu_si256(codes.add(32).cast())] }
}
