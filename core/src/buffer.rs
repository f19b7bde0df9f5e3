//! Device memory that frees itself.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hal::{Device, Stream};
use crate::tensor::{Layout, Span, Tensor};

/// An allocation of device memory, freed when dropped. It outlives the work that uses it only if its owner waits for
/// that work.
pub struct Buffer {
    device: Arc<dyn Device>,
    span: Span,
}

impl Buffer {
    /// Allocates `bytes`, uninitialised.
    ///
    /// # Errors
    ///
    /// Those of [`Device::allocate`].
    pub fn new(device: &Arc<dyn Device>, bytes: u64) -> Result<Self> {
        let address = device.allocate(bytes)?;
        Ok(Self { device: Arc::clone(device), span: Span { address, bytes } })
    }

    /// Allocates what a contiguous tensor of this layout takes (elements, scales, factors a row, each aligned to the
    /// device's alignment), and gives the view of it.
    ///
    /// # Errors
    ///
    /// Those of [`Device::allocate`] and [`Device::info`].
    pub fn tensor(device: &Arc<dyn Device>, layout: Layout) -> Result<(Self, Tensor)> {
        let alignment = device.info()?.alignment.max(1);
        let aligned = |bytes: usize| (bytes as u64).next_multiple_of(alignment);
        let (data, scales) = (aligned(layout.data_bytes()), aligned(layout.scales_bytes()));
        let buffer = Self::new(device, data + scales + layout.factors_bytes() as u64)?;
        let tensor = buffer.view(layout, [0, data, data + scales])?;
        Ok((buffer, tensor))
    }

    /// A view of a part of it, whose elements, scales and factors begin so many bytes in.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) where it would reach beyond the end.
    pub fn view(&self, layout: Layout, [data, scales, factors]: [u64; 3]) -> Result<Tensor> {
        let part = |what, offset, bytes: usize| {
            self.span.part(offset, bytes as u64).ok_or_else(|| {
                Error::invalid(format!(
                    "the {what} of {layout} at byte {offset} reach beyond a buffer of {} bytes",
                    self.span.bytes
                ))
            })
        };
        let mut tensor = Tensor::new(layout, part("data", data, layout.data_bytes())?)?;
        if layout.scales_bytes() > 0 {
            tensor = tensor.with_scales(part("scales", scales, layout.scales_bytes())?)?;
        }
        if layout.factors_bytes() > 0 {
            tensor = tensor.with_factors(part("factors", factors, layout.factors_bytes())?)?;
        }
        Ok(tensor)
    }

    /// Its address and size.
    pub const fn span(&self) -> Span {
        self.span
    }

    /// Copies bytes to its beginning, and waits until they are there.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for more bytes than it holds, and those of the stream.
    pub fn write(&self, stream: &dyn Stream, bytes: &[u8]) -> Result<()> {
        write(stream, self.fitting(bytes.len())?, bytes)
    }

    /// Copies its first bytes out, and waits for them.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn read(&self, stream: &dyn Stream, bytes: &mut [u8]) -> Result<()> {
        read(stream, self.fitting(bytes.len())?, bytes)
    }

    fn fitting(&self, bytes: usize) -> Result<Span> {
        self.span.part(0, bytes as u64).ok_or_else(|| {
            Error::invalid(format!("{bytes} bytes do not fit a buffer of {} bytes", self.span.bytes))
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A device that was lost cannot free; there is nobody to tell.
        let _ = self.device.free(self.span.address);
    }
}

/// Copies host bytes to the device, and waits until they are there.
///
/// # Errors
///
/// [`Status::InvalidArgument`](crate::Status::InvalidArgument) when the sizes differ, and those of the stream.
pub fn write(stream: &dyn Stream, to: Span, bytes: &[u8]) -> Result<()> {
    same_size(to, bytes.len())?;
    if bytes.is_empty() {
        return Ok(());
    }
    stream.copy_to_device(to.address, Span::of(bytes))?;
    stream.synchronize(None)
}

/// Copies device bytes to the host, and waits for them.
///
/// # Errors
///
/// As [`write()`].
pub fn read(stream: &dyn Stream, from: Span, bytes: &mut [u8]) -> Result<()> {
    same_size(from, bytes.len())?;
    if bytes.is_empty() {
        return Ok(());
    }
    stream.copy_to_host(Span::of_mut(bytes).address, from)?;
    stream.synchronize(None)
}

fn same_size(span: Span, bytes: usize) -> Result<()> {
    if span.bytes == bytes as u64 {
        return Ok(());
    }
    Err(Error::invalid(format!("{} bytes on the device and {bytes} on the host", span.bytes)))
}
