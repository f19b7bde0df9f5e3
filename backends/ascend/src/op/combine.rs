//! Combine: `aclnnMoeFinalizeRoutingV2` where all tensors are of one type, else a kernel of ours.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::MoeFinalizeRouting;
use mxhal_core::op::Combine;
use mxhal_core::{Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Run};
use crate::constants::Constant;
use crate::session::{Session, data_type};
use crate::support::{Means, Offer};

impl Execute for Combine {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        if is_of_one_type(self) && offer.needs(Operator::MoeFinalizeRouting, &[2]).is_ok() {
            return Ok(Means::Cann);
        }
        offer.needs_kernels()?;
        Ok(Means::Kernels)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        if self.check(session.offer()) == Ok(Means::Kernels) {
            return enqueue_kernel(self, session, run);
        }
        let (tokens, slots, columns) = (run.rows, run.rows * self.top_k, self.columns);
        let element = data_type(self.input)?;
        let rows = session.input(run.operand(0)?)?;
        let rows = session.tensor(element, &[slots, columns], rows)?;
        let positions = session.input(run.operand(1)?)?;
        let positions = session.tensor(DataType::Int32, &[slots], positions)?;
        let weights = match run.optional(2) {
            Some(weights) => session.input(weights)?,
            None => session.constant(Constant::Ones(self.tokens * self.top_k))?,
        };
        let weights = session.tensor(DataType::Float, &[tokens, self.top_k], weights)?;
        let addend = match run.optional(3) {
            Some(addend) => {
                let addend = session.input(addend)?;
                Some(session.tensor(element, &[tokens, columns], addend)?)
            }
            None => None,
        };
        let y = session.output(run.operand(4)?)?;
        let y = session.tensor(element, &[tokens, columns], y)?;
        let mut combine = MoeFinalizeRouting::new(&rows, &positions, &weights, &y);
        combine.x1 = addend.as_ref();
        session.run(combine.prepare(session.context()))
    }
}

/// CANN gives the type that it takes, and adds an addend of that type.
fn is_of_one_type(op: &Combine) -> bool {
    op.output == op.input && op.addend.is_none_or(|addend| addend == op.input)
}

fn enqueue_kernel(op: &Combine, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
    let mut optional = |place| run.optional(place).map_or(Ok(0), |operand| session.input(operand));
    let (weights, addend) = (optional(2)?, optional(3)?);
    let (rows, positions) = (session.input(run.operand(0)?)?, session.input(run.operand(1)?)?);
    let y = session.output(run.operand(4)?)?;
    session.launch(&parameters::Combine {
        rows,
        positions,
        weights,
        addend,
        y,
        tokens: run.rows as u64,
        columns: op.columns as u64,
        top_k: op.top_k as u64,
        input: op.input as u64,
        addend_format: op.addend.unwrap_or(op.input) as u64,
        output: op.output as u64,
    })
}
