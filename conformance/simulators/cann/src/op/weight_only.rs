//! `aclnnWeightQuantBatchMatmulV2` and `V3` with FP4 weights: W4A16.
//!
//! # Chosen
//!
//! - weight is contiguous (k, n), antiquantScale contiguous (ceil(k/32), n): a transposed view is not documented.
//! - bias is of x's type or FLOAT, (n) or (1, n). y is of x's type. innerPrecise is 0 or 1.

use super::product::unscaled;
use super::scales::BLOCK;
use crate::element::Element;
use crate::executor::{Handle, Job, Plan, operators, parameter};
use crate::refusal::{Answer, Refusal};
use crate::rules;

struct Product {
    x: Handle,
    weight: Handle,
    scale: Handle,
    /// antiquantOffset, quantScale, quantOffset.
    unused: [Handle; 3],
    bias: Handle,
    group: i32,
    inner_precise: i32,
    y: Handle,
}

operators! {
    aclnnWeightQuantBatchMatmulV2 aclnnWeightQuantBatchMatmulV2GetWorkspaceSize MX (
        x: Handle, weight: Handle, scale: Handle, offset: Handle, quant_scale: Handle, quant_offset: Handle, bias: Handle,
        group: i32, y: Handle,
    ) => |plan| Product {
        x, weight, scale, unused: [offset, quant_scale, quant_offset], bias, group, inner_precise: 0, y,
    }.check(plan);
    aclnnWeightQuantBatchMatmulV3 aclnnWeightQuantBatchMatmulV3GetWorkspaceSize MX (
        x: Handle, weight: Handle, scale: Handle, offset: Handle, quant_scale: Handle, quant_offset: Handle, bias: Handle,
        group: i32, inner_precise: i32, y: Handle,
    ) => |plan| Product {
        x, weight, scale, unused: [offset, quant_scale, quant_offset], bias, group, inner_precise, y,
    }.check(plan);
}

impl Product {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let (x, weight) = (plan.input("x", self.x)?, plan.input("weight", self.weight)?);
        let scale = plan.input("antiquantScale", self.scale)?;
        for (name, handle) in ["antiquantOffset", "quantScale", "quantOffset"].into_iter().zip(self.unused) {
            plan.absent(name, handle)?;
        }
        let bias = plan.optional("bias", self.bias)?;
        let y = plan.output("y", self.y)?;

        let element = x.element_in(&[Element::F16, Element::Bf16])?;
        weight.element_in(&[Element::E2m1])?;
        scale.element_in(&[Element::E8m0])?;
        y.element_in(&[element])?;
        for operand in [&x, &weight, &scale, &y] {
            operand.is_plain()?;
        }
        let [m, k] = x.dims()?;
        let [_, n] = weight.dims()?;
        weight.shape_is(&[k, n])?;
        if n % 2 == 1 {
            return Err(weight.refuse(rules::EVEN, format!("has an inner dimension of {n}")));
        }
        scale.shape_is(&[k.div_ceil(BLOCK), n])?;
        y.shape_is(&[m, n])?;
        if self.group != 32 {
            return Err(Refusal::invalid(
                rules::GROUP_SIZE,
                format!("antiquantGroupSize {}, expected 32", self.group),
            ));
        }
        parameter(matches!(self.inner_precise, 0 | 1), || {
            format!("innerPrecise {}, expected 0 or 1", self.inner_precise)
        })?;
        if let Some(bias) = &bias {
            bias.element_in(&[element, Element::F32])?;
            bias.is_plain()?;
            if bias.shape() != [1, n] {
                bias.shape_is(&[n])?;
            }
        }
        plan.ask_for_workspace(4096);
        Ok(Box::new(move |views| {
            let Some(y) = views.get(&y) else { return Ok(()) };
            let rows: Vec<_> = (0..m).map(|row| views.of(&x).row(&[row])).collect();
            for column in 0..n {
                let mut values = views.of(&weight).line(&[0, column], 0, k);
                let scales = views.of(&scale).line(&[0, column], 0, k.div_ceil(BLOCK));
                for (block, scale) in values.chunks_mut(BLOCK).zip(scales) {
                    block.iter_mut().for_each(|value| *value *= scale);
                }
                let added = bias.as_ref().map_or(0.0, |bias| {
                    views.of(bias).line(&vec![0; bias.rank()], bias.rank() - 1, n)[column]
                });
                for (row, x) in rows.iter().enumerate() {
                    y.put(&[row, column], unscaled(x, &values) + added);
                }
            }
            Ok(())
        }))
    }
}
