//! Faults about memory that is not a run's to write.

use mxhal_core::op::Role;
use mxhal_core::{Result, Span};

use crate::device::Run;
use crate::memory::{read, write};

/// One element behind the first output changes, whatever it was.
pub(super) fn write_past_end(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let arguments = run.op.arguments();
    let output = arguments.iter().zip(run.tensors).find(|(argument, _)| argument.role == Role::Output);
    let Some((_, Some(y))) = output else { return Ok(()) };
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
