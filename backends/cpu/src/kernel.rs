//! The inner loops, behind a table.
//!
//! There is a table for each instruction set. That of the portable one is plain Rust, which the compiler vectorises for
//! the target's least instruction set; it multiplies values that were decoded to float32, whatever their format. The
//! others take MXFP4, NVFP4, FP8 and BF16 weights as they lie in their panels, with activations packed for it, and leave
//! to the portable one what is in none, and what is out of the ordinary.

use std::array;
use std::hint::black_box;

use mxhal_core::format::{bf16, dequantize_row, quantize_row};
use mxhal_core::op::Score;
use mxhal_core::{Format, Quantization};

use crate::gate::{Gate, GateUp};
use crate::isa::Isa;
use crate::packed::Numbers;
use crate::panel::{self, Column, Kind};
use crate::score;

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
    /// Makes a panel of weights, see [`panel::pack`].
    pub(crate) pack_panel: fn(Kind, &[Column<'_>], &mut [u8]),
    /// Products of packed rows with panels, where there are kernels for that.
    pub(crate) panels: Option<PanelKernels>,
    /// What is done row by row.
    pub(crate) rows: RowKernels,
    /// What the machine can do at most.
    pub(crate) peak: Peak,
}

/// Work without dependences, for [`ceilings`](crate::ceilings); each function gives the operations that it did, two for
/// a product that is added.
#[derive(Clone, Copy)]
pub(crate) struct Peak {
    /// The instructions that products of integers are made of.
    pub(crate) integers_name: &'static str,
    pub(crate) integers: fn() -> u64,
    /// Those that products of floats are made of.
    pub(crate) floats_name: &'static str,
    pub(crate) floats: fn() -> u64,
    /// Looks at every byte.
    pub(crate) read: fn(&[u8]) -> u64,
}

impl Peak {
    const PORTABLE: Self = Self {
        integers_name: "float32 multiply and add",
        integers: multiply_and_add,
        floats_name: "float32 multiply and add",
        floats: multiply_and_add,
        read: exclusive_or,
    };
}

/// Products and sums of float32 in plain Rust, as the portable kernel has them.
fn multiply_and_add() -> u64 {
    const TURNS: usize = 80_000;
    let mut values = [[1.0f32; LANES]; 6];
    // The compiler does not know them, and so cannot know what becomes of the values.
    let (a, b) = (black_box([0.5f32; LANES]), black_box([0.25f32; LANES]));
    for _ in 0..TURNS {
        for values in &mut values {
            for lane in 0..LANES {
                values[lane] = values[lane] * a[lane] + b[lane];
            }
        }
    }
    black_box(values);
    (2 * TURNS * 6 * LANES) as u64
}

/// A sum over memory that the compiler turns into plain loads and little else.
#[inline(always)]
pub(crate) fn exclusive_or(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in bytes.as_chunks::<256>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane ^= u64::from_ne_bytes(*word);
        }
    }
    lanes.iter().fold(0, |all, lane| all ^ lane)
}

/// The kernels for rows. The portable ones are the core's codecs and plain loops.
#[derive(Clone, Copy)]
pub(crate) struct RowKernels {
    /// Format (BF16, or one that is quantized row by row), elements, scales, factor, values: as
    /// [`dequantize_row`].
    pub(crate) decode: fn(Format, &[u8], &[u8], f32, &mut [f32]),
    /// Rounds values to BF16: as [`bf16::from_f32`], two bytes each in this machine's order.
    pub(crate) round_bf16: fn(&[f32], &mut [u8]),
    /// As [`quantize_row`].
    pub(crate) quantize: fn(&Quantization, &[f32], &mut [u8], &mut [u8]) -> f32,
    /// Gates and ups, values: as [`Gate::values`], within the contract's bound.
    pub(crate) activate: fn(&Gate, GateUp<'_>, &mut [f32]),
    /// Function, logits, scores: see [`score::exactly`].
    pub(crate) score: fn(Score, &[u8], &mut [i64]),
    /// See [`score::choose`].
    pub(crate) choose: Choose,
    /// Values, a weight, sums: adds each value times the weight, both operations rounded to float32.
    pub(crate) accumulate: fn(&[f32], f32, &mut [f32]),
    /// Rows of BF16, each with a weight, and sums: [`Self::accumulate`] of one row after the other.
    pub(crate) accumulate_bf16: fn(&[WeightedRow<'_>], &mut [f32]),
    /// Rows of BF16, each with a weight, rows as long that will be wanted soon, and a row of BF16:
    /// [`Self::accumulate_bf16`] from +0 on, rounded.
    pub(crate) sum_bf16: fn(&[WeightedRow<'_>], &[&[u8]], &mut [u8]),
    /// Copies bytes, past the caches if the machine can: for more than fits into them. Others may look at them after
    /// [`Self::settle`].
    pub(crate) copy_past_caches: fn(&[u8], &mut [u8]),
    /// Waits for copies past the caches.
    pub(crate) settle: fn(),
}

/// Scores, bias, keys, chosen experts.
pub(crate) type Choose = fn(&[i64], Option<&[u8]>, &mut [i64], &mut [i64]);

/// A row of BF16, two bytes each in this machine's order, and what it is multiplied by.
pub(crate) type WeightedRow<'a> = (&'a [u8], f32);

impl RowKernels {
    pub(crate) const PORTABLE: Self = Self {
        decode,
        round_bf16,
        quantize: quantize_row,
        activate: Gate::values,
        score: score::exactly,
        choose: score::choose,
        accumulate: |values, weight, sums| {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += *value * weight;
            }
        },
        accumulate_bf16: |rows, sums| {
            for (row, weight) in rows {
                for (sum, bytes) in sums.iter_mut().zip(row.as_chunks().0) {
                    *sum += bf16::to_f32(u16::from_ne_bytes(*bytes)) * weight;
                }
            }
        },
        sum_bf16: |rows, _, out| sum_bf16(rows, out),
        copy_past_caches: |from, to| to.copy_from_slice(from),
        settle: || {},
    };
}

/// See [`RowKernels::sum_bf16`].
#[inline(always)]
pub(crate) fn sum_bf16(rows: &[WeightedRow<'_>], out: &mut [u8]) {
    // Few enough to stay in registers.
    const COLUMNS: usize = 32;
    assert!(rows.iter().all(|(row, _)| row.len() == out.len()), "rows are as long as their sum");
    let (whole, rest) = out.as_chunks_mut::<{ 2 * COLUMNS }>();
    let done = 2 * COLUMNS * whole.len();
    for (i, out) in whole.iter_mut().enumerate() {
        let mut sums = [0.0; COLUMNS];
        for (row, weight) in rows {
            let row: &[u8; 2 * COLUMNS] = row.as_chunks().0[i..].first().expect("as long as `out`");
            for (sum, bytes) in sums.iter_mut().zip(row.as_chunks().0) {
                *sum += bf16::to_f32(u16::from_ne_bytes(*bytes)) * weight;
            }
        }
        for (out, sum) in out.as_chunks_mut().0.iter_mut().zip(sums) {
            *out = bf16::from_f32(sum).to_ne_bytes();
        }
    }
    for (i, out) in rest.as_chunks_mut().0.iter_mut().enumerate() {
        let mut sum = 0.0;
        for (row, weight) in rows {
            sum += bf16::to_f32(u16::from_ne_bytes(row[done..].as_chunks().0[i])) * weight;
        }
        *out = bf16::from_f32(sum).to_ne_bytes();
    }
}

fn decode(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    if format != Format::Bf16 {
        return dequantize_row(format, data, scales, factor, out);
    }
    for (bytes, out) in data.as_chunks().0.iter().zip(out) {
        *out = bf16::to_f32(u16::from_ne_bytes(*bytes));
    }
}

fn round_bf16(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = bf16::from_f32(*value).to_ne_bytes();
    }
}

/// Packs a row: as what, format, elements, scales, records.
pub(crate) type PackRow = fn(Numbers, Format, &[u8], &[u8], &mut [u8]) -> bool;

/// The kernels for products of packed rows with panels of weights.
#[derive(Clone, Copy)]
pub(crate) struct PanelKernels {
    /// Packs a row. See [`packed::pack`](crate::packed::pack).
    pub(crate) pack: PackRow,
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
    /// What panels hold; [`Numbers::of`] knows what goes together.
    pub(crate) kind: Kind,
    /// One panel, or two that follow each other.
    pub(crate) panels: &'a [u8],
    /// Packed rows, and the bytes from one to the next.
    pub(crate) rows: &'a [u8],
    pub(crate) stride: usize,
    /// Which of the rows.
    pub(crate) picks: &'a [u32],
    /// Where panels go on after these, to be fetched ahead.
    pub(crate) next: *const u8,
    /// Where the first row's results will be written, to be fetched too, and the bytes from one row to the next.
    pub(crate) results: (*const u8, usize),
}

impl Operands<'_> {
    /// How many panels there are.
    ///
    /// # Panics
    ///
    /// If anything is not as long as kernels, which do not check, rely on: then the caller is wrong.
    pub(crate) fn check(&self, sums: &[f32]) -> usize {
        let each = self.kind.bytes(self.blocks);
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
    const PORTABLE: Self = Self {
        isa: Isa::Portable,
        products,
        pack_panel: panel::pack,
        panels: None,
        rows: RowKernels::PORTABLE,
        peak: Peak::PORTABLE,
    };

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
