//! Matmul: the activations quantized where the scheme says so, and one product.

use mxhal_core::op::Matmul;
use mxhal_core::{Refusal, Result};

use super::product::{self, Activations, Multiply};
use super::{Execute, Run};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Matmul {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        product::check(offer, self, 1)
    }

    fn is_batch_invariant(&self, offer: &Offer) -> bool {
        product::is_batch_invariant(offer, self, 1)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let product = Multiply {
            a: Activations::of(session, run, self)?,
            weights: run.weights(0)?,
            bias: run.input_or_none(session, 1)?,
            counts: 0,
            y: session.output(run.operand(2)?)?,
            output: self.output,
            m: run.rows,
            n: self.n,
            k: self.k,
            groups: 1,
        };
        product.enqueue(session)
    }
}
