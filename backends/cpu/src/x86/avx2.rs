//! Products of packed rows with panels, by AVX2 and FMA.
//!
//! A panel's 16 columns are two registers. Up to four rows take weights as they are unpacked, in registers, and more rows
//! come in fours; only for many rows of some floats weights are unpacked once, see [`many256`]. Either way a row's sums are added
//! up in the same order, so that it has the same bits however many others there are.
//!
//! Integers are multiplied by `vpmaddubsw`, four of whose results an int16 has room for (4 · 2 · 24 · 128 < 2^15), and so
//! give the bits of AVX-512; BF16 is widened to float32.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and halves index several arrays of registers"
)]

use std::arch::x86_64::*;

use super::ahead::Panel;
use super::dot256::{Dot, Floats, HalfFloats, Halves, Integers, Scales, TileFloats, WideFloats};
use super::many256;
use crate::kernel::Operands;
use crate::packed::Numbers;
use crate::panel::{COLUMNS, Kind};

/// Rows that share the weights that are unpacked.
pub(super) const TILE: usize = 4;

/// See [`PanelKernels::multiply`](crate::kernel::PanelKernels::multiply).
pub(super) fn multiply(operands: &Operands<'_>, sums: &mut [f32]) {
    let panels = operands.check(sums);
    // SAFETY: the lengths were checked, and the table that holds this function is made only where the instructions are.
    unsafe {
        match (operands.numbers, operands.kind) {
            (Numbers::Integers, _) => product::<Integers>(operands, panels, sums),
            (Numbers::Halves, _) => product::<Halves>(operands, panels, sums),
            (Numbers::Floats, Kind::Mxfp4) => product::<Floats>(operands, panels, sums),
            (Numbers::Floats, Kind::Nvfp4) => product::<HalfFloats>(operands, panels, sums),
            (Numbers::Floats, Kind::Fp8Tile128) => product::<TileFloats>(operands, panels, sums),
            (Numbers::Floats, Kind::Bf16) => product::<WideFloats>(operands, panels, sums),
        }
    }
}

/// # Safety
///
/// [`Operands::check`] gave `count`, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn product<D: Dot>(operands: &Operands<'_>, count: usize, sums: &mut [f32]) {
    let Operands { blocks, panels, picks, next, .. } = *operands;
    if let Some((few, unpack)) = D::UNPACKED
        && picks.len() > few
    {
        // SAFETY: as the caller says.
        return unsafe { many256::product::<D>(operands, unpack, count, sums) };
    }
    let (bytes, stride) = (D::KIND.bytes(blocks), count * COLUMNS);
    let row = |pick: u32| operands.rows[pick as usize * operands.stride..].as_ptr();
    for p in 0..count {
        let start = panels[p * bytes..].as_ptr();
        let next = if p + 1 < count { start.wrapping_add(bytes) } else { next };
        let panel = Panel { start, blocks, bytes, next };
        for (picks, sums) in picks.chunks(TILE).zip(sums.chunks_mut(TILE * stride)) {
            let sums = sums[p * COLUMNS..].as_mut_ptr();
            // SAFETY: the panel and the rows have so many blocks, and there is room for the sums.
            unsafe {
                match *picks {
                    [a] => tile::<D, 1>(panel, [a].map(row), sums, stride),
                    [a, b] => tile::<D, 2>(panel, [a, b].map(row), sums, stride),
                    [a, b, c] => tile::<D, 3>(panel, [a, b, c].map(row), sums, stride),
                    [a, b, c, d] => tile::<D, 4>(panel, [a, b, c, d].map(row), sums, stride),
                    _ => {}
                }
            }
        }
    }
}

/// `R` rows by one panel. Row `r` of the sums begins at `r · stride`.
///
/// # Safety
///
/// The panel and the rows have so many blocks, there is room for the sums, and this machine has the instructions.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn tile<D: Dot, const R: usize>(panel: Panel, rows: [*const u8; R], sums: *mut f32, stride: usize) {
    let parts = D::KIND.parts();
    // SAFETY: as the caller says.
    unsafe {
        let mut totals = [[_mm256_setzero_ps(); 2]; R];
        for block in 0..panel.blocks {
            let [group, scales, codes] = D::KIND.places(block);
            let scales = Scales::of(D::KIND, panel.start.add(group + scales));
            let codes = panel.start.add(group + codes);
            let mut records = rows;
            for r in 0..R {
                records[r] = rows[r].add(block * D::NUMBERS.record());
            }
            for part in 0..parts {
                for quarter in part * 4 / parts..(part + 1) * 4 / parts {
                    panel.fetch_ahead(D::KIND, block, quarter);
                }
                let part_sums = D::part(codes, &records, part);
                for r in 0..R {
                    for half in 0..2 {
                        let scale = scales.times_row(D::NUMBERS, records[r], part, half);
                        totals[r][half] = _mm256_fmadd_ps(part_sums[r][half], scale, totals[r][half]);
                    }
                }
            }
        }
        for r in 0..R {
            for half in 0..2 {
                _mm256_storeu_ps(sums.add(r * stride + 8 * half), totals[r][half]);
            }
        }
    }
}
