//! `aclnnMoeGatingTopK` and its V2: scores, groups of experts, the top k.
//!
//! # Chosen
//!
//! - Equal scores: the lower expert first. A NaN is chosen last.
//! - bias is of x's type. out may be null unless outFlag. Experts of groups that are not selected are never chosen.
//! - inputIds is INT32 or INT64 (rows), tid2eid INT32 or INT64 (vocabulary, k); they come together, and replace the choice.

use crate::element::Element;
use crate::executor::{Handle, Job, Operand, Plan, operators, parameter};
use crate::refusal::{Answer, Refusal, code};
use crate::rules;
use crate::runtime::settings;
use crate::view::View;

const FLOATS: [Element; 3] = [Element::F16, Element::Bf16, Element::F32];

struct Gating {
    x: Handle,
    bias: Handle,
    ids: Handle,
    table: Handle,
    attributes: Attributes,
    y: Handle,
    expert: Handle,
    out: Handle,
}

#[derive(Clone, Copy)]
struct Attributes {
    k: i64,
    k_group: i64,
    group_count: i64,
    group_select: i64,
    renorm: i64,
    norm: i64,
    out_flag: bool,
    factor: f64,
    eps: f64,
}

operators! {
    aclnnMoeGatingTopK aclnnMoeGatingTopKGetWorkspaceSize ANY (
        x: Handle, bias: Handle, k: i64, k_group: i64, group_count: i64, group_select: i64, renorm: i64, norm: i64,
        out_flag: bool, factor: f64, eps: f64, y: Handle, expert: Handle, out: Handle,
    ) => |plan| Gating {
        x, bias, ids: std::ptr::null(), table: std::ptr::null(),
        attributes: Attributes { k, k_group, group_count, group_select, renorm, norm, out_flag, factor, eps }, y, expert, out,
    }.check(plan);
    aclnnMoeGatingTopKV2 aclnnMoeGatingTopKV2GetWorkspaceSize ANY (
        x: Handle, bias: Handle, ids: Handle, table: Handle, k: i64, k_group: i64, group_count: i64, group_select: i64,
        renorm: i64, norm: i64, out_flag: bool, factor: f64, eps: f64, y: Handle, expert: Handle, out: Handle,
    ) => |plan| Gating {
        x, bias, ids, table,
        attributes: Attributes { k, k_group, group_count, group_select, renorm, norm, out_flag, factor, eps }, y, expert, out,
    }.check(plan);
}

impl Gating {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let x = plan.input("x", self.x)?;
        let bias = plan.optional("biasOptional", self.bias)?;
        let ids = plan.optional("inputIdsOptional", self.ids)?;
        let table = plan.optional("tid2eidOptional", self.table)?;
        let y = plan.output("yOut", self.y)?;
        let expert = plan.output("expertIdxOut", self.expert)?;
        let out = plan.optional_output("outOut", self.out)?;

        let element = x.element_in(&FLOATS)?;
        let [rows, experts] = x.dims()?;
        parameter((1..=2048).contains(&experts), || format!("x has {experts} experts, expected 1 to 2048"))?;
        let attributes = self.attributes;
        let k = attributes.check(experts)?;
        y.element_in(&[element])?;
        y.shape_is(&[rows, k])?;
        expert.element_in(&[Element::I32])?;
        expert.shape_is(&[rows, k])?;
        for operand in [&x, &y, &expert].into_iter().chain(&bias).chain(&ids).chain(&table).chain(&out) {
            operand.is_plain()?;
        }
        if let Some(bias) = &bias {
            bias.element_in(&[element])?;
            bias.shape_is(&[experts])?;
        }
        if let Some(out) = &out {
            out.element_in(&[Element::F32])?;
            out.shape_is(&[rows, experts])?;
        } else if attributes.out_flag {
            return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, "outOut is null with outFlag"));
        }
        let given = check_given(ids, table, (rows, k))?;
        Ok(Box::new(move |views| {
            let Some(x) = views.get(&x) else { return Ok(()) };
            let (y, expert) = (views.of(&y), views.of(&expert));
            let bias = bias.as_ref().map(|bias| views.of(bias).row(&[]));
            for row in 0..rows {
                let scores = attributes.scores(&x.row(&[row]));
                let chosen = match &given {
                    None => attributes.choose(&scores, bias.as_deref(), k),
                    Some((ids, table)) => look_up(views.of(ids), views.of(table), row, experts)?,
                };
                let sum: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
                let renormalised = attributes.norm != 0 || attributes.renorm == 1;
                let divisor = if renormalised { sum + attributes.eps as f32 } else { 1.0 };
                for (slot, id) in chosen.into_iter().enumerate() {
                    y.put(&[row, slot], scores[id] / divisor * attributes.factor as f32);
                    expert.put_integer(&[row, slot], id as i64);
                }
                if let Some(out) = out.as_ref().filter(|_| attributes.out_flag) {
                    scores.iter().enumerate().for_each(|(id, score)| views.of(out).put(&[row, id], *score));
                }
            }
            Ok(())
        }))
    }
}

impl Attributes {
    /// The k, if all is within its range.
    fn check(&self, experts: usize) -> Answer<usize> {
        let Self { k, k_group, group_count, .. } = *self;
        let count = experts as i64;
        parameter(group_count >= 1 && count % group_count == 0, || {
            format!("groupCount {group_count} of {count} experts")
        })?;
        parameter((1..=group_count).contains(&k_group), || {
            format!("kGroup {k_group} of {group_count} groups")
        })?;
        let reachable = count / group_count * k_group;
        parameter((1..=reachable).contains(&k), || format!("k {k}, expected 1 to {reachable}"))?;
        parameter(matches!(self.group_select, 0 | 1), || {
            format!("groupSelectMode {}, expected 0 or 1", self.group_select)
        })?;
        let pairs = self.group_select == 0 || group_count == 1 || count / group_count >= 2;
        parameter(pairs, || "groupSelectMode 1 needs two experts in a group".into())?;
        parameter(matches!(self.renorm, 0 | 1), || format!("renorm {}, expected 0 or 1", self.renorm))?;
        let norms = if settings()?.product.has_mx() { 0..=2 } else { 0..=1 };
        parameter(norms.contains(&self.norm), || {
            format!("normType {}, expected {norms:?} on this SoC", self.norm)
        })?;
        Ok(usize::try_from(k).expect("1 or more"))
    }

    fn scores(&self, logits: &[f32]) -> Vec<f32> {
        match self.norm {
            0 => softmax(logits),
            1 => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            // ln(1 + e^x), without overflow.
            _ => logits.iter().map(|x| (x.max(0.0) + (-x.abs()).exp().ln_1p()).sqrt()).collect(),
        }
    }

    fn choose(&self, scores: &[f32], bias: Option<&[f32]>, k: usize) -> Vec<usize> {
        let mut keys: Vec<f32> = match bias {
            Some(bias) => scores.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
            None => scores.to_vec(),
        };
        let groups = self.group_count as usize;
        if groups > 1 {
            let size = keys.len() / groups;
            let strength = |group: &[f32]| {
                let best = top(group, if self.group_select == 0 { 1 } else { 2 });
                best.iter().map(|i| group[*i]).sum::<f32>()
            };
            let strengths: Vec<f32> = keys.chunks(size).map(strength).collect();
            let kept = top(&strengths, self.k_group as usize);
            for (group, keys) in keys.chunks_mut(size).enumerate() {
                if !kept.contains(&group) {
                    keys.fill(f32::NAN);
                }
            }
        }
        top(&keys, k)
    }
}

fn check_given(
    ids: Option<Operand>,
    table: Option<Operand>,
    (rows, k): (usize, usize),
) -> Answer<Option<(Operand, Operand)>> {
    match (ids, table) {
        (None, None) => Ok(None),
        (Some(ids), Some(table)) => {
            ids.element_in(&[Element::I32, Element::I64])?;
            ids.shape_is(&[rows])?;
            table.element_in(&[Element::I32, Element::I64])?;
            let [vocabulary, _] = table.dims()?;
            table.shape_is(&[vocabulary, k])?;
            Ok(Some((ids, table)))
        }
        _ => Err(Refusal::invalid(rules::PARAMETER, "inputIds and tid2eid come together or not at all")),
    }
}

/// The experts that the table has for a row's token.
fn look_up(ids: &View, table: &View, row: usize, experts: usize) -> Answer<Vec<usize>> {
    let refuse = |what: String| Refusal::new(code::RT_AICORE_EXCEPTION, rules::EXPERT_RANGE, what);
    let token = ids.integer(&[row]);
    let [vocabulary, k] = [table.shape()[0], table.shape()[1]];
    let at = usize::try_from(token).ok().filter(|token| *token < vocabulary);
    let at =
        at.ok_or_else(|| refuse(format!("inputIds[{row}] is {token}, tid2eid has {vocabulary} rows")))?;
    (0..k)
        .map(|slot| {
            let id = table.integer(&[at, slot]);
            let id = usize::try_from(id).ok().filter(|id| *id < experts);
            id.ok_or_else(|| refuse(format!("tid2eid[{at}] has an expert out of {experts}")))
        })
        .collect()
}

/// The indices of the k largest, the largest first, the lower index first among equals, NaN last.
pub(super) fn top(keys: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    let key = |i: usize| if keys[i].is_nan() { (1, 0.0) } else { (0, -keys[i]) };
    order.sort_by(|a, b| key(*a).partial_cmp(&key(*b)).expect("no NaN is left"));
    order.truncate(k);
    order
}

pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|x| x / sum).collect()
}
