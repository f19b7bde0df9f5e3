//! Dequantize: the core's row codec, row by row, and one rounding.

use mxhal_core::Result;
use mxhal_core::op::Dequantize;

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Dequantize {
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
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, self.k)?;
        shared.pool.rows(x.rows(), 2 * self.k, [&mut y], &mut scratch, |values, row, [mut y]| {
            // Float32 holds every value exactly but those beyond its range, which are infinite in each output, and
            // those of NVFP4, which are defined through it. So this is the one rounding.
            y.convert(&shared.kernels.rows, &x.row(row), &mut values[..self.k]);
        });
        Ok(())
    }
}
