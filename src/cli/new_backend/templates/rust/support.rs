//! What is offered, and why the rest is not.

use mxhal_core::{Format, Op, Properties, Reason, Refusal, Result, Support, WeightsDesc};

/// Yes, with what holds of the operator; no, with a reason; an error for one that makes no sense.
///
/// [`op::prepare`](crate::op::prepare) asks here too, so that the two cannot disagree.
pub(crate) fn supports(op: &Op) -> Result<Support> {
    op.validate()?;
    Ok(match op {
        Op::Dequantize(op) if op.from != Format::Mxfp4 => {
            let text = format!("dequantize from {} is not written yet; mxfp4 is", op.from);
            Support::no(Reason::Format, text)
        }
        Op::Dequantize(op) if op.output != Format::F32 => {
            Support::no(Reason::Format, format!("dequantize to {} is not written yet; f32 is", op.output))
        }
        // Promises that the suite tests. Each element is computed by itself, so all of these hold.
        Op::Dequantize(_) => Support::Yes(Properties {
            run_to_run: true,
            batch_invariant: true,
            thread_invariant: true,
            ..Properties::default()
        }),
        other => Support::no(Reason::Operator, format!("{} is not written yet", other.kind())),
    })
}

/// Why no weights are prepared: they serve matmul, grouped matmul and moe-ffn.
pub(crate) fn no_weights(desc: &WeightsDesc) -> Refusal {
    let text = format!("weights in {} have no use yet: no product is written", desc.format);
    Refusal { reason: Reason::Operator, text }
}
