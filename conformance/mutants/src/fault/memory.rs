//! Faults about memory that is not a run's to write.

use mxhal_core::{Error, Op, Result, Span};

use crate::device::Run;
use crate::memory::{read, row, write};

/// One element behind the product changes, whatever it was.
pub(super) fn write_past_end(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Matmul(_), Some(y)) = (run.op, run.tensor(2)) else { return Ok(()) };
    let (layout, data) = (y.layout(), y.data());
    if layout.elements() > 0 {
        let behind = Span {
            address: data.address + layout.data_bytes() as u64,
            bytes: layout.format().bits().div_ceil(8) as u64,
        };
        let changed: Vec<u8> = read(behind).iter().map(|byte| !byte).collect();
        write(behind.address, &changed);
    }
    Ok(())
}

/// Something is left in the input.
pub(super) fn input_written(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::SwiGlu(_), Some(x)) = (run.op, run.tensor(0)) else { return Ok(()) };
    if x.layout().elements() > 0 {
        let first = Span { bytes: 1, ..x.data() };
        let changed: Vec<u8> = read(first).iter().map(|byte| !byte).collect();
        write(first.address, &changed);
    }
    Ok(())
}

/// Rows are written as far as to the next one.
pub(super) fn gap_written(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Combine(_), Some(y)) = (run.op, run.named("y")) else { return Ok(()) };
    let (layout, bytes) = (y.layout(), y.layout().format().bits() / 8);
    let gap = (layout.row_stride() - layout.columns()) * bytes;
    for at in 1..layout.rows() {
        let end = row(y, at - 1);
        write(end.address + end.bytes, &vec![0; gap]);
    }
    Ok(())
}

/// One byte more of workspace is used than was asked for.
pub(super) fn workspace_overrun(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Span { address, bytes } = run.workspace;
    if bytes > 0 && matches!(run.op, Op::Matmul(_)) {
        let behind = Span { address: address + bytes, bytes: 1 };
        let changed: Vec<u8> = read(behind).iter().map(|byte| !byte).collect();
        write(behind.address, &changed);
    }
    Ok(())
}

/// The last element of the output is left as it was.
pub(super) fn last_element_unwritten(run: &Run<'_>) -> Result<()> {
    let (Op::SwiGlu(_), Some(y)) = (run.op, run.named("y")) else { return run.go() };
    if y.layout().elements() == 0 {
        return run.go();
    }
    let last = row(y, y.layout().rows() - 1);
    let bytes = y.layout().format().bits().div_ceil(8) as u64;
    let last = Span { address: last.address + last.bytes - bytes, bytes };
    let before = read(last);
    run.go()?;
    write(last.address, &before);
    Ok(())
}

/// Inputs are taken to lie at twice the alignment that the device says.
pub(super) fn alignment_assumed(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(_), Some(a)) = (run.op, run.tensor(0)) else { return run.go() };
    let wanted = 2 * run.device.info()?.alignment;
    if a.data().address.is_multiple_of(wanted) {
        return run.go();
    }
    Err(Error::invalid(format!("a lies at {:#x}, and {wanted} is its alignment", a.data().address)))
}

/// Device memory is allocated in a run and never freed.
pub(super) fn leaks_a_buffer(run: &Run<'_>) -> Result<()> {
    run.device.allocate(4 << 10)?;
    run.go()
}

/// Device memory is allocated in a run, and freed after it.
pub(super) fn allocates_in_run(run: &Run<'_>) -> Result<()> {
    let scratch = run.device.allocate(1 << 20)?;
    run.go()?;
    run.device.free(scratch)
}

/// Something is kept for each plan that was ever made.
pub(super) fn leaks_plans(op: Op) -> Op {
    std::hint::black_box(Vec::leak(vec![0_u8; 2 << 10]));
    op
}

/// A run without rows is taken for a mistake.
pub(super) fn no_rows_refused(run: &Run<'_>) -> Result<()> {
    match run.tensor(0) {
        Some(first) if first.layout().rows() == 0 => Err(Error::invalid("there are no rows")),
        _ => run.go(),
    }
}
