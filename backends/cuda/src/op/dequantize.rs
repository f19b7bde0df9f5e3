//! Dequantize: `dequantize`, or `dequantize_elements` for rows of any width.

use mxhal_core::op::Dequantize;
use mxhal_core::{Refusal, Result};
use mxhal_kernels_cuda::parameters::DequantizeParameters;

use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Dequantize {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        offer.ensure_elements(&[self.rows, self.k])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let x = run.operand(0)?;
        let parameters = DequantizeParameters {
            data: x.data,
            scales: x.scales,
            factors: x.factors,
            y: session.output(run.operand(1)?)?,
            rows: small(run.rows)?,
            columns: small(self.k)?,
            format: self.from as u32,
            output: self.output as u32,
            factor_per_row: x.factor_per_row.into(),
            reserved: 0,
        };
        session.launch(&parameters.launch(), parameters)
    }
}
