//! `aclnnMoeFinalizeRoutingV2`: the experts' rows weighted and summed.
//!
//! # Chosen
//!
//! A row index of -1 is skipped in every mode. The sum is in float32: x1, x2, then the slots in order. scales are of
//! expandedX's type or FLOAT. dropPadMode 1 and 3 with capacities take the same rows of two dimensions.

use crate::element::Element;
use crate::executor::{Handle, Job, Operand, Plan, Views, operators, parameter};
use crate::refusal::{Answer, Refusal, code};
use crate::rules;

struct Finalize {
    expanded: Handle,
    row_index: Handle,
    /// x1, x2, bias, scales, expertIdx.
    optional: [Handle; 5],
    drop_pad: i64,
    out: Handle,
}

operators! {
    aclnnMoeFinalizeRoutingV2 aclnnMoeFinalizeRoutingV2GetWorkspaceSize ANY (
        expanded: Handle, row_index: Handle, x1: Handle, x2: Handle, bias: Handle, scales: Handle, expert: Handle, drop_pad: i64,
        out: Handle,
    ) => |plan| Finalize { expanded, row_index, optional: [x1, x2, bias, scales, expert], drop_pad, out }.check(plan);
}

/// The checked operands.
struct Sum {
    expanded: Operand,
    row_index: Operand,
    added: [Option<Operand>; 2],
    bias: Option<Operand>,
    scales: Option<Operand>,
    expert: Option<Operand>,
    out: Operand,
    k: usize,
    by_columns: bool,
}

impl Finalize {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let expanded = plan.input("expandedX", self.expanded)?;
        let row_index = plan.input("expandedRowIdx", self.row_index)?;
        let [x1, x2, bias, scales, expert] = self.optional;
        let added = [plan.optional("x1Optional", x1)?, plan.optional("x2Optional", x2)?];
        let bias = plan.optional("biasOptional", bias)?;
        let scales = plan.optional("scalesOptional", scales)?;
        let expert = plan.optional("expertIdxOptional", expert)?;
        let out = plan.output("out", self.out)?;

        let element = expanded.element_in(&[Element::F16, Element::Bf16, Element::F32])?;
        let [expanded_rows, hidden] = expanded.dims()?;
        out.element_in(&[element])?;
        let [rows, _] = out.dims()?;
        out.shape_is(&[rows, hidden])?;
        row_index.element_in(&[Element::I32])?;
        let [entries] = row_index.dims()?;
        parameter((0..=3).contains(&self.drop_pad), || {
            format!("dropPadMode {}, expected 0 to 3", self.drop_pad)
        })?;
        if rows > 0 && entries % rows != 0 {
            return Err(row_index.refuse(rules::SHAPE, format!("has {entries} entries for {rows} rows")));
        }
        let k = entries.checked_div(rows).unwrap_or(0);
        if matches!(self.drop_pad, 0 | 2) && expanded_rows != entries {
            return Err(
                expanded.refuse(rules::SHAPE, format!("has {expanded_rows} rows, expandedRowIdx {entries}"))
            );
        }
        if scales.is_none() && k > 1 {
            return Err(Refusal::invalid(
                rules::PARAMETER,
                format!("scalesOptional is null with K = {k}, expected 1"),
            ));
        }
        for operand in added.iter().flatten() {
            operand.element_in(&[element])?;
            operand.shape_is(&[rows, hidden])?;
        }
        if let Some(scales) = &scales {
            scales.element_in(&[element, Element::F32])?;
            scales.shape_is(&[rows, k])?;
        }
        if let Some(expert) = &expert {
            expert.element_in(&[Element::I32])?;
            expert.shape_is(&[rows, k])?;
        }
        if let Some(bias) = &bias {
            bias.element_in(&[element])?;
            let [experts, _] = bias.dims()?;
            bias.shape_is(&[experts, hidden])?;
            if expert.is_none() {
                return Err(Refusal::new(
                    code::NN_PARAM_NULLPTR,
                    rules::NULL,
                    "expertIdxOptional is null with a bias",
                ));
            }
        }
        let all = [&expanded, &row_index, &out].into_iter().chain(added.iter().flatten());
        for operand in all.chain(&bias).chain(&scales).chain(&expert) {
            operand.is_plain()?;
        }
        let sum =
            Sum { expanded, row_index, added, bias, scales, expert, out, k, by_columns: self.drop_pad < 2 };
        Ok(Box::new(move |views| sum.run(views)))
    }
}

impl Sum {
    fn run(&self, views: &Views) -> Answer {
        let Some(out) = views.get(&self.out) else { return Ok(()) };
        let [rows, hidden] = [out.shape()[0], out.shape()[1]];
        for row in 0..rows {
            let mut sum = vec![0.0_f32; hidden];
            for operand in self.added.iter().flatten() {
                accumulate(&mut sum, &views.of(operand).row(&[row]), 1.0);
            }
            for slot in 0..self.k {
                let entry = if self.by_columns { row + slot * rows } else { row * self.k + slot };
                let Some(source) = self.source(views, entry)? else { continue };
                let mut values = views.of(&self.expanded).row(&[source]);
                if let (Some(bias), Some(expert)) = (&self.bias, &self.expert) {
                    let id = views.of(expert).integer(&[row, slot]);
                    let id =
                        usize::try_from(id).ok().filter(|id| *id < bias.shape()[0]).ok_or_else(|| {
                            let what = format!(
                                "expertIdx[{row}][{slot}] is {id}, bias has {} rows",
                                bias.shape()[0]
                            );
                            Refusal::new(code::RT_AICORE_EXCEPTION, rules::EXPERT_RANGE, what)
                        })?;
                    accumulate(&mut values, &views.of(bias).row(&[id]), 1.0);
                }
                let weight = self.scales.as_ref().map_or(1.0, |scales| views.of(scales).get(&[row, slot]));
                accumulate(&mut sum, &values, weight);
            }
            sum.into_iter().enumerate().for_each(|(column, value)| out.put(&[row, column], value));
        }
        Ok(())
    }

    /// The expanded row of an entry; none for -1.
    fn source(&self, views: &Views, entry: usize) -> Answer<Option<usize>> {
        let index = views.of(&self.row_index).integer(&[entry]);
        if index == -1 {
            return Ok(None);
        }
        let rows = self.expanded.shape()[0];
        usize::try_from(index).ok().filter(|index| *index < rows).map(Some).ok_or_else(|| {
            let what = format!("expandedRowIdx[{entry}] is {index}, expandedX has {rows} rows");
            Refusal::new(code::RT_AICORE_EXCEPTION, rules::ROW_INDEX, what)
        })
    }
}

fn accumulate(sum: &mut [f32], values: &[f32], weight: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}
