//! Faults about which row belongs to which expert.

use mxhal_core::{Op, Result, Span, Tensor};

use crate::device::Run;
use crate::memory::{read, row, write};

/// Ids are one more than they should be, and the last expert's is 0.
pub(super) fn expert_off_by_one(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Route(route), Some(ids)) = (run.op, run.tensor(3)) else { return Ok(()) };
    for token in 0..ids.layout().rows() {
        let span = row(ids, token);
        let next = integers(&read(span)).into_iter().map(|id| (id + 1).rem_euclid(route.experts as i32));
        write(span.address, &bytes(next));
    }
    Ok(())
}

/// The count of each group is taken for the row at which it ends, so that a group has what is beyond those before it.
pub(super) fn counts_cumulative(run: &Run<'_>) -> Result<()> {
    let (Op::GroupedMatmul(_), Some(counts)) = (run.op, run.tensor(1)) else { return run.go() };
    let mut end = 0;
    let misread = integers(&read(Span { bytes: counts.layout().data_bytes() as u64, ..counts.data() }))
        .into_iter()
        .map(|count| {
            let rows = (count - end).max(0);
            end += rows;
            rows
        });
    let misread = bytes(misread);
    run.go_with(1, Tensor::new(*counts.layout(), Span::of(&misread))?)
}

fn integers(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect()
}

fn bytes(integers: impl Iterator<Item = i32>) -> Vec<u8> {
    integers.flat_map(i32::to_ne_bytes).collect()
}
