//! The operators, and what their plans share.

mod combine;
mod dequantize;
mod grouped_matmul;
mod matmul;
mod permute;
mod quantize;
mod route;
mod scales;
mod swiglu;

use std::sync::Arc;

use mxhal_cann::safe;
use mxhal_core::op::{Argument, Signature};
use mxhal_core::{
    Error, Layout, Op, Plan, PlanInfo, Reason, Refusal, Result, Span, Stream, Support, Tensor, Weights,
};

use crate::device::Shared;
use crate::memory::ALIGNMENT;
use crate::program::{Programs, Recording};
use crate::session::{Needs, Session};
use crate::stream::AscendStream;
use crate::support::{self, Means, Offer, refuse};
use crate::weights::{AscendWeights, Operands};

/// An operator that CANN's operators or kernels of ours can carry out.
pub(crate) trait Execute: Send + Sync + 'static {
    /// By what, or why not.
    fn check(&self, offer: &Offer) -> Result<Means, Refusal>;

    /// Calls it, for at least one row.
    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()>;

    /// Writes what is to be written where there is no row.
    fn enqueue_nothing(&self, _session: &mut Session<'_>, _run: &Run<'_>) -> Result<()> {
        Ok(())
    }
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
        _ => {
            let text = format!("{} has no operator of CANN's; it is composed of the others", op.kind());
            return refuse(Reason::Operator, text);
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
    let (mut needs, mut functions) = (Needs::default(), Vec::new());
    for rows in rows_to_measure(op.max_rows()) {
        let mut session = Session::measure(shared);
        let operands = operands_of(&signature, rows, !shared.offer.options.refuses_strided_rows)?;
        let weights = signature.weights().iter().map(|desc| Operands::unknown(desc, shared));
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let run = Run { rows, operands: &operands, weights: &weights };
        execute.enqueue(&mut session, &run).map_err(|error| error.within("measuring the workspace"))?;
        session.finish()?;
        let (here, used) = session.into_measured();
        (needs, functions) = (needs.max(here), used);
    }
    let info = PlanInfo { workspace_bytes: needs.total(), kernel: functions.join(" + ") };
    let (shared, programs) = (Arc::clone(shared), Programs::default());
    Ok(Box::new(AscendPlan { programs, shared, info, needs, signature, execute }))
}

/// The most rows, one fewer, and the powers of two below: an operator may want more workspace for fewer rows, and
/// scratch is wanted for odd numbers of rows where it is not for even ones.
fn rows_to_measure(most: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = std::iter::successors(Some(1_usize), |rows| rows.checked_mul(2))
        .take_while(|rows| *rows < most)
        .chain([most.saturating_sub(1), most])
        .filter(|rows| *rows > 0)
        .collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// A tensor of a run; while measuring, one of the right shape at address 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) data: u64,
    pub(crate) scales: u64,
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
            ..Self::unknown(*tensor.layout(), !tensor.layout().is_contiguous())
        }
    }

    fn unknown(layout: Layout, has_gaps: bool) -> Self {
        Self { data: 0, scales: 0, rows: layout.rows(), has_gaps, layout }
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> u64 {
        self.layout.format().row_bytes(self.layout.columns()) as u64
    }

    /// Bytes from one row to the next.
    pub(crate) fn stride_bytes(&self) -> u64 {
        self.layout.format().row_bytes(self.layout.row_stride()) as u64
    }

    /// Bytes of all rows without gaps.
    pub(crate) fn dense_bytes(&self) -> usize {
        self.rows * self.layout.format().row_bytes(self.layout.columns())
    }
}

/// What an operator is run with.
pub(crate) struct Run<'a> {
    /// Rows (tokens), at least one.
    pub(crate) rows: usize,
    operands: &'a [Option<Operand>],
    weights: &'a [Operands],
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

    /// The only weights.
    fn weights(&self) -> Result<&Operands> {
        self.weights.first().ok_or_else(|| Error::internal("the product has no weights"))
    }
}

/// Tensors of unknown address; plain ones of several rows may have gaps.
fn operands_of(signature: &Signature, rows: usize, gaps: bool) -> Result<Vec<Option<Operand>>> {
    let one = |argument: &Argument| {
        let layout = argument.layout(rows)?;
        let has_gaps = gaps && !argument.format.is_block_scaled() && layout.shape().len() > 1;
        Ok(argument.present.then(|| Operand::unknown(layout, has_gaps)))
    };
    signature.arguments().iter().map(one).collect()
}

/// An operator made ready.
struct AscendPlan {
    programs: Programs,
    shared: Arc<Shared>,
    info: PlanInfo,
    needs: Needs,
    signature: Signature,
    execute: Box<dyn Execute>,
}

impl Plan for AscendPlan {
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
        let stream = AscendStream::of(stream, &self.shared)?;
        let rows = self.signature.check(tensors)?;
        let weights = self.weights(weights)?;
        self.check_workspace(&workspace)?;
        let operands: Vec<_> = tensors.iter().map(|tensor| tensor.as_ref().map(Operand::of)).collect();
        if self.shared.offer.options.refuses_strided_rows
            && let Some(place) = operands.iter().position(|operand| operand.is_some_and(|it| it.has_gaps))
        {
            return Err(Error::invalid(format!(
                "tensor `{}` has rows that lie apart, and option `strided_rows` is `refuse`",
                self.signature.arguments()[place].name
            )));
        }
        let run = Run { rows, operands: &operands, weights: &weights };
        match self.shared.offer.options.repeats_executors && rows > 0 {
            true => self.repeat(stream, tensors, &run, workspace),
            false => self.enqueue(Session::enqueue(&self.shared, stream, workspace, self.needs), &run).1,
        }
    }
}

impl AscendPlan {
    /// Goes through the operator's calls.
    fn enqueue<'a>(&self, mut session: Session<'a>, run: &Run<'_>) -> (Session<'a>, Result<()>) {
        let enqueued = match run.rows {
            0 => self.execute.enqueue_nothing(&mut session, run),
            _ => self.execute.enqueue(&mut session, run),
        };
        let outcome = enqueued.and_then(|()| session.finish());
        (session, outcome)
    }

    /// Enqueues what was recorded of an earlier run, or records this one.
    fn repeat(
        &self,
        stream: &safe::Stream,
        tensors: &[Option<Tensor>],
        run: &Run<'_>,
        workspace: Span,
    ) -> Result<()> {
        let layouts: Vec<Option<Layout>> =
            tensors.iter().map(|tensor| tensor.as_ref().map(|tensor| *tensor.layout())).collect();
        let mut spans: Vec<Span> =
            tensors.iter().flatten().flat_map(|tensor| [tensor.data(), tensor.scales()]).collect();
        spans.extend(run.weights.iter().flat_map(Operands::spans));
        spans.push(workspace);
        if self.programs.run(stream, &layouts, &spans)? {
            return Ok(());
        }
        let session = Session::enqueue(&self.shared, stream, workspace, self.needs);
        let session = if self.programs.wants(&spans) { session.recorded() } else { session };
        let (session, outcome) = self.enqueue(session, run);
        if let Some(recording) = session.into_recording() {
            let is_whole = recording.is_whole && outcome.is_ok();
            self.programs.add(Recording { is_whole, ..recording }, stream, layouts, spans)?;
        }
        outcome
    }

    fn weights(&self, given: &[&dyn Weights]) -> Result<Vec<Operands>> {
        self.signature.check_weights(given.iter().map(|weights| weights.desc()))?;
        given.iter().map(|weights| AscendWeights::operands(*weights, &self.shared)).collect()
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_is_measured_for_few_rows_and_for_odd_and_even_ones() {
        assert_eq!(rows_to_measure(1), [1]);
        assert_eq!(rows_to_measure(2), [1, 2]);
        assert_eq!(rows_to_measure(12), [1, 2, 4, 8, 11, 12]);
    }
}
