//! Route: `route`, a warp for each token.

use mxhal_core::op::Route;
use mxhal_core::{Refusal, Result};
use mxhal_kernels_cuda::parameters::RouteParameters;

use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Route {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        // As the launch has it: the scores, the chosen ones, and who was taken.
        let bytes = 8 * (self.experts as u64 + self.top_k as u64) + 4 * self.experts as u64;
        offer.ensure_shared_memory(&format!("routing among {} experts", self.experts), bytes)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let parameters = RouteParameters {
            logits: session.input(run.operand(0)?)?,
            bias: run.input_or_none(session, 1)?,
            ids_given: run.input_or_none(session, 2)?,
            ids: session.output(run.operand(3)?)?,
            weights: session.output(run.operand(4)?)?,
            tokens: small(run.rows)?,
            experts: small(self.experts)?,
            top_k: small(self.top_k)?,
            score: self.score as u32,
            renormalize: self.renormalize.into(),
            scale: self.scale,
        };
        session.launch(&parameters.launch(), parameters)
    }
}
