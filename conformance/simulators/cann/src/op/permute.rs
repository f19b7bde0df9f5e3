//! `aclnnMoeInitRoutingV2` and `V3`: rows in the order of experts, stable in (token, slot).
//!
//! # Chosen
//!
//! - An expert id outside of [0, expertNum) is an exception at the next synchronisation.
//! - V2's activeNum is 0 or rows · k. dropPadMode 1 and the INT8 modes of V3 are not carried.
//! - With quantMode -1 the scale is FLOAT (rows), or E8M0 (rows, ceil(H/64), 2) for FP4 rows; without it expandedScale may be null.
//! - MXFP8's expandedScale has its padding byte 0. Rows of experts outside of activeExpertRange come nowhere.
//! - Key-value counts list the experts that have rows, in order; the entries after them are 0.

use super::mx::Recipe;
use super::scales::BLOCK;
use crate::element::Element;
use crate::executor::{Handle, Job, Operand, Plan, Views, operators, parameter};
use crate::refusal::{Answer, Refusal, code};
use crate::rules;
use crate::runtime::settings;
use crate::tensor::int_array;
use crate::view::View;

struct Second {
    x: Handle,
    expert: Handle,
    active: i64,
    experts: i64,
    drop_pad: i64,
    count_flag: i64,
    before_flag: bool,
    expanded: Handle,
    row_index: Handle,
    counts: Handle,
    before: Handle,
}

struct Third {
    x: Handle,
    expert: Handle,
    scale: Handle,
    offset: Handle,
    active: i64,
    experts: i64,
    drop_pad: i64,
    count_type: i64,
    count_flag: bool,
    quant: i64,
    range: Handle,
    index_type: i64,
    expanded: Handle,
    row_index: Handle,
    counts: Handle,
    expanded_scale: Handle,
}

operators! {
    aclnnMoeInitRoutingV2 aclnnMoeInitRoutingV2GetWorkspaceSize ANY (
        x: Handle, expert: Handle, active: i64, _capacity: i64, experts: i64, drop_pad: i64, count_flag: i64, before_flag: bool,
        expanded: Handle, row_index: Handle, counts: Handle, before: Handle,
    ) => |plan| Second {
        x, expert, active, experts, drop_pad, count_flag, before_flag, expanded, row_index, counts, before,
    }.check(plan);
    aclnnMoeInitRoutingV3 aclnnMoeInitRoutingV3GetWorkspaceSize ANY (
        x: Handle, expert: Handle, scale: Handle, offset: Handle, active: i64, _capacity: i64, experts: i64, drop_pad: i64,
        count_type: i64, count_flag: bool, quant: i64, range: Handle, index_type: i64, expanded: Handle, row_index: Handle,
        counts: Handle, expanded_scale: Handle,
    ) => |plan| Third {
        x, expert, scale, offset, active, experts, drop_pad, count_type, count_flag, quant, range, index_type, expanded,
        row_index, counts, expanded_scale,
    }.check(plan);
}

/// What both versions share.
struct Routing {
    x: Operand,
    expert: Operand,
    expanded: Operand,
    row_index: Operand,
    rows: usize,
    k: usize,
    hidden: usize,
    experts: usize,
}

/// How counts are written.
#[derive(Clone, Copy)]
enum Counts {
    Cumulative,
    Each,
    Pairs,
}

/// What becomes of a row.
enum Rows {
    Copied,
    /// With the scale of its token beside it.
    CopiedWithScale(Operand, Operand),
    Quantized(Recipe, Operand),
}

impl Second {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let (x, expert) = (plan.input("x", self.x)?, plan.input("expertIdx", self.expert)?);
        let expanded = plan.output("expandedXOut", self.expanded)?;
        let row_index = plan.output("expandedRowIdxOut", self.row_index)?;
        let counts = plan.optional_output("expertTokensCountOrCumsumOutOptional", self.counts)?;
        x.element_in(&[Element::F16, Element::Bf16, Element::F32])?;
        expanded.element_in(&[x.element()])?;
        let routing = Routing::check((x, expert), (expanded, row_index), self.experts, self.drop_pad)?;
        let all = (routing.rows * routing.k) as i64;
        parameter(self.active == 0 || self.active == all, || {
            format!("activeNum {}, expected 0 or {all}", self.active)
        })?;
        if self.before_flag || !self.before.is_null() {
            let what = "expertTokensBeforeCapacity is only for dropPadMode 1";
            return Err(Refusal::invalid(rules::PARAMETER, what));
        }
        let kind = match self.count_flag {
            0 => None,
            1 => Some(Counts::Cumulative),
            2 => Some(Counts::Each),
            flag => {
                return Err(Refusal::invalid(
                    rules::PARAMETER,
                    format!("expertTokensCountOrCumsumFlag {flag}"),
                ));
            }
        };
        let counts = match (kind, counts) {
            (None, _) => None,
            (Some(kind), Some(counts)) => {
                counts.element_in(&[Element::I32])?;
                counts.shape_is(&[routing.experts])?;
                counts.is_plain()?;
                Some((counts, kind))
            }
            (Some(_), None) => {
                let what = "expertTokensCountOrCumsumOutOptional is null with its flag";
                return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, what));
            }
        };
        plan.ask_for_workspace(8 * routing.rows * routing.k + 512);
        let range = 0..routing.experts;
        Ok(Box::new(move |views| {
            let order = routing.order(views, &range)?;
            routing.write(views, &order, &Rows::Copied, false);
            if let Some((counts, kind)) = &counts {
                write_counts(views.of(counts), *kind, &routing.counts(views, &range), range.start);
            }
            Ok(())
        }))
    }
}

impl Third {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let (x, expert) = (plan.input("x", self.x)?, plan.input("expertIdx", self.expert)?);
        let scale = plan.optional("scaleOptional", self.scale)?;
        plan.absent("offsetOptional", self.offset)?;
        let expanded = plan.output("expandedXOut", self.expanded)?;
        let row_index = plan.output("expandedRowIdxOut", self.row_index)?;
        let counts = plan.output("expertTokensCountOrCumsumOut", self.counts)?;
        let expanded_scale = plan.optional_output("expandedScaleOut", self.expanded_scale)?;

        let routing = Routing::check((x, expert), (expanded, row_index), self.experts, self.drop_pad)?;
        let all = (routing.rows * routing.k) as i64;
        parameter(self.active == all, || {
            format!("activeNum {}, expected NUM_ROWS * K = {all}", self.active)
        })?;
        parameter(self.count_flag, || "expertTokensNumFlag false, expected true".into())?;
        parameter(matches!(self.index_type, 0 | 1), || {
            format!("rowIdxType {}, expected 0 or 1", self.index_type)
        })?;
        let range = self.range(routing.experts)?;
        let (kind, shape) = match self.count_type {
            0 => (Counts::Cumulative, vec![range.len()]),
            1 => (Counts::Each, vec![range.len()]),
            2 => (Counts::Pairs, vec![routing.experts, 2]),
            other => {
                return Err(Refusal::invalid(
                    rules::PARAMETER,
                    format!("expertTokensNumType {other}, expected 0 to 2"),
                ));
            }
        };
        counts.element_in(&[Element::I64])?;
        counts.shape_is(&shape)?;
        counts.is_plain()?;
        let rows = self.rows(&routing, scale, expanded_scale)?;
        plan.ask_for_workspace(8 * routing.rows * routing.k + 512);
        let scatter = self.index_type == 1;
        Ok(Box::new(move |views| {
            let order = routing.order(views, &range)?;
            routing.write(views, &order, &rows, scatter);
            write_counts(views.of(&counts), kind, &routing.counts(views, &range), range.start);
            Ok(())
        }))
    }

    /// Experts whose rows are wanted.
    fn range(&self, experts: usize) -> Answer<std::ops::Range<usize>> {
        if self.range.is_null() {
            return Ok(0..experts);
        }
        let range = int_array(self.range, "activeExpertRangeOptional")?;
        match range[..] {
            [] => Ok(0..experts),
            [start, end] if 0 <= start && start < end && end <= experts as i64 => {
                Ok(start as usize..end as usize)
            }
            _ => {
                let what = format!("activeExpertRange {range:?} of {experts} experts");
                Err(Refusal::invalid(rules::PARAMETER, what))
            }
        }
    }

    fn rows(
        &self,
        routing: &Routing,
        scale: Option<Operand>,
        expanded_scale: Option<Operand>,
    ) -> Answer<Rows> {
        let Routing { x, expanded, rows, k, hidden, .. } = routing;
        let (all, pairs) = (rows * k, hidden.div_ceil(64));
        let has_mx = settings()?.product.has_mx();
        let floats = [Element::F16, Element::Bf16, Element::F32];
        let element = match self.quant {
            -1 => {
                let with_fp4 = [Element::F16, Element::Bf16, Element::F32, Element::E2m1];
                x.element_in(if has_mx { &with_fp4 } else { &floats })?;
                expanded.element_in(&[x.element()])?;
                return match (scale, expanded_scale) {
                    (None, _) => Ok(Rows::Copied),
                    (Some(scale), Some(expanded_scale)) => {
                        let fp4 = x.element().is_fp4();
                        let (element, beside): (_, &[usize]) =
                            if fp4 { (Element::E8m0, &[pairs, 2]) } else { (Element::F32, &[]) };
                        for (operand, first) in [(&scale, *rows), (&expanded_scale, all)] {
                            let shape: Vec<_> = [first].iter().chain(beside).copied().collect();
                            operand.element_in(&[element])?;
                            operand.is_plain()?;
                            operand.shape_by(if fp4 { rules::SCALE_PAIRS } else { rules::SHAPE }, &shape)?;
                        }
                        Ok(Rows::CopiedWithScale(scale, expanded_scale))
                    }
                    (Some(_), None) => Err(Refusal::new(
                        code::NN_PARAM_NULLPTR,
                        rules::NULL,
                        "expandedScaleOut is null with scaleOptional",
                    )),
                };
            }
            0 | 1 => {
                let what = format!("quantMode {}: INT8", self.quant);
                return Err(Refusal::invalid(rules::NOT_SIMULATED, what));
            }
            2 if has_mx => Element::E5m2,
            3 if has_mx => Element::E4m3,
            9 if has_mx => Element::E2m1,
            other => {
                return Err(Refusal::invalid(rules::PARAMETER, format!("quantMode {other} on this SoC")));
            }
        };
        x.element_in(&floats[..2])?;
        expanded.element_in(&[element])?;
        let Some(expanded_scale) = expanded_scale else {
            return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, "expandedScaleOut is null"));
        };
        if scale.is_some() {
            return Err(Refusal::invalid(rules::ABSENT, "scaleOptional is given with an MX quantMode"));
        }
        expanded_scale.element_in(&[Element::E8m0])?;
        expanded_scale.is_plain()?;
        let shape = if element.is_fp4() { vec![all, pairs, 2] } else { vec![all, 2 * pairs] };
        expanded_scale.shape_by(rules::SCALE_PAIRS, &shape)?;
        Ok(Rows::Quantized(Recipe::ocp(element), expanded_scale))
    }
}

impl Routing {
    fn check(
        (x, expert): (Operand, Operand),
        (expanded, row_index): (Operand, Operand),
        experts: i64,
        drop_pad: i64,
    ) -> Answer<Self> {
        let [rows, hidden] = x.dims()?;
        let [_, k] = expert.dims()?;
        expert.element_in(&[Element::I32])?;
        expert.shape_is(&[rows, k])?;
        if drop_pad == 1 {
            return Err(Refusal::invalid(rules::NOT_SIMULATED, "dropPadMode 1"));
        }
        parameter(drop_pad == 0, || format!("dropPadMode {drop_pad}, expected 0 or 1"))?;
        parameter((1..=10_240).contains(&experts), || format!("expertNum {experts}, expected 1 to 10240"))?;
        row_index.element_in(&[Element::I32])?;
        row_index.shape_is(&[rows * k])?;
        if expanded.element().is_fp4() && hidden % 2 == 1 {
            return Err(expanded.refuse(rules::EVEN, format!("has {hidden} columns")));
        }
        expanded.shape_is(&[rows * k, hidden])?;
        for operand in [&x, &expert, &expanded, &row_index] {
            operand.is_plain()?;
        }
        let experts = usize::try_from(experts).expect("1 or more");
        Ok(Self { x, expert, expanded, row_index, rows, k, hidden, experts })
    }

    /// For each place among the sorted rows, which (token, slot) it is: token · k + slot.
    fn order(&self, views: &Views, range: &std::ops::Range<usize>) -> Answer<Vec<usize>> {
        let ids = views.get(&self.expert).map(View::integers).unwrap_or_default();
        if let Some(at) = ids.iter().position(|id| !(0..self.experts as i64).contains(id)) {
            let what = format!(
                "expertIdx[{}][{}] is {}, expected below {}",
                at / self.k,
                at % self.k,
                ids[at],
                self.experts
            );
            return Err(Refusal::new(code::RT_AICORE_EXCEPTION, rules::EXPERT_RANGE, what));
        }
        let mut order: Vec<usize> =
            (0..ids.len()).filter(|at| range.contains(&(ids[*at] as usize))).collect();
        order.sort_by_key(|at| ids[*at]);
        Ok(order)
    }

    fn write(&self, views: &Views, order: &[usize], rows: &Rows, scatter: bool) {
        let (Some(expanded), Some(x)) = (views.get(&self.expanded), views.get(&self.x)) else { return };
        let index = views.of(&self.row_index);
        for place in 0..self.rows * self.k {
            index.put_integer(&[place], -1);
        }
        for (place, at) in order.iter().enumerate() {
            let (key, value) = if scatter { (place, *at) } else { (*at, place) };
            index.put_integer(&[key], value as i64);
            let token = at / self.k;
            match rows {
                Rows::Quantized(recipe, scale) => {
                    put_quantized(recipe, &x.row(&[token]), expanded, views.of(scale), &[place]);
                }
                Rows::Copied | Rows::CopiedWithScale(..) => {
                    for column in 0..self.hidden {
                        expanded.put_bits(&[place, column], x.bits_at(&[token, column]));
                    }
                }
            }
            if let Rows::CopiedWithScale(from, to) = rows {
                for beside in crate::view::coordinates(&from.shape()[1..]) {
                    let bits = views.of(from).bits_at(&[&[token], &beside[..]].concat());
                    views.of(to).put_bits(&[&[place], &beside[..]].concat(), bits);
                }
            }
        }
    }

    fn counts(&self, views: &Views, range: &std::ops::Range<usize>) -> Vec<i64> {
        let mut counts = vec![0; range.len()];
        for id in views.get(&self.expert).map(View::integers).unwrap_or_default() {
            if range.contains(&(id as usize)) {
                counts[id as usize - range.start] += 1;
            }
        }
        counts
    }
}

fn write_counts(out: &View, kind: Counts, counts: &[i64], first: usize) {
    match kind {
        Counts::Each => {
            counts.iter().enumerate().for_each(|(expert, count)| out.put_integer(&[expert], *count));
        }
        Counts::Cumulative => {
            let mut sum = 0;
            for (expert, count) in counts.iter().enumerate() {
                sum += count;
                out.put_integer(&[expert], sum);
            }
        }
        Counts::Pairs => {
            let present = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            let mut pairs: Vec<_> =
                present.map(|(expert, count)| ((first + expert) as i64, *count)).collect();
            pairs.resize(out.shape()[0], (0, 0));
            for (entry, (expert, count)) in pairs.into_iter().enumerate() {
                out.put_integer(&[entry, 0], expert);
                out.put_integer(&[entry, 1], count);
            }
        }
    }
}

/// Quantizes a row in blocks of 32; its scales lie at `at` as pairs, or flat.
pub(super) fn put_quantized(recipe: &Recipe, values: &[f32], y: &View, scale: &View, at: &[usize]) {
    let flat = scale.shape().len() == at.len() + 1;
    let put_scale = |block: usize, byte: u8| {
        let pair = [block / 2, block % 2];
        let place = if flat { [at, &[block]].concat() } else { [at, &pair[..]].concat() };
        scale.put_bits(&place, u64::from(byte));
    };
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let (byte, codes) = recipe.block(values);
        put_scale(block, byte);
        for (i, code) in codes.into_iter().enumerate() {
            y.put_bits(&[at, &[block * BLOCK + i]].concat(), u64::from(code));
        }
    }
    let blocks = values.len().div_ceil(BLOCK);
    if blocks % 2 == 1 {
        put_scale(blocks, 0);
    }
}
