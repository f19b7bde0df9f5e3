//! GroupedMatmul: a product for each group, whose sizes are read when it runs.

use mxhal_core::op::GroupedMatmul;
use mxhal_core::{Error, Result};

use super::product::{self, Run};
use super::{Execute, Tensors};
use crate::device::Shared;
use crate::view::Input;
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for GroupedMatmul {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        product::workspace_bytes(&self.each, self.groups, shared)
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
            bias: tensors.optional_input(2, "bias")?,
            y: tensors.output(3, "y")?,
            weights: weights[0],
        };
        let counts = tensors.input(1, "counts")?;
        let rows = sum(&counts, run.a.rows())?;
        product::run(shared, &self.each, run, (rows, self.groups, counts.row(0).integers()), workspace)
    }
}

/// The rows of all groups together.
///
/// # Errors
///
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a negative count, and for more rows than
/// there are.
fn sum(counts: &Input<'_>, rows: usize) -> Result<usize> {
    let mut sum = 0_usize;
    for (group, count) in counts.row(0).integers().enumerate() {
        let count = usize::try_from(count).map_err(|_| {
            Error::invalid(format!("grouped-matmul: the count of group {group} is {count}; none is negative"))
        })?;
        sum = sum.saturating_add(count);
    }
    if sum > rows {
        return Err(Error::invalid(format!(
            "grouped-matmul: the counts of all groups sum to {sum}, and `a` has {rows} rows; counts are not cumulative"
        )));
    }
    Ok(sum)
}
