//! What runs here: everything that validates.

use mxhal_core::{Op, OpKind, Properties, Reason, Result, Support};

use crate::op;

/// Yes, with what holds of the operator; an error for one that does not validate.
pub(crate) fn supports(op: &Op) -> Result<Support> {
    op.validate()?;
    if op::executable(op).is_none() {
        return Ok(Support::no(
            Reason::Operator,
            format!("{} is not written for the CPU backend", op.kind()),
        ));
    }
    Ok(Support::Yes(Properties {
        // There is no graph to capture a run in.
        capturable: false,
        run_to_run: true,
        // Each row is computed by itself, and the order of every sum depends on its length alone.
        batch_invariant: true,
        thread_invariant: true,
        slot_order: matches!(op.kind(), OpKind::Combine | OpKind::MoeFfn),
    }))
}
