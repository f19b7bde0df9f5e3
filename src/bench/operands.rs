//! Tensors and weights of a case.

use std::collections::HashMap;
use std::sync::Arc;

use mxhal::core::op::{Argument, Role};
use mxhal::core::{
    Buffer, Device, Format, Graph, HostBuffer, Layout, Op, Plan, Result, Span, Tensor, Weights, WeightsDesc,
    buffer,
};

use super::case::{Case, Task};
use super::subject::Subject;
use crate::random::{Content, E2M1_MEAN_SQUARE, E4M3_MEAN_SQUARE, Random};

/// How many routings are taken by turns.
const ROUTINGS: usize = 16;

/// The most copies of weights. A device may need a mapping for each, of which a process has some tens of thousands.
const MOST_COPIES: u64 = 4096;

/// Weights, as often as it takes for a copy to be gone from the caches when its turn comes again.
pub(super) struct WeightCopies {
    copies: Vec<Arc<dyn Weights>>,
}

impl WeightCopies {
    /// Copies of together more than so many bytes, but no more than [`MOST_COPIES`]. All groups and copies have the same
    /// random values, each in memory of its own.
    pub(super) fn new(
        device: &Arc<dyn Device>,
        desc: WeightsDesc,
        cycled_bytes: u64,
        random: &mut Random,
    ) -> Result<Self> {
        let layout = Layout::contiguous(desc.format, &[desc.n, desc.k])?;
        let host = random_tensor(random, layout);
        let parts = vec![host.view()?; desc.groups];
        let first = device.prepare_weights(&desc, &parts)?;
        let more = (cycled_bytes / first.bytes().max(1)).min(MOST_COPIES - 1);
        let mut copies = vec![first];
        for _ in 0..more {
            copies.push(device.prepare_weights(&desc, &parts)?);
        }
        Ok(Self { copies })
    }
}

/// What a case runs on.
pub(super) struct Operands {
    work: Work,
    /// How many runs there have been.
    turn: usize,
    kind: Kind,
}

enum Kind {
    Plan {
        op: Op,
        plan: Box<dyn Plan>,
        workspace: Buffer,
        variants: Vec<Variant>,
        /// The memory of the tensors.
        _buffers: Vec<Buffer>,
    },
    Prepare {
        desc: WeightsDesc,
        host: HostBuffer,
    },
}

/// The tensors of a run.
struct Variant {
    tensors: Vec<Option<Tensor>>,
    experts: usize,
}

/// Operations and bytes of a run, on average over the routings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    pub(super) flops: f64,
    pub(super) bytes: f64,
}

impl Operands {
    pub(super) fn new(subject: &Subject, case: &Case, random: &mut Random) -> Result<Self> {
        let op = match &case.task {
            Task::Run(op) => *op,
            Task::PrepareWeights(desc) => {
                let layout = Layout::contiguous(desc.format, &[desc.n, desc.k])?;
                let bytes = case.task.prepared_bytes().unwrap_or_default() as f64;
                let kind = Kind::Prepare { desc: *desc, host: random_tensor(random, layout) };
                return Ok(Self { work: Work { flops: 0.0, bytes }, turn: 0, kind });
            }
        };
        let device = &subject.device;
        let plan = device.prepare(&op)?;
        let workspace = Buffer::new(device, plan.info().workspace_bytes)?;
        let arguments = op.arguments();
        let is_routed = arguments.iter().any(|argument| routing_of(argument).is_some());
        let mut buffers = Vec::new();
        let mut variants: Vec<Variant> = Vec::new();
        for _ in 0..if is_routed { ROUTINGS } else { 1 } {
            let mut tensors = Vec::with_capacity(arguments.len());
            for (place, argument) in arguments.iter().enumerate() {
                let shared = variants.first().filter(|_| routing_of(argument).is_none());
                tensors.push(match shared {
                    Some(first) => first.tensors[place],
                    None if !argument.present => None,
                    None => {
                        let (buffer, tensor) = tensor(subject, argument, case.rows, random)?;
                        buffers.push(buffer);
                        Some(tensor)
                    }
                });
            }
            variants.push(Variant { tensors, experts: 0 });
        }
        let kind = Kind::Plan { op, plan, workspace, variants, _buffers: buffers };
        let mut operands = Self { work: Work::default(), turn: 0, kind };
        operands.redraw(subject, case, random)?;
        Ok(operands)
    }

    /// Draws the routings anew.
    pub(super) fn redraw(&mut self, subject: &Subject, case: &Case, random: &mut Random) -> Result<()> {
        let Kind::Plan { op, variants, .. } = &mut self.kind else { return Ok(()) };
        let mut sum = Work::default();
        for variant in &mut *variants {
            let routing = Routing::draw(op, case.rows, random);
            for (argument, tensor) in op.arguments().iter().zip(&variant.tensors) {
                if let Some((part, tensor)) = routing_of(argument).zip(tensor.as_ref()) {
                    let bytes: Vec<u8> =
                        part(&routing).iter().flat_map(|number| number.to_le_bytes()).collect();
                    buffer::write(&*subject.stream, tensor.data(), &bytes)?;
                }
            }
            variant.experts = routing.counts.iter().filter(|count| **count > 0).count();
            let work = op.work_touching(case.rows, variant.experts);
            sum.flops += work.flops as f64;
            sum.bytes += work.bytes() as f64;
        }
        let count = variants.len() as f64;
        self.work = Work { flops: sum.flops / count, bytes: sum.bytes / count };
        Ok(())
    }

    /// Enqueues so many runs, and waits for them.
    pub(super) fn run(
        &mut self,
        subject: &Subject,
        case: &Case,
        weights: &HashMap<WeightsDesc, WeightCopies>,
        runs: usize,
    ) -> Result<()> {
        self.enqueue(subject, case, weights, runs)?;
        subject.stream.synchronize(None)
    }

    /// Captures so many runs in a graph; `None` for what is no run of a plan.
    pub(super) fn capture(
        &mut self,
        subject: &Subject,
        case: &Case,
        weights: &HashMap<WeightsDesc, WeightCopies>,
        runs: usize,
    ) -> Result<Option<Arc<dyn Graph>>> {
        if matches!(self.kind, Kind::Prepare { .. }) {
            return Ok(None);
        }
        subject.stream.begin_capture()?;
        let enqueued = self.enqueue(subject, case, weights, runs);
        let captured = subject.stream.end_capture();
        enqueued.and(captured.map(Some))
    }

    fn enqueue(
        &mut self,
        subject: &Subject,
        case: &Case,
        weights: &HashMap<WeightsDesc, WeightCopies>,
        runs: usize,
    ) -> Result<()> {
        let descs = case.weights();
        for _ in 0..runs {
            match &self.kind {
                Kind::Plan { plan, workspace, variants, .. } => {
                    let mut taken: [Option<&dyn Weights>; 4] = [None; 4];
                    for (desc, place) in descs.iter().zip(&mut taken) {
                        let copies = &weights[desc].copies;
                        *place = Some(&*copies[self.turn % copies.len()]);
                    }
                    let tensors = &variants[self.turn % variants.len()].tensors;
                    let stream = &*subject.stream;
                    match taken {
                        [Some(a), Some(b), ..] => plan.run(stream, tensors, &[a, b], workspace.span()),
                        [Some(a), ..] => plan.run(stream, tensors, &[a], workspace.span()),
                        _ => plan.run(stream, tensors, &[], workspace.span()),
                    }?;
                }
                Kind::Prepare { desc, host } => {
                    let parts = vec![host.view()?; desc.groups];
                    subject.device.prepare_weights(desc, &parts)?;
                }
            }
            self.turn += 1;
        }
        Ok(())
    }

    pub(super) fn work(&self) -> Work {
        self.work
    }

    /// What the backend calls the kernel that it chose.
    pub(super) fn kernel(&self) -> &str {
        match &self.kind {
            Kind::Plan { plan, .. } => &plan.info().kernel,
            Kind::Prepare { .. } => "",
        }
    }
}

/// Which experts the tokens of a run go to.
#[derive(Default)]
struct Routing {
    /// `[tokens, top_k]`.
    ids: Vec<i32>,
    /// Rows of each expert.
    counts: Vec<i32>,
    /// The row of each slot, in order of expert.
    positions: Vec<i32>,
}

impl Routing {
    /// For each row of a run different experts, each as likely as the others.
    fn draw(op: &Op, rows: usize, random: &mut Random) -> Self {
        let (experts, top_k) = match op {
            Op::MoeFfn(op) => (op.experts, op.top_k),
            Op::Permute(op) => (op.experts, op.top_k),
            Op::GroupedMatmul(op) => (op.groups, 1),
            // How many experts there were is no matter when they are summed.
            Op::Combine(op) => (8 * op.top_k, op.top_k),
            _ => return Self::default(),
        };
        let mut ids = vec![0; rows * top_k];
        ids.chunks_mut(top_k).for_each(|token| random.choose(experts, token));
        let mut counts = vec![0; experts];
        ids.iter().for_each(|id| counts[*id as usize] += 1);
        let mut next: Vec<i32> = counts
            .iter()
            .scan(0, |first, count| {
                *first += count;
                Some(*first - count)
            })
            .collect();
        let positions = ids
            .iter()
            .map(|id| {
                let next = &mut next[*id as usize];
                *next += 1;
                *next - 1
            })
            .collect();
        Self { ids, counts, positions }
    }
}

/// The part of a routing that a tensor holds, if it holds one.
fn routing_of(argument: &Argument) -> Option<fn(&Routing) -> &[i32]> {
    match (argument.role, argument.name) {
        (Role::Input, "ids") => Some(|routing| &routing.ids),
        (Role::Input, "counts") => Some(|routing| &routing.counts),
        (Role::Input, "positions") => Some(|routing| &routing.positions),
        _ => None,
    }
}

/// Memory for a tensor of a run; inputs hold random numbers.
fn tensor(
    subject: &Subject,
    argument: &Argument,
    rows: usize,
    random: &mut Random,
) -> Result<(Buffer, Tensor)> {
    let layout = argument.layout(rows)?;
    let (buffer, tensor) = Buffer::tensor(&subject.device, layout)?;
    let stream = &*subject.stream;
    if argument.role == Role::Input && layout.format() != Format::I32 {
        let host = random_tensor(random, layout);
        let write = |span: Span, bytes: &[u8]| buffer::write(stream, span, bytes);
        write(tensor.data(), &host.data)?;
        write(tensor.scales(), &host.scales)?;
        write(tensor.factors(), &host.factors)?;
    } else {
        // Memory that nobody has written to may not be there yet.
        stream.fill(buffer.span(), 0)?;
        stream.synchronize(None)?;
    }
    Ok((buffer, tensor))
}

/// Random numbers of any format, so that products with as many columns are about the size of what is multiplied.
fn random_tensor(random: &mut Random, layout: Layout) -> HostBuffer {
    let mut host = HostBuffer::zeroed(layout);
    let k = layout.columns();
    let (data, scales) = match layout.format() {
        Format::F32 => (Content::F32(1.0), None),
        Format::Mxfp4 => (Content::Bits, Some(Content::e8m0(E2M1_MEAN_SQUARE, k))),
        // An int8 stands for a number below 2.
        Format::Mxint8 => (Content::Bits, Some(Content::e8m0(4.0 / 3.0, k))),
        Format::Mxfp8 | Format::Mxfp8G128 | Format::Fp8Tile128 => {
            (Content::E4m3, Some(Content::e8m0(E4M3_MEAN_SQUARE, k)))
        }
        Format::Nvfp4 => (Content::Bits, Some(Content::E4m3Scales)),
        _ => (Content::Bf16(1.0), None),
    };
    random.fill(data, &mut host.data);
    if let Some(scales) = scales {
        random.fill(scales, &mut host.scales);
    }
    let factor = 1.0 / (E2M1_MEAN_SQUARE * k as f32).sqrt();
    for bytes in host.factors.as_chunks_mut().0 {
        *bytes = factor.to_le_bytes();
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal::core::op::{Combine, GroupedMatmul, Matmul};
    use mxhal::core::{Quantization, format::dequantize_row};

    #[test]
    fn rows_of_a_routing_are_each_slot_once_in_order_of_expert() {
        let op = Combine {
            tokens: 40,
            columns: 32,
            top_k: 3,
            input: Format::F32,
            output: Format::F32,
            weighted: false,
            addend: None,
        };
        let Routing { ids, counts, positions } = Routing::draw(&op.into(), 40, &mut Random::new(1));
        assert_eq!(counts.iter().sum::<i32>(), 120);
        let mut expert_of = vec![None; 120];
        for (id, position) in ids.iter().zip(&positions) {
            assert_eq!(expert_of[*position as usize].replace(*id), None);
        }
        assert!(expert_of.is_sorted() && expert_of.iter().all(Option::is_some));
    }

    #[test]
    fn counts_of_a_grouped_product_are_its_rows() {
        let each = Matmul::mxfp4(50, 32, 32, Quantization::none());
        let op = GroupedMatmul { each, groups: 7 };
        let routing = Routing::draw(&op.into(), 50, &mut Random::new(2));
        assert_eq!((routing.counts.len(), routing.counts.iter().sum::<i32>()), (7, 50));
    }

    #[test]
    fn random_tensors_are_finite_and_as_large_as_products_want_them() {
        let k = 512;
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4] {
            let layout = Layout::contiguous(format, &[16, k]).unwrap();
            let host = random_tensor(&mut Random::new(3), layout);
            let mut squares = 0.0;
            for row in 0..16 {
                let part =
                    |bytes: &[u8]| bytes[row * bytes.len() / 16..(row + 1) * bytes.len() / 16].to_vec();
                let factor =
                    part(&host.factors).as_chunks().0.first().map_or(1.0, |f| f32::from_le_bytes(*f));
                let mut values = vec![0.0; k];
                dequantize_row(format, &part(&host.data), &part(&host.scales), factor, &mut values);
                squares += values.iter().map(|value| f64::from(value * value)).sum::<f64>();
            }
            // The sum of squares of a column, 1 but for the scales' spread.
            assert!((0.2..8.0).contains(&(squares / 16.0)), "{format}: {}", squares / 16.0);
        }
    }
}
