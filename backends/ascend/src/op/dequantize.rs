//! Dequantize: `aclnnAntiMxQuant`, and a kernel of ours for FP8 tiles.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::AntiMxQuant;
use mxhal_core::op::Dequantize;
use mxhal_core::{Format, Reason, Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Run, scales};
use crate::session::{Session, data_type};
use crate::support::{Means, Offer, refuse};

impl Execute for Dequantize {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        match self.from {
            Format::Mxfp4 | Format::Mxfp8 => {}
            Format::Mxfp8G128 => scales::check(offer)?,
            Format::Fp8Tile128 => return offer.needs_kernels().map(|()| Means::Kernels),
            _ => {
                let text = format!(
                    "CANN dequantizes blocks of E2M1 and E4M3, a kernel of ours FP8 tiles, and none {}",
                    self.from
                );
                return refuse(Reason::Format, text);
            }
        }
        offer.needs(Operator::AntiMxQuant, &[1])?;
        Ok(Means::Cann)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let x = run.operand(0)?;
        let y = session.output(run.operand(1)?)?;
        if self.from == Format::Fp8Tile128 {
            return session.launch(&parameters::DequantizeTiles {
                x: x.data,
                scales: x.scales,
                y,
                rows: run.rows as u64,
                k: self.k as u64,
                output: self.output as u64,
            });
        }
        let (rows, k, blocks) = (run.rows, self.k, self.from.row_scales(self.k));
        // Rows are joined where their scales are not in pairs; see `quantize`.
        let (rows, k, scales) = match (blocks % 2, rows % 2) {
            _ if self.from == Format::Mxfp8G128 => {
                (rows, k, scales::per_32(session, (x.scales, blocks), rows, k, self.rows)?)
            }
            (0, _) => (rows, k, x.scales),
            (_, 0) => (rows / 2, 2 * k, x.scales),
            _ => {
                let all = rows * blocks;
                let padded = session.scratch(all + 1)?;
                session.clear(padded, all as u64 + 1)?;
                session.copy(padded, x.scales, all as u64)?;
                (1, rows * k, padded)
            }
        };
        let x = session.tensor(data_type(self.from)?, &[rows, k], x.data)?;
        let scales = session.tensor(DataType::Float8E8m0, &[rows, k.div_ceil(64), 2], scales)?;
        let y = session.tensor(data_type(self.output)?, &[rows, k], y)?;
        session.run(AntiMxQuant::new(&x, &scales, &y).prepare(session.context()))
    }
}
