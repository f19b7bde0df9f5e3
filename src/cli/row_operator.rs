//! Rows of a file through an operator of the device, a chunk at a time.

use std::sync::Arc;

use mxhal::core::op::{
    Dequantize, DequantizePlan, DequantizeTensors, Operators, Quantize, QuantizePlan, QuantizeTensors,
};
use mxhal::core::{
    Buffer, Device, Format, HostBuffer, HostTensor, Layout, Quantization, Result, Span, Stream, Tensor,
    buffer,
};

/// Elements of a chunk: 16 MiB of float32, long enough to keep every thread of a device busy.
const CHUNK_ELEMENTS: usize = 1 << 22;

/// A plan from rows of one format to rows of another, with device memory for a chunk of them.
pub(super) struct RowOperator {
    plan: Plan,
    stream: Box<dyn Stream>,
    x: Rows,
    y: Rows,
    workspace: Buffer,
    /// The most rows of a run.
    chunk: usize,
}

enum Plan {
    Quantize(QuantizePlan),
    Dequantize(DequantizePlan),
}

impl RowOperator {
    /// Rows of `k` floats of format `input`, to be quantized.
    pub(super) fn quantize(
        device: &Arc<dyn Device>,
        k: usize,
        input: Format,
        to: Quantization,
    ) -> Result<Self> {
        let chunk = chunk_rows(k);
        let plan = device.quantize(Quantize { rows: chunk, k, input, to })?;
        Self::new(device, Plan::Quantize(plan), chunk, [(input, k), (to.format, k)])
    }

    /// Rows of `k` elements of a block-scaled format, to be made floats.
    pub(super) fn dequantize(
        device: &Arc<dyn Device>,
        k: usize,
        from: Format,
        output: Format,
    ) -> Result<Self> {
        let chunk = chunk_rows(k);
        let plan = device.dequantize(Dequantize { rows: chunk, k, from, output })?;
        Self::new(device, Plan::Dequantize(plan), chunk, [(from, k), (output, k)])
    }

    /// The format of its input, and the columns.
    pub(super) const fn input(&self) -> (Format, usize) {
        (self.x.format, self.x.k)
    }

    /// The ranges of rows that a tensor of so many is worked off in.
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let chunk = self.chunk;
        (0..rows).step_by(chunk).map(move |first| first..(first + chunk).min(rows))
    }

    /// Runs one chunk and waits for it.
    pub(super) fn run(&self, x: HostTensor<'_>) -> Result<HostBuffer> {
        let stream = &*self.stream;
        let rows = x.layout().rows();
        let (input, output) = (self.x.view(rows)?, self.y.view(rows)?);
        for (span, bytes) in
            [(input.data(), x.data()), (input.scales(), x.scales()), (input.factors(), x.factors())]
        {
            buffer::write(stream, span, bytes)?;
        }
        let workspace = self.workspace.span();
        match &self.plan {
            Plan::Quantize(plan) => {
                plan.run(stream, QuantizeTensors { x: input, y: output }, [], workspace)?;
            }
            Plan::Dequantize(plan) => {
                plan.run(stream, DequantizeTensors { x: input, y: output }, [], workspace)?;
            }
        }
        let mut result = HostBuffer::zeroed(*output.layout());
        buffer::read(stream, output.data(), &mut result.data)?;
        buffer::read(stream, output.scales(), &mut result.scales)?;
        buffer::read(stream, output.factors(), &mut result.factors)?;
        Ok(result)
    }

    fn new(
        device: &Arc<dyn Device>,
        plan: Plan,
        chunk: usize,
        [(input, input_k), (output, output_k)]: [(Format, usize); 2],
    ) -> Result<Self> {
        let info = match &plan {
            Plan::Quantize(plan) => plan.info(),
            Plan::Dequantize(plan) => plan.info(),
        };
        let workspace = Buffer::new(device, info.workspace_bytes)?;
        Ok(Self {
            stream: device.create_stream()?,
            x: Rows::new(device, input, input_k, chunk)?,
            y: Rows::new(device, output, output_k, chunk)?,
            plan,
            workspace,
            chunk,
        })
    }
}

const fn chunk_rows(k: usize) -> usize {
    match CHUNK_ELEMENTS.checked_div(k) {
        None | Some(0) => 1,
        Some(rows) => rows,
    }
}

/// Device memory of a tensor with the most rows, and views of it with fewer.
struct Rows {
    format: Format,
    k: usize,
    data: Buffer,
    scales: Buffer,
    factors: Buffer,
}

impl Rows {
    fn new(device: &Arc<dyn Device>, format: Format, k: usize, most: usize) -> Result<Self> {
        let layout = Layout::contiguous(format, &[most, k])?;
        let part = |bytes: usize| Buffer::new(device, bytes as u64);
        Ok(Self {
            format,
            k,
            data: part(layout.data_bytes())?,
            scales: part(layout.scales_bytes())?,
            factors: part(layout.factors_bytes())?,
        })
    }

    fn view(&self, rows: usize) -> Result<Tensor> {
        let layout = Layout::contiguous(self.format, &[rows, self.k])?;
        let part = |buffer: &Buffer, bytes: usize| {
            let span = buffer.span().part(0, bytes as u64);
            span.expect("it holds the most rows, and these are not more")
        };
        let mut tensor = Tensor::new(layout, part(&self.data, layout.data_bytes()))?;
        if layout.scales_bytes() > 0 {
            tensor = tensor.with_scales(part(&self.scales, layout.scales_bytes()))?;
        }
        if layout.factors_bytes() > 0 {
            tensor = tensor.with_factors(part(&self.factors, layout.factors_bytes()))?;
        }
        debug_assert!(tensor.scales() != Span::NONE || layout.scales_bytes() == 0);
        Ok(tensor)
    }
}
