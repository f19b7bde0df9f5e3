//! Quantize: the core's row codec, row by row.

use mxhal_core::op::Quantize;
use mxhal_core::{Quantization, Result};

use super::{Execute, Tensors, ensure_factor_per_row};
use crate::device::Shared;
use crate::pool::{Pool, Scratch};
use crate::view::{Input, Output};
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Quantize {
    fn workspace_bytes(&self, pool: &Pool) -> u64 {
        Scratch::<f32>::room(pool, self.k)
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        _weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let x = tensors.input(0, "x")?;
        let mut y = tensors.output(1, "y")?;
        ensure_factor_per_row("y", &y, self.to.format)?;
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, self.k)?;
        rows(&shared.pool, &x, &self.to, &mut y, &mut scratch);
        Ok(())
    }
}

/// Quantizes as many rows as `y` has; the scratch has room for one row's values.
pub(super) fn rows(
    pool: &Pool,
    x: &Input<'_>,
    to: &Quantization,
    y: &mut Output<'_>,
    scratch: &mut Scratch<'_, f32>,
) {
    let (rows, k) = (y.rows(), y.columns());
    pool.rows(rows, 8 * k, [y], scratch, |values, row, [mut y]| {
        x.row(row).decode(&mut values[..k]);
        y.store(&values[..k], to);
    });
}
