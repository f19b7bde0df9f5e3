//! Quantize: `aclnnDynamicMxQuant`.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::DynamicMxQuant;
use mxhal_core::op::Quantize;
use mxhal_core::{Format, Quantization, Reason, Refusal, Result, ScaleRule};

use super::{Execute, Run};
use crate::session::{Session, data_type};
use crate::support::{Offer, refuse};

impl Execute for Quantize {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        check(offer, self.input, &self.to)?;
        let Some(block) = self.to.format.blocks() else { return Ok(()) };
        let blocks = self.k.div_ceil(block.columns);
        if blocks % 2 == 1 && !self.k.is_multiple_of(block.columns) {
            return refuse(
                Reason::Shape,
                format!(
                    "k is {}: CANN writes the scales of a row in pairs, {} has {blocks} a row, and rows that end within a \
                     block cannot be joined",
                    self.k, self.to.format
                ),
            );
        }
        Ok(())
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let x = session.input(run.operand(0)?)?;
        let y = run.operand(1)?;
        rows(session, (x, self.input), run.rows, self.k, &self.to, (y.data, y.scales))
    }
}

/// Refuses what no version of the operator makes.
pub(super) fn check(offer: &Offer, input: Format, to: &Quantization) -> Result<(), Refusal> {
    let Quantization { format, rule, amax_floor } = *to;
    match format {
        Format::Mxfp4 | Format::Mxfp8 => {}
        Format::Mxfp8G128 if input == Format::F32 => {
            return refuse(
                Reason::Format,
                "from f32 CANN quantizes in blocks of 32 only, and mxfp8-g128 has 128",
            );
        }
        Format::Mxfp8G128 => {}
        _ => return refuse(Reason::Format, format!("no operator of CANN quantizes to {format}")),
    }
    match (rule, format) {
        (ScaleRule::Floor, _) | (ScaleRule::Ceil, Format::Mxfp8 | Format::Mxfp8G128) => {}
        (ScaleRule::Ceil, _) => {
            return refuse(
                Reason::Attribute,
                "the ceil rule is not offered for mxfp4: CANN's nearest, scaleAlg 2 with dstTypeMax 6, already takes the \
                 next scale at an amax of exactly 6 · 2^e",
            );
        }
        _ => {
            return refuse(
                Reason::Attribute,
                format!(
                    "the {rule} rule is not offered: of scaleAlg 2 it is not documented how many bits of amax it reads"
                ),
            );
        }
    }
    let versions: &[u32] = if amax_floor > 0.0 { &[3] } else { &[1, 2, 3] };
    offer.needs(Operator::DynamicMxQuant, versions)
}

/// Quantizes rows to elements and canonical scales, one a block without gaps.
///
/// CANN pads each row's scales to pairs. Where that would leave gaps the rows are joined, two to one or all to one; of
/// all in one the last pair may be padded, in scratch.
pub(super) fn rows(
    session: &mut Session<'_>,
    x: (u64, Format),
    rows: usize,
    k: usize,
    to: &Quantization,
    (y, scales): (u64, u64),
) -> Result<()> {
    let blocks = to.format.row_scales(k);
    if blocks.is_multiple_of(2) {
        return paired(session, x, (rows, k), to, (y, scales));
    }
    if rows.is_multiple_of(2) {
        return paired(session, x, (rows / 2, 2 * k), to, (y, scales));
    }
    let all = rows * blocks;
    let padded = session.scratch(all + 1)?;
    paired(session, x, (1, rows * k), to, (y, padded))?;
    session.copy(scales, padded, all as u64)
}

/// Quantizes rows to elements and scales as CANN has them, `[rows, ceil(k / 64), 2]` for blocks of 32.
pub(super) fn paired(
    session: &mut Session<'_>,
    (x, input): (u64, Format),
    (rows, k): (usize, usize),
    to: &Quantization,
    (y, scales): (u64, u64),
) -> Result<()> {
    let block = to.format.blocks().map_or(32, |blocks| blocks.columns);
    let x = session.tensor(data_type(input)?, &[rows, k], x)?;
    let y = session.tensor(data_type(to.format)?, &[rows, k], y)?;
    let pairs = k.div_ceil(block).div_ceil(2);
    let scales = session.tensor(DataType::Float8E8m0, &[rows, pairs, 2], scales)?;
    let mut quantize = DynamicMxQuant::new(&x, &y, &scales);
    quantize.block_size = block as i64;
    quantize.scale_alg = i64::from(to.rule == ScaleRule::Ceil);
    quantize.max_low_bound = to.amax_floor.into();
    session.run(quantize.prepare(session.context()))
}
