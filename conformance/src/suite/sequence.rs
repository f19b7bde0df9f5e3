//! The suite `sequence`: random programs of operators against each operator alone.
//!
//! Each operator of a case is first run alone, and judged by the oracle. Then a program runs all of them many times in
//! an order that is drawn from the seed, on two streams, with one workspace, two arenas in which all tensors lie, and
//! plans and weights that are made once:
//!
//! - A plan is run on one set of data, then on another, at the same addresses and with other weights.
//! - Weights are shared by plans for runs of different sizes.
//! - Plans are made before the first run, and take turns.
//! - A stream that takes over a workspace or an arena from the other waits for its event, and for nothing else; the host
//!   waits once, at the end.
//!
//! Then each step must have given the bits that its operator gave alone, where the backend declares the same bits from
//! run to run, and be within the oracle's bound elsewhere. A kernel that expects something of its workspace, keeps what
//! it was given last time, or does not keep to the order of its stream, is found here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use mxhal_core::op::{
    Argument, Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Role, Route, Score,
    SwiGlu, SwiGluForm,
};
use mxhal_core::{
    Buffer, Device, Event, Format, HostBuffer, Op, Plan, Properties, Quantization, Span, Stream, Support,
    Tensor, Weights, WeightsDesc,
};

use super::SuiteKind;
use super::bounded::layer;
use crate::case::{Body, Case};
use crate::opcase::judge::{Evidence, judge};
use crate::opcase::random::Random;
use crate::opcase::rig::{Poison, Stop, during, prepare_weights};
use crate::opcase::{Inputs, OpCase, Tier, Values};
use crate::outcome::{Failure, Measures, Outcome};
use crate::profile::Profile;
use crate::subject::Subject;

/// Programs.
const PROGRAMS: usize = 12;
/// Operators in each, as far as the backend has them.
const OPERATORS: usize = 6;
/// Sets of data of an operator.
const SETS: usize = 2;
/// Runs.
const STEPS: usize = 40;
/// Streams, and arenas.
const STREAMS: usize = 2;

/// A program, drawn from the case's seed.
#[derive(Clone, Debug)]
pub struct SequenceCase(());

/// The suite's cases.
pub fn cases(seed: u64) -> Vec<Case> {
    let case = |program: usize| {
        let name = format!("{}/program-{program}", SuiteKind::Sequence);
        Case {
            suite: SuiteKind::Sequence,
            seed: Random::new(seed, &name).bits(),
            name,
            profile: Profile::Core,
            time_limit: Duration::from_secs(60),
            body: Body::Sequence(SequenceCase(())),
        }
    };
    (0..PROGRAMS).map(case).collect()
}

impl SequenceCase {
    /// Runs the program.
    pub fn run(&self, subject: &Subject, seed: u64) -> Outcome {
        Self::ask(subject, seed).unwrap_or_else(Stop::into_outcome)
    }

    fn ask(subject: &Subject, seed: u64) -> Result<Outcome, Stop> {
        let members = members(subject, seed)?;
        if members.is_empty() {
            let text = "not one operator of the program is supported".to_owned();
            return Ok(Outcome::Skipped { text });
        }
        let mut elements = 0;
        let mut alone = Vec::new();
        for member in &members {
            for (set, inputs) in member.sets.iter().enumerate() {
                let data_seed = seed ^ set as u64;
                let (measures, outputs) =
                    member.case.compare(subject, data_seed, inputs, &member.properties)?;
                elements += measures.elements;
                alone.push(outputs);
            }
        }
        let mut random = Random::new(seed, "program");
        let program = Program::new(subject.device(), &members)?;
        let steps: Vec<Step> = (0..STEPS).map(|_| Step::draw(&mut random, members.len())).collect();
        let results = program.run(&steps)?;
        for (number, (step, outputs)) in steps.iter().zip(&results).enumerate() {
            let member = &members[step.member];
            elements += outputs.iter().flatten().map(|output| output.layout.elements() as u64).sum::<u64>();
            member.expect(number, step, &alone[step.member * SETS + step.set], outputs)?;
        }
        Ok(Outcome::Pass(Measures { elements, ..Measures::default() }))
    }
}

/// An operator of a program.
struct Member {
    case: OpCase,
    properties: Properties,
    sets: Vec<Inputs>,
}

impl Member {
    /// Whether a step gave what its operator gives alone.
    fn expect(
        &self,
        number: usize,
        step: &Step,
        alone: &[Option<HostBuffer>],
        got: &[Option<HostBuffer>],
    ) -> Result<(), Failure> {
        let op = &self.case.op;
        let which = format!(
            "step {number} of the program, {} on stream {} with data {} in arena {}",
            op.kind(),
            step.stream,
            step.set,
            step.arena
        );
        if !self.properties.run_to_run {
            let (inputs, properties) = (&self.sets[step.set], &self.properties);
            let evidence =
                Evidence { op, tier: self.case.tier, inputs, outputs: got, properties, columns: None };
            let verdict = judge(&evidence).map(drop);
            return verdict
                .map_err(|failure| Failure { message: format!("{which}: {}", failure.message), ..failure });
        }
        for (argument, (alone, got)) in op.arguments().iter().zip(alone.iter().zip(got)) {
            let (Some(alone), Some(got)) = (alone, got) else { continue };
            let parts =
                [(&alone.data, &got.data), (&alone.scales, &got.scales), (&alone.factors, &got.factors)];
            for (part, (alone, got)) in ["elements", "scales", "factors"].into_iter().zip(parts) {
                if let Some(place) = alone.iter().zip(got).position(|(alone, got)| alone != got) {
                    return Err(Failure {
                        tensor: Some(argument.name.to_owned()),
                        expected: Some(format!("{:#04x}", alone[place])),
                        got: Some(format!("{:#04x}", got[place])),
                        ..Failure::new(format!(
                            "{which}: byte {place} of the {part} of {} is another than where it ran alone",
                            argument.name
                        ))
                    });
                }
            }
        }
        Ok(())
    }
}

/// The program's operators that the backend supports, with their data. Weights of the same description are the same.
fn members(subject: &Subject, seed: u64) -> Result<Vec<Member>, Stop> {
    let mut random = Random::new(seed, "operators");
    let mut operators = operators(&mut random);
    random.shuffle(&mut operators);
    let mut members: Vec<Member> = Vec::new();
    let mut shared: HashMap<(usize, WeightsDesc), HostBuffer> = HashMap::new();
    for family in operators {
        for case in family {
            let Support::Yes(properties) = during("supports", subject.device().supports(&case.op))? else {
                continue;
            };
            let sets = (0..SETS).map(|set| {
                let mut inputs = case.data.inputs(&case.op, case.rows, seed ^ set as u64);
                for (desc, weights) in case.op.weights().into_iter().zip(&mut inputs.weights) {
                    *weights = shared.entry((set, desc)).or_insert_with(|| weights.clone()).clone();
                }
                inputs
            });
            let sets = sets.collect();
            members.push(Member { case, properties, sets });
        }
        if members.len() >= OPERATORS {
            break;
        }
    }
    Ok(members)
}

/// Families of operators; those of one family come together, and share their weights.
fn operators(random: &mut Random) -> Vec<Vec<OpCase>> {
    let ordinary = |op: Op| OpCase::new(op, Values::Ordinary, Tier::Bounded);
    let mut families = Vec::new();
    for scheme in [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4] {
        let each = Matmul::mxfp4(
            random.between(9, 40) as usize,
            8 * random.between(1, 9) as usize,
            32 * random.between(2, 9) as usize,
            Quantization::new(scheme),
        );
        families.push(vec![ordinary(each.into()), ordinary(Matmul { m: 1, ..each }.into())]);
        let grouped = GroupedMatmul { each: Matmul { output: Format::F32, ..each }, groups: 3 };
        let smaller = GroupedMatmul { each: Matmul { m: 4, ..grouped.each }, ..grouped };
        families.push(vec![ordinary(grouped.into()), ordinary(smaller.into())]);
        let moe = MoeFfn { activation: Quantization::new(scheme), ..layer() };
        families.push(vec![ordinary(moe.into())]);
    }
    let rows = random.between(3, 20) as usize;
    for format in [Format::Mxfp4, Format::Mxfp8] {
        let quantize = Quantize { rows, k: 160, input: Format::Bf16, to: Quantization::new(format) };
        let dequantize = Dequantize { rows, k: 160, from: format, output: Format::Bf16 };
        families.push(vec![
            OpCase::new(quantize, Values::Ordinary, Tier::Exact),
            OpCase::new(dequantize, Values::Ordinary, Tier::Exact),
        ]);
    }
    let (form, input) = (SwiGluForm::silu(10.0), Format::Bf16);
    let swiglu = SwiGlu { rows, n: 96, form, input, row_weights: true, to: Quantization::none() };
    let score = random.pick(&[Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen]);
    let route = Route {
        tokens: rows,
        experts: 12,
        top_k: 3,
        score,
        bias: true,
        ids_given: false,
        renormalize: true,
        scale: 1.5,
    };
    families.push(vec![ordinary(swiglu.into()), ordinary(route.into())]);
    let (columns, top_k, format) = (64, 3, Format::Bf16);
    let permute = Permute { tokens: rows, columns, experts: 5, top_k, format, weights: true, mapped: None };
    let combine =
        Combine { tokens: rows, columns, top_k, input, output: Format::F32, weighted: true, addend: None };
    families.push(vec![OpCase::new(permute, Values::Ordinary, Tier::Exact), ordinary(combine.into())]);
    families
}

/// One run in a program.
#[derive(Clone, Copy, Debug)]
struct Step {
    member: usize,
    set: usize,
    stream: usize,
    arena: usize,
}

impl Step {
    fn draw(random: &mut Random, members: usize) -> Self {
        Self {
            member: random.below(members),
            set: random.below(SETS),
            stream: random.below(STREAMS),
            arena: random.below(STREAMS),
        }
    }
}

/// What a program works with.
struct Program<'a> {
    device: &'a Arc<dyn Device>,
    members: &'a [Member],
    plans: Vec<Box<dyn Plan>>,
    weights: HashMap<(usize, WeightsDesc), Arc<dyn Weights>>,
    streams: Vec<Box<dyn Stream>>,
    alignment: u64,
    workspace: Buffer,
    arenas: Vec<Buffer>,
}

impl<'a> Program<'a> {
    fn new(device: &'a Arc<dyn Device>, members: &'a [Member]) -> Result<Self, Stop> {
        let mut plans = Vec::new();
        let mut weights = HashMap::new();
        for member in members {
            plans.push(during("prepare", device.prepare(&member.case.op))?);
            for (set, inputs) in member.sets.iter().enumerate() {
                for (desc, canonical) in member.case.op.weights().into_iter().zip(&inputs.weights) {
                    if let Entry::Vacant(vacant) = weights.entry((set, desc)) {
                        vacant.insert(prepare_weights(device, &desc, canonical, 1)?);
                    }
                }
            }
        }
        let alignment = during("device_info", device.info())?.alignment.max(1);
        let workspace = plans.iter().map(|plan| plan.info().workspace_bytes).max().unwrap_or(0).max(1);
        let mut arena = 1;
        for member in members {
            arena = arena.max(Place::all(member, alignment)?.1);
        }
        let allocate = |bytes| during("allocate", Buffer::new(device, bytes));
        let mut program = Self {
            device,
            members,
            plans,
            weights,
            streams: Vec::new(),
            alignment,
            workspace: allocate(workspace)?,
            arenas: Vec::new(),
        };
        for _ in 0..STREAMS {
            program.streams.push(during("stream_create", device.create_stream())?);
            program.arenas.push(allocate(arena)?);
        }
        Ok(program)
    }

    /// Enqueues every step, waits for all of them, and gives the outputs of each.
    fn run(&self, steps: &[Step]) -> Result<Vec<Vec<Option<HostBuffer>>>, Stop> {
        let mut images = Images { up: Vec::new(), down: Vec::new() };
        let enqueued = self.enqueue(steps, &mut images);
        // Copies may be under way, to and from memory that is ours: both streams end before it goes, whatever failed.
        let ended: Vec<_> = self.streams.iter().map(|stream| stream.synchronize(None)).collect();
        enqueued?;
        for end in ended {
            during("synchronize", end)?;
        }
        Ok(images.down)
    }

    fn enqueue(&self, steps: &[Step], images: &mut Images) -> Result<(), Stop> {
        let mut workspace = Turn::default();
        let mut arenas = [Turn::default(), Turn::default()];
        for step in steps {
            let (member, plan) = (&self.members[step.member], &self.plans[step.member]);
            let stream = &*self.streams[step.stream];
            let needed = plan.info().workspace_bytes;
            arenas[step.arena].take(stream, step.stream)?;
            if needed > 0 {
                workspace.take(stream, step.stream)?;
            }
            let (places, _) = Place::all(member, self.alignment)?;
            let arena = self.arenas[step.arena].span();
            let inputs = &member.sets[step.set];
            let mut views = Vec::new();
            for (place, input) in places.iter().zip(&inputs.tensors) {
                let Some(place) = place else {
                    views.push(None);
                    continue;
                };
                let image = match (&place.role, input) {
                    (Role::Input, Some(input)) => input.clone(),
                    _ => place.poisoned(),
                };
                images.up.push(image);
                let image = images.up.last().expect("it was pushed just now");
                views.push(Some(place.enqueue_upload(stream, arena, image)?));
            }
            let weights: Vec<&dyn Weights> =
                member.case.op.weights().iter().map(|desc| &*self.weights[&(step.set, *desc)]).collect();
            let span = self.workspace.span().part(0, needed).expect("the workspace is the largest of all");
            during("run", plan.run(stream, &views, &weights, span))?;

            images.down.push(Vec::new());
            let outputs = images.down.last_mut().expect("it was pushed just now");
            for place in &places {
                let Some(place) = place.as_ref().filter(|place| place.role == Role::Output) else {
                    outputs.push(None);
                    continue;
                };
                outputs.push(Some(place.image.clone()));
                let image = outputs.last_mut().and_then(Option::as_mut).expect("it was pushed just now");
                place.enqueue_download(stream, arena, image)?;
            }
            if needed > 0 {
                workspace.give(self.device, stream, step.stream)?;
            }
            arenas[step.arena].give(self.device, stream, step.stream)?;
        }
        Ok(())
    }
}

/// Host memory that copies read from and write to, until the streams have ended. What lies in it does not move when more
/// is added: only the buffers' heads do.
struct Images {
    up: Vec<HostBuffer>,
    down: Vec<Vec<Option<HostBuffer>>>,
}

/// Whose turn it is with memory that streams share.
#[derive(Default)]
struct Turn {
    last: Option<(usize, Arc<dyn Event>)>,
}

impl Turn {
    /// Makes a stream wait for the other one, if that had it last.
    fn take(&self, stream: &dyn Stream, number: usize) -> Result<(), Stop> {
        match &self.last {
            Some((last, event)) if *last != number => during("event_wait", stream.wait(&**event)),
            _ => Ok(()),
        }
    }

    /// Records the end of a stream's turn.
    fn give(&mut self, device: &Arc<dyn Device>, stream: &dyn Stream, number: usize) -> Result<(), Stop> {
        let event = during("event_create", device.create_event())?;
        during("event_record", stream.record(&*event))?;
        self.last = Some((number, event));
        Ok(())
    }
}

/// Where a tensor of an operator lies in an arena.
struct Place {
    role: Role,
    image: HostBuffer,
    offsets: [u64; 3],
}

impl Place {
    /// The places of an operator's tensors, one behind the other, and the bytes of them all.
    fn all(member: &Member, alignment: u64) -> Result<(Vec<Option<Self>>, u64), Stop> {
        let mut end = 0_u64;
        let mut places = Vec::new();
        for argument in member.case.op.arguments() {
            let Argument { role, present, .. } = argument;
            if !present {
                places.push(None);
                continue;
            }
            let layout = during("layout", argument.layout(member.case.rows))?;
            let image = HostBuffer::zeroed(layout);
            let offsets = [&image.data, &image.scales, &image.factors].map(|part| {
                let offset = end.next_multiple_of(alignment);
                end = offset + part.len() as u64;
                offset
            });
            places.push(Some(Self { role, image, offsets }));
        }
        Ok((places, end))
    }

    fn poisoned(&self) -> HostBuffer {
        let mut image = self.image.clone();
        for part in [&mut image.data, &mut image.scales, &mut image.factors] {
            part.fill(Poison::BOTH[0].0);
        }
        image
    }

    /// The parts in an arena.
    fn spans(&self, arena: Span, image: &HostBuffer) -> [Span; 3] {
        let sizes = [image.data.len(), image.scales.len(), image.factors.len()];
        let mut spans = [Span::NONE; 3];
        for ((span, offset), bytes) in spans.iter_mut().zip(self.offsets).zip(sizes) {
            if bytes > 0 {
                *span = arena.part(offset, bytes as u64).expect("the arena is as large as the largest");
            }
        }
        spans
    }

    /// Enqueues the copy of an image, which lives until the stream has ended, and gives the tensor.
    fn enqueue_upload(&self, stream: &dyn Stream, arena: Span, image: &HostBuffer) -> Result<Tensor, Stop> {
        let [data, scales, factors] = self.spans(arena, image);
        for (to, from) in
            [data, scales, factors].into_iter().zip([&image.data, &image.scales, &image.factors])
        {
            if !from.is_empty() {
                during("copy_to_device", stream.copy_to_device(to.address, Span::of(from)))?;
            }
        }
        let mut view = during("tensor", Tensor::new(image.layout, data))?;
        if scales.bytes > 0 {
            view = during("tensor", view.with_scales(scales))?;
        }
        if factors.bytes > 0 {
            view = during("tensor", view.with_factors(factors))?;
        }
        Ok(view)
    }

    /// Enqueues the copy of a result, which is there once the stream has ended.
    fn enqueue_download(&self, stream: &dyn Stream, arena: Span, image: &mut HostBuffer) -> Result<(), Stop> {
        let spans = self.spans(arena, image);
        for (to, from) in [&mut image.data, &mut image.scales, &mut image.factors].into_iter().zip(spans) {
            if !to.is_empty() {
                during("copy_to_host", stream.copy_to_host(Span::of_mut(to).address, from))?;
            }
        }
        Ok(())
    }
}
