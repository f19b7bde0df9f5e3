//! How a block is multiplied by AVX-512: [`Dot`], for each kind of numbers and panels. The loops are in
//! [`avx512`](super::avx512).

use std::arch::x86_64::*;

use crate::packed::Numbers;
use crate::panel::{Kind, ORDINARY};

/// How a block is multiplied.
pub(super) trait Dot {
    /// What the panels hold.
    const KIND: Kind;
    /// As what rows are packed.
    const NUMBERS: Numbers;
    /// The most rows of a tile. With two panels each has two sums for a block in registers, of which there must be enough
    /// that none waits for the one before it, and two over K, which need not all be.
    const TILE: usize = 8;
    type Codes: Codes;
    type Sums: Sums;
}

/// Signed activations by unsigned weights, doubled and 12 too great: the sums start at what makes up for that.
pub(super) struct Integers;

impl Dot for Integers {
    const KIND: Kind = Kind::Mxfp4;
    const NUMBERS: Numbers = Numbers::Integers;
    // The instruction is quicker, and there are more sums over K for each: those are to be in registers.
    const TILE: usize = 6;
    type Codes = Unsigned;
    type Sums = Exact;
}

/// [`Integers`] with a scale per 16, in E4M3 on both sides.
pub(super) struct Halves;

impl Dot for Halves {
    const KIND: Kind = Kind::Nvfp4;
    const NUMBERS: Numbers = Numbers::Halves;
    const TILE: usize = Integers::TILE;
    type Codes = Unsigned;
    type Sums = Exact;
}

/// BF16 by BF16.
pub(super) struct Floats;

impl Dot for Floats {
    const KIND: Kind = Kind::Mxfp4;
    const NUMBERS: Numbers = Numbers::Floats;
    type Codes = Nibbles;
    type Sums = Rounded;
}

/// [`Floats`] with a scale per 16, in E4M3 on the side of the weights.
pub(super) struct HalfFloats;

impl Dot for HalfFloats {
    const KIND: Kind = Kind::Nvfp4;
    const NUMBERS: Numbers = Numbers::Floats;
    type Codes = Nibbles;
    type Sums = Rounded;
}

/// [`Floats`] with weights in E4M3, widened to BF16.
pub(super) struct TileFloats;

impl Dot for TileFloats {
    const KIND: Kind = Kind::Fp8Tile128;
    const NUMBERS: Numbers = Numbers::Floats;
    type Codes = Bytes;
    type Sums = Rounded;
}

/// [`Floats`] with weights that are BF16 already.
pub(super) struct WideFloats;

impl Dot for WideFloats {
    const KIND: Kind = Kind::Bf16;
    const NUMBERS: Numbers = Numbers::Floats;
    type Codes = Words;
    type Sums = Rounded;
}

/// How weights are unpacked. The methods are inlined into functions that have the instructions.
pub(super) trait Codes {
    /// The words of a row's eight codes.
    const WORDS: usize;
    /// Eight codes of each column.
    type Packed: Copy;

    /// What codes stand for, as far as it is looked up.
    unsafe fn table() -> __m512i;

    unsafe fn load(codes: *const u8) -> Self::Packed;

    /// The weights that word `word` of the row's eight codes is multiplied with.
    unsafe fn unpack(table: __m512i, packed: Self::Packed, word: usize) -> __m512i;
}

/// E2M1 as unsigned bytes, doubled and 12 too great.
pub(super) struct Unsigned;

impl Codes for Unsigned {
    const WORDS: usize = 2;
    type Packed = __m512i;

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
}

/// E2M1 as BF16.
pub(super) struct Nibbles;

impl Codes for Nibbles {
    const WORDS: usize = 4;
    type Packed = __m512i;

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
}

/// E4M3 as BF16.
pub(super) struct Bytes;

impl Codes for Bytes {
    const WORDS: usize = 4;
    type Packed = [__m512i; 2];

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
}

/// BF16.
pub(super) struct Words;

impl Codes for Words {
    const WORDS: usize = 4;
    type Packed = [__m512i; 4];

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
}

/// How a part of a block is summed. The methods are inlined into functions that have the instructions.
pub(super) trait Sums {
    /// A part's sums so far.
    type Sum: Copy;

    /// A part's sums before the first product, for a row with this record.
    unsafe fn start(numbers: Numbers, record: *const u8, part: usize) -> Self::Sum;

    unsafe fn add(sum: Self::Sum, weights: __m512i, activations: __m512i) -> Self::Sum;

    unsafe fn to_floats(sum: Self::Sum) -> __m512;
}

/// Integers.
pub(super) struct Exact;

impl Sums for Exact {
    type Sum = __m512i;

    #[inline(always)]
    unsafe fn start(numbers: Numbers, record: *const u8, part: usize) -> __m512i {
        let at = if numbers == Numbers::Halves { 40 + 4 * part } else { 36 };
        // SAFETY: the caller has the instructions, and the record is there.
        unsafe { broadcast(record.add(at)) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn to_floats(sum: __m512i) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }
}

/// Float32.
pub(super) struct Rounded;

impl Sums for Rounded {
    type Sum = __m512;

    #[inline(always)]
    unsafe fn start(_numbers: Numbers, _record: *const u8, _part: usize) -> __m512 {
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
    unsafe fn to_floats(sum: __m512) -> __m512 {
        sum
    }
}

/// What a part's 16 scale bytes stand for, as [`scaled`] takes it: 1 where there are none.
#[inline(always)]
pub(super) unsafe fn scales_of<D: Dot>(bytes: *const u8) -> __m512i {
    // SAFETY: the caller has the instructions, and the scales are there.
    unsafe {
        match D::KIND {
            Kind::Mxfp4 | Kind::Fp8Tile128 => exponents(bytes),
            Kind::Nvfp4 => widened(bytes),
            Kind::Bf16 => _mm512_set1_epi32(127 << 23),
        }
    }
}

/// A part's sums, scaled for a row with this record and added to those over K.
#[inline(always)]
pub(super) unsafe fn scaled<D: Dot>(
    total: __m512,
    sum: <D::Sums as Sums>::Sum,
    scales: __m512i,
    record: *const u8,
    part: usize,
) -> __m512 {
    // SAFETY: the caller has the instructions, and the record is there.
    unsafe {
        let of_row = broadcast(match D::NUMBERS {
            Numbers::Integers => record.add(32),
            Numbers::Halves => record.add(32 + 4 * part),
            Numbers::Floats => record.add(64),
        });
        let scale = match (D::NUMBERS, D::KIND) {
            (Numbers::Halves, _) => _mm512_mul_ps(_mm512_castsi512_ps(scales), _mm512_castsi512_ps(of_row)),
            (_, Kind::Nvfp4) => {
                let of_row = _mm512_add_epi32(_mm512_set1_epi32(127 << 23), of_row);
                _mm512_mul_ps(_mm512_castsi512_ps(scales), _mm512_castsi512_ps(of_row))
            }
            _ => _mm512_castsi512_ps(_mm512_add_epi32(scales, of_row)),
        };
        _mm512_fmadd_ps(D::Sums::to_floats(sum), scale, total)
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

/// The bits of E4M3 scales, numbers and not negative, in float32: seen as float16 they are 2^8 times too small.
#[inline(always)]
unsafe fn widened(scales: *const u8) -> __m512i {
    // SAFETY: the caller has the instructions, and there are 16 scales.
    unsafe {
        let halves = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(scales.cast())));
        _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0)))
    }
}
