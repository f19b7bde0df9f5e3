//! SwiGlu: `swiglu`, which quantizes too, or `swiglu_elements` for rows of any width.

use mxhal_core::op::{SwiGlu, SwiGluForm};
use mxhal_core::{Format, Quantization, Refusal, Result};
use mxhal_kernels_cuda::parameters::SwiGluParameters;

use super::quantize::{self, Rows};
use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for SwiGlu {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        offer.ensure_elements(&[self.rows, 2, self.n])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let y = run.operand(2)?;
        y.ensure_factor_per_row("y")?;
        let gate = Gate {
            x: session.input(run.operand(0)?)?,
            input: self.input,
            row_weights: run.input_or_none(session, 1)?,
            rows: run.rows,
            columns: self.n,
            form: self.form,
        };
        let mut to = Rows::of(y, self.to.format, self.n);
        to.data = session.output(y)?;
        gate.enqueue(session, &self.to, &to)
    }
}

/// Gate and up, and how they become one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub(super) x: u64,
    pub(super) input: Format,
    /// F32 by row; 0 for none.
    pub(super) row_weights: u64,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) form: SwiGluForm,
}

impl Gate {
    /// To a plain format or to a quantized one; to NVFP4, whose rows have factors, by way of BF16.
    pub(super) fn enqueue(&self, session: &mut Session<'_>, to: &Quantization, y: &Rows) -> Result<()> {
        if to.format != Format::Nvfp4 {
            return self.enqueue_once(session, to, y);
        }
        let values = Rows::scratch(session, Format::Bf16, self.rows, self.columns)?;
        self.enqueue_once(session, &Quantization::none(), &values)?;
        quantize::rows(session, (values.data, Format::Bf16), self.rows, self.columns, to, y)
    }

    fn enqueue_once(&self, session: &mut Session<'_>, to: &Quantization, y: &Rows) -> Result<()> {
        let parameters = SwiGluParameters {
            x: self.x,
            row_weights: self.row_weights,
            y: y.data,
            scales: y.scales,
            rows_on_device: 0,
            data_stride: y.bytes[0] as u64,
            scales_stride: y.bytes[1] as u64,
            rows: small(self.rows)?,
            columns: small(self.columns)?,
            input: self.input as u32,
            format: to.format as u32,
            rule: to.rule as u32,
            amax_floor: to.amax_floor,
            variant: self.form.variant as u32,
            interleaved: self.form.interleaved.into(),
            limit: self.form.limit,
            alpha: self.form.alpha,
        };
        session.launch(&parameters.launch(), parameters)
    }
}
