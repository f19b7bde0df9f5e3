//! Faults of what is said rather than computed: whether an operator is supported, what weights hold, why there is no memory.

use std::sync::atomic::{AtomicBool, Ordering};

use mxhal_core::format::e2m1;
use mxhal_core::op::{Combine, Permute};
use mxhal_core::{Error, Format, HostBuffer, Op, Reason, Result, Status, Support};

/// Says no to what it can do, and plans it all the same.
pub(super) fn denies_what_it_can(op: &Op, truth: Support) -> Support {
    match op {
        Op::Combine(Combine { output: Format::F16, .. }) => {
            Support::no(Reason::Format, "sums in f16 are not offered")
        }
        _ => truth,
    }
}

/// Says no without a word why.
pub(super) fn denies_in_silence(op: &Op, truth: Support) -> Support {
    match op {
        Op::Permute(Permute { format: Format::F16, .. }) => Support::no(Reason::Format, ""),
        _ => truth,
    }
}

/// Says another thing each time.
pub(super) fn wavers(op: &Op, truth: Support) -> Support {
    static AGAIN: AtomicBool = AtomicBool::new(false);
    match op {
        Op::Dequantize(_) if AGAIN.fetch_xor(true, Ordering::Relaxed) => {
            Support::no(Reason::Other, "not at the moment")
        }
        _ => truth,
    }
}

/// Declares that slots are summed in order, of what sums none.
pub(super) fn declares_too_much(_op: &Op, truth: Support) -> Support {
    match truth {
        Support::Yes(properties) => Support::Yes(mxhal_core::Properties { slot_order: true, ..properties }),
        no @ Support::No(_) => no,
    }
}

/// Weights in MXFP4 come back without the signs of their zeros.
pub(super) fn export_without_signs(weights: &mut HostBuffer) {
    if weights.layout.format() == Format::Mxfp4 {
        let unsigned = |code: u8| if code == 8 { 0 } else { code };
        for byte in &mut weights.data {
            let (low, high) = e2m1::unpack(*byte);
            *byte = e2m1::pack(unsigned(low), unsigned(high));
        }
    }
}

/// Want of memory is called an internal error.
pub(super) fn out_of_memory_unnamed(allocated: Result<u64>) -> Result<u64> {
    allocated.map_err(|error| match error.status() {
        Status::OutOfMemory => Error::internal("allocation failed"),
        _ => error,
    })
}
