//! GroupedMatmul: `aclnnGroupedMatmulV5`, and a kernel of ours for BF16 activations.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::GroupedMatmul as Grouped;
use mxhal_core::op::GroupedMatmul;
use mxhal_core::{Format, Reason, Refusal, Result};

use super::matmul::{activations, check_activations, enqueue_kernel, stored};
use super::{Execute, Run};
use crate::error::from_cann;
use crate::integers;
use crate::session::{Session, data_type, spec};
use crate::support::{Means, Offer, refuse};
use crate::weights::Stored;

/// The most groups that CANN takes.
const MAX_GROUPS: usize = 1024;

impl Execute for GroupedMatmul {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        let Self { each, groups } = self;
        let stored = stored(each, *groups, offer)?;
        if stored == Stored::Canonical {
            return offer.needs_kernels().map(|()| Means::Kernels);
        }
        if stored == Stored::Fp4Columns {
            let text = "CANN has no product of bf16 activations and groups of weights, and option `w4a16` is `native`";
            return refuse(Reason::Format, text);
        }
        if stored == Stored::Fp4Rows && each.activation.format != Format::Mxfp4 {
            let text = "CANN multiplies groups E4M3 by E4M3 or E2M1 by E2M1, and option `w4a8` is `native`";
            return refuse(Reason::Format, text);
        }
        let is_tiled = stored.is_tiled(&offer.options);
        if (stored == Stored::Fp4Rows || is_tiled) && each.n == 1 {
            let layout = if is_tiled { "FRACTAL_NZ" } else { "E2M1" };
            let text = format!("n is 1: CANN cannot see that {layout} weights of one column lie transposed");
            return refuse(Reason::Shape, text);
        }
        if *groups > MAX_GROUPS {
            return refuse(Reason::Shape, format!("groups is {groups}; CANN takes at most {MAX_GROUPS}"));
        }
        check_activations(each, offer)?;
        if is_tiled {
            offer.needs(Operator::NpuFormatCast, &[1])?;
            offer.needs(Operator::GroupedMatmulWeightNz, &[1])?;
        } else {
            offer.needs(Operator::GroupedMatmul, &[4, 5])?;
        }
        // It widens the counts; see `integers`.
        offer.needs(Operator::MoeInitRouting, &[3])?;
        Ok(Means::Cann)
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let Self { each, groups } = *self;
        let weights = run.weights()?;
        if weights.stored == Stored::Canonical {
            let counts = run.operand(1)?.data;
            return enqueue_kernel(&each, session, run, [2, 3], Some((counts, groups)));
        }
        let (m, n, k) = (run.rows, each.n, each.k);
        let pairs = k.div_ceil(64);
        let counts = integers::widen(session, run.operand(1)?.data, groups)?;
        let counts = session.tensor(DataType::Int64, &[groups], counts)?;
        let (a, a_scales) = activations(&each, session, run.operand(0)?, m)?;
        let y = session.output(run.operand(3)?)?;

        let a = session.list(session.tensor(data_type(each.activation.format)?, &[m, k], a)?)?;
        let a_scales = session.list(session.tensor(DataType::Float8E8m0, &[m, pairs, 2], a_scales)?)?;
        let y = session.list(session.tensor(data_type(each.output)?, &[m, n], y)?)?;
        // Weights lie `[groups, n, k]`, and that is told by the strides of a view `[groups, k, n]`.
        let w = weights.spec(&[groups, n, k])?.transposed(1, 2).map_err(from_cann)?;
        let w = session.list(session.view(w, weights.data)?)?;
        let w_scales =
            spec(DataType::Float8E8m0, &[groups, n, pairs, 2])?.transposed(1, 2).map_err(from_cann)?;
        let w_scales = session.list(session.view(w_scales, weights.scales)?)?;
        let bias = match run.optional(2) {
            Some(bias) => {
                let bias = session.input(bias)?;
                Some(session.list(session.tensor(DataType::Float, &[groups, n], bias)?)?)
            }
            None => None,
        };

        let mut product = Grouped::new(&a, &w, &y, &counts).with_mx_scales(&a_scales, &w_scales);
        product.bias = bias.as_ref();
        session.run(product.prepare(session.context()))
    }
}
