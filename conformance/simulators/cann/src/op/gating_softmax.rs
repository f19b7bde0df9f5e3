//! `aclnnMoeGatingTopKSoftmax` and its V2.
//!
//! # Chosen
//!
//! V2 with renorm 1 takes the top k first and the softmax of those; with 0 the other way round, and only then
//! softmaxResultOut may be asked for. Rows of rank 2 only.

use super::gating::{softmax, top};
use crate::element::Element;
use crate::executor::{Handle, Job, Plan, operators, parameter};
use crate::refusal::{Answer, Refusal, code};
use crate::rules;

struct Gating {
    x: Handle,
    finished: Handle,
    k: i64,
    renorm: i64,
    with_result: bool,
    y: Handle,
    expert: Handle,
    /// Of the first version only.
    row_index: Option<Handle>,
    result: Handle,
}

operators! {
    aclnnMoeGatingTopKSoftmax aclnnMoeGatingTopKSoftmaxGetWorkspaceSize ANY (
        x: Handle, finished: Handle, k: i64, y: Handle, expert: Handle, row_index: Handle,
    ) => |plan| Gating {
        x, finished, k, renorm: 0, with_result: false, y, expert, row_index: Some(row_index), result: std::ptr::null(),
    }.check(plan);
    aclnnMoeGatingTopKSoftmaxV2 aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize ANY (
        x: Handle, finished: Handle, k: i64, renorm: i64, with_result: bool, y: Handle, expert: Handle, result: Handle,
    ) => |plan| Gating { x, finished, k, renorm, with_result, y, expert, row_index: None, result }.check(plan);
}

impl Gating {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let x = plan.input("x", self.x)?;
        let finished = plan.optional("finishedOptional", self.finished)?;
        let y = plan.output("yOut", self.y)?;
        let expert = plan.output("expertIdxOut", self.expert)?;
        let row_index = self.row_index.map(|handle| plan.output("rowIdxOut", handle)).transpose()?;
        let result = plan.optional_output("softmaxResultOutOptional", self.result)?;

        let element = x.element_in(&[Element::F16, Element::Bf16, Element::F32])?;
        let [rows, experts] = x.dims()?;
        parameter((1..=2048).contains(&experts), || format!("x has {experts} experts, expected 1 to 2048"))?;
        let most = experts.min(1024);
        let k = usize::try_from(self.k).ok().filter(|k| (1..=most).contains(k));
        let k = k.ok_or_else(|| {
            Refusal::invalid(rules::PARAMETER, format!("k {}, expected 1 to {most}", self.k))
        })?;
        parameter(matches!(self.renorm, 0 | 1), || format!("renorm {}, expected 0 or 1", self.renorm))?;
        y.element_in(&[element])?;
        for operand in [&expert].into_iter().chain(&row_index) {
            operand.element_in(&[Element::I32])?;
        }
        for operand in [&y, &expert].into_iter().chain(&row_index) {
            operand.shape_is(&[rows, k])?;
        }
        for operand in [&x, &y, &expert].into_iter().chain(&finished).chain(&row_index).chain(&result) {
            operand.is_plain()?;
        }
        if let Some(finished) = &finished {
            finished.element_in(&[Element::Bool])?;
            finished.shape_is(&[rows])?;
        }
        if self.with_result {
            parameter(self.renorm == 0, || "outputSoftmaxResultFlag with renorm 1".into())?;
            let Some(result) = &result else {
                let what = "softmaxResultOutOptional is null with outputSoftmaxResultFlag";
                return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, what));
            };
            result.element_in(&[Element::F32])?;
            result.shape_is(&[rows, experts])?;
        }
        let (renorm, with_result) = (self.renorm == 1, self.with_result);
        Ok(Box::new(move |views| {
            let Some(x) = views.get(&x) else { return Ok(()) };
            for row in 0..rows {
                let logits = x.row(&[row]);
                let scores = softmax(&logits);
                let chosen = top(if renorm { &logits } else { &scores }, k);
                let weights = match renorm {
                    true => softmax(&chosen.iter().map(|id| logits[*id]).collect::<Vec<_>>()),
                    false => chosen.iter().map(|id| scores[*id]).collect(),
                };
                let ended = finished.as_ref().is_some_and(|finished| views.of(finished).bits_at(&[row]) != 0);
                for (slot, (id, weight)) in chosen.iter().zip(weights).enumerate() {
                    views.of(&y).put(&[row, slot], weight);
                    views.of(&expert).put_integer(&[row, slot], if ended { experts } else { *id } as i64);
                    if let Some(index) = &row_index {
                        views.of(index).put_integer(&[row, slot], (slot * rows + row) as i64);
                    }
                }
                if with_result && let Some(result) = &result {
                    scores
                        .iter()
                        .enumerate()
                        .for_each(|(id, score)| views.of(result).put(&[row, id], *score));
                }
            }
            Ok(())
        }))
    }
}
