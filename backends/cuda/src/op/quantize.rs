//! Quantize: `quantize`, and `nvfp4_factors` before it.

use mxhal_core::op::Quantize;
use mxhal_core::{Format, Quantization, Refusal, Result};
use mxhal_kernels_cuda::parameters::QuantizeParameters;

use super::{Execute, Operand, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Quantize {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        offer.ensure_elements(&[self.rows, self.k])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let y = run.operand(1)?;
        y.ensure_factor_per_row("y")?;
        let x = session.input(run.operand(0)?)?;
        rows(session, (x, self.input), run.rows, self.k, &self.to, &Rows::of(y, self.to.format, self.k))
    }
}

/// Rows of a format without gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) format: Format,
    pub(super) data: u64,
    pub(super) scales: u64,
    pub(super) factors: u64,
    pub(super) factor_per_row: bool,
    /// Bytes of a row of each.
    pub(super) bytes: [usize; 3],
}

impl Rows {
    /// A tensor without gaps.
    pub(super) fn of(operand: &Operand, format: Format, columns: usize) -> Self {
        Self {
            data: operand.data,
            scales: operand.scales,
            factors: operand.factors,
            factor_per_row: operand.factor_per_row,
            ..Self::nowhere(format, columns)
        }
    }

    /// Scratch for so many rows.
    pub(super) fn scratch(
        session: &mut Session<'_>,
        format: Format,
        rows: usize,
        columns: usize,
    ) -> Result<Self> {
        let mut new = Self::nowhere(format, columns);
        for (part, bytes) in [&mut new.data, &mut new.scales, &mut new.factors].into_iter().zip(new.bytes) {
            if bytes > 0 {
                *part = session.scratch(rows, bytes)?;
            }
        }
        Ok(new)
    }

    /// Rows at no address.
    pub(super) fn nowhere(format: Format, columns: usize) -> Self {
        let factor = if format == Format::Nvfp4 { 4 } else { 0 };
        let bytes = [format.row_bytes(columns), format.row_scales(columns), factor];
        Self { format, data: 0, scales: 0, factors: 0, factor_per_row: true, bytes }
    }
}

/// Quantizes rows of a plain format.
pub(super) fn rows(
    session: &mut Session<'_>,
    (x, input): (u64, Format),
    count: usize,
    columns: usize,
    quantization: &Quantization,
    y: &Rows,
) -> Result<()> {
    let parameters = QuantizeParameters {
        x,
        data: y.data,
        scales: y.scales,
        factors: y.factors,
        data_stride: y.bytes[0] as u64,
        scales_stride: y.bytes[1] as u64,
        rows: small(count)?,
        columns: small(columns)?,
        input: input as u32,
        format: quantization.format as u32,
        rule: quantization.rule as u32,
        amax_floor: quantization.amax_floor,
    };
    for launch in parameters.launches() {
        session.launch(&launch, parameters)?;
    }
    Ok(())
}
