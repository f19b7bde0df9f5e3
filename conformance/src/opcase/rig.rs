//! The rig: an operator run on a device between red zones, its outputs poisoned, its inputs watched.
//!
//! Every part of every tensor (elements, scales, factors) and the workspace lie in an allocation of their own, with a
//! pattern before and after, at an address that is aligned as little as the device allows. After a run the patterns,
//! the gaps between strided rows and all inputs must be what they were.

use std::sync::Arc;

use mxhal_core::op::{Argument, Op, Role, WeightsDesc};
use mxhal_core::{
    Buffer, Device, Format, HostBuffer, HostTensor, Layout, Plan, Span, Status, Stream, Tensor, Weights,
    buffer,
};

use super::recipe::Inputs;
use super::tensor::{bytes_of_first, layout};
use crate::outcome::{Failure, Outcome};

/// Bytes of pattern on either side, at least.
const ZONE: u64 = 256;

/// Why a case ends before it is judged, or how it was judged wrong.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Box<Outcome>);

impl Stop {
    pub(crate) fn into_outcome(self) -> Outcome {
        *self.0
    }
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self(Box::new(outcome))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Outcome::from(failure).into()
    }
}

impl From<mxhal_core::Error> for Stop {
    fn from(error: mxhal_core::Error) -> Self {
        match error.status() {
            Status::DeviceLost => Outcome::DeviceLost { text: error.to_string() }.into(),
            _ => Failure::new(error.to_string()).into(),
        }
    }
}

/// Says in which step something failed.
pub(crate) fn during<T>(step: &str, result: mxhal_core::Result<T>) -> Result<T, Stop> {
    result.map_err(|error| error.within(step).into())
}

/// What outputs and workspace hold before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poison(pub(crate) u8);

impl Poison {
    /// Two patterns without a byte in common: NaN in every float format, and large numbers.
    pub(crate) const BOTH: [Self; 2] = [Self(0xff), Self(0x7b)];
}

/// An operator ready to run: plan, prepared weights, inputs on the device.
pub(crate) struct Rig<'a> {
    stream: &'a dyn Stream,
    plan: Box<dyn Plan>,
    weights: Vec<Arc<dyn Weights>>,
    arguments: Vec<Argument>,
    tensors: Vec<Option<Placed>>,
    workspace: Region,
}

impl<'a> Rig<'a> {
    /// Plans `op`, prepares its weights and puts its inputs on the device. Rows of plain tensors with two dimensions
    /// lie `row_gap` elements further apart than they must.
    pub(crate) fn new(
        device: &Arc<dyn Device>,
        stream: &'a dyn Stream,
        op: &Op,
        inputs: &Inputs,
        row_gap: usize,
    ) -> Result<Self, Stop> {
        let plan = during("prepare", device.prepare(op))?;
        let mut weights = Vec::new();
        for (desc, buffer) in op.weights().iter().zip(&inputs.weights) {
            weights.push(prepare_weights(device, desc, buffer, 1)?);
        }
        let ground = Ground { device, alignment: during("device_info", device.info())?.alignment.max(1) };
        let arguments = op.arguments();
        let mut tensors = Vec::new();
        for (argument, input) in arguments.iter().zip(&inputs.tensors) {
            tensors.push(match (argument.present, argument.role, input) {
                (false, _, _) => None,
                (true, Role::Input, Some(host)) => Some(Placed::new(&ground, host.clone(), row_gap)?),
                _ => {
                    let host = HostBuffer::zeroed(during("layout", argument.layout(inputs.rows))?);
                    Some(Placed::new(&ground, host, row_gap)?)
                }
            });
        }
        let workspace = Region::new(&ground, plan.info().workspace_bytes)?;
        Ok(Self { stream, plan, weights, arguments, tensors, workspace })
    }

    /// The kernel that was chosen, as the plan says.
    pub(crate) fn kernel(&self) -> &str {
        &self.plan.info().kernel
    }

    /// Runs it once, and gives what each output holds then; `None` for inputs.
    pub(crate) fn run(&self, poison: Poison) -> Result<Vec<Option<HostBuffer>>, Stop> {
        let placed = || self.arguments.iter().zip(&self.tensors).filter_map(|(a, t)| Some((a, t.as_ref()?)));
        for (argument, tensor) in placed() {
            tensor.upload(self.stream, (argument.role == Role::Output).then_some(poison))?;
        }
        self.workspace.upload(self.stream, &vec![poison.0; self.workspace.bytes as usize])?;

        let views: Vec<_> =
            self.tensors.iter().map(|placed| placed.as_ref().map(|placed| placed.view)).collect();
        let weights: Vec<&dyn Weights> = self.weights.iter().map(|weights| &**weights).collect();
        during("run", self.plan.run(self.stream, &views, &weights, self.workspace.span()))?;
        during("synchronize", self.stream.synchronize(None))?;

        self.workspace.download(self.stream, "the workspace")?;
        let mut outputs = Vec::new();
        for (argument, tensor) in self.arguments.iter().zip(&self.tensors) {
            outputs.push(match (tensor, argument.role) {
                (None, _) => None,
                (Some(tensor), Role::Output) => Some(tensor.download(self.stream, argument.name)?),
                (Some(tensor), Role::Input) => {
                    tensor.expect_unchanged(self.stream, argument.name)?;
                    None
                }
            });
        }
        Ok(outputs)
    }
}

/// Prepares weights from `parts` matrices a group; the memory that they were given in is gone afterwards.
pub(crate) fn prepare_weights(
    device: &Arc<dyn Device>,
    desc: &WeightsDesc,
    canonical: &HostBuffer,
    parts: usize,
) -> Result<Arc<dyn Weights>, Stop> {
    let mut given = split(canonical, desc, parts);
    let views: Vec<HostTensor<'_>> =
        given.iter().map(|part| part.view().expect("parts have the sizes of their layouts")).collect();
    let prepared = during("prepare_weights", device.prepare_weights(desc, &views))?;
    drop(views);
    // Whoever kept a pointer instead of the bytes finds other bytes there.
    for part in &mut given {
        part.data.fill(0x55);
        part.scales.fill(0xaa);
        part.factors.fill(0x55);
    }
    Ok(prepared)
}

/// The parts of canonical weights `[groups, n, k]`: for each group, matrices of about `n / parts` rows.
fn split(canonical: &HostBuffer, desc: &WeightsDesc, parts: usize) -> Vec<HostBuffer> {
    let tile = desc.format.blocks().map_or(1, |blocks| blocks.rows);
    let rows = desc.n.div_ceil(parts).next_multiple_of(tile);
    let [data, scales, factors] = bytes_of_first(canonical);
    let one_factor = canonical.factors.len() == 4;
    let mut split = Vec::new();
    for group in 0..desc.groups {
        for first in (0..desc.n).step_by(rows) {
            let count = rows.min(desc.n - first);
            let mut part = HostBuffer::zeroed(layout(desc.format, &[count, desc.k]));
            let fill = |part: &mut Vec<u8>, canonical: &[u8], from: usize| {
                // Formats without scales or factors have nothing to be found at `from`.
                let bytes = part.len();
                if bytes > 0 {
                    part.copy_from_slice(&canonical[from..][..bytes]);
                }
            };
            fill(&mut part.data, &canonical.data, group * data + first * desc.format.row_bytes(desc.k));
            let scale_row = first / tile * desc.format.row_scales(desc.k);
            fill(&mut part.scales, &canonical.scales, group * scales + scale_row);
            if one_factor {
                part.factors.clone_from(&canonical.factors);
            } else {
                fill(&mut part.factors, &canonical.factors, group * factors + first * 4);
            }
            split.push(part);
        }
    }
    split
}

/// Where tensors are put.
struct Ground<'a> {
    device: &'a Arc<dyn Device>,
    alignment: u64,
}

/// Bytes on the device, between two red zones.
struct Region {
    buffer: Buffer,
    /// Where the bytes begin in the allocation.
    offset: u64,
    bytes: u64,
}

impl Region {
    fn new(ground: &Ground<'_>, bytes: u64) -> Result<Self, Stop> {
        let alignment = ground.alignment;
        let before = ZONE.next_multiple_of(alignment);
        // Room to move by one alignment.
        let total = before + alignment + bytes + ZONE;
        let buffer = during("allocate", Buffer::new(ground.device, total))?;
        let address = buffer.span().address;
        if !address.is_multiple_of(alignment) {
            let message = format!("allocate gave {address:#x}, and the device's alignment is {alignment}");
            return Err(Failure::new(message).into());
        }
        let more = (address + before).is_multiple_of(2 * alignment);
        Ok(Self { buffer, offset: before + if more { alignment } else { 0 }, bytes })
    }

    fn span(&self) -> Span {
        self.buffer
            .span()
            .part(self.offset, self.bytes)
            .expect("the allocation has room for it and its zones")
    }

    fn upload(&self, stream: &dyn Stream, content: &[u8]) -> Result<(), Stop> {
        let mut image: Vec<u8> = (0..self.buffer.span().bytes).map(canary).collect();
        image[self.offset as usize..][..content.len()].copy_from_slice(content);
        during("copy to device", self.buffer.write(stream, &image))
    }

    /// The bytes, once the zones are found intact.
    fn download(&self, stream: &dyn Stream, what: &str) -> Result<Vec<u8>, Stop> {
        let mut image = vec![0; self.buffer.span().bytes as usize];
        during("copy to host", buffer::read(stream, self.buffer.span(), &mut image))?;
        let (start, end) = (self.offset as usize, (self.offset + self.bytes) as usize);
        let changed = |place: &usize| image[*place] != canary(*place as u64);
        let wrong = (0..start).rev().find(changed).map(|place| (start - place, "before the beginning"));
        let wrong =
            wrong.or_else(|| (end..image.len()).find(changed).map(|place| (place - end + 1, "past the end")));
        match wrong {
            None => Ok(image[start..end].to_vec()),
            Some((distance, side)) => {
                let message = format!("red zone: a byte {distance} {side} of {what} was written");
                Err(Failure { tensor: Some(what.to_owned()), ..Failure::new(message) }.into())
            }
        }
    }
}

fn canary(place: u64) -> u8 {
    0xc5 ^ (place as u8).wrapping_mul(29)
}

/// A tensor on the device.
struct Placed {
    host: HostBuffer,
    /// Elements, scales, factors.
    regions: [Region; 3],
    view: Tensor,
    /// Bytes of a row, and from one row to the next, where there are gaps.
    gaps: Option<(usize, usize)>,
}

impl Placed {
    fn new(ground: &Ground<'_>, host: HostBuffer, row_gap: usize) -> Result<Self, Stop> {
        let format = host.layout.format();
        let (mut layout, mut gaps) = (host.layout, None);
        if let (&[rows, columns], false, true) = (layout.shape(), format.is_block_scaled(), row_gap > 0)
            && rows > 1
        {
            let stride = columns + row_gap;
            layout = during("layout", Layout::strided(format, &[rows, columns], &[stride, 1]))?;
            gaps = Some((format.row_bytes(columns), format.row_bytes(stride)));
        }
        let regions = [
            Region::new(ground, layout.data_bytes() as u64)?,
            Region::new(ground, host.scales.len() as u64)?,
            Region::new(ground, host.factors.len() as u64)?,
        ];
        let mut view = during("tensor", Tensor::new(layout, regions[0].span()))?;
        if format.is_block_scaled() {
            view = during("tensor", view.with_scales(regions[1].span()))?;
        }
        if format == Format::Nvfp4 {
            view = during("tensor", view.with_factors(regions[2].span()))?;
        }
        Ok(Self { host, regions, view, gaps })
    }

    /// Puts the tensor, or poison in its place, on the device.
    fn upload(&self, stream: &dyn Stream, poison: Option<Poison>) -> Result<(), Stop> {
        let mut host = self.host.clone();
        if let Some(Poison(byte)) = poison {
            for part in [&mut host.data, &mut host.scales, &mut host.factors] {
                part.fill(byte);
            }
        }
        if let Some((row, stride)) = self.gaps {
            let mut data: Vec<u8> = (0..self.regions[0].bytes).map(canary).collect();
            for (to, from) in data.chunks_mut(stride).zip(host.data.chunks(row)) {
                to[..row].copy_from_slice(from);
            }
            host.data = data;
        }
        for (region, content) in self.regions.iter().zip([&host.data, &host.scales, &host.factors]) {
            region.upload(stream, content)?;
        }
        Ok(())
    }

    fn download(&self, stream: &dyn Stream, what: &str) -> Result<HostBuffer, Stop> {
        let mut data = self.regions[0].download(stream, what)?;
        if let Some((row, stride)) = self.gaps {
            let gap = |place: &usize| place % stride >= row && data[*place] != canary(*place as u64);
            if let Some(place) = (0..data.len()).find(gap) {
                let message = format!(
                    "red zone: a byte {} past the end of row {} of {what} was written, before the next",
                    place % stride - row + 1,
                    place / stride
                );
                return Err(Failure { tensor: Some(what.to_owned()), ..Failure::new(message) }.into());
            }
            data = data.chunks(stride).flat_map(|chunk| &chunk[..row]).copied().collect();
        }
        let scales = self.regions[1].download(stream, &format!("{what} (scales)"))?;
        let factors = self.regions[2].download(stream, &format!("{what} (factors)"))?;
        Ok(HostBuffer { layout: self.host.layout, data, scales, factors })
    }

    fn expect_unchanged(&self, stream: &dyn Stream, what: &str) -> Result<(), Stop> {
        let now = self.download(stream, what)?;
        let parts = [
            ("elements", &self.host.data, &now.data),
            ("scales", &self.host.scales, &now.scales),
            ("factors", &self.host.factors, &now.factors),
        ];
        for (part, before, now) in parts {
            if let Some(place) = before.iter().zip(now).position(|(before, now)| before != now) {
                let message = format!("the input {what} was changed: byte {place} of its {part}");
                return Err(Failure {
                    tensor: Some(what.to_owned()),
                    expected: Some(format!("{:#04x}", before[place])),
                    got: Some(format!("{:#04x}", now[place])),
                    ..Failure::new(message)
                }
                .into());
            }
        }
        Ok(())
    }
}
