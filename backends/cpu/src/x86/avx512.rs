//! Products of packed rows with panels, by AVX-512.
//!
//! A register holds a value for each of a panel's 16 columns. For integers `vpdpbusd` adds four products to each, for
//! floats `vdpbf16ps` two; what they are multiplied with is four bytes of a row, broadcast. Each block of 32 is summed
//! by itself (integers exactly; floats without their scales, so that no operand is subnormal, which `vdpbf16ps` takes
//! for zero), then scaled and added to the sum over K in float32. Hence the order of a sum depends on K alone. Panels of
//! NVFP4 are summed by halves of a block, which have a scale each.
//!
//! There are two loops. Up to [`FEW`] rows take weights from the panel as they are unpacked, and wait for memory. More
//! rows share weights that were unpacked once, some blocks at a time, for two panels, into a buffer that fits the
//! first cache.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and panels index several arrays of registers"
)]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::kernel::Operands;
use crate::packed::{FLOAT_RECORD, HALVES_RECORD, INTEGER_RECORD, Numbers};
use crate::panel::{COLUMNS, Kind, ORDINARY};

/// The most rows that weights are unpacked for in registers.
const FEW: usize = 8;

/// Bytes ahead that few rows have weights fetched from memory, in the next panel where this one ends. The processor's own
/// prefetching is enough for one row; more of them fill its window with the work on a block or two.
const AHEAD: usize = 8192;

/// Blocks that are unpacked at once: 32 KiB of BF16 for two panels, half of that for integers.
const DEPTH: usize = 16;

/// See [`PanelKernels::multiply`](crate::kernel::PanelKernels::multiply).
pub(super) fn multiply(operands: &Operands<'_>, sums: &mut [f32]) {
    let panels = operands.check(sums);
    // SAFETY: the lengths were checked, and the table that holds this function is made only where the instructions are.
    unsafe {
        match (operands.numbers, operands.kind, panels) {
            (Numbers::Integers, _, 1) => product::<Integers, 1>(operands, sums),
            (Numbers::Integers, ..) => product::<Integers, 2>(operands, sums),
            (Numbers::Floats, Kind::Mxfp4, 1) => product::<Floats, 1>(operands, sums),
            (Numbers::Floats, Kind::Mxfp4, _) => product::<Floats, 2>(operands, sums),
            (Numbers::Floats, Kind::Nvfp4, 1) => product::<HalfFloats, 1>(operands, sums),
            (Numbers::Floats, Kind::Nvfp4, _) => product::<HalfFloats, 2>(operands, sums),
            (Numbers::Floats, Kind::Fp8Tile128, 1) => product::<TileFloats, 1>(operands, sums),
            (Numbers::Floats, Kind::Fp8Tile128, _) => product::<TileFloats, 2>(operands, sums),
            (Numbers::Halves, _, 1) => product::<Halves, 1>(operands, sums),
            (Numbers::Halves, ..) => product::<Halves, 2>(operands, sums),
        }
    }
}

/// How a block is multiplied. The methods are inlined into functions that have the instructions.
trait Dot {
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
struct Integers;

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
struct Floats;

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
struct Halves;

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
struct HalfFloats;

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
struct TileFloats;

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

/// A word of a row, for all columns.
#[inline(always)]
unsafe fn broadcast(word: *const u8) -> __m512i {
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

/// # Safety
///
/// [`Operands::check`] gave `P`, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bf16")]
unsafe fn product<D: Dot, const P: usize>(operands: &Operands<'_>, sums: &mut [f32]) {
    let Operands { blocks, panels, picks, next, results, .. } = *operands;
    let each = D::KIND.bytes(blocks);
    let row = |pick: u32| operands.rows[pick as usize * operands.stride..].as_ptr();
    if picks.len() <= FEW {
        for p in 0..P {
            let panel = panels[p * each..].as_ptr();
            let next = if p + 1 < P { panel.wrapping_add(each) } else { next };
            let panel = Panel { start: panel, blocks, each, next };
            let sums = sums[p * COLUMNS..].as_mut_ptr();
            // SAFETY: as the caller says.
            unsafe {
                match *picks {
                    [a] => few::<D, 1>(panel, [a].map(row), sums, P * COLUMNS),
                    [a, b] => few::<D, 2>(panel, [a, b].map(row), sums, P * COLUMNS),
                    [a, b, c] => few::<D, 3>(panel, [a, b, c].map(row), sums, P * COLUMNS),
                    [a, b, c, d] => few::<D, 4>(panel, [a, b, c, d].map(row), sums, P * COLUMNS),
                    [a, b, c, d, e] => {
                        few::<D, 5>(panel, [a, b, c, d, e].map(row), sums, P * COLUMNS);
                    }
                    [a, b, c, d, e, f] => {
                        few::<D, 6>(panel, [a, b, c, d, e, f].map(row), sums, P * COLUMNS);
                    }
                    [a, b, c, d, e, f, g] => {
                        few::<D, 7>(panel, [a, b, c, d, e, f, g].map(row), sums, P * COLUMNS);
                    }
                    [a, b, c, d, e, f, g, h] => {
                        few::<D, 8>(panel, [a, b, c, d, e, f, g, h].map(row), sums, P * COLUMNS);
                    }
                    _ => {}
                }
            }
        }
        return;
    }
    let mut buffer = Unpacked::<P>([const { MaybeUninit::uninit() }; DEPTH]);
    for first in (0..blocks).step_by(DEPTH) {
        let depth = DEPTH.min(blocks - first);
        // SAFETY: the buffer has room for so many blocks, and the panels have them.
        unsafe { unpack::<D, P>(panels.as_ptr(), each, first..first + depth, &mut buffer) };
        let at = |pick: u32| row(pick).wrapping_add(first * D::RECORD);
        let weights = buffer.0.as_ptr().cast();
        let is_last = first + depth == blocks;
        // What is unpacked next: in these panels, or in as many others.
        let next = match is_last {
            false => panels.as_ptr().wrapping_add(D::KIND.places(first + depth)[0]),
            true => next,
        };
        // Tiles of about the same size: a row by itself takes as long as several.
        let rows = picks.len().div_ceil(picks.len().div_ceil(D::TILE));
        for (i, (picks, sums)) in picks.chunks(rows).zip(sums.chunks_mut(rows * P * COLUMNS)).enumerate() {
            let sums = sums.as_mut_ptr();
            if is_last {
                for r in i * rows..i * rows + picks.len() {
                    _mm_prefetch::<_MM_HINT_T0>(results.0.wrapping_add(r * results.1).cast());
                }
            }
            let job =
                Job { blocks: weights, depth, is_first: first == 0, next: (i == 0).then_some(next), each };
            // SAFETY: as the caller says, and the blocks were unpacked.
            unsafe {
                match *picks {
                    [a] => tile::<D, 1, P>(&job, [a].map(at), sums),
                    [a, b] => tile::<D, 2, P>(&job, [a, b].map(at), sums),
                    [a, b, c] => tile::<D, 3, P>(&job, [a, b, c].map(at), sums),
                    [a, b, c, d] => tile::<D, 4, P>(&job, [a, b, c, d].map(at), sums),
                    [a, b, c, d, e] => {
                        tile::<D, 5, P>(&job, [a, b, c, d, e].map(at), sums);
                    }
                    [a, b, c, d, e, f] => {
                        tile::<D, 6, P>(&job, [a, b, c, d, e, f].map(at), sums);
                    }
                    [a, b, c, d, e, f, g] => {
                        tile::<D, 7, P>(&job, [a, b, c, d, e, f, g].map(at), sums);
                    }
                    [a, b, c, d, e, f, g, h] => {
                        tile::<D, 8, P>(&job, [a, b, c, d, e, f, g, h].map(at), sums);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A panel for few rows.
#[derive(Clone, Copy)]
struct Panel {
    start: *const u8,
    blocks: usize,
    /// Its bytes.
    each: usize,
    /// The panel after it.
    next: *const u8,
}

/// `R` rows by one panel, whose weights are unpacked in registers. Row `r` of the sums begins at `r · stride`.
///
/// # Safety
///
/// The panel and the rows have so many blocks, there is room for the sums, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bf16")]
#[inline(never)]
unsafe fn few<D: Dot, const R: usize>(panel: Panel, rows: [*const u8; R], sums: *mut f32, stride: usize) {
    // SAFETY: as the caller says.
    unsafe {
        let table = D::table();
        let mut totals = [_mm512_setzero_ps(); R];
        let Panel { start: panel, blocks, each, next } = panel;
        let mut ahead = panel.wrapping_add(AHEAD);
        for block in 0..blocks {
            let [group, scales, codes] = D::KIND.places(block);
            if block % D::KIND.group() == 0 {
                if group + AHEAD >= each {
                    ahead = next.wrapping_add(AHEAD).wrapping_sub(each);
                }
                for line in 0..D::KIND.scales_bytes() / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(group + 64 * line).cast());
                }
            }
            let ahead = ahead.wrapping_add(group + codes);
            let (scales, codes) = (panel.add(group + scales), panel.add(group + codes));
            let at = block * D::RECORD;
            for part in 0..D::PARTS {
                let scales = D::scales(scales.add(part * COLUMNS));
                // Loops, not `map`: its closure would not have the instructions, and not be inlined.
                let mut block_sums = [D::start(rows[0].add(at), part); R];
                for r in 1..R {
                    block_sums[r] = D::start(rows[r].add(at), part);
                }
                for quarter in part * 4 / D::PARTS..(part + 1) * 4 / D::PARTS {
                    let bytes = D::KIND.block_bytes() / 4;
                    for line in 0..bytes / 64 {
                        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(bytes * quarter + 64 * line).cast());
                    }
                    let packed = D::load(codes.add(bytes * quarter));
                    for word in 0..D::WORDS {
                        let weights = D::unpack(table, packed, word);
                        for r in 0..R {
                            let activations = broadcast(rows[r].add(at + 4 * (quarter * D::WORDS + word)));
                            block_sums[r] = D::add(block_sums[r], weights, activations);
                        }
                    }
                }
                for r in 0..R {
                    totals[r] = D::scaled(totals[r], block_sums[r], scales, rows[r].add(at), part);
                }
            }
        }
        for r in 0..R {
            _mm512_storeu_ps(sums.add(r * stride), totals[r]);
        }
    }
}

/// Blocks of `P` panels, unpacked.
#[repr(C, align(64))]
struct Unpacked<const P: usize>([MaybeUninit<UnpackedBlock<P>>; DEPTH]);

/// A block of `P` panels: for each word of a row the weights of each panel, as many as there are; then the scales of each
/// part.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct UnpackedBlock<const P: usize> {
    weights: [[[u8; 64]; P]; 16],
    scales: [[[u8; 64]; P]; 2],
}

/// # Safety
///
/// The panels, `each` bytes from one to the next, have these blocks, at most [`DEPTH`], and this machine has the
/// instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bf16")]
#[inline(never)]
unsafe fn unpack<D: Dot, const P: usize>(
    panels: *const u8,
    each: usize,
    blocks: std::ops::Range<usize>,
    to: &mut Unpacked<P>,
) {
    // SAFETY: as the caller says.
    unsafe {
        let table = D::table();
        for p in 0..P {
            for (block, to) in blocks.clone().zip(&mut to.0) {
                let to = to.as_mut_ptr();
                let [group, scales, codes] = D::KIND.places(block);
                let group = panels.add(p * each + group);
                for part in 0..D::PARTS {
                    let scales = D::scales(group.add(scales + part * COLUMNS));
                    _mm512_store_si512((&raw mut (*to).scales[part][p]).cast(), scales);
                }
                let codes = group.add(codes);
                for quarter in 0..4 {
                    let packed = D::load(codes.add(D::KIND.block_bytes() / 4 * quarter));
                    for word in 0..D::WORDS {
                        let place = &raw mut (*to).weights[quarter * D::WORDS + word][p];
                        _mm512_store_si512(place.cast(), D::unpack(table, packed, word));
                    }
                }
            }
        }
    }
}

/// What tiles of rows share.
struct Job<const P: usize> {
    /// Unpacked blocks, and how many.
    blocks: *const UnpackedBlock<P>,
    depth: usize,
    /// Whether sums begin with them.
    is_first: bool,
    /// Where to fetch the panels' next blocks from, `each` bytes from one panel to the next, so that memory and
    /// arithmetic work at the same time.
    next: Option<*const u8>,
    each: usize,
}

/// `R` rows by `P` panels, some blocks of them: adds to the sums, or begins them.
///
/// # Safety
///
/// The blocks were unpacked for `D`, the rows have them, there is room for the sums, and this machine has the
/// instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bf16")]
#[inline(never)]
unsafe fn tile<D: Dot, const R: usize, const P: usize>(job: &Job<P>, rows: [*const u8; R], sums: *mut f32) {
    let Job { blocks, depth, is_first, next, each } = *job;
    // SAFETY: as the caller says.
    unsafe {
        let mut totals = [[_mm512_setzero_ps(); P]; R];
        if !is_first {
            for r in 0..R {
                for p in 0..P {
                    totals[r][p] = _mm512_loadu_ps(sums.add((r * P + p) * COLUMNS));
                }
            }
        }
        for block in 0..depth {
            let at = block * D::RECORD;
            if let Some(next) = next {
                for p in 0..P {
                    let bytes = const { D::KIND.group_bytes() / D::KIND.group() };
                    for line in 0..bytes.div_ceil(64) {
                        let place = next.wrapping_add(p * each + block * bytes + line * 64);
                        _mm_prefetch::<_MM_HINT_T1>(place.cast());
                    }
                }
            }
            let block = blocks.add(block);
            for part in 0..D::PARTS {
                let mut block_sums = [[D::start(rows[0].add(at), part); P]; R];
                for r in 1..R {
                    block_sums[r] = [D::start(rows[r].add(at), part); P];
                }
                let words = 4 * D::WORDS / D::PARTS;
                for word in part * words..(part + 1) * words {
                    let mut weights = [_mm512_setzero_si512(); P];
                    for p in 0..P {
                        weights[p] = _mm512_load_si512((&raw const (*block).weights[word][p]).cast());
                    }
                    for r in 0..R {
                        let activations = broadcast(rows[r].add(at + 4 * word));
                        for p in 0..P {
                            block_sums[r][p] = D::add(block_sums[r][p], weights[p], activations);
                        }
                    }
                }
                for r in 0..R {
                    for p in 0..P {
                        let scales = _mm512_load_si512((&raw const (*block).scales[part][p]).cast());
                        totals[r][p] =
                            D::scaled(totals[r][p], block_sums[r][p], scales, rows[r].add(at), part);
                    }
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                _mm512_storeu_ps(sums.add((r * P + p) * COLUMNS), totals[r][p]);
            }
        }
    }
}
