//! What products share: activations brought into their scheme, rows divided into tasks, weights decoded panel by
//! panel.
//!
//! A task is some rows of one group by [`PANEL`] columns. It decodes that panel of weights to float32 once, and then
//! its rows, [`TILE`] at a time, each time multiplying tile and panel. So weights are decoded once for each
//! [`CHUNK_ROWS`] rows, activations once for each panel, and both stay in the cache of the core that works on them.

use mxhal_core::op::Matmul;
use mxhal_core::{Error, Format, Quantization, Result};

use super::quantize;
use crate::device::Shared;
use crate::kernel::LANES;
use crate::pool::{Pool, Scratch};
use crate::view::{Input, Output};
use crate::weights::CpuWeights;
use crate::workspace::{Plain, RowMemory, Workspace, room};

/// Columns of the output that a task computes.
const PANEL: usize = 32;

/// Rows that are decoded at once.
const TILE: usize = 8;

/// The most rows of a task.
const CHUNK_ROWS: usize = 256;

/// Rows of one group that follow each other: at most [`CHUNK_ROWS`].
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    group: i32,
    first: i32,
    rows: i32,
}

// SAFETY: three numbers of one size.
unsafe impl Plain for Chunk {}

impl Chunk {
    /// How many chunks so many rows make at most.
    pub(super) fn most(rows: usize, groups: usize) -> usize {
        groups.min(rows) + rows / CHUNK_ROWS
    }

    /// Divides rows that are sorted by group; `counts` are the rows of each, and `chunks` has room for
    /// [`Self::most`].
    pub(super) fn divide(counts: impl Iterator<Item = i32>, chunks: &mut [Self]) -> &[Self] {
        let (mut made, mut first) = (0, 0);
        for (group, count) in (0..).zip(counts) {
            let end = first + count;
            while first < end {
                let rows = (end - first).min(CHUNK_ROWS as i32);
                chunks[made] = Self { group, first, rows };
                made += 1;
                first += rows;
            }
        }
        &chunks[..made]
    }
}

/// Which row of the activations a row of the product takes.
#[derive(Clone, Copy)]
pub(super) enum Gather<'a> {
    /// The same.
    None,
    /// That of the token it came from: `source[row] / top_k`, see [`Permute`](mxhal_core::op::Permute).
    Tokens { source: &'a [i32], top_k: usize },
}

impl Gather<'_> {
    fn row(self, row: usize) -> usize {
        match self {
            Self::None => row,
            // Of the rows that there are, none has a negative source.
            Self::Tokens { source, top_k } => source[row] as usize / top_k,
        }
    }
}

/// The operands of a product. The activations are in the format in which they are multiplied.
pub(super) struct Product<'a> {
    pub(super) a: Input<'a>,
    pub(super) gather: Gather<'a>,
    pub(super) weights: &'a CpuWeights,
    /// A row for each group, or one where there is one group.
    pub(super) bias: Option<Input<'a>>,
}

/// Float32 values of scratch that each thread needs for sums of length `k`.
pub(super) fn scratch_values(k: usize) -> usize {
    k.next_multiple_of(LANES).saturating_mul(PANEL + TILE).saturating_add(PANEL * TILE)
}

/// Multiplies the rows of all chunks, and writes those rows of `y`.
pub(super) fn multiply(
    shared: &Shared,
    product: &Product<'_>,
    chunks: &[Chunk],
    y: &mut Output<'_>,
    scratch: &mut Scratch<'_, f32>,
) {
    let (n, k) = (y.columns(), product.a.columns());
    let panels = n.div_ceil(PANEL);
    let y = &*y;
    shared.pool.run(chunks.len() * panels, scratch, |scratch, task| {
        let chunk = chunks[task / panels];
        let first_column = task % panels * PANEL;
        let columns = first_column..n.min(first_column + PANEL);
        let padded = k.next_multiple_of(LANES);
        let (w, rest) = scratch.split_at_mut(PANEL * padded);
        let (a, sums) = rest.split_at_mut(TILE * padded);

        let group = chunk.group as usize;
        let matrix = product.weights.matrix(group);
        decode_rows(&matrix, columns.clone(), k, &mut w[..columns.len() * padded]);
        let w = &w[..columns.len() * padded];

        let rows = chunk.first as usize..(chunk.first + chunk.rows) as usize;
        for first in rows.clone().step_by(TILE) {
            let tile = first..rows.end.min(first + TILE);
            let a = &mut a[..tile.len() * padded];
            decode_rows(&product.a, tile.clone().map(|row| product.gather.row(row)), k, a);
            let sums = &mut sums[..tile.len() * columns.len()];
            (shared.kernels.products)(padded, a, w, sums);
            for (row, sums) in tile.zip(sums.chunks(columns.len())) {
                // SAFETY: chunks do not overlap and neither do panels, so these cells are this task's alone.
                let mut cells = unsafe { y.cells(row, columns.clone()) };
                match &product.bias {
                    None => cells.round(sums),
                    Some(bias) => {
                        let bias = bias.row(group);
                        let mut wide = [0.0; PANEL];
                        for (column, (wide, sum)) in columns.clone().zip(wide.iter_mut().zip(sums)) {
                            *wide = f64::from(*sum) + f64::from(bias.float(column));
                        }
                        cells.round_wide(&wide[..sums.len()]);
                    }
                }
            }
        }
    });
}

/// Decodes some rows, each padded with zeros to a multiple of [`LANES`].
fn decode_rows(from: &Input<'_>, rows: impl Iterator<Item = usize>, k: usize, out: &mut [f32]) {
    for (row, out) in rows.zip(out.chunks_mut(k.next_multiple_of(LANES))) {
        let (values, padding) = out.split_at_mut(k);
        from.row(row).decode(values);
        padding.fill(0.0);
    }
}

/// The workspace of [`Matmul`] and [`GroupedMatmul`](mxhal_core::op::GroupedMatmul).
pub(super) fn workspace_bytes(each: &Matmul, groups: usize, pool: &Pool) -> u64 {
    let quantized = match quantizes(each.input, &each.activation) {
        true => RowMemory::room(each.activation.format, [each.m, each.k]),
        false => 0,
    };
    Scratch::<f32>::room(pool, scratch_values(each.k))
        .saturating_add(room::<Chunk>(Chunk::most(each.m, groups)))
        .saturating_add(quantized)
}

/// Whether the input is quantized before it is multiplied.
pub(super) fn quantizes(input: Format, activation: &Quantization) -> bool {
    input != activation.format
}

/// The tensors and weights of a [`Matmul`] or [`GroupedMatmul`](mxhal_core::op::GroupedMatmul).
pub(super) struct Run<'a> {
    pub(super) a: Input<'a>,
    pub(super) bias: Option<Input<'a>>,
    pub(super) y: Output<'a>,
    pub(super) weights: &'a CpuWeights,
}

/// Runs either of them; `counts` are the rows of each group, `rows` their sum.
pub(super) fn run(
    shared: &Shared,
    each: &Matmul,
    run: Run<'_>,
    (rows, groups, counts): (usize, usize, impl Iterator<Item = i32>),
    mut workspace: Workspace<'_>,
) -> Result<()> {
    let Run { a, bias, mut y, weights } = run;
    if rows > i32::MAX as usize {
        return Err(Error::invalid(format!("{rows} rows are more than counts can say")));
    }
    let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_values(each.k))?;
    let chunks = Chunk::divide(counts, workspace.take(Chunk::most(rows, groups))?);
    let mut product = Product { a, gather: Gather::None, weights, bias };
    if !quantizes(each.input, &each.activation) {
        multiply(shared, &product, chunks, &mut y, &mut scratch);
        return Ok(());
    }
    let mut quantized = RowMemory::take(&mut workspace, each.activation.format, [rows, each.k])?;
    quantize::rows(&shared.pool, &a, &each.activation, &mut quantized.output(), &mut scratch);
    product.a = quantized.input();
    multiply(shared, &product, chunks, &mut y, &mut scratch);
    Ok(())
}
