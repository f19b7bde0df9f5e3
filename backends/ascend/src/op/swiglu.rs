//! SwiGlu: `aclnnSwiGlu`, and `aclnnDynamicMxQuant` behind it.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::op::SwiGlu as Gate;
use mxhal_core::op::{Quantize, SwiGlu, SwiGluVariant};
use mxhal_core::{Format, Reason, Refusal, Result};

use super::{Execute, Run, quantize};
use crate::session::{Session, data_type};
use crate::support::{Offer, refuse};

impl Execute for SwiGlu {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        let Self { form, input, to, .. } = *self;
        if form.variant != SwiGluVariant::Silu {
            let text = format!(
                "the {} variant is not offered: aclnnSwiGlu has only silu, and what the modes of aclnnSwigluMxQuant \
                 compute is not documented",
                form.variant
            );
            return refuse(Reason::Attribute, text);
        }
        if form.limit != 0.0 {
            let text = "limit is not 0: aclnnSwiGlu has no clamp, and aclnnSwigluMxQuant, which has one, is not documented \
                        to round to bf16 before it quantizes";
            return refuse(Reason::Attribute, text);
        }
        if form.interleaved {
            return refuse(
                Reason::Attribute,
                "aclnnSwiGlu takes all gates before all ups, not alternating ones",
            );
        }
        if self.row_weights {
            return refuse(Reason::Attribute, "aclnnSwiGlu multiplies rows by no weight");
        }
        offer.needs(Operator::SwiGlu, &[1])?;
        if to.is_none() {
            if to.format != input {
                let text = format!(
                    "aclnnSwiGlu gives the type that it takes, and {input} was to become {}",
                    to.format
                );
                return refuse(Reason::Format, text);
            }
            return Ok(());
        }
        if input != Format::Bf16 {
            let text = format!(
                "the value is bf16 before it is quantized, aclnnSwiGlu gives the type that it takes, and the input is {input}"
            );
            return refuse(Reason::Format, text);
        }
        Quantize { rows: self.rows, k: self.n, input, to }.check(offer)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let (rows, n, input) = (run.rows, self.n, data_type(self.input)?);
        let x = session.input(run.operand(0)?)?;
        let y = run.operand(2)?;
        let gated = match self.to.is_none() {
            true => session.output(y)?,
            false => session.scratch(rows * self.input.row_bytes(n))?,
        };
        let x = session.tensor(input, &[rows, 2 * n], x)?;
        let out = session.tensor(input, &[rows, n], gated)?;
        session.run(Gate::new(&x, &out).prepare(session.context()))?;
        if self.to.is_none() {
            return Ok(());
        }
        quantize::rows(session, (gated, self.input), rows, n, &self.to, (y.data, y.scales))
    }
}
