//! How a block is multiplied by AVX-512: [`Dot`], for each kind of numbers and panels. The loops are in
//! [`avx512`](super::avx512).

use std::arch::x86_64::*;

use crate::packed::{FLOAT_RECORD, HALVES_RECORD, INTEGER_RECORD};
use crate::panel::{Kind, ORDINARY};

/// How a block is multiplied. The methods are inlined into functions that have the instructions.
pub(super) trait Dot {
    /// What the panels hold.
    const KIND: Kind;
    /// Parts of a block that are summed by themselves.
    const PARTS: usize = Self::KIND.parts();
    /// Bytes of a record of a row.
    const RECORD: usize;
    /// The words of a row's eight codes.
    const WORDS: usize;
    /// The most rows of a tile. With two panels each has two sums for a block in registers, of which there must be enough
    /// that none waits for the one before it, and two over K, which need not all be.
    const TILE: usize = 8;
    /// Eight codes of each column.
    type Packed: Copy;
    /// A part's sums so far.
    type Sum: Copy;

    /// What nibbles stand for.
    unsafe fn table() -> __m512i;

    unsafe fn load(codes: *const u8) -> Self::Packed;

    /// The weights that word `word` of the row's eight codes is multiplied with.
    unsafe fn unpack(table: __m512i, packed: Self::Packed, word: usize) -> __m512i;

    /// A part's sums before the first product.
    unsafe fn start(record: *const u8, part: usize) -> Self::Sum;

    unsafe fn add(sum: Self::Sum, weights: __m512i, activations: __m512i) -> Self::Sum;

    /// What a part's 16 scale bytes stand for, as [`Self::scaled`] takes it.
    unsafe fn scales(bytes: *const u8) -> __m512i;

    /// A part's sums, scaled and added to those over K.
    unsafe fn scaled(
        total: __m512,
        sum: Self::Sum,
        scales: __m512i,
        record: *const u8,
        part: usize,
    ) -> __m512;
}

/// Signed activations by unsigned weights, doubled and 12 too great: the sums start at what makes up for that.
pub(super) struct Integers;

impl Dot for Integers {
    const KIND: Kind = Kind::Mxfp4;
    const RECORD: usize = INTEGER_RECORD;
    const WORDS: usize = 2;
    // The instruction is quicker, and there are more sums over K for each: those are to be in registers.
    const TILE: usize = 6;
    type Packed = __m512i;
    type Sum = __m512i;

    #[inline(always)]
    unsafe fn table() -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let values = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
            _mm512_broadcast_i32x4(values)
        }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn unpack(table: __m512i, packed: __m512i, word: usize) -> __m512i {
        // SAFETY: the caller has the instructions. An index's upper two bits choose between copies of the table.
        unsafe {
            match word {
                0 => _mm512_permutexvar_epi8(packed, table),
                _ => _mm512_permutexvar_epi8(_mm512_srli_epi32::<4>(packed), table),
            }
        }
    }

    #[inline(always)]
    unsafe fn start(record: *const u8, _part: usize) -> __m512i {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe { _mm512_set1_epi32(record.add(36).cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn scales(bytes: *const u8) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { exponents(bytes) }
    }

    #[inline(always)]
    unsafe fn scaled(
        total: __m512,
        sum: __m512i,
        scales: __m512i,
        record: *const u8,
        _part: usize,
    ) -> __m512 {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe { raised(total, _mm512_cvtepi32_ps(sum), scales, record.add(32)) }
    }
}

/// BF16 by BF16.
pub(super) struct Floats;

impl Dot for Floats {
    const KIND: Kind = Kind::Mxfp4;
    const RECORD: usize = FLOAT_RECORD;
    const WORDS: usize = 4;
    type Packed = __m512i;
    type Sum = __m512;

    #[inline(always)]
    unsafe fn table() -> __m512i {
        const VALUES: [u16; 8] = [0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0];
        let values: [u16; 32] = std::array::from_fn(|i| VALUES[i % 8] | (i as u16 & 8) << 12);
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn unpack(table: __m512i, packed: __m512i, word: usize) -> __m512i {
        // SAFETY: the caller has the instructions. An index's uppermost bit chooses between copies of the table.
        unsafe {
            let index = match word {
                0 => packed,
                1 => _mm512_srli_epi32::<4>(packed),
                2 => _mm512_srli_epi32::<8>(packed),
                _ => _mm512_srli_epi32::<12>(packed),
            };
            _mm512_permutexvar_epi16(index, table)
        }
    }

    #[inline(always)]
    unsafe fn start(_record: *const u8, _part: usize) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, weights: __m512i, activations: __m512i) -> __m512 {
        // SAFETY: the caller has the instructions, and the types are but names for the same registers.
        unsafe {
            let (weights, activations) = (
                std::mem::transmute::<__m512i, __m512bh>(weights),
                std::mem::transmute::<__m512i, __m512bh>(activations),
            );
            _mm512_dpbf16_ps(sum, weights, activations)
        }
    }

    #[inline(always)]
    unsafe fn scales(bytes: *const u8) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { exponents(bytes) }
    }

    #[inline(always)]
    unsafe fn scaled(total: __m512, sum: __m512, scales: __m512i, record: *const u8, _part: usize) -> __m512 {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe { raised(total, sum, scales, record.add(64)) }
    }
}

/// [`Integers`] with a scale per 16, in E4M3 on both sides.
pub(super) struct Halves;

impl Dot for Halves {
    const KIND: Kind = Kind::Nvfp4;
    const RECORD: usize = HALVES_RECORD;
    const WORDS: usize = Integers::WORDS;
    const TILE: usize = Integers::TILE;
    type Packed = __m512i;
    type Sum = __m512i;

    #[inline(always)]
    unsafe fn table() -> __m512i {
        // SAFETY: as the caller says.
        unsafe { Integers::table() }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn unpack(table: __m512i, packed: __m512i, word: usize) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { Integers::unpack(table, packed, word) }
    }

    #[inline(always)]
    unsafe fn start(record: *const u8, part: usize) -> __m512i {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe { broadcast(record.add(40 + 4 * part)) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { Integers::add(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn scales(bytes: *const u8) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { widened(bytes) }
    }

    #[inline(always)]
    unsafe fn scaled(total: __m512, sum: __m512i, scales: __m512i, record: *const u8, part: usize) -> __m512 {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe {
            let scale = _mm512_castsi512_ps(broadcast(record.add(32 + 4 * part)));
            let scale = _mm512_mul_ps(_mm512_castsi512_ps(scales), scale);
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, total)
        }
    }
}

/// [`Floats`] with a scale per 16, in E4M3 on the side of the weights.
pub(super) struct HalfFloats;

impl Dot for HalfFloats {
    const KIND: Kind = Kind::Nvfp4;
    const RECORD: usize = FLOAT_RECORD;
    const WORDS: usize = Floats::WORDS;
    type Packed = __m512i;
    type Sum = __m512;

    #[inline(always)]
    unsafe fn table() -> __m512i {
        // SAFETY: as the caller says.
        unsafe { Floats::table() }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn unpack(table: __m512i, packed: __m512i, word: usize) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { Floats::unpack(table, packed, word) }
    }

    #[inline(always)]
    unsafe fn start(record: *const u8, part: usize) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::start(record, part) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, weights: __m512i, activations: __m512i) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::add(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn scales(bytes: *const u8) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { widened(bytes) }
    }

    #[inline(always)]
    unsafe fn scaled(total: __m512, sum: __m512, scales: __m512i, record: *const u8, _part: usize) -> __m512 {
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe {
            let scale = _mm512_add_epi32(_mm512_set1_epi32(127 << 23), broadcast(record.add(64)));
            let scale = _mm512_mul_ps(_mm512_castsi512_ps(scales), _mm512_castsi512_ps(scale));
            _mm512_fmadd_ps(sum, scale, total)
        }
    }
}

/// [`Floats`] with weights in E4M3, widened to BF16.
pub(super) struct TileFloats;

impl Dot for TileFloats {
    const KIND: Kind = Kind::Fp8Tile128;
    const RECORD: usize = FLOAT_RECORD;
    const WORDS: usize = Floats::WORDS;
    type Packed = [__m512i; 2];
    type Sum = __m512;

    /// The numbers without an exponent.
    #[inline(always)]
    unsafe fn table() -> __m512i {
        const VALUES: [u16; 8] = [0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60];
        let values: [u16; 32] = std::array::from_fn(|i| VALUES[i % 8]);
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> [__m512i; 2] {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe { [_mm512_loadu_si512(codes.cast()), _mm512_loadu_si512(codes.add(64).cast())] }
    }

    #[inline(always)]
    unsafe fn unpack(table: __m512i, packed: [__m512i; 2], word: usize) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            // The codes in the upper bytes of half words, which are moved to where BF16 has exponent and mantissa, and the
            // bias raised from 7 to 127.
            let codes = match word % 2 {
                0 => _mm512_slli_epi16::<8>(packed[word / 2]),
                _ => packed[word / 2],
            };
            let sign = _mm512_and_si512(codes, _mm512_set1_epi16(i16::MIN));
            let magnitude = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi16(0x7f0));
            let normal = _mm512_add_epi16(magnitude, _mm512_set1_epi16(120 << 7));
            let is_small = _mm512_cmplt_epi16_mask(magnitude, _mm512_set1_epi16(8 << 4));
            let small = _mm512_srli_epi16::<4>(magnitude);
            let value = _mm512_mask_permutexvar_epi16(normal, is_small, small, table);
            _mm512_or_si512(value, sign)
        }
    }

    #[inline(always)]
    unsafe fn start(record: *const u8, part: usize) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::start(record, part) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, weights: __m512i, activations: __m512i) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::add(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn scales(bytes: *const u8) -> __m512i {
        // SAFETY: as the caller says.
        unsafe { exponents(bytes) }
    }

    #[inline(always)]
    unsafe fn scaled(total: __m512, sum: __m512, scales: __m512i, record: *const u8, part: usize) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::scaled(total, sum, scales, record, part) }
    }
}

/// [`Floats`] with weights that are BF16 already.
pub(super) struct WideFloats;

impl Dot for WideFloats {
    const KIND: Kind = Kind::Bf16;
    const RECORD: usize = FLOAT_RECORD;
    const WORDS: usize = Floats::WORDS;
    type Packed = [__m512i; 4];
    type Sum = __m512;

    #[inline(always)]
    unsafe fn table() -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(codes: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller has the instructions, and the codes are there.
        unsafe {
            [
                _mm512_loadu_si512(codes.cast()),
                _mm512_loadu_si512(codes.add(64).cast()),
                _mm512_loadu_si512(codes.add(128).cast()),
                _mm512_loadu_si512(codes.add(192).cast()),
            ]
        }
    }

    #[inline(always)]
    unsafe fn unpack(_table: __m512i, packed: [__m512i; 4], word: usize) -> __m512i {
        packed[word]
    }

    #[inline(always)]
    unsafe fn start(record: *const u8, part: usize) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::start(record, part) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, weights: __m512i, activations: __m512i) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::add(sum, weights, activations) }
    }

    /// One: there are none.
    #[inline(always)]
    unsafe fn scales(_bytes: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_set1_epi32(127 << 23) }
    }

    #[inline(always)]
    unsafe fn scaled(total: __m512, sum: __m512, scales: __m512i, record: *const u8, part: usize) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { Floats::scaled(total, sum, scales, record, part) }
    }
}

/// A word of a row, for all columns.
#[inline(always)]
pub(super) unsafe fn broadcast(word: *const u8) -> __m512i {
    // SAFETY: the caller has the instructions, and the word is there.
    unsafe { _mm512_set1_epi32(word.cast::<i32>().read_unaligned()) }
}

/// The bits of E8M0 scales in float32. Those of blocks of zeros are raised to where adding an exponent leaves a number.
#[inline(always)]
unsafe fn exponents(scales: *const u8) -> __m512i {
    // SAFETY: the caller has the instructions, and there are 16 scales.
    unsafe {
        let bytes = _mm_max_epu8(_mm_loadu_si128(scales.cast()), _mm_set1_epi8(*ORDINARY.start() as i8));
        _mm512_slli_epi32::<23>(_mm512_cvtepu8_epi32(bytes))
    }
}

/// Sums by [`exponents`] and one more, added to the totals.
#[inline(always)]
unsafe fn raised(total: __m512, sum: __m512, scales: __m512i, exponent: *const u8) -> __m512 {
    // SAFETY: the caller has the instructions, and the exponent is there.
    unsafe {
        let scale = _mm512_add_epi32(scales, broadcast(exponent));
        _mm512_fmadd_ps(sum, _mm512_castsi512_ps(scale), total)
    }
}

/// The bits of E4M3 scales, numbers and not negative, in float32: seen as float16 they are 2^8 times too small.
#[inline(always)]
unsafe fn widened(scales: *const u8) -> __m512i {
    // SAFETY: the caller has the instructions, and there are 16 scales.
    unsafe {
        let halves = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(scales.cast())));
        _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0)))
    }
}
