//! The bytes behind an address: the CPU backend's device memory is this process's.
//!
//! Both functions are given what a caller passed as a tensor of a run, or, for the one fault that is about it, what lies
//! right behind one.

use std::ptr;

use mxhal_core::{HostBuffer, Layout, Result, Span, Tensor};

/// A copy of the bytes of a span.
pub(crate) fn read(span: Span) -> Vec<u8> {
    let mut bytes = vec![0; span.bytes as usize];
    if !bytes.is_empty() {
        // SAFETY: the caller of the run says that its tensors are valid host memory of this size until the run is
        // done; the copy goes to memory of our own, as large.
        unsafe { ptr::copy_nonoverlapping(span.address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
    }
    bytes
}

/// Replaces the bytes from an address on.
pub(crate) fn write(address: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: as above, and an output is written by nobody else during the run. The fault that writes behind an
        // output breaks exactly this promise; the suite that is meant to catch it puts a red zone there.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    }
}

/// The elements of one row of a tensor of two dimensions.
pub(crate) fn row(tensor: &Tensor, row: usize) -> Span {
    let (layout, bits) = (tensor.layout(), tensor.layout().format().bits());
    Span {
        address: tensor.data().address + (row * layout.row_stride() * bits / 8) as u64,
        bytes: layout.format().row_bytes(layout.columns()) as u64,
    }
}

/// The scales of one row.
pub(crate) fn row_scales(tensor: &Tensor, row: usize) -> Span {
    let each = tensor.layout().format().row_scales(tensor.layout().columns()) as u64;
    Span { address: tensor.scales().address + row as u64 * each, bytes: each }
}

/// A copy of a tensor, without the gaps between its rows.
pub(crate) fn copy(tensor: &Tensor) -> Result<HostBuffer> {
    let layout = Layout::contiguous(tensor.layout().format(), tensor.layout().shape())?;
    let data = match layout.shape() {
        [rows, _] => (0..*rows).flat_map(|at| read(row(tensor, at))).collect(),
        _ => read(Span { bytes: layout.data_bytes() as u64, ..tensor.data() }),
    };
    Ok(HostBuffer { layout, data, scales: read(tensor.scales()), factors: read(tensor.factors()) })
}

/// The tensor that lies in such a copy, as long as it does.
pub(crate) fn view(buffer: &HostBuffer) -> Result<Tensor> {
    let mut tensor = Tensor::new(buffer.layout, Span::of(&buffer.data))?;
    if !buffer.scales.is_empty() {
        tensor = tensor.with_scales(Span::of(&buffer.scales))?;
    }
    if !buffer.factors.is_empty() {
        tensor = tensor.with_factors(Span::of(&buffer.factors))?;
    }
    Ok(tensor)
}
