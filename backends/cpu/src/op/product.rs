//! What products share: activations brought into their scheme, rows divided into tasks, weights taken panel by panel.
//!
//! A task is some rows of one group by some columns. Where there are kernels for the operands, it multiplies packed rows
//! with panels of weights as they lie in memory. Elsewhere, and for rows and panels that are out of the ordinary, it
//! decodes [`PANEL`] columns of weights to float32 once, and then its rows, [`TILE`] at a time, each time multiplying
//! tile and panel. Which way a value is computed depends on its row of activations and its panel of weights alone.

use std::ops::Range;

use mxhal_core::op::Matmul;
use mxhal_core::{Error, Format, Result};

use super::activations::{self, Activations, PackedRows};
use crate::device::Shared;
use crate::kernel::{LANES, Operands, PanelKernels};
use crate::panel::{BLOCK, COLUMNS, Kind};
use crate::pool::Scratch;
use crate::view::{Input, Output, RowMut};
use crate::weights::{CpuWeights, Matrix, Panels};
use crate::workspace::{Plain, Workspace, room};

/// Columns of the output that are computed at once, decoded or as two panels.
const PANEL: usize = 32;

/// Columns of a task, where there are kernels for panels.
const SPAN: usize = 64;

/// Rows that are decoded at once.
const TILE: usize = 8;

/// The most rows of a task: as many as the second cache has room for, packed.
const CHUNK_ROWS: usize = 128;

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
    pub(super) a: Activations<'a>,
    pub(super) gather: Gather<'a>,
    pub(super) weights: &'a CpuWeights,
    /// A row for each group, or one where there is one group.
    pub(super) bias: Option<Input<'a>>,
}

/// Float32 values of scratch that each thread needs for sums of length `k`.
pub(super) fn scratch_values(k: usize) -> usize {
    let decoded = k.next_multiple_of(LANES).saturating_mul(PANEL + TILE).saturating_add(PANEL * TILE);
    decoded.max(CHUNK_ROWS * PANEL)
}

/// Multiplies the rows of all chunks, and writes those rows of `y`.
pub(super) fn multiply(
    shared: &Shared,
    product: &Product<'_>,
    chunks: &[Chunk],
    y: &mut Output<'_>,
    scratch: &mut Scratch<'_, f32>,
) {
    let n = y.columns();
    let by_panels = product.a.packed.as_ref().zip(shared.kernels.panels.as_ref());
    let span = if by_panels.is_some() { SPAN } else { PANEL };
    let spans = n.div_ceil(span);
    let y = &*y;
    shared.pool.run(chunks.len() * spans, scratch, |scratch, task| {
        let chunk = chunks[task / spans];
        let first = task % spans * span;
        let task = Task {
            shared,
            product,
            y,
            group: chunk.group as usize,
            rows: chunk.first as usize..(chunk.first + chunk.rows) as usize,
            columns: first..n.min(first + span),
        };
        match (by_panels, product.weights.matrix(task.group)) {
            (Some((rows, kernels)), Matrix::Panels(panels)) => {
                task.multiply_panels(rows, kernels, &panels, scratch);
            }
            _ => task.multiply_values(task.rows.clone(), task.columns.clone(), scratch),
        }
    });
}

/// Some rows of a group by some columns, which nobody else writes.
struct Task<'a> {
    shared: &'a Shared,
    product: &'a Product<'a>,
    y: &'a Output<'a>,
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Task<'_> {
    /// By kernels, but for what is out of the ordinary.
    fn multiply_panels(
        &self,
        packed: &PackedRows<'_>,
        kernels: &PanelKernels,
        panels: &Panels<'_>,
        scratch: &mut [f32],
    ) {
        let mut picks = [0u32; CHUNK_ROWS];
        let picks = &mut picks[..self.rows.len()];
        for (pick, row) in picks.iter_mut().zip(self.rows.clone()) {
            *pick = self.product.gather.row(row) as u32;
        }
        let has_factors = panels.kind == Kind::Nvfp4 || self.product.a.rows.format() == Format::Nvfp4;
        for first in self.columns.clone().step_by(PANEL) {
            let columns = first..self.columns.end.min(first + PANEL);
            let range = first / COLUMNS..columns.end.div_ceil(COLUMNS);
            let width = range.len() * COLUMNS;
            let operands = Operands {
                numbers: packed.numbers(),
                kind: panels.kind,
                blocks: self.product.a.rows.columns() / BLOCK,
                panels: panels.range(range.clone()),
                rows: packed.bytes(),
                stride: packed.stride(),
                picks,
                next: panels.range(range.end..range.end).as_ptr(),
                results: self.y.place(self.rows.start, first),
            };
            (kernels.multiply)(&operands, scratch);
            for (row, sums) in self.rows.clone().zip(scratch.chunks(width)) {
                let sums = &sums[..columns.len()];
                match has_factors {
                    false => self.store(row, columns.clone(), sums),
                    true => self.store_with_factors(row, columns.clone(), sums, panels),
                }
            }
            for panel in range.filter(|panel| !panels.is_ordinary(*panel)) {
                let columns = panel * COLUMNS..columns.end.min((panel + 1) * COLUMNS);
                self.multiply_values(self.rows.clone(), columns, scratch);
            }
            for (row, pick) in self.rows.clone().zip(&*picks) {
                if !packed.is_ordinary(*pick as usize) {
                    self.multiply_values(row..row + 1, columns.clone(), scratch);
                }
            }
        }
    }

    /// By values: any format, any number; at most [`PANEL`] columns.
    fn multiply_values(&self, rows: Range<usize>, columns: Range<usize>, scratch: &mut [f32]) {
        let k = self.product.a.rows.columns();
        let padded = k.next_multiple_of(LANES);
        let (w, rest) = scratch.split_at_mut(PANEL * padded);
        let (a, sums) = rest.split_at_mut(TILE * padded);

        let w = &mut w[..columns.len() * padded];
        self.product.weights.decode(self.group, columns.clone(), padded, w);
        w.chunks_mut(padded).for_each(|column| column[k..].fill(0.0));
        for first in rows.clone().step_by(TILE) {
            let tile = first..rows.end.min(first + TILE);
            let a = &mut a[..tile.len() * padded];
            for (row, a) in tile.clone().zip(a.chunks_mut(padded)) {
                let row = self.product.a.rows.row(self.product.gather.row(row));
                row.decode(&self.shared.kernels.rows, &mut a[..k]);
                a[k..].fill(0.0);
            }
            let sums = &mut sums[..tile.len() * columns.len()];
            (self.shared.kernels.products)(padded, a, w, sums);
            for (row, sums) in tile.zip(sums.chunks(columns.len())) {
                self.store(row, columns.clone(), sums);
            }
        }
    }

    /// Adds the bias and rounds, once.
    fn store(&self, row: usize, columns: Range<usize>, sums: &[f32]) {
        if self.product.bias.is_some() {
            return self.store_wide(row, columns, sums, |_, sum| sum);
        }
        self.cells(row, columns).round(&self.shared.kernels.rows, sums);
    }

    /// Applies the factors of NVFP4, adds the bias and rounds, once.
    fn store_with_factors(&self, row: usize, columns: Range<usize>, sums: &[f32], panels: &Panels<'_>) {
        let of_row = f64::from(self.product.a.rows.row(self.product.gather.row(row)).factor());
        self.store_wide(row, columns, sums, |column, sum| of_row * f64::from(panels.factor(column)) * sum);
    }

    fn store_wide(&self, row: usize, columns: Range<usize>, sums: &[f32], of: impl Fn(usize, f64) -> f64) {
        let bias = self.product.bias.as_ref().map(|bias| bias.row(self.group));
        let mut wide = [0.0; PANEL];
        for (column, (wide, sum)) in columns.clone().zip(wide.iter_mut().zip(sums)) {
            *wide = of(column, f64::from(*sum));
            if let Some(bias) = &bias {
                *wide += f64::from(bias.float(column));
            }
        }
        self.cells(row, columns).round_wide(&wide[..sums.len()]);
    }

    fn cells(&self, row: usize, columns: Range<usize>) -> RowMut<'_> {
        // SAFETY: chunks do not overlap and neither do spans, so these cells are this task's alone, which has them once
        // at a time.
        unsafe { self.y.cells(row, columns) }
    }
}

/// The workspace of [`Matmul`] and [`GroupedMatmul`](mxhal_core::op::GroupedMatmul).
pub(super) fn workspace_bytes(each: &Matmul, groups: usize, shared: &Shared) -> u64 {
    Scratch::<f32>::room(&shared.pool, scratch_values(each.k))
        .saturating_add(room::<Chunk>(Chunk::most(each.m, groups)))
        .saturating_add(scheme(each).room(shared, [each.m, each.k]))
}

fn scheme(each: &Matmul) -> activations::Scheme {
    activations::Scheme { input: each.input, activation: each.activation, weight: each.weight }
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
    let mut memory = scheme(each).take(shared, &mut workspace, [rows, each.k])?;
    let a = memory.fill(shared, a, &mut scratch);
    multiply(shared, &Product { a, gather: Gather::None, weights, bias }, chunks, &mut y, &mut scratch);
    Ok(())
}
