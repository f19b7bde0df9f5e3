//! Matmul: `aclnnQuantMatmulV5`; for BF16 activations a kernel of ours, or `aclnnWeightQuantBatchMatmulV3`.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::{QuantMatmul, WeightQuantBatchMatmul};
use mxhal_core::op::Matmul;
use mxhal_core::{Format, Reason, Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Operand, Run, quantize, scales};
use crate::session::{Session, data_type};
use crate::support::{Means, Offer, refuse};
use crate::weights::Stored;

impl Execute for Matmul {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        let stored = stored(self, 1, offer)?;
        if stored == Stored::Canonical {
            return offer.needs_kernels().map(|()| Means::Kernels);
        }
        if stored == Stored::Fp4Columns {
            if self.output != Format::Bf16 {
                let text = format!(
                    "with bf16 activations CANN's product is bf16, and the output is {}",
                    self.output
                );
                return refuse(Reason::Format, text);
            }
            if self.bias {
                let text = "with bf16 activations it is not documented which type of bias CANN adds";
                return refuse(Reason::Attribute, text);
            }
            offer.needs(Operator::WeightQuantBatchMatmul, &[2, 3])?;
            return Ok(Means::Cann);
        }
        check_activations(self, offer)?;
        if stored == Stored::Fp4Rows && self.activation.format != Format::Mxfp4 {
            if self.output == Format::F32 {
                let text =
                    "E4M3 by E2M1 CANN gives bf16 and f16, and the output is f32 (option `w4a8` is `native`)";
                return refuse(Reason::Format, text);
            }
            if self.bias {
                let text = "E4M3 by E2M1 CANN adds a bias of the output's type, and the bias is f32 (option `w4a8` is \
                            `native`)";
                return refuse(Reason::Attribute, text);
            }
        }
        if stored.is_tiled(&offer.options) {
            offer.needs(Operator::NpuFormatCast, &[1])?;
            offer.needs(Operator::QuantMatmulWeightNz, &[1])?;
        } else {
            offer.needs(Operator::QuantMatmul, &[5])?;
        }
        Ok(Means::Cann)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let weights = run.weights()?;
        if weights.stored == Stored::Canonical {
            return enqueue_kernel(self, session, run, [1, 2], None);
        }
        let (m, n, k) = (run.rows, self.n, self.k);
        let y = session.output(run.operand(2)?)?;
        let y = session.tensor(data_type(self.output)?, &[m, n], y)?;
        if weights.stored == Stored::Fp4Columns {
            let a = session.input(run.operand(0)?)?;
            let a = session.tensor(DataType::Bf16, &[m, k], a)?;
            let w = session.tensor(DataType::Float4E2m1, &[k, n], weights.data)?;
            let scales = session.tensor(DataType::Float8E8m0, &[k.div_ceil(32), n], weights.scales)?;
            return session.run(WeightQuantBatchMatmul::new(&a, &w, &scales, &y).prepare(session.context()));
        }
        let (a, a_scales) = activations(self, session, run.operand(0)?, m)?;
        let a = session.tensor(data_type(self.activation.format)?, &[m, k], a)?;
        let a_scales = session.tensor(DataType::Float8E8m0, &[m, k.div_ceil(64), 2], a_scales)?;
        let w = session.view(weights.spec(&[n, k])?, weights.data)?;
        let w_scales = session.tensor(DataType::Float8E8m0, &[n, k.div_ceil(64), 2], weights.scales)?;
        let bias =
            run.optional(1).map(|bias| session.tensor(DataType::Float, &[n], bias.data)).transpose()?;
        let mut product = QuantMatmul::new(&a, &a_scales, &w, &w_scales, &y);
        product.bias = bias.as_ref();
        session.run(product.prepare(session.context()))
    }
}

/// A product with weights as they came, by the kernel. `places` are those of bias and output; counts and how many groups
/// there are belong to groups.
pub(super) fn enqueue_kernel(
    each: &Matmul,
    session: &mut Session<'_>,
    run: &Run<'_>,
    [bias, y]: [usize; 2],
    groups: Option<(u64, usize)>,
) -> Result<()> {
    let weights = run.weights()?;
    let a = session.input(run.operand(0)?)?;
    let bias = run.optional(bias).map_or(Ok(0), |bias| session.input(bias))?;
    let y = session.output(run.operand(y)?)?;
    let (counts, groups) = groups.unwrap_or((0, 1));
    let blocks = each.weight.blocks();
    session.launch(&parameters::Product {
        a,
        w: weights.data,
        scales: weights.scales,
        bias,
        counts,
        y,
        m: run.rows as u64,
        n: each.n as u64,
        k: each.k as u64,
        groups: groups as u64,
        element: match each.weight {
            Format::Bf16 => 0,
            Format::Mxfp4 => 1,
            _ => 2,
        },
        scale_rows: blocks.map_or(1, |blocks| blocks.rows) as u64,
        scale_columns: blocks.map_or(32, |blocks| blocks.columns) as u64,
        output: each.output as u64,
    })
}

/// How the weights of a product lie.
pub(super) fn stored(each: &Matmul, groups: usize, offer: &Offer) -> Result<Stored, Refusal> {
    Stored::of(each.weight, each.activation.format, (groups, each.n), &offer.options)
}

/// Refuses activations that cannot be made, or that CANN cannot take.
pub(super) fn check_activations(each: &Matmul, offer: &Offer) -> Result<(), Refusal> {
    if each.input != each.activation.format {
        quantize::check(offer, each.input, &each.activation)?;
    }
    match each.activation.format {
        Format::Mxfp8G128 => scales::check(offer),
        _ => Ok(()),
    }
}

/// Activations and their scales in pairs: quantized into scratch, or as they arrive.
pub(super) fn activations(
    each: &Matmul,
    session: &mut Session<'_>,
    a: &Operand,
    m: usize,
) -> Result<(u64, u64)> {
    let Matmul { k, activation, .. } = *each;
    let (canonical, pairs) = (activation.format.row_scales(k), 2 * k.div_ceil(64));
    let is_g128 = activation.format == Format::Mxfp8G128;
    if each.input != activation.format {
        let x = session.input(a)?;
        let elements = session.scratch(m * activation.format.row_bytes(k))?;
        let each_row = canonical.next_multiple_of(2);
        let scales = session.scratch(m * each_row)?;
        quantize::paired(session, (x, each.input), (m, k), &activation, (elements, scales))?;
        return match is_g128 {
            true => Ok((elements, scales::per_32(session, (scales, each_row), m, k, each.m)?)),
            false => Ok((elements, scales)),
        };
    }
    if is_g128 {
        return Ok((a.data, scales::per_32(session, (a.scales, canonical), m, k, each.m)?));
    }
    if canonical == pairs {
        return Ok((a.data, a.scales));
    }
    // The scales of each row are brought to pairs, a zero at their end.
    let scales = session.scratch(m * pairs)?;
    session.clear(scales, (m * pairs) as u64)?;
    session.copy_rows((scales, pairs as u64), (a.scales, canonical as u64), m, canonical as u64)?;
    Ok((a.data, scales))
}
