//! Faults of SwiGLU, alone and in the fused layer.

use mxhal_core::op::{MoeFfn, SharedExpert, SwiGlu, SwiGluForm, SwiGluVariant, WeightPosition};
use mxhal_core::{Op, Result};

use crate::device::Run;
use crate::memory::{copy, view};
use crate::numbers::{float_bytes, floats};

/// Gate and up are not clamped.
pub(super) fn clamp_missing(op: Op) -> Op {
    with_form(op, |form| SwiGluForm { limit: 0.0, ..form })
}

/// The gpt-oss variant's gate is that of SiLU.
pub(super) fn alpha_ignored(op: Op) -> Op {
    with_form(op, |form| match form.variant {
        SwiGluVariant::GptOss => SwiGluForm { alpha: 1.0, ..form },
        _ => form,
    })
}

/// Alternating columns of gate and up are taken for one half each.
pub(super) fn interleaving_ignored(op: Op) -> Op {
    with_form(op, |form| SwiGluForm { interleaved: false, ..form })
}

/// Gate and up are clamped by functions of C that give the other number where one is NaN.
pub(super) fn nan_clamped_away(run: &Run<'_>) -> Result<()> {
    let (Op::SwiGlu(SwiGlu { form, input, .. }), Some(x)) = (run.op, run.tensor(0)) else { return run.go() };
    if form.limit == 0.0 {
        return run.go();
    }
    let mut clamped = copy(x)?;
    let mut values = floats(*input, &clamped.data);
    values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = form.limit);
    clamped.data = float_bytes(*input, &values);
    run.go_with(0, view(&clamped)?)
}

/// The routing weight multiplies on the other side of the down projection.
pub(super) fn weight_on_the_other_side(op: Op) -> Op {
    let Op::MoeFfn(moe) = op else { return op };
    let weight_position = match moe.weight_position {
        WeightPosition::BeforeDown => WeightPosition::AfterDown,
        _ => WeightPosition::BeforeDown,
    };
    MoeFfn { weight_position, ..moe }.into()
}

/// The shared expert's gate and up are clamped as the others' are.
pub(super) fn shared_expert_clamped(op: Op) -> Op {
    match op {
        Op::MoeFfn(moe @ MoeFfn { shared: Some(shared), .. }) => {
            MoeFfn { shared: Some(SharedExpert { clamped: true, ..shared }), ..moe }.into()
        }
        other => other,
    }
}

fn with_form(op: Op, change: fn(SwiGluForm) -> SwiGluForm) -> Op {
    match op {
        Op::SwiGlu(swiglu) => SwiGlu { form: change(swiglu.form), ..swiglu }.into(),
        Op::MoeFfn(moe) => MoeFfn { form: change(moe.form), ..moe }.into(),
        other => other,
    }
}
