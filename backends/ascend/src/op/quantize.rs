//! Quantize: `aclnnDynamicMxQuant`, and a kernel of ours for what it lacks.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::DynamicMxQuant;
use mxhal_core::op::Quantize;
use mxhal_core::{Format, Quantization, Reason, Refusal, Result, ScaleRule};
use mxhal_kernels_ascend::{ScaleCoding, parameters};

use super::{Execute, Run};
use crate::session::{Session, data_type};
use crate::support::{Means, Offer, refuse};

impl Execute for Quantize {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        check(offer, self.input, &self.to)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let x = session.input(run.operand(0)?)?;
        let y = run.operand(1)?;
        rows(session, (x, self.input), run.rows, self.k, &self.to, (y.data, y.scales))
    }
}

/// By what, or why not.
pub(super) fn check(offer: &Offer, input: Format, to: &Quantization) -> Result<Means, Refusal> {
    Way::of(offer, input, to).map(|way| match way {
        Way::Cann(_) => Means::Cann,
        Way::Kernel(_) => Means::Kernels,
    })
}

/// What quantizes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Cann(Algorithm),
    Kernel(ScaleCoding),
}

impl Way {
    /// CANN's operator where it is there and exact, else the kernel.
    fn of(offer: &Offer, input: Format, to: &Quantization) -> Result<Self, Refusal> {
        let Some(coding) = ScaleCoding::of(to) else {
            let text =
                format!("neither an operator of CANN's nor a kernel of ours quantizes to {}", to.format);
            return refuse(Reason::Format, text);
        };
        match Self::by_cann(offer, input, to) {
            Ok(algorithm) => Ok(Self::Cann(algorithm)),
            Err(why) => match offer.needs_kernels() {
                Ok(()) => Ok(Self::Kernel(coding)),
                // Whoever has no kernels is told what CANN lacks, and what would help.
                Err(missing) => refuse(Reason::Library, format!("{}; without it {}", why.text, missing.text)),
            },
        }
    }

    fn by_cann(offer: &Offer, input: Format, to: &Quantization) -> Result<Algorithm, Refusal> {
        if to.format == Format::Mxfp8G128 && input == Format::F32 {
            let text = "from f32 CANN quantizes in blocks of 32 only, and mxfp8-g128 has 128";
            return refuse(Reason::Format, text);
        }
        let algorithm = Algorithm::of(to.rule, to.format, input)?;
        let least = match (to.amax_floor > 0.0, algorithm) {
            (true, _) => 3,
            (false, Algorithm::ByGreatest(_)) => 2,
            (false, _) => 1,
        };
        let versions: Vec<u32> = (least..=3).collect();
        offer.needs(Operator::DynamicMxQuant, &versions)?;
        Ok(algorithm)
    }
}

/// Quantizes rows to elements and canonical scales, one a block without gaps.
///
/// CANN pads each row's scales to pairs. Where that would leave gaps, rows are joined, two to one or all to one; of all
/// in one the last pair may be padded, in scratch. Rows that end within a block cannot be joined: their scales are
/// copied one row after the other.
pub(super) fn rows(
    session: &mut Session<'_>,
    x: (u64, Format),
    rows: usize,
    k: usize,
    to: &Quantization,
    (y, scales): (u64, u64),
) -> Result<()> {
    let blocks = to.format.row_scales(k);
    if let Way::Kernel(coding) = Way::of(session.offer(), x.1, to).map_err(|refusal| refusal.to_error())? {
        return session.launch(&by_kernel(x, (rows, k), &coding, (y, scales), blocks));
    }
    if blocks.is_multiple_of(2) {
        return paired(session, x, (rows, k), to, (y, scales));
    }
    if !k.is_multiple_of(block_of(to.format)) {
        let padded = session.scratch(rows * (blocks + 1))?;
        paired(session, x, (rows, k), to, (y, padded))?;
        let width = blocks as u64;
        return session.copy_rows((scales, width), (padded, width + 1), rows, width);
    }
    if rows.is_multiple_of(2) {
        return paired(session, x, (rows / 2, 2 * k), to, (y, scales));
    }
    let all = rows * blocks;
    let padded = session.scratch(all + 1)?;
    paired(session, x, (1, rows * k), to, (y, padded))?;
    session.copy(scales, padded, all as u64)
}

/// Quantizes rows to elements and scales as CANN has them, for blocks of 32 `[rows, ceil(k / 64), 2]`.
pub(super) fn paired(
    session: &mut Session<'_>,
    (x, input): (u64, Format),
    (rows, k): (usize, usize),
    to: &Quantization,
    (y, scales): (u64, u64),
) -> Result<()> {
    let block = block_of(to.format);
    let way = Way::of(session.offer(), input, to).map_err(|refusal| refusal.to_error())?;
    let algorithm = match way {
        Way::Cann(algorithm) => algorithm,
        Way::Kernel(coding) => {
            let stride = to.format.row_scales(k).next_multiple_of(2);
            return session.launch(&by_kernel((x, input), (rows, k), &coding, (y, scales), stride));
        }
    };
    let x = session.tensor(data_type(input)?, &[rows, k], x)?;
    let y = session.tensor(data_type(to.format)?, &[rows, k], y)?;
    let pairs = k.div_ceil(block).div_ceil(2);
    let scales = session.tensor(DataType::Float8E8m0, &[rows, pairs, 2], scales)?;
    let mut quantize = DynamicMxQuant::new(&x, &y, &scales);
    quantize.block_size = block as i64;
    match algorithm {
        Algorithm::Ceil => quantize.scale_alg = 1,
        Algorithm::ByGreatest(greatest) => {
            quantize.scale_alg = 2;
            quantize.dst_type_max = greatest;
        }
    }
    quantize.max_low_bound = to.amax_floor.into();
    session.run(quantize.prepare(session.context()))
}

/// The kernel's parameters; each row has so many scale bytes.
fn by_kernel(
    (x, input): (u64, Format),
    (rows, k): (usize, usize),
    coding: &ScaleCoding,
    (y, scales): (u64, u64),
    scale_stride: usize,
) -> parameters::Quantize {
    parameters::Quantize {
        x,
        y,
        scales,
        rows: rows as u64,
        k: k as u64,
        input: input as u64,
        is_e2m1: coding.is_e2m1.into(),
        block: coding.block as u64,
        emax: coding.emax.into(),
        carry: coding.carry.into(),
        amax_floor: coding.amax_floor.to_bits().into(),
        scale_stride: scale_stride as u64,
    }
}

fn block_of(format: Format) -> usize {
    format.blocks().map_or(32, |blocks| blocks.columns)
}

/// How CANN chooses a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    /// 1, FP8 only: the least power of two at which nothing saturates.
    Ceil,
    /// 2, FP4 only: the least power of two that is not below amax over this, for numbers other than 6 and 7 (those two
    /// look at bits of amax).
    ByGreatest(f64),
}

impl Algorithm {
    /// A rule of ours.
    ///
    /// For MXFP4 the scale grows by one where amax, brought to [4, 8), is above 6 (ceil) or not below 7 (even). So amax
    /// is divided by a number between that and the input's next number on the other side; halfway, where how the quotient
    /// is rounded does not matter.
    fn of(rule: ScaleRule, format: Format, input: Format) -> Result<Self, Refusal> {
        // Half of what the last bit of a number in [4, 8) is worth.
        let half = match input {
            Format::Bf16 => 0.5_f64.powi(6),
            Format::F16 => 0.5_f64.powi(9),
            _ => 0.5_f64.powi(22),
        };
        match (rule, format) {
            (ScaleRule::Floor, _) => refuse(
                Reason::Attribute,
                "by the floor rule CANN makes all elements 0 where the byte is 0, also where the rule gives 0 and is not \
                 clamped to it",
            ),
            (ScaleRule::Ceil, Format::Mxfp4) => match input {
                // A quotient in float32 needs a whole last bit; ceil allows the byte below that near to the boundary.
                Format::F32 => Ok(Self::ByGreatest(6.0 + 3.0 * half)),
                _ => Ok(Self::ByGreatest(6.0 + half)),
            },
            (ScaleRule::Ceil, _) => Ok(Self::Ceil),
            (ScaleRule::Even, Format::Mxfp4) if input != Format::F32 => Ok(Self::ByGreatest(7.0 - half)),
            _ => refuse(
                Reason::Attribute,
                format!(
                    "the {rule} rule is not offered from {input} to {format}: none of CANN's scales is chosen like that"
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte that CANN documents for scaleAlg 2: amax over the greatest value, up to a power of two.
    fn byte_by_greatest(amax: f32, greatest: f64) -> u8 {
        let quotient = f64::from(amax) / greatest;
        (0..255).find(|byte| quotient <= 2.0_f64.powi(i32::from(*byte) - 127)).unwrap_or(254)
    }

    #[test]
    fn for_every_bf16_and_f16_number_ceil_and_even_give_the_byte_that_is_wanted() {
        for rule in [ScaleRule::Ceil, ScaleRule::Even] {
            let wanted = Quantization::new(Format::Mxfp4).with_rule(rule);
            for input in [Format::Bf16, Format::F16] {
                let Ok(Algorithm::ByGreatest(greatest)) = Algorithm::of(rule, Format::Mxfp4, input) else {
                    panic!("{rule} from {input}")
                };
                assert!((6.0..=12.0).contains(&greatest) && greatest != 6.0 && greatest != 7.0);
                for bits in 1..0x7c00_u16 {
                    let amax = match input {
                        Format::Bf16 => f32::from_bits(u32::from(bits) << 16),
                        _ => mxhal_core::format::f16::to_f32(bits),
                    };
                    let byte = byte_by_greatest(amax, greatest);
                    assert_eq!(Some(byte), wanted.scale_byte(amax), "{rule} from {input}: {amax}");
                }
            }
        }
    }

    #[test]
    fn for_f32_ceil_errs_at_most_by_what_it_may() {
        let Ok(Algorithm::ByGreatest(greatest)) = Algorithm::of(ScaleRule::Ceil, Format::Mxfp4, Format::F32)
        else {
            panic!("ceil from f32")
        };
        let above = greatest / 6.0 - 1.0;
        assert!(above > 0.0 && above < 0.5_f64.powi(22), "{above}");
        assert!(Algorithm::of(ScaleRule::Even, Format::Mxfp4, Format::F32).is_err());
    }
}
