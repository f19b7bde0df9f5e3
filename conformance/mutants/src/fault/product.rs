//! Faults of matmul and grouped matmul.

use mxhal_core::{Layout, Op, Result, Span, Tensor};

use crate::device::Run;
use crate::memory::{read, row};

/// The loop over K ends one block early: the last 32 columns of the activations count as zeros.
pub(super) fn last_block_dropped(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(_) | Op::GroupedMatmul(_), Some(a)) = (run.op, run.tensor(0)) else { return run.go() };
    let format = a.layout().format();
    let last = format.row_bytes(32.min(a.layout().columns()));
    let mut data = Vec::new();
    for at in 0..a.layout().rows() {
        data.extend(read(row(a, at)));
        let end = data.len();
        data[end - last..].fill(0);
    }
    let mut shorter = Tensor::new(Layout::contiguous(format, a.layout().shape())?, Span::of(&data))?;
    if a.layout().scales_bytes() > 0 {
        shorter = shorter.with_scales(a.scales())?;
    }
    if a.layout().factors_bytes() > 0 {
        shorter = shorter.with_factors(a.factors())?;
    }
    run.go_with(0, shorter)
}
