//! SwiGlu: `aclnnSwiGlu` for plain silu, a kernel of ours for every other form, and what quantizes behind it.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::op::SwiGlu as Gate;
use mxhal_core::op::{Quantize, SwiGlu, SwiGluVariant};
use mxhal_core::{Format, Reason, Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Run, quantize};
use crate::session::{Session, data_type};
use crate::support::{Means, Offer, refuse};

impl Execute for SwiGlu {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        let means = gate(self, offer)?;
        if self.to.is_none() {
            return Ok(means);
        }
        let quantize = Quantize { rows: self.rows, k: self.n, input: Format::Bf16, to: self.to };
        match quantize.check(offer)? {
            Means::Kernels => Ok(means),
            Means::Cann => Ok(Means::Cann),
        }
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let (rows, n) = (run.rows, self.n);
        let x = session.input(run.operand(0)?)?;
        let y = run.operand(2)?;
        // The value is BF16 before it is quantized.
        let (gated, output) = match self.to.is_none() {
            true => (session.output(y)?, self.to.format),
            false => (session.scratch(rows * Format::Bf16.row_bytes(n))?, Format::Bf16),
        };
        match gate(self, session.offer()).map_err(|refusal| refusal.to_error())? {
            Means::Cann => {
                let input = data_type(self.input)?;
                let x = session.tensor(input, &[rows, 2 * n], x)?;
                let out = session.tensor(input, &[rows, n], gated)?;
                session.run(Gate::new(&x, &out).prepare(session.context()))?;
            }
            Means::Kernels => {
                let row_weights = run.optional(1).map_or(Ok(0), |weights| session.input(weights))?;
                session.launch(&parameters::SwiGlu {
                    x,
                    row_weights,
                    y: gated,
                    rows: rows as u64,
                    n: n as u64,
                    input: self.input as u64,
                    output: output as u64,
                    is_gpt_oss: u64::from(self.form.variant == SwiGluVariant::GptOss),
                    limit: self.form.limit.to_bits().into(),
                    alpha: self.form.alpha.to_bits().into(),
                    interleaved: self.form.interleaved.into(),
                })?;
            }
        }
        if self.to.is_none() {
            return Ok(());
        }
        quantize::rows(session, (gated, output), rows, n, &self.to, (y.data, y.scales))
    }
}

/// What computes the gate: `aclnnSwiGlu` has silu alone, gates before ups, no clamp and no weights, and gives the type that it
/// takes. What the modes of `aclnnSwigluMxQuant` compute is not documented.
fn gate(op: &SwiGlu, offer: &Offer) -> Result<Means, Refusal> {
    let SwiGlu { form, input, row_weights, to, .. } = *op;
    let output = if to.is_none() { to.format } else { Format::Bf16 };
    let plain = form.variant == SwiGluVariant::Silu && form.limit == 0.0 && !form.interleaved;
    if plain && !row_weights && output == input && offer.needs(Operator::SwiGlu, &[1]).is_ok() {
        return Ok(Means::Cann);
    }
    if !matches!(form.variant, SwiGluVariant::Silu | SwiGluVariant::GptOss) {
        return refuse(Reason::Attribute, format!("the {} variant is not offered", form.variant));
    }
    offer.needs_kernels()?;
    Ok(Means::Kernels)
}
