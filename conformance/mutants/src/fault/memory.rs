//! Faults about memory that is not a run's to write.

use mxhal_core::{Op, Result, Span};

use crate::device::Run;
use crate::memory::{read, write};

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
