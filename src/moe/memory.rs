//! Device memory of a layer: constants, and tensors that have as many rows as a run.

use std::sync::Arc;

use mxhal_core::op::Extent;
use mxhal_core::{Buffer, Device, Format, Layout, Result, Stream, Tensor, buffer};

/// Memory of a tensor for the most rows that a run may have, and views of it for fewer.
pub(super) struct Rows {
    buffer: Buffer,
    format: Format,
    shape: Vec<Extent>,
    /// Where elements, scales and factors begin, whatever the rows.
    offsets: [u64; 3],
}

impl Rows {
    pub(super) fn new(
        device: &Arc<dyn Device>,
        format: Format,
        shape: &[Extent],
        most: usize,
    ) -> Result<Self> {
        let (buffer, full) = Buffer::tensor(device, layout(format, shape, most)?)?;
        let start = buffer.span().address;
        // A format without scales or factors has null ones, whose offset is never used.
        let offsets =
            [full.data(), full.scales(), full.factors()].map(|part| part.address.saturating_sub(start));
        Ok(Self { buffer, format, shape: shape.to_vec(), offsets })
    }

    /// The tensor of a run with so many rows.
    pub(super) fn view(&self, rows: usize) -> Result<Tensor> {
        self.buffer.view(layout(self.format, &self.shape, rows)?, self.offsets)
    }
}

fn layout(format: Format, shape: &[Extent], rows: usize) -> Result<Layout> {
    let shape: Vec<usize> = shape.iter().map(|extent| extent.at(rows)).collect();
    Layout::contiguous(format, &shape)
}

/// A float32 tensor that stays as it is.
pub(super) struct Constant {
    tensor: Tensor,
    _buffer: Buffer,
}

impl Constant {
    pub(super) fn new(
        device: &Arc<dyn Device>,
        stream: &dyn Stream,
        shape: &[usize],
        values: &[f32],
    ) -> Result<Self> {
        let (buffer, tensor) = Buffer::tensor(device, Layout::contiguous(Format::F32, shape)?)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        buffer::write(stream, tensor.data(), &bytes)?;
        Ok(Self { tensor, _buffer: buffer })
    }

    pub(super) const fn tensor(&self) -> Tensor {
        self.tensor
    }
}
