//! What a run refuses.

use std::collections::HashSet;

use mxhal_core::Status::{InvalidArgument, Unsupported};
use mxhal_core::op::{Combine, Extent, MoeFfn, Permute, Role, SwiGluForm, WeightPosition};
use mxhal_core::{Format, Op, Quantization};
use mxhal_ffi::convert;
use mxhal_ffi::sys::{self, mxhal_tensor};

use super::Questions;
use super::answer::{Answer, Finding, ensure};
use super::identity::printable;
use super::raw::Address;
use super::session::{Planned, Session, small_operators};
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("plan/info", info),
    ("plan/run-twice", run_twice),
    ("plan/zero-rows", zero_rows),
    ("plan/tensor-count", tensor_count),
    ("plan/tensor-missing", tensor_missing),
    ("plan/tensor-excluded", tensor_excluded),
    ("plan/tensor-shape", tensor_shape),
    ("plan/tensor-format", tensor_format),
    ("plan/tensor-bytes", tensor_bytes),
    ("plan/too-many-rows", too_many_rows),
    ("plan/weights-count", weights_count),
    ("plan/workspace-too-small", workspace_too_small),
];

fn info(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let mut info: sys::mxhal_plan_info = convert::empty();
    planned.raw.plan_info(planned.plan, Some(&mut info)).ok_and_silent()?;
    printable("plan_info.kernel", &info.kernel)?;
    ensure(info.workspace_bytes < 1 << 40, || {
        format!("plan_info.workspace_bytes is {} for a small {}", info.workspace_bytes, planned.op.kind())
    })
}

fn run_twice(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    planned.run_on(planned.stream)?;
    planned.run()
}

/// A run of no rows is a run, whose tensors may be at address null.
fn zero_rows(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let mut tensors = planned.tensors.clone();
    for (tensor, argument) in tensors.iter_mut().zip(planned.op.arguments()) {
        let Some(tensor) = tensor else { continue };
        let mut empty = false;
        for (extent, shape) in argument.shape.iter().zip(&mut tensor.shape) {
            if let Extent::PerRow(_) = extent {
                (*shape, empty) = (0, true);
            }
        }
        if empty {
            *tensor = mxhal_tensor {
                data: Address::NULL.pointer(),
                data_bytes: 0,
                scales: Address::NULL.pointer(),
                scales_bytes: 0,
                factors: Address::NULL.pointer(),
                factors_bytes: 0,
                ..*tensor
            };
        }
    }
    run_with(&planned, &tensors).ok()?;
    planned.wait()
}

fn tensor_count(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let mut tensors = planned.tensors.clone();
    tensors.push(tensors[0]);
    let count = planned.tensors.len();
    for wrong in [&tensors[..count - 1], &tensors[..], &[]] {
        let why = format!("{} tensors where {count} belong", wrong.len());
        run_with(&planned, wrong).refused(InvalidArgument, &why)?;
    }
    planned.run()
}

fn tensor_missing(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    for (place, argument) in planned.op.arguments().iter().enumerate() {
        let mut tensors = planned.tensors.clone();
        if tensors[place].take().is_some() {
            let why = format!("null for the tensor `{}`", argument.name);
            run_with(&planned, &tensors).refused(InvalidArgument, &why)?;
        }
    }
    planned.run()
}

/// Where the attributes exclude a tensor, null is passed, and nothing else will do.
fn tensor_excluded(subject: &Subject) -> Finding {
    let mut asked = HashSet::new();
    for op in bare_operators() {
        if asked.contains(&op.kind()) || op.arguments().iter().all(|argument| argument.present) {
            continue;
        }
        let Some(mut planned) = Planned::of(Session::open(subject)?, op)? else { continue };
        for (place, argument) in op.arguments().iter().enumerate().filter(|(_, argument)| !argument.present) {
            let mut tensors = planned.tensors.clone();
            // Of the right shape, so that nothing else is wrong with it.
            let layout = argument.layout(op.max_rows()).map_err(Outcome::from)?;
            tensors[place] = Some(planned.tensor(layout)?);
            let why = format!("a tensor `{}`, which the attributes of {} exclude,", argument.name, op.kind());
            run_with(&planned, &tensors).refused(InvalidArgument, &why)?;
        }
        planned.run()?;
        asked.insert(op.kind());
    }
    if !asked.is_empty() {
        return Ok(());
    }
    let text = "no operator is supported of those that can have more tensors".to_owned();
    Err(Box::new(Outcome::Skipped { text }))
}

fn tensor_shape(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    each_tensor(&planned, |tensor, name, refuse| {
        let last = tensor.rank as usize - 1;
        let shape = tensor.shape;
        // Fewer columns, so that memory suffices also where the fault is not noticed: half of them, which for all
        // small operators is still a number of whole blocks, or nothing at all.
        let mut narrower = *tensor;
        narrower.shape[last] = if shape[last] % 64 == 0 { shape[last] / 2 } else { 0 };
        if last > 0 {
            narrower.stride[last - 1] = narrower.shape[last];
        }
        let mut flat = *tensor;
        flat.rank -= 1;
        let mut deep = *tensor;
        deep.rank = sys::MXHAL_MAX_RANK + 1;
        for (tensor, rank_or_shape) in [(narrower, "columns"), (flat, "rank"), (deep, "rank")] {
            let why = format!(
                "a tensor `{name}` of the wrong {rank_or_shape} (rank {}, shape {:?} where {shape:?} belongs)",
                tensor.rank, tensor.shape
            );
            refuse(&tensor, &why)?;
        }
        Ok(())
    })
}

fn tensor_format(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    each_tensor(&planned, |tensor, name, refuse| {
        // U8 needs no more memory than is there, in case the fault is not noticed.
        let bytes = mxhal_tensor { format: sys::MXHAL_U8, ..*tensor };
        refuse(&bytes, &format!("a tensor `{name}` of format u8 instead of {}", tensor.format))?;
        let unknown = mxhal_tensor { format: 54_321, ..*tensor };
        refuse(&unknown, &format!("a tensor `{name}` of the unknown format 54321"))
    })
}

fn tensor_bytes(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    each_tensor(&planned, |tensor, name, refuse| {
        let short = mxhal_tensor { data_bytes: tensor.data_bytes - 1, ..*tensor };
        refuse(&short, &format!("one byte too few of data in `{name}`"))?;
        let null = mxhal_tensor { data: Address::NULL.pointer(), ..*tensor };
        refuse(&null, &format!("data of `{name}` at address null"))?;
        if tensor.scales_bytes > 0 {
            let short = mxhal_tensor { scales_bytes: tensor.scales_bytes - 1, ..*tensor };
            refuse(&short, &format!("one byte too few of scales in `{name}`"))?;
            let null = mxhal_tensor { scales: Address::NULL.pointer(), ..*tensor };
            refuse(&null, &format!("scales of `{name}` at address null"))?;
        }
        Ok(())
    })
}

fn too_many_rows(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let mut tensors = planned.tensors.clone();
    for (tensor, argument) in tensors.iter_mut().zip(planned.op.arguments()) {
        let Some(tensor) = tensor else { continue };
        for (extent, shape) in argument.shape.iter().zip(&mut tensor.shape) {
            if let Extent::PerRow(times) = extent {
                *shape += *times as i64;
            }
        }
        // The sizes are those of the larger tensor: it is the rows that are at fault. Nothing is enqueued, so nobody
        // reads that far.
        for bytes in [&mut tensor.data_bytes, &mut tensor.scales_bytes, &mut tensor.factors_bytes] {
            *bytes *= 2;
        }
    }
    let why = format!("{} rows and one more than the plan was made for", planned.op.max_rows());
    run_with(&planned, &tensors).refused(InvalidArgument, &why)?;
    planned.run()
}

fn weights_count(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    let mut weights = planned.weights.clone();
    weights.push(weights[0]);
    for wrong in [&weights[..], &[]] {
        let why = format!("{} weights where {} belong", wrong.len(), planned.weights.len());
        planned
            .raw
            .plan_run(planned.plan, planned.stream, &planned.passed(), wrong, planned.workspace)
            .refused(InvalidArgument, &why)?;
    }
    planned.run()
}

fn workspace_too_small(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let (at, bytes) = planned.workspace;
    if bytes == 0 {
        let text = format!("{} wants no workspace here", planned.op.kind());
        return Err(Box::new(Outcome::Skipped { text }));
    }
    for (at, given) in [(at, bytes - 1), (Address::NULL, 0), (Address::NULL, bytes)] {
        let why = format!("a workspace of {given} bytes at {:#x} where {bytes} are wanted", at.number());
        planned
            .raw
            .plan_run(planned.plan, planned.stream, &planned.passed(), &planned.weights, (at, given))
            .refused(InvalidArgument, &why)?;
    }
    planned.run()
}

/// The small operators and a layer, without the tensors that they can do without.
fn bare_operators() -> impl Iterator<Item = Op> {
    let (activation, form) = (Quantization::none(), SwiGluForm::silu(0.0));
    let layer = MoeFfn {
        tokens: 4,
        hidden: 64,
        inner: 64,
        experts: 4,
        top_k: 2,
        weight: Format::Mxfp4,
        activation,
        form,
        weight_position: WeightPosition::AfterDown,
        bias: false,
        output: Format::F32,
        mapped: None,
        shared: None,
    };
    small_operators().into_iter().chain([layer.into()]).map(|op| match op {
        Op::Permute(permute) => Permute { weights: false, ..permute }.into(),
        Op::Combine(combine) => Combine { weighted: false, ..combine }.into(),
        other => other,
    })
}

/// Changes one tensor after another, and demands that the run is refused; in the end that it runs as it should.
fn each_tensor(
    planned: &Planned<'_>,
    change: impl Fn(&mxhal_tensor, &str, &dyn Fn(&mxhal_tensor, &str) -> Finding) -> Finding,
) -> Finding {
    for (place, argument) in planned.op.arguments().iter().enumerate() {
        let Some(tensor) = &planned.tensors[place] else { continue };
        let role = if argument.role == Role::Input { "input" } else { "output" };
        let name = format!("{role} {}", argument.name);
        change(tensor, &name, &|changed, why| {
            let mut tensors = planned.tensors.clone();
            tensors[place] = Some(*changed);
            run_with(planned, &tensors).refused_as(&[InvalidArgument, Unsupported], why).map(drop)
        })?;
    }
    planned.run()
}

fn run_with(planned: &Planned<'_>, tensors: &[Option<mxhal_tensor>]) -> Answer {
    let tensors: Vec<Option<&mxhal_tensor>> = tensors.iter().map(Option::as_ref).collect();
    planned.raw.plan_run(planned.plan, planned.stream, &tensors, &planned.weights, planned.workspace)
}
