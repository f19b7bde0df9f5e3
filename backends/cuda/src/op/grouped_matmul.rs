//! GroupedMatmul: one launch for the products of all groups, whose tiles the device finds from the counts.

use mxhal_core::op::GroupedMatmul;
use mxhal_core::{Refusal, Result};

use super::product::{self, Activations, Multiply};
use super::{Execute, Run};
use crate::session::Session;
use crate::support::Offer;

impl Execute for GroupedMatmul {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        product::check(offer, &self.each, self.groups)
    }

    fn is_batch_invariant(&self, offer: &Offer) -> bool {
        product::is_batch_invariant(offer, &self.each, self.groups)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let product = Multiply {
            a: Activations::of(session, run, &self.each)?,
            weights: run.weights(0)?,
            bias: run.input_or_none(session, 2)?,
            counts: run.operand(1)?.data,
            y: session.output(run.operand(3)?)?,
            output: self.each.output,
            m: run.rows,
            n: self.each.n,
            k: self.each.k,
            groups: self.groups,
        };
        product.enqueue(session)
    }
}
