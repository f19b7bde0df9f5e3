//! Weights as they lie in memory: the canonical bytes, stacked to `[groups, n, k]`, in one allocation.

use std::any::Any;
use std::sync::Arc;

use mxhal_core::op::{GroupedMatmul, Matmul};
use mxhal_core::{
    Error, Format, HostBuffer, HostTensor, Layout, Op, Quantization, Reason, Refusal, Result, Status,
    Weights, WeightsDesc,
};

use crate::device::Shared;
use crate::memory::{ALIGNMENT, Allocation};
use crate::view::Input;

/// Prepared weights.
pub(crate) struct CpuWeights {
    shared: Arc<Shared>,
    desc: WeightsDesc,
    layout: Layout,
    /// Elements, scales and float32 factors (in this machine's order, one a row), each part aligned.
    memory: Allocation,
}

impl CpuWeights {
    /// Stacks parts; see [`WeightsDesc::check_parts`].
    ///
    /// # Errors
    ///
    /// Those of [`Device::prepare_weights`](mxhal_core::Device::prepare_weights).
    pub(crate) fn prepare(
        shared: &Arc<Shared>,
        desc: &WeightsDesc,
        parts: &[HostTensor<'_>],
    ) -> Result<Self> {
        check_desc(desc)?;
        let layout = desc.layout()?;
        let layouts: Vec<Layout> = parts.iter().map(|part| *part.layout()).collect();
        desc.check_parts(&layouts)?;

        let [data, scales, factors] = offsets(&layout);
        let mut memory = Allocation::new((factors + layout.factors_bytes()) as u64)?;
        let bytes = memory.bytes_mut();
        let (mut data, mut scales, mut factors) = (data, scales, factors);
        for part in parts {
            append(bytes, &mut data, part.data());
            append(bytes, &mut scales, part.scales());
            let rows_of_one = if part.factors().len() == 4 { part.layout().rows() } else { 1 };
            for factor in part.factors().as_chunks().0.iter().copied().map(f32::from_le_bytes) {
                for _ in 0..rows_of_one {
                    append(bytes, &mut factors, &factor.to_ne_bytes());
                }
            }
        }
        Ok(Self { shared: Arc::clone(shared), desc: *desc, layout, memory })
    }

    /// The weights behind a handle, if they are of this backend and as a plan wants them.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`] where not.
    pub(crate) fn check<'a>(
        weights: &'a dyn Weights,
        shared: &Arc<Shared>,
        wanted: &WeightsDesc,
    ) -> Result<&'a Self> {
        let any: &dyn Any = weights;
        let Some(found) = any.downcast_ref::<Self>() else {
            return Err(Error::invalid("the weights are not of the CPU backend, and the plan is"));
        };
        if !Arc::ptr_eq(&found.shared, shared) {
            return Err(Error::invalid("the weights are of another CPU backend than the plan"));
        }
        if found.desc != *wanted {
            return Err(Error::invalid(format!(
                "the weights were prepared as {}, and the plan wants {}",
                words(&found.desc),
                words(wanted)
            )));
        }
        Ok(found)
    }

    /// The matrix of one group, `[n, k]`.
    pub(crate) fn matrix(&self, group: usize) -> Input<'_> {
        let WeightsDesc { format, groups, n, k, .. } = self.desc;
        assert!(group < groups, "group {group} of {groups}");
        let part = |whole: &'_ [u8]| group * (whole.len() / groups)..(group + 1) * (whole.len() / groups);
        let [data, scales, factors] = self.parts();
        Input::of(format, [n, k], &data[part(data)], &scales[part(scales)], &factors[part(factors)])
    }

    /// All elements, all scales, all factors.
    fn parts(&self) -> [&[u8]; 3] {
        let [data, scales, factors] = offsets(&self.layout);
        let bytes = self.memory.bytes();
        [
            &bytes[data..][..self.layout.data_bytes()],
            &bytes[scales..][..self.layout.scales_bytes()],
            &bytes[factors..][..self.layout.factors_bytes()],
        ]
    }
}

impl Weights for CpuWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        self.memory.bytes().len() as u64
    }

    fn export(&self) -> Result<HostBuffer> {
        let [data, scales, factors] = self.parts();
        let mut little_endian = copied(factors)?;
        for factor in little_endian.as_chunks_mut().0 {
            *factor = f32::from_ne_bytes(*factor).to_le_bytes();
        }
        Ok(HostBuffer {
            layout: self.layout,
            data: copied(data)?,
            scales: copied(scales)?,
            factors: little_endian,
        })
    }
}

/// Refuses what no operator takes: asks the one that takes the most.
fn check_desc(desc: &WeightsDesc) -> Result<()> {
    let WeightsDesc { format, groups, n, k, activation } = *desc;
    let taker = Op::from(GroupedMatmul {
        each: Matmul {
            m: 1,
            n,
            k,
            input: Format::Bf16,
            weight: format,
            output: Format::F32,
            bias: false,
            activation: Quantization::new(activation),
        },
        groups,
    });
    taker.validate().map_err(|error| {
        let text = format!("no operator takes weights of {}: {}", words(desc), error.message());
        Refusal { reason: Reason::Format, text }.to_error()
    })
}

fn words(desc: &WeightsDesc) -> String {
    let WeightsDesc { format, groups, n, k, activation } = desc;
    format!("{format}[{groups}, {n}, {k}] for activations in {activation}")
}

/// Where elements, scales and factors begin.
fn offsets(layout: &Layout) -> [usize; 3] {
    let aligned = |bytes: usize| bytes.next_multiple_of(ALIGNMENT as usize);
    let scales = aligned(layout.data_bytes());
    [0, scales, scales + aligned(layout.scales_bytes())]
}

fn append(bytes: &mut [u8], at: &mut usize, part: &[u8]) {
    bytes[*at..][..part.len()].copy_from_slice(part);
    *at += part.len();
}

fn copied(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| {
        Error::new(Status::OutOfMemory, format!("an export wants {} bytes of host memory", bytes.len()))
    })?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}
