//! The operators, and what their plans share.

mod activations;
mod combine;
mod dequantize;
mod grouped_matmul;
mod matmul;
mod moe_ffn;
mod permute;
mod product;
mod quantize;
mod route;
mod swiglu;

use std::sync::Arc;

use mxhal_core::{
    Error, Format, Op, Plan, PlanInfo, Result, Span, Stream, Support, Tensor, Weights, WeightsDesc,
};

use crate::device::Shared;
use crate::stream::CpuStream;
use crate::support;
use crate::view::{Input, Output};
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

/// An operator that can be carried out here.
pub(crate) trait Execute: Send + Sync + 'static {
    /// The workspace of a run with the most rows.
    fn workspace_bytes(&self, shared: &Shared) -> u64;

    /// Does it.
    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        weights: &[&CpuWeights],
        workspace: Workspace<'_>,
    ) -> Result<()>;
}

/// The operator, if there is a file for it here.
pub(crate) fn executable(op: &Op) -> Option<Box<dyn Execute>> {
    Some(match *op {
        Op::Quantize(op) => Box::new(op),
        Op::Dequantize(op) => Box::new(op),
        Op::Matmul(op) => Box::new(op),
        Op::GroupedMatmul(op) => Box::new(op),
        Op::SwiGlu(op) => Box::new(op),
        Op::Route(op) => Box::new(op),
        Op::Permute(op) => Box::new(op),
        Op::Combine(op) => Box::new(op),
        Op::MoeFfn(op) => Box::new(op),
        _ => return None,
    })
}

/// Makes a plan.
///
/// # Errors
///
/// Those of [`Device::prepare`](mxhal_core::Device::prepare).
pub(crate) fn prepare(shared: &Arc<Shared>, op: &Op) -> Result<Box<dyn Plan>> {
    if let Support::No(refusal) = support::supports(op)? {
        return Err(refusal.to_error());
    }
    let execute = executable(op).ok_or_else(|| Error::internal(format!("{} has no file", op.kind())))?;
    Ok(Box::new(CpuPlan {
        info: PlanInfo {
            workspace_bytes: execute.workspace_bytes(shared),
            kernel: shared.kernels.isa.name().to_owned(),
        },
        weights: op.weights(),
        execute,
        shared: Arc::clone(shared),
    }))
}

/// An operator made ready.
struct CpuPlan {
    shared: Arc<Shared>,
    info: PlanInfo,
    weights: Vec<WeightsDesc>,
    execute: Box<dyn Execute>,
}

impl Plan for CpuPlan {
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
        CpuStream::check(stream, &self.shared)?;
        if weights.len() != self.weights.len() {
            return Err(Error::invalid(format!(
                "{} prepared weights were passed, and the plan takes {}",
                weights.len(),
                self.weights.len()
            )));
        }
        // Four at most: the experts' two, and the shared expert's. A place that is not used holds the first again.
        let mut checked: [Option<&CpuWeights>; 4] = [None; 4];
        for ((weights, wanted), place) in weights.iter().zip(&self.weights).zip(&mut checked) {
            *place = Some(CpuWeights::check(*weights, &self.shared, wanted)?);
        }
        let workspace = Workspace::new(&workspace, self.info.workspace_bytes)?;
        let run = |weights: &[&CpuWeights]| {
            self.execute.execute(&self.shared, Tensors(tensors), weights, workspace)
        };
        match checked {
            [Some(a), Some(b), Some(c), Some(d)] => run(&[a, b, c, d]),
            [Some(a), Some(b), ..] => run(&[a, b]),
            [Some(a), ..] => run(&[a]),
            _ => run(&[]),
        }
    }
}

/// The tensors of a run, checked by [`Op::check`].
#[derive(Clone, Copy)]
pub(crate) struct Tensors<'a>(&'a [Option<Tensor>]);

impl<'a> Tensors<'a> {
    fn input(self, place: usize, name: &str) -> Result<Input<'a>> {
        Input::new(name, self.present(place, name)?)
    }

    fn optional_input(self, place: usize, name: &str) -> Result<Option<Input<'a>>> {
        self.0.get(place).and_then(Option::as_ref).map(|tensor| Input::new(name, tensor)).transpose()
    }

    fn output(self, place: usize, name: &str) -> Result<Output<'a>> {
        Output::new(name, self.present(place, name)?)
    }

    fn present(self, place: usize, name: &str) -> Result<&'a Tensor> {
        self.0.get(place).and_then(Option::as_ref).ok_or_else(|| {
            Error::invalid(format!("tensor `{name}`, number {place}, is missing: `Op::check` was not called"))
        })
    }
}

/// Refuses an NVFP4 output that has one factor for all rows: quantizing gives each row its own.
fn ensure_factor_per_row(name: &str, output: &Output<'_>, format: Format) -> Result<()> {
    if format == Format::Nvfp4 && !output.has_factor_per_row() && output.rows() > 0 {
        return Err(Error::invalid(format!(
            "tensor `{name}` has one factor for {} rows, and quantizing gives one to each",
            output.rows()
        )));
    }
    Ok(())
}
