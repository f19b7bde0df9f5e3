//! The operators: values that say what is to be computed, with their attributes, shape rules and costs.
//!
//! Each operator is a small struct in a file of its own. [`Op`] is any of them, which is what crosses the plugin ABI,
//! stands in a replay file and is hashed into a certificate. What the tensors of an operator must look like is one
//! table, [`Op::arguments`]; validation, the red zones of the conformance suite and the documentation of the C header
//! all read it.
//!
//! A plan is made for *at most* so many rows (tokens, for the operators of a Mixture of Experts) and run with as many
//! as its tensors have, zero included; see [`Extent`].

mod argument;
mod combine;
mod dequantize;
mod grouped_matmul;
mod matmul;
mod moe_ffn;
mod permute;
mod quantize;
mod route;
mod swiglu;
mod typed;

pub use argument::{Argument, Extent, Role, Signature, WeightsDesc, Work};
pub use combine::Combine;
pub use dequantize::Dequantize;
pub use grouped_matmul::GroupedMatmul;
pub use matmul::Matmul;
pub use moe_ffn::{MoeFfn, SharedExpert, WeightPosition};
pub use permute::Permute;
pub use quantize::Quantize;
pub use route::{Route, Score};
pub use swiglu::{SwiGlu, SwiGluForm, SwiGluVariant};
pub use typed::{
    CombinePlan, CombineTensors, DequantizePlan, DequantizeTensors, GroupedMatmulPlan, GroupedMatmulTensors,
    MatmulPlan, MatmulTensors, MoeFfnPlan, MoeFfnTensors, MoeFfnWeights, Operators, PermutePlan,
    PermuteTensors, QuantizePlan, QuantizeTensors, RoutePlan, RouteTensors, SwiGluPlan, SwiGluTensors,
};

use core::fmt;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The most tensors that an operator takes.
pub const MAX_ARGUMENTS: usize = 9;

/// The most prepared weights that an operator takes.
pub const MAX_WEIGHTS: usize = 4;

/// Any operator.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Rows of floats to rows of blocks.
    Quantize(Quantize),
    /// Rows of blocks to rows of floats.
    Dequantize(Dequantize),
    /// Activations by one weight matrix.
    Matmul(Matmul),
    /// Activations sorted by expert, each expert's rows by its own weight matrix.
    GroupedMatmul(GroupedMatmul),
    /// The gated activation between an expert's matrices.
    SwiGlu(SwiGlu),
    /// Router logits to expert ids and weights.
    Route(Route),
    /// Tokens to rows in order of expert.
    Permute(Permute),
    /// Rows in order of expert back to tokens, weighted and summed.
    Combine(Combine),
    /// A whole feed-forward layer of experts.
    MoeFfn(MoeFfn),
}

/// The kind of an operator; the numbers are those of `mxhal_op_kind` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u32)]
#[allow(missing_docs, reason = "each is documented at the variant of Op with its name")]
pub enum OpKind {
    Quantize = 1,
    Dequantize = 2,
    Matmul = 3,
    GroupedMatmul = 4,
    SwiGlu = 5,
    Route = 6,
    Permute = 7,
    Combine = 8,
    MoeFfn = 9,
}

impl OpKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Quantize,
        Self::Dequantize,
        Self::Matmul,
        Self::GroupedMatmul,
        Self::SwiGlu,
        Self::Route,
        Self::Permute,
        Self::Combine,
        Self::MoeFfn,
    ];

    /// The kind with this number in the C header, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// The name used in reports and filters: `grouped-matmul`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
            Self::Matmul => "matmul",
            Self::GroupedMatmul => "grouped-matmul",
            Self::SwiGlu => "swiglu",
            Self::Route => "route",
            Self::Permute => "permute",
            Self::Combine => "combine",
            Self::MoeFfn => "moe-ffn",
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Calls the same method on whichever operator this is.
macro_rules! each {
    ($op:expr, $inner:ident => $call:expr) => {
        match $op {
            Op::Quantize($inner) => $call,
            Op::Dequantize($inner) => $call,
            Op::Matmul($inner) => $call,
            Op::GroupedMatmul($inner) => $call,
            Op::SwiGlu($inner) => $call,
            Op::Route($inner) => $call,
            Op::Permute($inner) => $call,
            Op::Combine($inner) => $call,
            Op::MoeFfn($inner) => $call,
        }
    };
}

impl Op {
    /// Which operator it is.
    pub const fn kind(&self) -> OpKind {
        match self {
            Self::Quantize(_) => OpKind::Quantize,
            Self::Dequantize(_) => OpKind::Dequantize,
            Self::Matmul(_) => OpKind::Matmul,
            Self::GroupedMatmul(_) => OpKind::GroupedMatmul,
            Self::SwiGlu(_) => OpKind::SwiGlu,
            Self::Route(_) => OpKind::Route,
            Self::Permute(_) => OpKind::Permute,
            Self::Combine(_) => OpKind::Combine,
            Self::MoeFfn(_) => OpKind::MoeFfn,
        }
    }

    /// Checks attributes and shapes against the rules of the operator. Every way into a backend calls it once; a
    /// backend checks only what it alone knows.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument), naming the attribute, what it is and what it may be.
    pub fn validate(&self) -> Result<()> {
        each!(self, op => op.validate()).map_err(|error| error.within(self.kind()))
    }

    /// The most rows (tokens) of a run.
    pub const fn max_rows(&self) -> usize {
        each!(self, op => op.max_rows())
    }

    /// The tensors of a run, in the order in which they are passed.
    pub fn arguments(&self) -> Vec<Argument> {
        each!(self, op => op.arguments())
    }

    /// The prepared weights of a run, in the order in which they are passed; empty for operators without.
    pub fn weights(&self) -> Vec<WeightsDesc> {
        each!(self, op => op.weights())
    }

    /// Operations and bytes of a run with so many rows, every expert that can be touched counted once.
    pub fn work(&self, rows: usize) -> Work {
        self.work_touching(rows, usize::MAX)
    }

    /// As [`Self::work`], of a run whose rows touch so many experts: their weights are read once each, and the others'
    /// not at all. Operators without experts do not look at the number, nor is it more than there are and rows can touch.
    pub fn work_touching(&self, rows: usize, experts: usize) -> Work {
        match self {
            Self::Quantize(op) => op.work(rows),
            Self::Dequantize(op) => op.work(rows),
            Self::Matmul(op) => op.work(rows),
            Self::GroupedMatmul(op) => op.work(rows, experts),
            Self::SwiGlu(op) => op.work(rows),
            Self::Route(op) => op.work(rows),
            Self::Permute(op) => op.work(rows),
            Self::Combine(op) => op.work(rows),
            Self::MoeFfn(op) => op.work(rows, experts),
        }
    }

    /// Arguments, weights and the most rows, gathered once so that each run is checked without allocating.
    pub fn signature(&self) -> Signature {
        Signature::new(self.kind(), self.arguments(), self.weights(), self.max_rows())
    }

    /// Checks the tensors of one run; whoever runs often keeps a [`Self::signature`].
    ///
    /// # Errors
    ///
    /// Those of [`Signature::check`].
    pub fn check(&self, tensors: &[Option<Tensor>]) -> Result<usize> {
        self.signature().check(tensors)
    }
}

macro_rules! from_each {
    ($($name:ident),*) => {
        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*
    };
}

from_each!(Quantize, Dequantize, Matmul, GroupedMatmul, SwiGlu, Route, Permute, Combine, MoeFfn);

/// A rule about an attribute: `Err` with the words unless it holds.
fn ensure(holds: bool, words: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::invalid(words())) }
}

/// Extents that must be at least one.
fn ensure_positive(extents: &[(&str, usize)]) -> Result<()> {
    for (name, extent) in extents {
        ensure(*extent > 0, || format!("{name} is 0; it is at least 1"))?;
        ensure(*extent <= i32::MAX as usize, || format!("{name} is {extent}; it is at most {}", i32::MAX))?;
    }
    Ok(())
}
