//! Quantize: the core's row codec, row by row.

use mxhal_core::Result;
use mxhal_core::op::Quantize;

use super::{Execute, Tensors, ensure_factor_per_row};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Quantize {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        Scratch::<f32>::room(&shared.pool, self.k)
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
        let (k, to) = (self.k, &self.to);
        shared.pool.rows(y.rows(), 8 * k, [&mut y], &mut scratch, |values, row, [mut y]| {
            let row = x.row(row);
            y.store(&shared.kernels.rows, row.values(&shared.kernels.rows, &mut values[..k]), to);
        });
        Ok(())
    }
}
