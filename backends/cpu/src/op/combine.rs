//! Combine: weighted sums of rows, in order of slot.

use mxhal_core::op::Combine;
use mxhal_core::{Format, Result};

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::kernel::{RowKernels, WeightedRow};
use crate::pool::Scratch;
use crate::view::{Input, Output, Row, RowMut};
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Combine {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        Scratch::<f32>::room(&shared.pool, scratch_values(self.columns))
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        _weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let positions = tensors.input(1, "positions")?;
        let weights = tensors.optional_input(2, "weights")?;
        let sum = Sum {
            rows: tensors.input(0, "rows")?,
            top_k: self.top_k,
            position: |token: usize, slot: usize| positions.row(token).integer(slot),
            weight: |token: usize, slot: usize| weights.as_ref().map(|w| w.row(token).float(slot)),
            addend: tensors.optional_input(3, "addend")?,
        };
        let mut y = tensors.output(4, "y")?;
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_values(self.columns))?;
        combine(shared, &sum, &mut y, &mut scratch);
        Ok(())
    }
}

/// What is summed.
pub(super) struct Sum<'a, P, W> {
    pub(super) rows: Input<'a>,
    pub(super) top_k: usize,
    /// The row of a token's slot. One that is none of the rows is skipped.
    pub(super) position: P,
    /// The weight of a token's slot; none for 1.
    pub(super) weight: W,
    /// What is added last.
    pub(super) addend: Option<Input<'a>>,
}

impl<'a, P: Fn(usize, usize) -> i32, W> Sum<'a, P, W> {
    /// The row of a token's slot, if it has one.
    fn row(&self, token: usize, slot: usize) -> Option<Row<'a>> {
        let row = usize::try_from((self.position)(token, slot)).ok();
        Some(self.rows.row(row.filter(|row| *row < self.rows.rows())?))
    }
}

/// Tokens from one to the one whose rows are asked for while it is summed.
const AHEAD: usize = 2;

/// Rows of BF16 that are added at once, so that sums stay in registers.
const AT_ONCE: usize = 16;

/// The rows that are summed for a token, in their order.
struct Terms<'a, 's> {
    kernels: &'a RowKernels,
    sums: &'s mut [f32],
    /// Room for a decoded row.
    values: &'s mut [f32],
    /// Whether nothing was added to the sums yet, which are not even zero then.
    empty: bool,
    /// Rows of BF16 that are not added yet.
    waiting: [WeightedRow<'a>; AT_ONCE],
    count: usize,
}

impl<'a> Terms<'a, '_> {
    fn add(&mut self, row: Row<'a>, weight: f32) {
        if row.format() == Format::Bf16 {
            if self.count == AT_ONCE {
                self.flush();
            }
            self.waiting[self.count] = (row.data(), weight);
            self.count += 1;
        } else {
            self.flush();
            row.decode(self.kernels, self.values);
            (self.kernels.accumulate)(self.values, weight, self.sums);
        }
    }

    fn flush(&mut self) {
        if self.empty {
            self.sums.fill(0.0);
            self.empty = false;
        }
        (self.kernels.accumulate_bf16)(&self.waiting[..self.count], self.sums);
        self.count = 0;
    }

    /// Rounds the sums; some rows that come later are asked for meanwhile, if it is worth it.
    fn finish(mut self, soon: &[&[u8]], y: &mut RowMut<'_>) {
        if self.empty && y.format() == Format::Bf16 {
            return (self.kernels.sum_bf16)(&self.waiting[..self.count], soon, y.data_mut());
        }
        self.flush();
        y.round(self.kernels, self.sums);
    }
}

/// Float32 values of scratch that each thread needs for so many columns.
pub(super) fn scratch_values(columns: usize) -> usize {
    columns.saturating_mul(2)
}

/// Sums for each token of `y`, in float32 from +0 on, and rounds once.
pub(super) fn combine<P, W>(
    shared: &Shared,
    sum: &Sum<'_, P, W>,
    y: &mut Output<'_>,
    scratch: &mut Scratch<'_, f32>,
) where
    P: Fn(usize, usize) -> i32 + Sync,
    W: Fn(usize, usize) -> Option<f32> + Sync,
{
    let (tokens, columns) = (y.rows(), y.columns());
    let kernels = &shared.kernels.rows;
    shared.pool.rows(tokens, 2 * sum.top_k * columns, [y], scratch, |scratch, token, [mut y]| {
        let (sums, values) = scratch[..2 * columns].split_at_mut(columns);
        let waiting: [WeightedRow<'_>; AT_ONCE] = [(&[], 0.0); AT_ONCE];
        let mut terms = Terms { kernels, sums, values, empty: true, waiting, count: 0 };
        for slot in 0..sum.top_k {
            let Some(row) = sum.row(token, slot) else { continue };
            terms.add(row, (sum.weight)(token, slot).unwrap_or(1.0));
        }
        if let Some(addend) = &sum.addend {
            terms.add(addend.row(token), 1.0);
        }
        let (mut soon, mut count): ([&[u8]; AT_ONCE], usize) = ([&[]; AT_ONCE], 0);
        if token + AHEAD < tokens {
            let rows = (0..sum.top_k).filter_map(|slot| sum.row(token + AHEAD, slot));
            for (soon, row) in soon.iter_mut().zip(rows) {
                *soon = row.data();
                count += 1;
            }
        }
        terms.finish(&soon[..count], &mut y);
    });
}
