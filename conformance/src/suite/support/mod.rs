//! The suite `support`: whether `op_supports` tells the truth, for a random walk over descriptors.
//!
//! A yes obliges: a plan is made, and a run on random values succeeds. A no obliges too: the plan is refused as
//! unsupported, in the same words and with the same reason. The same question gets the same answer. Which descriptors
//! are asked is drawn from the seed; see `draw.rs`.

mod draw;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mxhal_core::{
    Buffer, Device, Error, Format, HostBuffer, Layout, Op, OpKind, Plan, Properties, Reason, Refusal, Result,
    Span, Status, Support, Tensor, Weights, WeightsDesc,
};

use super::SuiteKind;
use crate::case::{Body, Case};
use crate::opcase::random::Random;
use crate::outcome::{Failure, Measures, Outcome};
use crate::profile::Profile;
use crate::subject::Subject;

/// Cases for each kind of operator.
const WALKS: usize = 4;
/// Descriptors of a case.
const STEPS: usize = 25;

/// A part of the walk: descriptors of one kind of operator.
#[derive(Clone, Debug)]
pub struct SupportCase {
    kind: OpKind,
    walk: usize,
}

/// The suite's cases.
pub fn cases(seed: u64) -> Vec<Case> {
    let walks =
        OpKind::ALL.into_iter().flat_map(|kind| (0..WALKS).map(move |walk| SupportCase { kind, walk }));
    walks
        .map(|walk| Case {
            suite: SuiteKind::Support,
            name: walk.name(),
            profile: Profile::Core,
            seed,
            time_limit: Duration::from_secs(120),
            body: Body::Support(walk),
        })
        .collect()
}

impl SupportCase {
    fn name(&self) -> String {
        format!("{}/{}/walk-{}", SuiteKind::Support, self.kind, self.walk)
    }

    /// Asks it.
    pub fn run(&self, subject: &Subject, seed: u64) -> Outcome {
        let mut random = Random::new(seed, &self.name());
        let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..STEPS {
            let op = draw::valid(self.kind, &mut random);
            match step(subject, &op, &mut random) {
                Ok(answer) => *answers.entry(answer).or_default() += 1,
                Err(Wrong::Lie(lie)) => return Failure::new(format!("{lie}; asked: {op:?}")).into(),
                Err(Wrong::Lost(error)) => return error.into(),
            }
        }
        let properties =
            answers.into_iter().map(|(answer, count)| (answer.to_owned(), count.to_string())).collect();
        Outcome::Pass(Measures { properties, ..Measures::default() })
    }
}

/// Why the walk ends.
enum Wrong {
    /// An answer that does not hold.
    Lie(String),
    /// The device failed.
    Lost(Error),
}

impl Wrong {
    fn lie(words: impl Into<String>) -> Self {
        Self::Lie(words.into())
    }

    /// A call that should have succeeded.
    fn call(what: &str) -> impl Fn(Error) -> Self {
        move |error| match error.status() {
            Status::DeviceLost => Self::Lost(error),
            _ => Self::Lie(format!("{what}: {error}")),
        }
    }
}

/// Asks about one descriptor, twice, and holds the answer to what it obliges.
fn step(subject: &Subject, op: &Op, random: &mut Random) -> Result<&'static str, Wrong> {
    let device = subject.device();
    let ask = || device.supports(op).map_err(Wrong::call("op_supports gave no answer"));
    let (first, second) = (ask()?, ask()?);
    if first != second {
        return Err(Wrong::Lie(format!("asked twice, op_supports answered {first:?} and then {second:?}")));
    }
    match first {
        Support::No(refusal) => refused(device.as_ref(), op, &refusal).map(|()| "no"),
        Support::Yes(properties) => {
            promised(op, properties)?;
            match device.prepare(op) {
                Ok(plan) => run(subject, op, &*plan, random),
                Err(error) if error.status() == Status::OutOfMemory => Ok("yes, and out of memory"),
                Err(error) => Err(Wrong::call("op_supports says yes, and plan_create refuses")(error)),
            }
        }
    }
}

/// A no: `plan_create` says the same.
fn refused(device: &dyn Device, op: &Op, refusal: &Refusal) -> Result<(), Wrong> {
    let Refusal { reason, text } = refusal;
    if text.trim().is_empty() {
        return Err(Wrong::Lie(format!("op_supports says no ({reason}) without a word why")));
    }
    let error = match device.prepare(op) {
        Ok(_) => {
            return Err(Wrong::Lie(format!(
                "op_supports says no (\"{text}\"), and plan_create makes a plan"
            )));
        }
        Err(error) if error.status() == Status::DeviceLost => return Err(Wrong::Lost(error)),
        Err(error) => error,
    };
    let same_reason = u32::try_from(error.vendor_code())
        .is_ok_and(|code| code != 0 && Reason::from_number(code) == *reason);
    // The answer's text is shorter than an error's message, and may have been cut.
    if error.status() != Status::Unsupported || !error.message().starts_with(text) || !same_reason {
        return Err(Wrong::Lie(format!(
            "op_supports says no with reason {} ({reason}) and \"{text}\", and plan_create refuses with \"{error}\"; it \
             is to answer unsupported, with the same text as message and the reason as vendor_code",
            *reason as u32
        )));
    }
    Ok(())
}

/// Promises that mean nothing for an operator are not made for it.
fn promised(op: &Op, properties: Properties) -> Result<(), Wrong> {
    let sums_slots = matches!(op.kind(), OpKind::Combine | OpKind::MoeFfn);
    if properties.slot_order && !sums_slots {
        return Err(Wrong::lie("slot_order is promised of an operator that sums no slots"));
    }
    Ok(())
}

/// A yes: a run succeeds, with as many rows as the plan was made for or fewer.
fn run(subject: &Subject, op: &Op, plan: &dyn Plan, random: &mut Random) -> Result<&'static str, Wrong> {
    let device = subject.device();
    let stream = subject.stream();
    let rows = if random.one_in(3) { random.below(op.max_rows() + 1) } else { op.max_rows() };
    let allocated = (|| -> Result<_> {
        let weights: Vec<Arc<dyn Weights>> =
            op.weights().iter().map(|desc| prepare(device, desc, random)).collect::<Result<_>>()?;
        let mut buffers = Vec::new();
        let mut tensors = Vec::new();
        for argument in op.arguments() {
            if !argument.present {
                tensors.push(None);
                continue;
            }
            let (buffer, tensor) = Buffer::tensor(device, argument.layout(rows)?)?;
            for part in [tensor.data(), tensor.scales(), tensor.factors()] {
                mxhal_core::buffer::write(stream, part, &values(argument.format, part, random))?;
            }
            buffers.push(buffer);
            tensors.push(Some(tensor));
        }
        buffers.push(Buffer::new(device, plan.info().workspace_bytes)?);
        Ok((weights, buffers, tensors))
    })();
    let (weights, buffers, tensors) = match allocated {
        Ok(all) => all,
        Err(error) if error.status() == Status::OutOfMemory => return Ok("yes, and out of memory"),
        Err(error) => {
            return Err(Wrong::call("op_supports says yes, and its tensors or weights cannot be made")(
                error,
            ));
        }
    };
    let workspace = buffers.last().map_or(Span::NONE, Buffer::span);
    let weights: Vec<&dyn Weights> = weights.iter().map(AsRef::as_ref).collect();
    let ran = run_checked(op, plan, subject, &tensors, &weights, workspace);
    ran.map_err(Wrong::call(&format!("op_supports says yes, and a run with {rows} rows fails")))?;
    Ok("yes")
}

fn run_checked(
    op: &Op,
    plan: &dyn Plan,
    subject: &Subject,
    tensors: &[Option<Tensor>],
    weights: &[&dyn Weights],
    workspace: Span,
) -> Result<()> {
    op.check(tensors)?;
    plan.run(subject.stream(), tensors, weights, workspace)?;
    subject.stream().synchronize(None)
}

fn prepare(device: &Arc<dyn Device>, desc: &WeightsDesc, random: &mut Random) -> Result<Arc<dyn Weights>> {
    let layout = Layout::contiguous(desc.format, &[desc.n, desc.k])?;
    let mut parts = vec![HostBuffer::zeroed(layout); desc.groups];
    for part in &mut parts {
        for bytes in [&mut part.data, &mut part.scales, &mut part.factors] {
            fill(bytes, random);
        }
    }
    let views = parts.iter().map(HostBuffer::view).collect::<Result<Vec<_>>>()?;
    device.prepare_weights(desc, &views)
}

/// Bytes of inputs: any for numbers and scales, zero for ids, counts and positions, where zero is always in range.
fn values(format: Format, part: Span, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; part.bytes as usize];
    if !matches!(format, Format::I32 | Format::I64) {
        fill(&mut bytes, random);
    }
    bytes
}

fn fill(bytes: &mut [u8], random: &mut Random) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
    }
}
