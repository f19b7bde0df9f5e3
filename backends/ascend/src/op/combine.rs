//! Combine: `aclnnMoeFinalizeRoutingV2`.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::MoeFinalizeRouting;
use mxhal_core::op::Combine;
use mxhal_core::{Reason, Refusal, Result};

use super::{Execute, Run};
use crate::constants::Constant;
use crate::session::{Session, data_type};
use crate::support::{Offer, refuse};

impl Execute for Combine {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        let Self { input, output, addend, .. } = *self;
        if output != input {
            let text =
                format!("CANN gives the type that it takes, and rows of {input} were to become {output}");
            return refuse(Reason::Format, text);
        }
        if let Some(addend) = addend
            && addend != input
        {
            let text = format!("CANN adds an addend of the rows' type: they are {input}, and it is {addend}");
            return refuse(Reason::Format, text);
        }
        offer.needs(Operator::MoeFinalizeRouting, &[2])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
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
