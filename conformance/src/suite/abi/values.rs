//! Numbers that the plugin cannot know, and structs of other sizes than its own (R1, R8).

use std::ffi::c_char;
use std::mem::offset_of;

use mxhal_core::Status::{InvalidArgument, Unsupported};
use mxhal_ffi::{convert, sys};

use super::Questions;
use super::answer::{Answer, Finding, ensure, wrong};
use super::bytes::{OpBytes, enumerations};
use super::raw::{Plan, Weights};
use super::session::{Planned, parts_to_c, zero_parts};
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("values/unknown-operator", unknown_operator),
    ("values/unknown-enumeration", unknown_enumeration),
    ("values/unknown-weights-format", unknown_weights_format),
    ("values/negative-extent", negative_extent),
    ("sizes/operator-too-small", operator_too_small),
    ("sizes/operator-larger", operator_larger),
    ("sizes/tensor-larger", tensor_larger),
    ("sizes/result-shorter", result_shorter),
];

/// A number that no enumeration of the header will reach.
const UNKNOWN: u32 = 54_321;

fn unknown_operator(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    for kind in [UNKNOWN, 0] {
        let op = OpBytes::head(size_of::<sys::mxhal_op_moe_ffn>() as u32, kind);
        refused_with_value(&planned, &op, kind, &format!("operator kind {kind}"))?;
    }
    Ok(())
}

fn unknown_enumeration(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    for (name, offset) in enumerations(planned.op.kind()) {
        let op = planned.bytes.clone().with(offset, UNKNOWN);
        refused_with_value(&planned, &op, UNKNOWN, &format!("{name} = {UNKNOWN} of {}", planned.op.kind()))?;
    }
    Ok(())
}

/// Both ways to ask: `plan_create` refuses, and `op_supports` refuses or says no, each with the number in its words.
fn refused_with_value(planned: &Planned<'_>, op: &OpBytes, number: u32, why: &str) -> Finding {
    let mut plan = Plan::NULL;
    let message =
        planned.raw.plan_create(planned.device, Some(op), Some(&mut plan)).refused(Unsupported, why)?;
    names(&message, number, "plan_create", why)?;
    ensure(plan.is_null(), || format!("plan_create with {why} failed, and gave a plan"))?;
    let mut answer: sys::mxhal_answer = convert::empty();
    let asked = planned.raw.op_supports(planned.device, Some(op), Some(&mut answer));
    let message = if asked.status == 0 {
        asked.ok()?;
        ensure(answer.yes == 0, || format!("op_supports with {why} answered yes"))?;
        convert::text(&answer.text)
    } else {
        asked.refused(Unsupported, why)?
    };
    names(&message, number, "op_supports", why)
}

fn names(message: &str, number: u32, function: &str, why: &str) -> Finding {
    ensure(message.contains(&number.to_string()), || {
        format!("{function} with {why} said \"{message}\"; an unknown value is named in the message (R8)")
    })
}

fn unknown_weights_format(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    let desc = planned.op.weights()[0];
    let buffers = zero_parts(&desc)?;
    let mut parts = parts_to_c(&buffers)?;
    for part in &mut parts {
        part.format = UNKNOWN;
    }
    let desc = convert::weights_desc_to_c(&desc).map_err(Outcome::from)?;
    let desc = sys::mxhal_weights_desc { format: UNKNOWN, ..desc };
    let parts: Vec<&sys::mxhal_tensor> = parts.iter().collect();
    let mut weights = Weights::NULL;
    let why = format!("format {UNKNOWN}");
    let answer = planned.raw.weights_prepare(planned.device, Some(&desc), &parts, Some(&mut weights));
    names(&answer.refused(Unsupported, &why)?, UNKNOWN, "weights_prepare", &why)
}

fn negative_extent(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    // The first extent of every operator follows its head; the high half of -4 is all ones, and the low half is -4.
    let first = size_of::<sys::mxhal_op>();
    let halves = [(first, -4_i64 as u32), (first + 4, (-4_i64 >> 32) as u32)];
    let [(low, low_half), (high, high_half)] = halves;
    let op = if cfg!(target_endian = "little") {
        planned.bytes.clone().with(low, low_half).with(high, high_half)
    } else {
        planned.bytes.clone().with(low, high_half).with(high, low_half)
    };
    let mut plan = Plan::NULL;
    planned
        .raw
        .plan_create(planned.device, Some(&op), Some(&mut plan))
        .refused(InvalidArgument, "an extent of -4")?;
    Ok(())
}

fn operator_too_small(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let whole = planned.bytes.struct_size();
    for size in [0, 4, size_of::<sys::mxhal_op>() as u32, whole - 4] {
        let op = planned.bytes.clone().with_size(size);
        let why = format!("struct_size {size} of {} for an operator of {whole} bytes", planned.op.kind());
        let (mut plan, mut answer) = (Plan::NULL, convert::empty::<sys::mxhal_answer>());
        planned.raw.plan_create(planned.device, Some(&op), Some(&mut plan)).refused(InvalidArgument, &why)?;
        planned
            .raw
            .op_supports(planned.device, Some(&op), Some(&mut answer))
            .refused(InvalidArgument, &why)?;
    }
    Ok(())
}

fn operator_larger(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let op = planned.bytes.clone().with_trailing(8);
    let grown = |answer: Answer| {
        answer.ok().map_err(|outcome| match *outcome {
            Outcome::Fail(failure) => wrong(format!(
                "a struct of a later host, longer than ours, is read as far as it is known (R1: >=, never ==): {}",
                failure.message
            )),
            other => Box::new(other),
        })
    };
    let mut answer: sys::mxhal_answer = convert::empty();
    grown(planned.raw.op_supports(planned.device, Some(&op), Some(&mut answer)))?;
    ensure(answer.yes == 1, || {
        format!("op_supports says yes to {}, and no to the same with 64 bytes behind it", planned.op.kind())
    })?;
    let mut plan = Plan::NULL;
    grown(planned.raw.plan_create(planned.device, Some(&op), Some(&mut plan)))?;
    planned.raw.plan_destroy(plan).ok()
}

/// A tensor with members behind those that are known.
#[repr(C)]
struct LargerTensor {
    tensor: sys::mxhal_tensor,
    later: [u64; 4],
}

fn tensor_larger(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let larger: Vec<Option<LargerTensor>> = planned
        .tensors
        .iter()
        .map(|tensor| {
            tensor.map(|tensor| {
                let struct_size = size_of::<LargerTensor>() as u32;
                LargerTensor { tensor: sys::mxhal_tensor { struct_size, ..tensor }, later: [u64::MAX; 4] }
            })
        })
        .collect();
    let passed: Vec<Option<&sys::mxhal_tensor>> =
        larger.iter().map(|tensor| tensor.as_ref().map(|larger| &larger.tensor)).collect();
    planned.raw.plan_run(planned.plan, planned.stream, &passed, &planned.weights, planned.workspace).ok()?;
    planned.wait()?;
    ensure(larger.iter().flatten().all(|larger| larger.later == [u64::MAX; 4]), || {
        "plan_run wrote to a tensor's struct".to_owned()
    })
}

/// A host may know less of a result than the plugin does: nothing is written beyond what it has room for.
fn result_shorter(subject: &Subject) -> Finding {
    const MARK: c_char = 0x5a;
    let planned = Planned::any(subject)?;
    let (raw, device) = (planned.raw, planned.device);
    let overrun = |function: &str, intact: bool| {
        ensure(intact, || format!("{function} wrote beyond the struct_size that its result says (R1)"))
    };

    let mut info: sys::mxhal_device_info = convert::empty();
    info.struct_size = offset_of!(sys::mxhal_device_info, name) as u32;
    info.name = [MARK; 96];
    info.driver = [MARK; 64];
    accepted(raw.device_info(device, Some(&mut info)))?;
    overrun("device_info", info.name == [MARK; 96] && info.driver == [MARK; 64])?;

    let mut answer: sys::mxhal_answer = convert::empty();
    answer.struct_size = offset_of!(sys::mxhal_answer, text) as u32;
    answer.text = [MARK; 240];
    accepted(raw.op_supports(device, Some(&planned.bytes), Some(&mut answer)))?;
    overrun("op_supports", answer.text == [MARK; 240])?;

    let mut info: sys::mxhal_plan_info = convert::empty();
    info.struct_size = offset_of!(sys::mxhal_plan_info, kernel) as u32;
    info.kernel = [MARK; 64];
    accepted(raw.plan_info(planned.plan, Some(&mut info)))?;
    overrun("plan_info", info.kernel == [MARK; 64])
}

/// A struct that is shorter than any version of the header's may be refused; it may not be overrun.
fn accepted(answer: Answer) -> Finding {
    if answer.status == 0 {
        return answer.ok();
    }
    answer.refused(InvalidArgument, "a result that is shorter than version 1.0 has it").map(drop)
}
