//! The faults, in one table.
//!
//! A fault is faithful: what a real backend could get wrong, in one place, and nothing besides. A new one is a row here
//! and a function in the file of its family; if it is wrong in a way that [`Wrong`] lacks, a variant there.

pub(crate) mod abi;
mod answer;
mod gates;
mod memory;
mod moe;
mod process;
mod product;
mod quantize;
mod repeated;

use mxhal_core::{HostBuffer, Op, Result, Support};

use crate::abi::{Opened, Opening};
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
    /// The answer to whether an operator is supported is another.
    Support(fn(&Op, Support) -> Support),
    /// Weights come back otherwise.
    Export(fn(&mut HostBuffer)),
    /// What an allocation answers is another.
    Allocation(fn(Result<u64>) -> Result<u64>),
    /// Something happens when the plugin is opened.
    Loading(fn()),
    /// The function that opens the plugin does something else.
    Open(fn(&Opening) -> i32),
    /// The table that it gives has other functions in it.
    Table(fn(&mut Opened<'_>)),
    /// Something happens before a device is opened.
    Opening(fn()),
    /// Something happens when everything is let go of.
    Shutdown(fn()),
}

impl Fault {
    /// The fault with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FAULTS.iter().find(|fault| fault.name == name)
    }
}

/// Every fault; the README beside this crate names the suite that each is caught by.
pub(crate) static FAULTS: [Fault; 91] = [
    // Nothing: the twin that must pass.
    Fault { name: "none", wrong: Wrong::Nothing },
    // Quantize to MXFP4 packs the even index into the high nibble.
    Fault { name: "nibbles-swapped", wrong: Wrong::Run(quantize::nibbles_swapped) },
    // Quantize to MXFP4 rounds ties away from zero.
    Fault { name: "ties-away", wrong: Wrong::Run(quantize::ties_away) },
    // Quantize chooses scales by `floor` where `ceil` was asked for.
    Fault { name: "floor-for-ceil", wrong: Wrong::Operator(quantize::floor_for_ceil) },
    // Quantize chooses scales by `floor` where `even` was asked for.
    Fault { name: "floor-for-even", wrong: Wrong::Operator(quantize::floor_for_even) },
    // Quantize to MXFP4 gives each scale byte plus one.
    Fault { name: "scale-off-by-one", wrong: Wrong::Run(quantize::scale_off_by_one) },
    // Quantize to MXFP8 makes NaN of what is too large.
    Fault { name: "saturation-dropped", wrong: Wrong::Run(quantize::saturation_dropped) },
    // Quantize does not know the floor on the largest magnitude.
    Fault { name: "amax-floor-ignored", wrong: Wrong::Operator(quantize::amax_floor_ignored) },
    // Quantize to MXFP4 drops the sign of zero.
    Fault { name: "negative-zero-lost", wrong: Wrong::Run(quantize::negative_zero_lost) },
    // Quantize to MXFP4 gives a block with a NaN in it an ordinary scale.
    Fault { name: "nan-block-finite", wrong: Wrong::Run(quantize::nan_block_finite) },
    // Dequantize reads a NaN scale as 1.
    Fault { name: "nan-scale-ignored", wrong: Wrong::Run(quantize::nan_scale_ignored) },
    // Dequantize from MXFP4 reads scale byte 0 as zero.
    Fault { name: "least-scale-zero", wrong: Wrong::Run(quantize::least_scale_zero) },
    // Dequantize takes scales of 128 columns for scales of 32.
    Fault { name: "g128-as-g32", wrong: Wrong::Run(quantize::g128_as_g32) },
    // Dequantize from NVFP4 forgets the float32 factor.
    Fault { name: "nvfp4-factor-dropped", wrong: Wrong::Run(quantize::nvfp4_factor_dropped) },
    // Dequantize from MXFP8 drops the sign.
    Fault { name: "e4m3-sign-lost", wrong: Wrong::Run(quantize::e4m3_sign_lost) },
    // Matmul and grouped matmul take the last 32 columns of K as zeros.
    Fault { name: "last-block-dropped", wrong: Wrong::Run(product::last_block_dropped) },
    // Matmul adds the sums of blocks in half precision.
    Fault { name: "half-precision-sum", wrong: Wrong::Run(product::half_precision_sum) },
    // Matmul to BF16 cuts float32 off.
    Fault { name: "truncated", wrong: Wrong::Run(product::truncated) },
    // Matmul to BF16 rounds to F16 before.
    Fault { name: "rounded-twice", wrong: Wrong::Run(product::rounded_twice) },
    // Matmul gives the largest number for a sum that is too large.
    Fault { name: "infinity-clamped", wrong: Wrong::Run(product::infinity_clamped) },
    // Matmul and grouped matmul add the bias in two places.
    Fault { name: "bias-twice", wrong: Wrong::Run(product::bias_twice) },
    // Grouped matmul gives every group the bias of the first.
    Fault { name: "bias-of-first-group", wrong: Wrong::Run(product::bias_of_first_group) },
    // Grouped matmul takes the weights of the group after.
    Fault { name: "weights-of-next-group", wrong: Wrong::Run(product::weights_of_next_group) },
    // Grouped matmul takes counts for cumulative ends.
    Fault { name: "counts-cumulative", wrong: Wrong::Run(moe::counts_cumulative) },
    // SwiGLU does not clamp gate and up.
    Fault { name: "clamp-missing", wrong: Wrong::Operator(gates::clamp_missing) },
    // SwiGLU with a limit takes a NaN for the limit.
    Fault { name: "nan-clamped-away", wrong: Wrong::Run(gates::nan_clamped_away) },
    // SwiGLU in gpt-oss's form has the gate of SiLU.
    Fault { name: "alpha-ignored", wrong: Wrong::Operator(gates::alpha_ignored) },
    // SwiGLU takes alternating gate and up for halves.
    Fault { name: "interleaving-ignored", wrong: Wrong::Operator(gates::interleaving_ignored) },
    // The fused layer applies the routing weight after down instead of before, and before instead of after.
    Fault { name: "weight-on-the-other-side", wrong: Wrong::Operator(gates::weight_on_the_other_side) },
    // The fused layer clamps the shared expert where it should not.
    Fault { name: "shared-expert-clamped", wrong: Wrong::Operator(gates::shared_expert_clamped) },
    // Route gives each expert's id plus one.
    Fault { name: "expert-off-by-one", wrong: Wrong::Run(moe::expert_off_by_one) },
    // Route takes the higher id first on a tie.
    Fault { name: "higher-id-first", wrong: Wrong::Run(moe::higher_id_first) },
    // Route does not know the bias.
    Fault { name: "router-bias-ignored", wrong: Wrong::Run(moe::router_bias_ignored) },
    // Route does not renormalise weights.
    Fault { name: "renormalize-dropped", wrong: Wrong::Operator(moe::renormalize_dropped) },
    // Route does not apply the routing scale.
    Fault { name: "routing-scale-dropped", wrong: Wrong::Operator(moe::routing_scale_dropped) },
    // Permute takes the id -1 for the first expert's.
    Fault { name: "nobody-is-first", wrong: Wrong::Run(moe::nobody_is_first) },
    // Permute does not look at the expert map.
    Fault { name: "expert-map-ignored", wrong: Wrong::Run(moe::expert_map_ignored) },
    // Permute does not keep the order of tokens within an expert.
    Fault { name: "unstable-order", wrong: Wrong::Run(moe::unstable_order) },
    // Combine sums slots backwards, and declares the order of slots.
    Fault { name: "last-slot-first", wrong: Wrong::Run(moe::last_slot_first) },
    // Combine sums without weights.
    Fault { name: "combine-weights-ignored", wrong: Wrong::Run(moe::combine_weights_ignored) },
    // Combine does not add the shared expert's output.
    Fault { name: "addend-dropped", wrong: Wrong::Run(moe::addend_dropped) },
    // Matmul writes one element behind its output.
    Fault { name: "write-past-end", wrong: Wrong::Run(memory::write_past_end) },
    // Grouped matmul clears rows beyond the last group.
    Fault { name: "rows-of-nobody-written", wrong: Wrong::Run(product::rows_of_nobody_written) },
    // SwiGLU leaves something in its input.
    Fault { name: "input-written", wrong: Wrong::Run(memory::input_written) },
    // Combine writes rows as far as to the next one.
    Fault { name: "gap-written", wrong: Wrong::Run(memory::gap_written) },
    // Matmul uses one byte more of workspace than it asked for.
    Fault { name: "workspace-overrun", wrong: Wrong::Run(memory::workspace_overrun) },
    // SwiGLU leaves the last element of its output.
    Fault { name: "last-element-unwritten", wrong: Wrong::Run(memory::last_element_unwritten) },
    // Matmul wants twice the alignment that the device states.
    Fault { name: "alignment-assumed", wrong: Wrong::Run(memory::alignment_assumed) },
    // A run without rows is refused.
    Fault { name: "no-rows-refused", wrong: Wrong::Run(memory::no_rows_refused) },
    // Want of memory is an internal error.
    Fault { name: "out-of-memory-unnamed", wrong: Wrong::Allocation(answer::out_of_memory_unnamed) },
    // MXFP4 weights are exported without the signs of their zeros.
    Fault { name: "export-without-signs", wrong: Wrong::Export(answer::export_without_signs) },
    // Says no to combine in F16, and plans it.
    Fault { name: "denies-what-it-can", wrong: Wrong::Support(answer::denies_what_it_can) },
    // Says no to permute in F16 without a word why.
    Fault { name: "denies-in-silence", wrong: Wrong::Support(answer::denies_in_silence) },
    // Says yes and no to dequantize by turns.
    Fault { name: "wavers", wrong: Wrong::Support(answer::wavers) },
    // Declares the order of slots of operators without slots.
    Fault { name: "declares-too-much", wrong: Wrong::Support(answer::declares_too_much) },
    // Matmul sums large batches in another order, and declares the same bits in any batch.
    Fault { name: "order-of-large-batches", wrong: Wrong::Run(repeated::order_of_large_batches) },
    // Matmul sums in the order of arrival, and declares the same bits from run to run.
    Fault { name: "order-of-arrival", wrong: Wrong::Run(repeated::order_of_arrival) },
    // Runs at once share scratch memory, and the same bits on any streams are declared.
    Fault { name: "race", wrong: Wrong::Run(repeated::race) },
    // A plan takes what lay at an address in its last run for what lies there now.
    Fault { name: "stale-input", wrong: Wrong::Run(repeated::stale_input) },
    // A plan keeps the weights of its first run.
    Fault { name: "stale-weights", wrong: Wrong::Run(repeated::stale_weights) },
    // Dequantize to F16 panics.
    Fault { name: "panic-in-run", wrong: Wrong::Run(process::panic_in_run) },
    // Opening a device writes to standard output.
    Fault { name: "talks", wrong: Wrong::Opening(process::talk) },
    // The process crashes at shutdown.
    Fault { name: "abort-at-shutdown", wrong: Wrong::Shutdown(process::crash) },
    // The shutdown never returns.
    Fault { name: "hang-at-shutdown", wrong: Wrong::Shutdown(process::hang) },
    // Dequantize to F16 ends the process by a signal.
    Fault { name: "abort-in-run", wrong: Wrong::Run(process::abort_in_run) },
    // Dequantize to F16 ends the process.
    Fault { name: "exit-in-run", wrong: Wrong::Run(process::exit_in_run) },
    // Dequantize to F16 never returns.
    Fault { name: "hang-in-run", wrong: Wrong::Run(process::hang_in_run) },
    // A run of anything allocates device memory and keeps it.
    Fault { name: "leaks-a-buffer", wrong: Wrong::Run(memory::leaks_a_buffer) },
    // A run allocates scratch memory, and frees it.
    Fault { name: "allocates-in-run", wrong: Wrong::Run(memory::allocates_in_run) },
    // What was allocated for a plan stays when it is destroyed.
    Fault { name: "leaks-plans", wrong: Wrong::Operator(memory::leaks_plans) },
    // The table is written whole, however short the host's is.
    Fault { name: "table-written-whole", wrong: Wrong::Open(abi::table_written_whole) },
    // The table says that it is as long as the host's.
    Fault { name: "table-size-of-the-host", wrong: Wrong::Open(abi::table_size_of_the_host) },
    // A host whose struct is longer is refused.
    Fault { name: "host-size-equal", wrong: Wrong::Open(abi::host_size_equal) },
    // A host of a later minor version is refused.
    Fault { name: "newer-minor-refused", wrong: Wrong::Open(abi::newer_minor_refused) },
    // The host's struct is read whole, however short it is.
    Fault { name: "host-read-whole", wrong: Wrong::Open(abi::host_read_whole) },
    // What was shut down does not open again.
    Fault { name: "opens-once", wrong: Wrong::Open(abi::opens_once) },
    // An operator whose struct is longer is refused.
    Fault { name: "operator-size-equal", wrong: Wrong::Table(abi::operator_size_equal) },
    // Dequantize takes an unknown output format for F32.
    Fault { name: "enum-guessed", wrong: Wrong::Table(abi::enum_guessed) },
    // An unknown operator is refused without its number.
    Fault { name: "unknown-kind-unnamed", wrong: Wrong::Table(abi::unknown_kind_unnamed) },
    // Route takes no more experts than there are, however many are asked for.
    Fault { name: "top-k-cut", wrong: Wrong::Table(abi::top_k_cut) },
    // A run does not look at tensors that its operator does not have.
    Fault { name: "excluded-tensor-ignored", wrong: Wrong::Table(abi::excluded_tensor_ignored) },
    // A device that does not exist is refused without a message.
    Fault { name: "error-without-message", wrong: Wrong::Table(abi::error_without_message) },
    // A message is written into an error that has no room for one.
    Fault { name: "error-overrun", wrong: Wrong::Table(abi::error_overrun) },
    // The device's description is written whole, however short the host's is.
    Fault { name: "result-overrun", wrong: Wrong::Table(abi::result_overrun) },
    // Any index opens the first device.
    Fault { name: "index-ignored", wrong: Wrong::Table(abi::index_ignored) },
    // Recording no event in no stream is a success.
    Fault { name: "null-accepted", wrong: Wrong::Table(abi::null_accepted) },
    // An extension of any name is there.
    Fault { name: "every-extension", wrong: Wrong::Table(abi::every_extension) },
    // A panic, as an exception would, leaves a function of the table.
    Fault { name: "unwinds", wrong: Wrong::Table(abi::unwinds) },
    // Opening the plugin ends the process by a signal.
    Fault { name: "crash-in-open", wrong: Wrong::Loading(process::crash) },
    // Opening the plugin never returns.
    Fault { name: "hang-in-open", wrong: Wrong::Loading(process::hang) },
    // A thread runs on after the shutdown.
    Fault { name: "thread-after-shutdown", wrong: Wrong::Shutdown(process::leave_a_thread) },
];
