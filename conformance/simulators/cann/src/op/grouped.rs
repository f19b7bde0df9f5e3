//! `aclnnGroupedMatmulV4`, `V5` and `WeightNz`: a weight for each group of rows.
//!
//! Carried are MXFP4 and MXFP8 with groups along M. Transposition is inferred from strides: views are always
//! (g, K, N) and (g, ceil(K/64), N, 2). Rows beyond the last group are not written.
//!
//! # Chosen
//!
//! - Values of the group list are read on the device; wrong ones are an exception at the next synchronisation.
//! - bias is (g, N). quantGroupSize is 0 or 32. splitItem is 2 or 3, as there is one output.

use super::dense::{check_nz, check_scale_strides};
use super::product::{Line, OUTPUTS, dot};
use super::scales::{self, BLOCK};
use crate::element::Element;
use crate::executor::{Handle, Job, Operand, Plan, Views, operators, parameter};
use crate::refusal::{Answer, Refusal, code};
use crate::rules;
use crate::view::{View, is_transposed};

struct Grouped {
    x: Handle,
    weight: Handle,
    bias: Handle,
    scale: Handle,
    /// offset, antiquantScale, antiquantOffset.
    unused: [Handle; 3],
    token_scale: Handle,
    group_list: Handle,
    /// activationInput, activationQuantScale, activationQuantOffset.
    activation: [Handle; 3],
    split_item: i64,
    group_type: i64,
    group_list_type: i64,
    act_type: i64,
    tuning: Handle,
    group_size: i64,
    out: Handle,
    /// activationFeatureOut, dynQuantScaleOut.
    outputs: [Handle; 2],
    weight_nz: bool,
}

macro_rules! grouped {
    ($($two:ident $one:ident $nz:literal ($($tuning:ident)?) ($($size:ident)?);)*) => { operators! {$(
        $two $one MX (
            x: Handle, weight: Handle, bias: Handle, scale: Handle, offset: Handle, antiquant_scale: Handle,
            antiquant_offset: Handle, token_scale: Handle, group_list: Handle, activation: Handle, activation_scale: Handle,
            activation_offset: Handle, split_item: i64, group_type: i64, group_list_type: i64, act_type: i64,
            $($tuning: Handle,)? $($size: i64,)? out: Handle, feature: Handle, quant_scale: Handle,
        ) => |plan| Grouped {
            x, weight, bias, scale, unused: [offset, antiquant_scale, antiquant_offset], token_scale, group_list,
            activation: [activation, activation_scale, activation_offset], split_item, group_type, group_list_type, act_type,
            tuning: [std::ptr::null(), $($tuning)?].into_iter().last().expect("one at least"),
            group_size: [0, $($size)?].into_iter().last().expect("one at least"),
            out, outputs: [feature, quant_scale], weight_nz: $nz,
        }.check(plan);
    )*}};
}

grouped! {
    aclnnGroupedMatmulV4 aclnnGroupedMatmulV4GetWorkspaceSize false () ();
    aclnnGroupedMatmulV5 aclnnGroupedMatmulV5GetWorkspaceSize false (tuning) ();
    aclnnGroupedMatmulWeightNz aclnnGroupedMatmulWeightNzGetWorkspaceSize true (tuning) (group_size);
}

impl Grouped {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let x = plan.single("x", self.x, false)?;
        let weight = plan.single("weight", self.weight, false)?;
        let bias = plan.optional_single("biasOptional", self.bias)?;
        let scale = plan.single("scaleOptional", self.scale, false)?;
        for (name, handle) in ["offset", "antiquantScale", "antiquantOffset"].into_iter().zip(self.unused) {
            plan.absent(name, handle)?;
        }
        let token_scale = plan.single("perTokenScaleOptional", self.token_scale, false)?;
        let list = plan.input("groupListOptional", self.group_list)?;
        let activation = ["activationInput", "activationQuantScale", "activationQuantOffset"];
        for (name, handle) in activation.into_iter().zip(self.activation) {
            plan.absent(name, handle)?;
        }
        plan.absent("tuningConfigOptional", self.tuning)?;
        let out = plan.single("out", self.out, true)?;
        for (name, handle) in ["activationFeatureOut", "dynQuantScaleOut"].into_iter().zip(self.outputs) {
            plan.absent(name, handle)?;
        }

        self.check_enumerations()?;
        let both = |test: fn(Element) -> bool| test(x.element()) && test(weight.element());
        if !both(|element| element == Element::E2m1) && !both(Element::is_fp8) {
            let what = format!("x {} by weight {}", x.element(), weight.element());
            return Err(Refusal::invalid(rules::DTYPE, what));
        }
        out.element_in(&OUTPUTS)?;
        for operand in [&x, &token_scale, &out] {
            operand.is_plain()?;
        }
        let [m, k] = x.dims()?;
        let [groups, _, n] = weight.dims()?;
        weight.shape_is(&[groups, k, n])?;
        let transposed = is_transposed(&weight.tensor);
        if !self.weight_nz {
            weight.is_nd()?;
        } else {
            check_nz(&weight)?;
        }
        if !transposed && !weight.tensor.is_contiguous() {
            let what = format!(
                "has strides {:?}, expected contiguous ones or ({}, 1, {k})",
                weight.tensor.strides,
                n * k
            );
            return Err(weight.refuse(rules::STRIDES, what));
        }
        if weight.element().is_fp4() {
            let inner = if transposed { k } else { n };
            if k % 2 == 1 || inner % 2 == 1 {
                return Err(weight.refuse(rules::EVEN, format!("has K = {k}, inner dimension {inner}")));
            }
            if k == 2 {
                return Err(weight.refuse(rules::INNER_TWO, "has K = 2"));
            }
        }
        scales::check(&token_scale, &[m, k.div_ceil(64), 2])?;
        scales::check(&scale, &[groups, k.div_ceil(64), n, 2])?;
        check_scale_strides(&weight, &scale)?;
        out.shape_is(&[m, n])?;
        if let Some(bias) = &bias {
            bias.element_in(&[Element::F32])?;
            bias.is_plain()?;
            bias.shape_is(&[groups, n])?;
        }
        self.check_group_list(&list, groups)?;
        plan.ask_for_workspace(16 << 10);

        let kind = self.group_list_type;
        Ok(Box::new(move |views| {
            if views.get(&list).is_none() || views.get(&out).is_none() {
                return Ok(());
            }
            for (group, rows) in groups_of(views.of(&list), kind, groups, m)? {
                let factors = (&x, &token_scale, &weight, &scale);
                multiply(views, factors, bias.as_ref(), views.of(&out), group, rows);
            }
            Ok(())
        }))
    }

    fn check_enumerations(&self) -> Answer {
        let Self { split_item, group_type, group_list_type, act_type, group_size, .. } = self;
        parameter(matches!(split_item, 2 | 3), || {
            format!("splitItem {split_item}, expected 2 or 3 with one output")
        })?;
        if matches!(group_type, -1 | 2) {
            let what = format!("groupType {group_type}; only groups along M (0) are carried");
            return Err(Refusal::invalid(rules::NOT_SIMULATED, what));
        }
        parameter(*group_type == 0, || format!("groupType {group_type}, expected 0"))?;
        parameter((0..=2).contains(group_list_type), || {
            format!("groupListType {group_list_type}, expected 0, 1 or 2")
        })?;
        parameter(*act_type == 0, || format!("actType {act_type}, expected 0 for MX"))?;
        parameter(matches!(group_size, 0 | 32), || format!("quantGroupSize {group_size}, expected 0 or 32"))
    }

    fn check_group_list(&self, list: &Operand, groups: usize) -> Answer {
        let shape = if self.group_list_type == 2 { vec![groups, 2] } else { vec![groups] };
        let right = list.element() == Element::I64 && list.shape() == shape && list.tensor.is_contiguous();
        if right && (1..=1024).contains(&groups) {
            return Ok(());
        }
        Err(list.refuse(rules::GROUP_LIST, format!("expected INT64 {shape:?}, at most 1024 groups")))
    }
}

/// The rows of each group: (group, rows), in order.
fn groups_of(
    list: &View,
    kind: i64,
    groups: usize,
    m: usize,
) -> Answer<Vec<(usize, std::ops::Range<usize>)>> {
    let refuse = |what: String| Refusal::new(code::RT_AICORE_EXCEPTION, rules::GROUP_VALUES, what);
    let values = list.integers();
    let mut ranges = Vec::with_capacity(groups);
    let mut start = 0;
    for entry in 0..groups {
        let (group, end) = match kind {
            0 => (entry as i64, values[entry]),
            1 => (entry as i64, values[entry].saturating_add(start)),
            _ => (values[2 * entry], values[2 * entry + 1].saturating_add(start)),
        };
        let valid = (0..groups as i64).contains(&group) && end >= start && end <= m as i64;
        if !valid {
            return Err(refuse(format!(
                "entry {entry} of {values:?}: group {group}, rows {start} to {end} of {m}"
            )));
        }
        ranges.push((group as usize, start as usize..end as usize));
        start = end;
    }
    Ok(ranges)
}

/// x, its scales, the weight and its scales.
type Factors<'a> = (&'a Operand, &'a Operand, &'a Operand, &'a Operand);

fn multiply(
    views: &Views,
    (x, token_scale, weight, scale): Factors<'_>,
    bias: Option<&Operand>,
    out: &View,
    group: usize,
    rows: std::ops::Range<usize>,
) {
    let (k, n) = (weight.shape()[1], weight.shape()[2]);
    let blocks = k.div_ceil(BLOCK);
    let lines: Vec<Line> = rows
        .clone()
        .map(|row| Line {
            values: views.of(x).row(&[row]),
            scales: scales::line(views.of(token_scale), &[row, 0], 1, blocks),
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    for column in 0..n {
        let line = Line {
            values: views.of(weight).line(&[group, 0, column], 1, k),
            scales: scales::line(views.of(scale), &[group, 0, column], 1, blocks),
        };
        let added = bias.map_or(0.0, |bias| views.of(bias).get(&[group, column]));
        for (row, x) in rows.clone().zip(&lines) {
            out.put(&[row, column], dot(x, &line) + added);
        }
    }
}
