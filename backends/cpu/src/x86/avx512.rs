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

use super::ahead::Panel;
use super::dot512::{
    Codes, Dot, Floats, HalfFloats, Halves, Integers, Sums, TileFloats, WideFloats, broadcast, scaled,
    scales_of,
};
use crate::kernel::Operands;
use crate::packed::Numbers;
use crate::panel::{COLUMNS, Kind};

/// The most rows that weights are unpacked for in registers.
const FEW: usize = 8;

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
            (Numbers::Floats, Kind::Bf16, 1) => product::<WideFloats, 1>(operands, sums),
            (Numbers::Floats, Kind::Bf16, _) => product::<WideFloats, 2>(operands, sums),
            (Numbers::Halves, _, 1) => product::<Halves, 1>(operands, sums),
            (Numbers::Halves, ..) => product::<Halves, 2>(operands, sums),
        }
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
            let panel = Panel { start: panel, blocks, bytes: each, next };
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
        let at = |pick: u32| row(pick).wrapping_add(first * D::NUMBERS.record());
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
        let table = D::Codes::table();
        let mut totals = [_mm512_setzero_ps(); R];
        for block in 0..panel.blocks {
            let [group, scales, codes] = D::KIND.places(block);
            let (scales, codes) = (panel.start.add(group + scales), panel.start.add(group + codes));
            let at = block * D::NUMBERS.record();
            for part in 0..D::KIND.parts() {
                let scales = scales_of::<D>(scales.add(part * COLUMNS));
                // Loops, not `map`: its closure would not have the instructions, and not be inlined.
                let mut block_sums = [D::Sums::start(D::NUMBERS, rows[0].add(at), part); R];
                for r in 1..R {
                    block_sums[r] = D::Sums::start(D::NUMBERS, rows[r].add(at), part);
                }
                for quarter in part * 4 / D::KIND.parts()..(part + 1) * 4 / D::KIND.parts() {
                    panel.fetch_ahead(D::KIND, block, quarter);
                    let packed = D::Codes::load(codes.add(D::KIND.block_bytes() / 4 * quarter));
                    for word in 0..D::Codes::WORDS {
                        let weights = D::Codes::unpack(table, packed, word);
                        for r in 0..R {
                            let activations =
                                broadcast(rows[r].add(at + 4 * (quarter * D::Codes::WORDS + word)));
                            block_sums[r] = D::Sums::add(block_sums[r], weights, activations);
                        }
                    }
                }
                for r in 0..R {
                    totals[r] = scaled::<D>(totals[r], block_sums[r], scales, rows[r].add(at), part);
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
        let table = D::Codes::table();
        for p in 0..P {
            for (block, to) in blocks.clone().zip(&mut to.0) {
                let to = to.as_mut_ptr();
                let [group, scales, codes] = D::KIND.places(block);
                let group = panels.add(p * each + group);
                for part in 0..D::KIND.parts() {
                    let scales = scales_of::<D>(group.add(scales + part * COLUMNS));
                    _mm512_store_si512((&raw mut (*to).scales[part][p]).cast(), scales);
                }
                let codes = group.add(codes);
                for quarter in 0..4 {
                    let packed = D::Codes::load(codes.add(D::KIND.block_bytes() / 4 * quarter));
                    for word in 0..D::Codes::WORDS {
                        let place = &raw mut (*to).weights[quarter * D::Codes::WORDS + word][p];
                        _mm512_store_si512(place.cast(), D::Codes::unpack(table, packed, word));
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
            let at = block * D::NUMBERS.record();
            if let Some(next) = next {
                for p in 0..P {
                    let bytes = const { D::KIND.group_bytes() / D::KIND.group() };
                    for line in 0..bytes.div_ceil(64) {
                        let place = next.wrapping_add(p * each + block * bytes + line * 64);
                        _mm_prefetch::<_MM_HINT_T0>(place.cast());
                    }
                }
            }
            let block = blocks.add(block);
            for part in 0..D::KIND.parts() {
                let mut block_sums = [[D::Sums::start(D::NUMBERS, rows[0].add(at), part); P]; R];
                for r in 1..R {
                    block_sums[r] = [D::Sums::start(D::NUMBERS, rows[r].add(at), part); P];
                }
                let words = 4 * D::Codes::WORDS / D::KIND.parts();
                for word in part * words..(part + 1) * words {
                    let mut weights = [_mm512_setzero_si512(); P];
                    for p in 0..P {
                        weights[p] = _mm512_load_si512((&raw const (*block).weights[word][p]).cast());
                    }
                    for r in 0..R {
                        let activations = broadcast(rows[r].add(at + 4 * word));
                        for p in 0..P {
                            block_sums[r][p] = D::Sums::add(block_sums[r][p], weights[p], activations);
                        }
                    }
                }
                for r in 0..R {
                    for p in 0..P {
                        let scales = _mm512_load_si512((&raw const (*block).scales[part][p]).cast());
                        totals[r][p] =
                            scaled::<D>(totals[r][p], block_sums[r][p], scales, rows[r].add(at), part);
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
