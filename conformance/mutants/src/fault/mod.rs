//! The faults, in one table.
//!
//! A fault is faithful: what a real backend could get wrong, in one place, and nothing besides. A new one is a row here
//! and a function in the file of its family; if it is wrong in a way that [`Wrong`] lacks, a variant there.

mod memory;
mod moe;
mod process;
mod product;
mod quantize;

use mxhal_core::{Op, Result};

use crate::device::Run;

/// A way to be wrong.
pub(crate) struct Fault {
    /// The value of the option `fault`.
    pub(crate) name: &'static str,
    /// What is wrong.
    pub(crate) wrong: Wrong,
}

/// Where it goes wrong.
#[derive(Clone, Copy)]
pub(crate) enum Wrong {
    /// Nowhere: the twin that must pass.
    Nothing,
    /// Another operator than the one asked for is planned.
    Operator(fn(Op) -> Op),
    /// Something happens before a run, after it, or instead of it.
    Run(fn(&Run<'_>) -> Result<()>),
}

/// Every fault; the README beside this crate names the suite that each is caught by.
pub(crate) static FAULTS: [Fault; 11] = [
    // Nothing: the twin that must pass.
    Fault { name: "none", wrong: Wrong::Nothing },
    // Quantize to MXFP4 packs the even index into the high nibble.
    Fault { name: "nibbles-swapped", wrong: Wrong::Run(quantize::nibbles_swapped) },
    // Quantize to MXFP4 rounds ties away from zero.
    Fault { name: "ties-away", wrong: Wrong::Run(quantize::ties_away) },
    // Quantize chooses scales by `floor` where `ceil` was asked for.
    Fault { name: "floor-for-ceil", wrong: Wrong::Operator(quantize::floor_for_ceil) },
    // Dequantize reads a NaN scale as 1.
    Fault { name: "nan-scale-ignored", wrong: Wrong::Run(quantize::nan_scale_ignored) },
    // Matmul and grouped matmul take the last 32 columns of K as zeros.
    Fault { name: "last-block-dropped", wrong: Wrong::Run(product::last_block_dropped) },
    // Matmul writes one element behind its output.
    Fault { name: "write-past-end", wrong: Wrong::Run(memory::write_past_end) },
    // Route gives each expert's id plus one.
    Fault { name: "expert-off-by-one", wrong: Wrong::Run(moe::expert_off_by_one) },
    // Grouped matmul takes counts for cumulative ends.
    Fault { name: "counts-cumulative", wrong: Wrong::Run(moe::counts_cumulative) },
    // Dequantize to F16 ends the process.
    Fault { name: "exit-in-run", wrong: Wrong::Run(process::exit_in_run) },
    // Dequantize to F16 never returns.
    Fault { name: "hang-in-run", wrong: Wrong::Run(process::hang_in_run) },
];
