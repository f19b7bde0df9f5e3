//! The operators, and what their plans share.

mod combine;
mod dequantize;
mod grouped_matmul;
mod matmul;
mod moe_ffn;
mod permute;
mod product;
mod quantize;
mod route;
#[cfg(test)]
mod suite;
mod swiglu;

use std::sync::Arc;

use mxhal_core::op::{Argument, MAX_ARGUMENTS, MAX_WEIGHTS, Signature};
use mxhal_core::{
    Error, Format, Layout, Op, Plan, PlanInfo, Reason, Refusal, Result, Span, Stream, Support, Tensor,
    Weights,
};

use crate::device::Shared;
use crate::memory::ALIGNMENT;
use crate::session::Session;
use crate::stream::CudaStream;
use crate::support::{self, Offer, refuse};
use crate::weights::{CudaWeights, Operands};

/// An operator that there are kernels for.
pub(crate) trait Execute: Send + Sync + 'static {
    /// Whether launches can hold it.
    fn check(&self, offer: &Offer) -> Result<(), Refusal>;

    /// Whether a row gives the same bits in whatever batch.
    fn is_batch_invariant(&self, _offer: &Offer) -> bool {
        true
    }

    /// Enqueues it, for any number of rows; kernels with nothing to do are not launched.
    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()>;
}

/// The operator, if there is a file for it here.
pub(crate) fn executable(op: &Op) -> Result<Box<dyn Execute>, Refusal> {
    Ok(match *op {
        Op::Quantize(op) => Box::new(op),
        Op::Dequantize(op) => Box::new(op),
        Op::Matmul(op) => Box::new(op),
        Op::GroupedMatmul(op) => Box::new(op),
        Op::SwiGlu(op) => Box::new(op),
        Op::Route(op) => Box::new(op),
        Op::Permute(op) => Box::new(op),
        Op::Combine(op) => Box::new(op),
        Op::MoeFfn(op) => Box::new(op),
        _ => {
            return refuse(Reason::Operator, format!("{} is not written for the CUDA backend", op.kind()));
        }
    })
}

/// Makes a plan.
///
/// # Errors
///
/// Those of [`Device::prepare`](mxhal_core::Device::prepare).
pub(crate) fn prepare(shared: &Arc<Shared>, op: &Op) -> Result<Box<dyn Plan>> {
    if let Support::No(refusal) = support::supports(&shared.offer, op)? {
        return Err(refusal.to_error());
    }
    let execute = executable(op).map_err(|refusal| refusal.to_error())?;
    let signature = op.signature();
    let strides = if shared.options.refuses_strided_rows { Strides::Dense } else { Strides::Any };
    let (mut workspace_bytes, mut kernel) = (0, String::new());
    for rows in rows_to_measure(op.max_rows()) {
        let (bytes, kernels) = measure(&shared.offer, &*execute, &signature, rows, strides)?;
        workspace_bytes = bytes.max(workspace_bytes);
        kernel = kernels.join(" + ");
    }
    let info = PlanInfo { workspace_bytes, kernel };
    Ok(Box::new(CudaPlan { shared: Arc::clone(shared), info, signature, execute }))
}

/// The workspace and the kernels of a run with so many rows.
fn measure(
    offer: &Offer,
    execute: &dyn Execute,
    signature: &Signature,
    rows: usize,
    strides: Strides,
) -> Result<(u64, Vec<&'static str>)> {
    let mut session = Session::measure(offer.target);
    let operands = operands_of(signature, rows, strides)?;
    let weights: Vec<_> =
        signature.weights().iter().map(|desc| Some(Operands::unknown(offer.target, desc))).collect();
    let run = Run { rows, operands: &operands, weights: &weights };
    execute.enqueue(&mut session, &run).map_err(|error| error.within("measuring the workspace"))?;
    session.finish()?;
    Ok(session.into_measured())
}

/// The powers of two and the most rows: other kernels, which want other scratch, may be chosen for fewer rows.
fn rows_to_measure(most: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1_usize), |rows| rows.checked_mul(2));
    powers.take_while(move |rows| *rows < most).chain([most])
}

/// Whether rows of plain tensors may lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strides {
    Dense,
    Any,
}

/// A tensor of a run; while measuring, one of the right shape at address 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) data: u64,
    pub(crate) scales: u64,
    pub(crate) factors: u64,
    pub(crate) factor_per_row: bool,
    pub(crate) rows: usize,
    /// Whether rows lie apart.
    pub(crate) has_gaps: bool,
    layout: Layout,
}

impl Operand {
    fn of(tensor: &Tensor) -> Self {
        Self {
            data: tensor.data().address,
            scales: tensor.scales().address,
            factors: tensor.factors().address,
            factor_per_row: tensor.has_factor_per_row(),
            ..Self::unknown(*tensor.layout(), !tensor.layout().is_contiguous())
        }
    }

    fn unknown(layout: Layout, has_gaps: bool) -> Self {
        let factor_per_row = layout.format() == Format::Nvfp4;
        Self { data: 0, scales: 0, factors: 0, factor_per_row, rows: layout.rows(), has_gaps, layout }
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> u64 {
        self.layout.format().row_bytes(self.layout.columns()) as u64
    }

    /// Bytes from one row to the next.
    pub(crate) fn stride_bytes(&self) -> u64 {
        self.layout.format().row_bytes(self.layout.row_stride()) as u64
    }

    /// Refuses an NVFP4 output that has one factor for all rows: quantizing gives each row its own.
    fn ensure_factor_per_row(&self, name: &str) -> Result<()> {
        if self.layout.format() == Format::Nvfp4 && !self.factor_per_row {
            return Err(Error::invalid(format!(
                "tensor `{name}` has one factor for {} rows, and each gets its own",
                self.rows
            )));
        }
        Ok(())
    }
}

/// What an operator is run with.
pub(crate) struct Run<'a> {
    /// Rows (tokens).
    pub(crate) rows: usize,
    operands: &'a [Option<Operand>],
    weights: &'a [Option<Operands>],
}

impl Run<'_> {
    /// The tensor at this place of the operator's table.
    fn operand(&self, place: usize) -> Result<&Operand> {
        self.optional(place).ok_or_else(|| {
            Error::internal(format!("tensor {place} is missing: the tensors of the run were not checked"))
        })
    }

    fn optional(&self, place: usize) -> Option<&Operand> {
        self.operands.get(place).and_then(Option::as_ref)
    }

    /// Where a tensor that may be absent lies, without gaps; 0 where it is absent.
    fn input_or_none(&self, session: &mut Session<'_>, place: usize) -> Result<u64> {
        self.optional(place).map_or(Ok(0), |operand| session.input(operand))
    }

    /// The weights at this place.
    fn weights(&self, place: usize) -> Result<&Operands> {
        let weights = self.weights.get(place).and_then(Option::as_ref);
        weights.ok_or_else(|| Error::internal(format!("weights {place} are missing")))
    }
}

/// Tensors of unknown address; plain ones of several dimensions may have gaps.
fn operands_of(signature: &Signature, rows: usize, strides: Strides) -> Result<Vec<Option<Operand>>> {
    let one = |argument: &Argument| {
        let layout = argument.layout(rows)?;
        let may_have_gaps = !argument.format.is_block_scaled() && layout.shape().len() > 1;
        let has_gaps = strides == Strides::Any && may_have_gaps;
        Ok(argument.present.then(|| Operand::unknown(layout, has_gaps)))
    };
    signature.arguments().iter().map(one).collect()
}

/// A number that `check` found to be small enough for kernels.
fn small(extent: usize) -> Result<u32> {
    u32::try_from(extent).map_err(|_| Error::invalid(format!("{extent} is more than kernels count")))
}

/// An operator made ready.
struct CudaPlan {
    shared: Arc<Shared>,
    info: PlanInfo,
    signature: Signature,
    execute: Box<dyn Execute>,
}

impl Plan for CudaPlan {
    fn info(&self) -> &PlanInfo {
        &self.info
    }

    fn run(
        &self,
        stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        weights: &[&dyn Weights],
        workspace: Span,
    ) -> Result<()> {
        let stream = CudaStream::of(stream, &self.shared)?;
        let rows = self.signature.check(tensors)?;
        self.signature.check_weights(weights.iter().map(|weights| weights.desc()))?;
        let mut held = [None; MAX_WEIGHTS];
        for (place, weights) in held.iter_mut().zip(weights) {
            *place = Some(CudaWeights::operands(*weights, &self.shared)?);
        }
        self.check_workspace(&workspace)?;
        let mut operands = [None; MAX_ARGUMENTS];
        for (place, tensor) in operands.iter_mut().zip(tensors) {
            *place = tensor.as_ref().map(Operand::of);
        }
        self.check_operands(&operands)?;
        let mut session = Session::enqueue(&self.shared, stream, workspace);
        self.execute.enqueue(&mut session, &Run { rows, operands: &operands, weights: &held })?;
        session.finish()
    }
}

impl CudaPlan {
    fn check_workspace(&self, workspace: &Span) -> Result<()> {
        let wanted = self.info.workspace_bytes;
        if workspace.bytes < wanted {
            return Err(Error::invalid(format!(
                "the workspace has {} bytes, and the plan wants {wanted}",
                workspace.bytes
            )));
        }
        if wanted > 0 && (workspace.address == 0 || !workspace.address.is_multiple_of(ALIGNMENT)) {
            return Err(Error::invalid(format!(
                "the workspace is at {:#x}; its address is a multiple of {ALIGNMENT}, and not 0",
                workspace.address
            )));
        }
        Ok(())
    }

    /// Kernels read 16 bytes at once, and a misaligned read would lose the device.
    fn check_operands(&self, operands: &[Option<Operand>]) -> Result<()> {
        for (argument, operand) in self.signature.arguments().iter().zip(operands) {
            let Some(operand) = operand else { continue };
            let name = argument.name;
            for (what, address) in
                [("data", operand.data), ("scales", operand.scales), ("factors", operand.factors)]
            {
                if !address.is_multiple_of(ALIGNMENT) {
                    return Err(Error::invalid(format!(
                        "the {what} of tensor `{name}` are at {address:#x}; the address is a multiple of {ALIGNMENT}"
                    )));
                }
            }
            if operand.has_gaps && self.shared.options.refuses_strided_rows {
                return Err(Error::invalid(format!(
                    "tensor `{name}` has rows that lie apart, and option `strided_rows` is `refuse`"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mxhal_core::Quantization;
    use mxhal_core::op::{GroupedMatmul, Matmul, MoeFfn, SwiGluForm, WeightPosition};
    use mxhal_kernels_cuda::Target;

    use super::*;
    use crate::support::tests::offer;

    fn measured(
        target: Target,
        op: impl Into<Op>,
        rows: usize,
        strides: Strides,
    ) -> (u64, Vec<&'static str>) {
        let op = op.into();
        measure(&offer(target), &*executable(&op).unwrap(), &op.signature(), rows, strides).unwrap()
    }

    #[test]
    fn workspace_is_measured_for_few_rows_and_for_the_most() {
        assert_eq!(rows_to_measure(1).collect::<Vec<_>>(), [1]);
        assert_eq!(rows_to_measure(2).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rows_to_measure(12).collect::<Vec<_>>(), [1, 2, 4, 8, 12]);
    }

    #[test]
    fn products_take_the_kernels_that_their_rows_and_scheme_call_for() {
        let mxfp4 = Matmul::mxfp4(300, 64, 96, Quantization::new(Format::Mxfp4));
        let deepseek = Matmul::mxfp4(300, 64, 128, Quantization::deepseek());
        let bf16 = Matmul::mxfp4(300, 64, 96, Quantization::none());
        let kernels = |op, rows| measured(Target::Blackwell120, op, rows, Strides::Dense).1;
        assert_eq!(kernels(mxfp4, 3), ["quantize", "decode_mxfp4"]);
        assert_eq!(kernels(mxfp4, 64), ["quantize", "product_w4a4_32"]);
        assert_eq!(kernels(mxfp4, 300), ["quantize", "product_w4a4_128"]);
        assert_eq!(kernels(deepseek, 300), ["quantize", "product_w4a8_128"]);
        assert_eq!(kernels(bf16, 1), ["decode_bf16"]);
        assert_eq!(kernels(Matmul { input: Format::Mxfp4, ..mxfp4 }, 8), ["decode_mxfp4"]);
        // Rows are counted for each group.
        let grouped = GroupedMatmul { each: mxfp4, groups: 100 };
        assert_eq!(measured(Target::Hopper, grouped, 300, Strides::Dense).1, ["quantize", "decode_mxfp4"]);
    }

    #[test]
    fn hopper_widens_to_bf16_and_few_tokens_pass_a_layer_in_two_kernels() {
        let mxfp4 = Matmul::mxfp4(300, 64, 96, Quantization::new(Format::Mxfp4));
        let bf16 = Matmul::mxfp4(300, 64, 96, Quantization::none());
        let kernels = |op, rows| measured(Target::Hopper, op, rows, Strides::Dense).1;
        assert_eq!(kernels(mxfp4, 300), ["quantize", "product_wgmma_mxfp4_128"]);
        assert_eq!(kernels(bf16, 9), ["product_wgmma_bf16_32"]);

        let layer = MoeFfn {
            tokens: 9,
            hidden: 64,
            inner: 96,
            experts: 5,
            top_k: 2,
            weight: Format::Mxfp4,
            activation: Quantization::deepseek(),
            form: SwiGluForm::silu(10.0),
            weight_position: WeightPosition::BeforeDown,
            bias: false,
            output: Format::Bf16,
            mapped: None,
            shared: None,
        };
        let kernels = |op, rows| measured(Target::Hopper, op, rows, Strides::Dense).1;
        assert_eq!(kernels(layer, 8), ["moe_gate_up", "moe_down"]);
        assert!(!kernels(layer, 9).contains(&"moe_gate_up"));
        assert!(!kernels(MoeFfn { top_k: 17, experts: 20, ..layer }, 8).contains(&"moe_gate_up"));
        // Of what lies between only SwiGLU's output, BF16.
        assert_eq!(measured(Target::Hopper, layer, 8, Strides::Dense).0, 8 * 2 * 96 * 2 + 256);
    }

    #[test]
    fn workspace_has_room_for_what_lies_between_kernels() {
        let bf16 = Matmul::mxfp4(4, 64, 96, Quantization::none());
        assert_eq!(measured(Target::Hopper, bf16, 4, Strides::Dense).0, 0);
        // 4 rows of 48 bytes and of 3 scales, each in 256 bytes, and room to align them.
        let mxfp4 = Matmul { activation: Quantization::new(Format::Mxfp4), ..bf16 };
        assert_eq!(measured(Target::Hopper, mxfp4, 4, Strides::Dense).0, 768);
        let any = measured(Target::Hopper, bf16, 4, Strides::Any).0;
        assert_eq!(any, (4 * 96 * 2) + (4 * 64 * 4) + 256);
    }
}
