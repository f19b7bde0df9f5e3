//! `aclnnDynamicMxQuant`, its V2 and V3, and `aclnnAntiMxQuant`.
//!
//! The scale bytes' layout is that of `scales`; a byte that pads an odd number of blocks is 0.
//!
//! # Chosen
//!
//! - For FP8 at scaleAlg 1 elements are divided by the scale also where its byte is 0.
//! - `aclnnAntiMxQuant` takes blocks of 32; a NaN scale makes NaNs.

use std::ffi::{CStr, c_char};

use super::mx::{Recipe, Rule};
use super::scales;
use crate::element::{Element, Rounding};
use crate::executor::{Handle, Job, Operand, Plan, operators, parameter};
use crate::refusal::{Answer, Refusal};
use crate::rules;
use crate::view::{View, coordinates};

/// The parameters of all versions.
struct Quantize {
    x: Handle,
    axis: i64,
    round_mode: *const c_char,
    to: i64,
    block: i64,
    algorithm: i64,
    /// Version 2 on.
    max: Option<f64>,
    least_amax: f64,
    y: Handle,
    scale: Handle,
}

operators! {
    aclnnDynamicMxQuant aclnnDynamicMxQuantGetWorkspaceSize MX (
        x: Handle, axis: i64, round_mode: *const c_char, to: i64, block: i64, algorithm: i64, y: Handle, scale: Handle,
    ) => |plan| Quantize { x, axis, round_mode, to, block, algorithm, max: None, least_amax: 0.0, y, scale }.check(plan);
    aclnnDynamicMxQuantV2 aclnnDynamicMxQuantV2GetWorkspaceSize MX (
        x: Handle, axis: i64, round_mode: *const c_char, to: i64, block: i64, algorithm: i64, max: f64, y: Handle, scale: Handle,
    ) => |plan| Quantize { x, axis, round_mode, to, block, algorithm, max: Some(max), least_amax: 0.0, y, scale }.check(plan);
    aclnnDynamicMxQuantV3 aclnnDynamicMxQuantV3GetWorkspaceSize MX (
        x: Handle, axis: i64, round_mode: *const c_char, to: i64, block: i64, algorithm: i64, max: f64, least_amax: f64,
        y: Handle, scale: Handle,
    ) => |plan| Quantize { x, axis, round_mode, to, block, algorithm, max: Some(max), least_amax, y, scale }.check(plan);
    aclnnAntiMxQuant aclnnAntiMxQuantGetWorkspaceSize MX (
        x: Handle, scale: Handle, axis: i64, to: i64, y: Handle,
    ) => |plan| dequantize(plan, (x, scale), axis, to, y);
}

impl Quantize {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let x = plan.input("x", self.x)?;
        let y = plan.output("yOut", self.y)?;
        let scale = plan.output("mxscaleOut", self.scale)?;
        let from = x.element_in(&[Element::F16, Element::Bf16, Element::F32])?;
        x.rank_in(1..=7)?;
        x.is_plain()?;
        let axis = axis_of(&x, self.axis)?;
        let length = x.shape()[axis];
        let block =
            usize::try_from(self.block).ok().filter(|block| block % 32 == 0 && (32..=1024).contains(block));
        let block =
            block.filter(|block| from != Element::F32 || *block == 32 && length >= 32).ok_or_else(|| {
                let what =
                    format!("blocksize {} with {from} and {length} elements along the axis", self.block);
                Refusal::invalid(rules::BLOCK_SIZE, what)
            })?;
        let element = quantized_type(self.to)?;
        y.element_in(&[element])?;
        if element.is_fp4() && x.shape().last().is_some_and(|last| last % 2 == 1) {
            return Err(x.refuse(rules::EVEN, "has an odd last dimension"));
        }
        y.shape_is(x.shape())?;
        y.is_plain()?;
        scales::check(&scale, &scales::shape_of(x.shape(), axis, block))?;
        scale.is_plain()?;
        parameter(self.least_amax >= 0.0, || format!("maxLowBound {}, expected 0 or more", self.least_amax))?;
        let rounding = rounding(self.round_mode, element)?;
        let rule = self.rule(element, block)?;
        let recipe = Recipe { element, rule, rounding, least_amax: self.least_amax };
        Ok(Box::new(move |views| {
            if let Some(from) = views.get(&x) {
                quantize(from, views.of(&y), views.of(&scale), axis, block, &recipe);
            }
            Ok(())
        }))
    }

    fn rule(&self, element: Element, block: usize) -> Answer<Rule> {
        let max = self.max.unwrap_or(0.0);
        let rule = match self.algorithm {
            0 => Some(Rule::Floor),
            1 if element.is_fp8() => Some(Rule::Ceil),
            2 if element == Element::E2m1 && self.max.is_some() => Some(match max {
                0.0 | 6.0 => Rule::Raised(1),
                7.0 => Rule::Raised(2),
                max => Rule::Max(max),
            }),
            _ => None,
        };
        let rule = rule.ok_or_else(|| {
            let version = if self.max.is_some() { "from V2 on" } else { "of V1" };
            let what = format!("scaleAlg {} for {element} {version}", self.algorithm);
            Refusal::invalid(rules::SCALE_ALGORITHM, what)
        })?;
        let allowed = max == 0.0 || (6.0..=12.0).contains(&max) && self.algorithm == 2 && block == 32;
        parameter(allowed, || {
            format!("dstTypeMax {max}, expected 0, or 6 to 12 with scaleAlg 2, blocksize 32 and FLOAT4_E2M1")
        })?;
        Ok(rule)
    }
}

/// An axis counted from either end.
pub(crate) fn axis_of(x: &Operand, axis: i64) -> Answer<usize> {
    let rank = x.rank() as i64;
    parameter((-rank..rank).contains(&axis), || format!("axis {axis} of {rank} dimensions"))?;
    Ok(axis.rem_euclid(rank) as usize)
}

/// The type of a `dstType` that MX quantization makes.
pub(crate) fn quantized_type(to: i64) -> Answer<Element> {
    let element = i32::try_from(to).ok().and_then(Element::from_number);
    element
        .filter(|element| element.is_fp4() || element.is_fp8())
        .ok_or_else(|| Refusal::invalid(rules::DTYPE, format!("dstType {to}, expected 35, 36, 40 or 41")))
}

/// The rounding mode of a name; null is "rint".
pub(crate) fn rounding(mode: *const c_char, element: Element) -> Answer<Rounding> {
    let mode = match mode.is_null() {
        true => "rint",
        // SAFETY: a C string by the operator's signature.
        false => unsafe { CStr::from_ptr(mode) }.to_str().unwrap_or("not UTF-8"),
    };
    match mode {
        "rint" => Ok(Rounding::Rint),
        "floor" if element.is_fp4() => Ok(Rounding::Floor),
        "round" if element.is_fp4() => Ok(Rounding::Round),
        _ => Err(Refusal::invalid(rules::ROUND_MODE, format!("roundMode `{mode}` for {element}"))),
    }
}

/// Quantizes in blocks along an axis.
fn quantize(x: &View, y: &View, scale: &View, axis: usize, block: usize, recipe: &Recipe) {
    let length = x.shape()[axis];
    let mut lines = x.shape().to_vec();
    lines[axis] = 1;
    for mut at in coordinates(&lines) {
        let values = x.line(&at, axis, length);
        let blocks = length.div_ceil(block);
        for (number, values) in values.chunks(block).enumerate() {
            let (byte, codes) = recipe.block(values);
            scale.put_bits(&scales::place(&at, axis, number), u64::from(byte));
            for (i, code) in codes.into_iter().enumerate() {
                at[axis] = number * block + i;
                y.put_bits(&at, u64::from(code));
            }
        }
        if blocks % 2 == 1 {
            scale.put_bits(&scales::place(&at, axis, blocks), 0);
        }
    }
}

/// `aclnnAntiMxQuant`.
fn dequantize(plan: &mut Plan, (x, scale): (Handle, Handle), axis: i64, to: i64, y: Handle) -> Answer<Job> {
    let (x, scale, y) = (plan.input("x", x)?, plan.input("mxscale", scale)?, plan.output("y", y)?);
    x.element_in(&[Element::E2m1, Element::E1m2, Element::E4m3, Element::E5m2])?;
    x.rank_in(1..=7)?;
    x.is_plain()?;
    if x.element().is_fp4() && x.shape().last().is_some_and(|last| last % 2 == 1) {
        return Err(x.refuse(rules::EVEN, "has an odd last dimension"));
    }
    let axis = axis_of(&x, axis)?;
    scales::check(&scale, &scales::shape_of(x.shape(), axis, scales::BLOCK))?;
    scale.is_plain()?;
    let element = y.element_in(&[Element::F16, Element::Bf16, Element::F32])?;
    parameter(to == element as i64, || format!("dstType {to} with y of {element}"))?;
    y.shape_is(x.shape())?;
    y.is_plain()?;
    Ok(Box::new(move |views| {
        let Some(x) = views.get(&x) else { return Ok(()) };
        let (scale, y) = (views.of(&scale), views.of(&y));
        let length = x.shape()[axis];
        let mut lines = x.shape().to_vec();
        lines[axis] = 1;
        for mut at in coordinates(&lines) {
            let factors = scales::line(scale, &at, axis, length.div_ceil(scales::BLOCK));
            for (i, value) in x.line(&at, axis, length).into_iter().enumerate() {
                at[axis] = i;
                // Exact in float64; the output's type rounds once.
                let product = f64::from(value) * factors[i / scales::BLOCK];
                y.put_bits(&at, element.encode(product, Rounding::Rint));
            }
            at[axis] = 0;
        }
        Ok(())
    }))
}
