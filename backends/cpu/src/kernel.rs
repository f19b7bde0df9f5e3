//! The inner loops, behind a table.
//!
//! There is a table for each instruction set. That of the portable one is plain Rust, which the compiler vectorises for
//! the target's least instruction set; it multiplies values that were decoded to float32, whatever their format. The
//! others take MXFP4 weights as they lie in their panels, with activations packed for it, and leave to the portable
//! one what is not MXFP4, and what is out of the ordinary.

use std::array;

use mxhal_core::Format;

use crate::isa::Isa;
use crate::packed::Numbers;
use crate::panel::{self, Column};

/// Independent sums of one dot product; K is padded with zeros to a multiple of it.
pub(crate) const LANES: usize = 8;

/// The kernels for an instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    pub(crate) isa: Isa,
    /// Products of rows with rows: `products(k, a, w, sums)`.
    ///
    /// - `k`: columns, a multiple of [`LANES`].
    /// - `a`, `w`: rows of `k` values.
    /// - `sums`: `sums[i][j] = Σ a[i] · w[j]`, as many rows as `a` and as many columns as `w` has rows.
    ///
    /// The order of each sum depends on `k` alone, not on how many rows there are.
    pub(crate) products: fn(usize, &[f32], &[f32], &mut [f32]),
    /// Makes a panel of MXFP4 weights, see [`panel::pack`].
    pub(crate) pack_panel: fn(&[Column<'_>], &mut [u8]),
    /// Products of packed rows with panels, where there are kernels for that.
    pub(crate) panels: Option<PanelKernels>,
}

/// The kernels for products of packed rows with panels of MXFP4 weights.
#[derive(Clone, Copy)]
pub(crate) struct PanelKernels {
    /// Packs a row: format, elements, scales, records. See [`packed::pack`](crate::packed::pack).
    pub(crate) pack: fn(Format, &[u8], &[u8], &mut [u8]) -> bool,
    /// Multiplies rows with one or two panels: `sums[i][c] = Σ rows[picks[i]] · column c`, row by row.
    ///
    /// The order of each sum depends on `blocks` alone.
    pub(crate) multiply: fn(&Operands<'_>, &mut [f32]),
}

/// What [`PanelKernels::multiply`] takes.
pub(crate) struct Operands<'a> {
    pub(crate) numbers: Numbers,
    /// Blocks along K.
    pub(crate) blocks: usize,
    /// One panel, or two that follow each other.
    pub(crate) panels: &'a [u8],
    /// Packed rows, and the bytes from one to the next.
    pub(crate) rows: &'a [u8],
    pub(crate) stride: usize,
    /// Which of the rows.
    pub(crate) picks: &'a [u32],
}

impl Operands<'_> {
    /// How many panels there are.
    ///
    /// # Panics
    ///
    /// If anything is not as long as kernels, which do not check, rely on: then the caller is wrong.
    pub(crate) fn check(&self, sums: &[f32]) -> usize {
        let each = panel::bytes(self.blocks);
        let count = self.panels.len() / each.max(1);
        assert!((1..=2).contains(&count) && self.panels.len() == count * each, "one panel or two");
        assert!(self.stride >= self.numbers.record() * self.blocks, "rows have a record for each block");
        let rows = self.rows.len() / self.stride.max(1);
        assert!(self.picks.iter().all(|pick| (*pick as usize) < rows), "rows that are picked are there");
        assert!(sums.len() >= self.picks.len() * count * panel::COLUMNS, "there is room for the sums");
        count
    }
}

impl Kernels {
    /// What every machine runs.
    const PORTABLE: Self = Self { isa: Isa::Portable, products, pack_panel: panel::pack, panels: None };

    /// Those for an instruction set, if this machine has it.
    pub(crate) fn of(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Portable => Some(Self::PORTABLE),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => crate::x86::kernels(isa, Self::PORTABLE),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => None,
        }
    }
}

/// Two rows by two at a time, so that each value that is loaded is used twice.
fn products(k: usize, a: &[f32], w: &[f32], sums: &mut [f32]) {
    let columns = w.len() / k;
    for (a, sums) in a.chunks(2 * k).zip(sums.chunks_mut(2 * columns)) {
        for (pair, w) in w.chunks(2 * k).enumerate() {
            let sums = &mut sums[2 * pair..];
            match (a.len() / k, w.len() / k) {
                (2, 2) => dots::<2, 2>(k, a, w, columns, sums),
                (2, _) => dots::<2, 1>(k, a, w, columns, sums),
                (_, 2) => dots::<1, 2>(k, a, w, columns, sums),
                _ => dots::<1, 1>(k, a, w, columns, sums),
            }
        }
    }
}

/// `R · C` dot products; row `r` of the result begins at `r · stride`.
#[inline(always)]
fn dots<const R: usize, const C: usize>(k: usize, a: &[f32], w: &[f32], stride: usize, sums: &mut [f32]) {
    let a: [&[[f32; LANES]]; R] = array::from_fn(|r| a[r * k..][..k].as_chunks().0);
    let w: [&[[f32; LANES]]; C] = array::from_fn(|c| w[c * k..][..k].as_chunks().0);
    let steps = k / LANES;
    // All have this length; said once here, it is not checked in the loop.
    let (a, w) = (a.map(|row| &row[..steps]), w.map(|row| &row[..steps]));
    let mut lanes = [[[0.0; LANES]; C]; R];
    for step in 0..steps {
        for r in 0..R {
            for c in 0..C {
                for lane in 0..LANES {
                    lanes[r][c][lane] += a[r][step][lane] * w[c][step][lane];
                }
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            let [l0, l1, l2, l3, l4, l5, l6, l7] = lanes[r][c];
            sums[r * stride + c] = ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_there_with_the_same_bits_however_many_there_are() {
        let k = 40;
        let values = |seed: usize, rows: usize| -> Vec<f32> {
            (0..rows * k).map(|i| ((i * 37 + seed) % 101) as f32 / 7.0 - 6.0).collect()
        };
        let (a, w) = (values(1, 5), values(2, 7));
        let mut all = vec![f32::NAN; 35];
        products(k, &a, &w, &mut all);
        for rows in 1..=5 {
            for columns in 1..=7 {
                let mut some = vec![f32::NAN; rows * columns];
                products(k, &a[..rows * k], &w[..columns * k], &mut some);
                for (i, row) in some.chunks(columns).enumerate() {
                    for (j, sum) in row.iter().enumerate() {
                        assert_eq!(sum.to_bits(), all[i * 7 + j].to_bits());
                        let exact: f64 =
                            (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(w[j * k + p])).sum();
                        assert!((f64::from(*sum) - exact).abs() < 1e-3);
                    }
                }
            }
        }
    }
}
