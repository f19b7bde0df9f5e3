//! Matmul: a grouped product with one group.

use std::iter;

use mxhal_core::Result;
use mxhal_core::op::Matmul;

use super::product::{self, Run};
use super::{Execute, Tensors};
use crate::device::Shared;
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Matmul {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        product::workspace_bytes(self, 1, shared)
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        weights: &[&CpuWeights],
        workspace: Workspace<'_>,
    ) -> Result<()> {
        let run = Run {
            a: tensors.input(0, "a")?,
            bias: tensors.optional_input(1, "bias")?,
            y: tensors.output(2, "y")?,
            weights: weights[0],
        };
        let rows = run.a.rows();
        product::run(shared, self, run, (rows, 1, iter::once(rows as i32)), workspace)
    }
}
