//! `aclnnSwiGlu` and `aclnnSwigluMxQuant`.
//!
//! # Chosen
//!
//! `aclnnSwigluMxQuant` is documented by its parameters' names alone. Taken are: swigluMode 0, silu(a) · b without a clamp;
//! 1, a' · sigmoid(gluAlpha · a') · (b' + gluBias) with a' = min(a, clampLimit) and b' within ±clampLimit. The halves are
//! concatenated along activateDim, which is the last; a is the left one if activateLeft. Quantization is along the
//! last axis; groupIndex is null. maxDtypeValue is `aclnnDynamicMxQuantV2`'s dstTypeMax. Between SwiGLU and quantization
//! nothing is rounded but to float32.

use std::ffi::c_char;

use super::mx::{Recipe, Rule};
use super::quantize::{axis_of, quantized_type, rounding};
use super::scales::{self, BLOCK};
use crate::element::Element;
use crate::executor::{Handle, Job, Plan, operators, parameter};
use crate::refusal::{Answer, Refusal};
use crate::rules;
use crate::view::coordinates;

const FLOATS: [Element; 3] = [Element::F16, Element::Bf16, Element::F32];

struct Quantized {
    x: Handle,
    group_index: Handle,
    activate_dim: i64,
    gate: Gate,
    mode: i64,
    group_mode: i64,
    axis: i64,
    to: i64,
    round_mode: *const c_char,
    algorithm: i64,
    max: f64,
    y: Handle,
    scale: Handle,
}

#[derive(Clone, Copy)]
struct Gate {
    left: bool,
    /// 0 for none.
    limit: f64,
    alpha: f64,
    bias: f64,
}

operators! {
    aclnnSwiGlu aclnnSwiGluGetWorkspaceSize ANY (
        x: Handle, dim: i64, out: Handle,
    ) => |plan| swiglu(plan, x, dim, out);
    aclnnSwigluMxQuant aclnnSwigluMxQuantGetWorkspaceSize MX (
        x: Handle, group_index: Handle, activate_dim: i64, left: bool, mode: i64, limit: f64, alpha: f64, bias: f64,
        group_mode: i64, axis: i64, to: i64, round_mode: *const c_char, algorithm: i64, max: f64, y: Handle, scale: Handle,
    ) => |plan| Quantized {
        x, group_index, activate_dim, gate: Gate { left, limit, alpha, bias }, mode, group_mode, axis, to, round_mode, algorithm,
        max, y, scale,
    }.check(plan);
}

impl Gate {
    fn plain(left: bool) -> Self {
        Self { left, limit: 0.0, alpha: 1.0, bias: 0.0 }
    }

    fn of(&self, left: f32, right: f32) -> f32 {
        let (mut a, mut b) = match self.left {
            true => (f64::from(left), f64::from(right)),
            false => (f64::from(right), f64::from(left)),
        };
        if self.limit > 0.0 {
            // A NaN stays one.
            a = if a > self.limit { self.limit } else { a };
            b = b.clamp(-self.limit, self.limit);
        }
        (a / (1.0 + (-self.alpha * a).exp()) * (b + self.bias)) as f32
    }
}

fn swiglu(plan: &mut Plan, x: Handle, dim: i64, out: Handle) -> Answer<Job> {
    let (x, out) = (plan.input("x", x)?, plan.output("out", out)?);
    let element = x.element_in(&FLOATS)?;
    out.element_in(&[element])?;
    x.rank_in(1..=8)?;
    let axis = axis_of(&x, dim)?;
    for operand in [&x, &out] {
        operand.is_plain()?;
    }
    let mut shape = x.shape().to_vec();
    if shape[axis] % 2 == 1 {
        return Err(
            x.refuse(rules::SHAPE, format!("has {} along dim {dim}, expected an even number", shape[axis]))
        );
    }
    shape[axis] /= 2;
    out.shape_is(&shape)?;
    Ok(Box::new(move |views| {
        let Some(x) = views.get(&x) else { return Ok(()) };
        let (out, gate) = (views.of(&out), Gate::plain(true));
        for at in coordinates(&shape) {
            let mut right = at.clone();
            right[axis] += shape[axis];
            out.put(&at, gate.of(x.get(&at), x.get(&right)));
        }
        Ok(())
    }))
}

impl Quantized {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let x = plan.input("x", self.x)?;
        if !self.group_index.is_null() {
            return Err(Refusal::invalid(rules::NOT_SIMULATED, "groupIndexOptional is given"));
        }
        plan.absent("groupIndexOptional", self.group_index)?;
        let y = plan.output("yOut", self.y)?;
        let scale = plan.output("mxscaleOut", self.scale)?;
        x.element_in(&FLOATS)?;
        x.rank_in(2..=7)?;
        for operand in [&x, &y, &scale] {
            operand.is_plain()?;
        }
        let last = x.rank() - 1;
        if axis_of(&x, self.activate_dim)? != last || axis_of(&x, self.axis)? != last {
            let what =
                format!("activateDim {} and axis {}, carried is the last", self.activate_dim, self.axis);
            return Err(Refusal::invalid(rules::NOT_SIMULATED, what));
        }
        parameter(matches!(self.mode, 0 | 1), || format!("swigluMode {}, expected 0 or 1", self.mode))?;
        parameter(matches!(self.group_mode, 0 | 1), || {
            format!("groupMode {}, expected 0 or 1", self.group_mode)
        })?;
        let gate = if self.mode == 0 { Gate::plain(self.gate.left) } else { self.gate };
        parameter(gate.limit >= 0.0, || format!("clampLimit {}, expected 0 or more", gate.limit))?;

        let element = quantized_type(self.to)?;
        let mut shape = x.shape().to_vec();
        let inputs = shape[last];
        shape[last] /= 2;
        if inputs % 2 == 1 || element.is_fp4() && shape[last] % 2 == 1 {
            return Err(x.refuse(rules::EVEN, format!("has {inputs} columns for {element}")));
        }
        y.element_in(&[element])?;
        y.shape_is(&shape)?;
        scales::check(&scale, &scales::shape_of(&shape, last, BLOCK))?;
        let rule = match (self.algorithm, self.max) {
            (0, 0.0) => Rule::Floor,
            (1, 0.0) if element.is_fp8() => Rule::Ceil,
            (2, 0.0 | 6.0) if element == Element::E2m1 => Rule::Raised(1),
            (2, 7.0) if element == Element::E2m1 => Rule::Raised(2),
            (2, max) if element == Element::E2m1 && (6.0..=12.0).contains(&max) => Rule::Max(max),
            (algorithm, max) => {
                let what = format!("scaleAlg {algorithm} with maxDtypeValue {max} for {element}");
                return Err(Refusal::invalid(rules::SCALE_ALGORITHM, what));
            }
        };
        let rounding = rounding(self.round_mode, element)?;
        let recipe = Recipe { element, rule, rounding, least_amax: 0.0 };
        Ok(Box::new(move |views| {
            let Some(x) = views.get(&x) else { return Ok(()) };
            let (y, scale, half) = (views.of(&y), views.of(&scale), shape[last]);
            for at in coordinates(&shape[..last]) {
                let row = x.row(&at);
                let values: Vec<f32> = (0..half).map(|i| gate.of(row[i], row[half + i])).collect();
                super::permute::put_quantized(&recipe, &values, y, scale, &at);
            }
            Ok(())
        }))
    }
}
