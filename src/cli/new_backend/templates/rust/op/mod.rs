//! Plans: a file for each operator.

mod dequantize;

use mxhal_core::{Error, Op, Plan, Result, Support};

use crate::support;

/// A plan for an operator that is offered; a refusal, with the same words, for one that is not.
pub(crate) fn prepare(op: &Op) -> Result<Box<dyn Plan>> {
    if let Support::No(refusal) = support::supports(op)? {
        return Err(refusal.to_error());
    }
    match op {
        Op::Dequantize(_) => Ok(Box::new(dequantize::DequantizePlan::new())),
        other => Err(Error::internal(format!("{} is said to be supported, and has no plan", other.kind()))),
    }
}
