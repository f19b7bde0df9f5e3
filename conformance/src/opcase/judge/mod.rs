//! The judge: outputs of a run against the oracle's.
//!
//! | module | holds |
//! | --- | --- |
//! | [`written`] | what was written, and what must not be |
//! | [`compare`] | equality, errors over bounds, and how a failure is said |
//! | [`formats`], [`sums`], [`gates`], [`routes`], [`layer`] | the operators |
//! | [`weights`] | weights that come back |

pub(crate) mod compare;
mod formats;
mod gates;
pub(crate) mod layer;
mod routes;
mod sums;
#[cfg(test)]
mod tests;
pub(crate) mod weights;
pub(crate) mod written;

use mxhal_core::op::Op;
use mxhal_core::{HostBuffer, Properties};

use super::Tier;
use super::recipe::Inputs;
use super::routing;
use super::tensor::read_integers;
use crate::outcome::Failure;
pub(crate) use routes::oracle_route;

/// A run, and what is needed to judge it.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) op: &'a Op,
    pub(crate) tier: Tier,
    pub(crate) inputs: &'a Inputs,
    /// In the order of the operator's arguments; `None` for inputs.
    pub(crate) outputs: &'a [Option<HostBuffer>],
    pub(crate) properties: &'a Properties,
    /// Which columns of a product are compared; all if `None`.
    pub(crate) columns: Option<Vec<usize>>,
}

/// What a comparison that found no fault measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Elements compared.
    pub(crate) elements: u64,
    /// The largest error over its bound; 0 where equality was demanded.
    pub(crate) error_over_bound: f64,
}

/// Compares a run with the oracle.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    match evidence.op {
        Op::Quantize(op) => formats::judge_quantize(evidence, op),
        Op::Dequantize(_) => formats::judge_dequantize(evidence),
        Op::Matmul(_) | Op::GroupedMatmul(_) => sums::judge_product(evidence),
        Op::SwiGlu(op) => gates::judge_swiglu(evidence, op),
        Op::Route(op) => routes::judge_route(evidence, op),
        Op::Permute(op) => routes::judge_permute(evidence, op),
        Op::Combine(op) => sums::judge_combine(evidence, op),
        Op::MoeFfn(op) => layer::judge(evidence, op),
        other => Err(Failure::new(format!("the suite does not know how {} is judged", other.kind()))),
    }
}

impl Evidence<'_> {
    /// An input that the operator takes.
    pub(crate) fn input(&self, name: &str) -> &HostBuffer {
        self.inputs.get(self.op, name).expect("the recipe drew every input that is asked for")
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&HostBuffer> {
        self.inputs.get(self.op, name)
    }

    pub(crate) fn output(&self, name: &str) -> &HostBuffer {
        let place = self.op.arguments().iter().position(|argument| argument.name == name);
        place.and_then(|place| self.outputs[place].as_ref()).expect("the rig gives every output")
    }
}

/// The ids of an operator that has them, as the experts here are numbered.
pub(crate) fn local_ids(op: &Op, inputs: &Inputs) -> Vec<i32> {
    let given = |name| inputs.get(op, name).map(read_integers);
    let (experts, ..) = routing::shape_of(op);
    routing::local(&given("ids").unwrap_or_default(), given("expert_map").as_deref(), experts)
}
