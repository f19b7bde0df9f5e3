//! Dequantize: the core's row codec, row by row, and one rounding.

use mxhal_core::Result;
use mxhal_core::op::Dequantize;

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::pool::{Pool, Scratch};
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Dequantize {
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
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, self.k)?;
        shared.pool.rows(x.rows(), 2 * self.k, [&mut y], &mut scratch, |values, row, [mut y]| {
            // Values that float32 cannot hold exactly lie beyond the ends of its range, where BF16 and F16 agree
            // with it: infinite, or rounded below the least of them. NVFP4 is defined through float32.
            x.row(row).decode(&mut values[..self.k]);
            y.round(&values[..self.k]);
        });
        Ok(())
    }
}
