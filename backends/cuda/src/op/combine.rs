//! Combine: `combine`, or `combine_elements` for rows of any width.

use mxhal_core::op::Combine;
use mxhal_core::{Refusal, Result};
use mxhal_kernels_cuda::parameters::CombineParameters;

use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Combine {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        offer.ensure_elements(&[self.tokens, self.top_k, self.columns])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let parameters = CombineParameters {
            rows: session.input(run.operand(0)?)?,
            positions: session.input(run.operand(1)?)?,
            weights: run.input_or_none(session, 2)?,
            addend: run.input_or_none(session, 3)?,
            y: session.output(run.operand(4)?)?,
            tokens: small(run.rows)?,
            columns: small(self.columns)?,
            top_k: small(self.top_k)?,
            input: self.input as u32,
            addend_format: self.addend.unwrap_or(self.input) as u32,
            output: self.output as u32,
        };
        session.launch(&parameters.launch(), parameters)
    }
}
