//! The workspace of a run: typed slices, cut off one after the other.
//!
//! Whoever plans adds up what [`room`] and its like say, and whoever runs takes the same parts in the same order, of
//! at most the planned sizes.

use std::slice;

use mxhal_core::{Error, Format, Result, Span};

use crate::memory::ALIGNMENT;
use crate::view::{Input, Output};

/// The workspace of a run, from which its parts are cut off one after the other.
pub(crate) struct Workspace<'a> {
    rest: &'a mut [u8],
}

impl<'a> Workspace<'a> {
    /// The first `wanted` bytes of a run's workspace.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) where it is too small or not aligned.
    pub(crate) fn new(span: &'a Span, wanted: u64) -> Result<Self> {
        if wanted == 0 {
            return Ok(Self { rest: &mut [] });
        }
        if span.bytes < wanted {
            return Err(Error::invalid(format!(
                "the workspace has {} bytes, and the plan wants {wanted}",
                span.bytes
            )));
        }
        if span.address == 0 || !span.address.is_multiple_of(ALIGNMENT) {
            return Err(Error::invalid(format!(
                "the workspace is at {:#x}; its address is a multiple of {ALIGNMENT}, and not 0",
                span.address
            )));
        }
        // SAFETY: the caller of the run says that the workspace is valid, this large, and used by nothing else.
        let rest = unsafe { slice::from_raw_parts_mut(span.address as *mut u8, wanted as usize) };
        Ok(Self { rest })
    }

    /// Cuts off so many; what is in them is whatever was there.
    ///
    /// # Errors
    ///
    /// [`Status::Internal`](mxhal_core::Status::Internal) where the plan asked for too little.
    pub(crate) fn take<T: Plain>(&mut self, count: usize) -> Result<&'a mut [T]> {
        let bytes = room::<T>(count);
        let rest = std::mem::take(&mut self.rest);
        if bytes > rest.len() as u64 {
            return Err(Error::internal(format!(
                "{bytes} bytes of workspace are wanted, {} left",
                rest.len()
            )));
        }
        let (taken, rest) = rest.split_at_mut(bytes as usize);
        self.rest = rest;
        // SAFETY: the workspace and every part cut off it are aligned to `ALIGNMENT`, and so is `T`, at most; the part
        // holds `count` of them, and whatever its bits are, they are values.
        Ok(unsafe { slice::from_raw_parts_mut(taken.as_mut_ptr().cast(), count) })
    }
}

/// What [`Workspace::take`] takes for so many.
pub(crate) fn room<T: Plain>(count: usize) -> u64 {
    (count as u64)
        .saturating_mul(size_of::<T>() as u64)
        .checked_next_multiple_of(ALIGNMENT)
        .unwrap_or(u64::MAX)
}

/// Types of which every pattern of bits is a value, without padding.
///
/// # Safety
///
/// That it is so, and that the alignment is at most [`ALIGNMENT`].
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: a number.
unsafe impl Plain for u8 {}
// SAFETY: a number.
unsafe impl Plain for i32 {}
// SAFETY: a number.
unsafe impl Plain for i64 {}
// SAFETY: a number.
unsafe impl Plain for f32 {}

/// Rows of a run's own, in its workspace.
pub(crate) struct RowMemory<'a> {
    format: Format,
    shape: [usize; 2],
    data: &'a mut [u8],
    scales: &'a mut [u8],
    factors: &'a mut [u8],
}

impl<'a> RowMemory<'a> {
    /// What [`Self::take`] takes of a workspace.
    pub(crate) fn room(format: Format, [rows, columns]: [usize; 2]) -> u64 {
        let [data, scales, factors] = Self::sizes(format, [rows, columns]);
        room::<u8>(data).saturating_add(room::<u8>(scales)).saturating_add(room::<u8>(factors))
    }

    /// Rows of any format but tiles; what is in them is whatever was there.
    pub(crate) fn take(workspace: &mut Workspace<'a>, format: Format, shape: [usize; 2]) -> Result<Self> {
        let [data, scales, factors] = Self::sizes(format, shape);
        Ok(Self {
            format,
            shape,
            data: workspace.take(data)?,
            scales: workspace.take(scales)?,
            factors: workspace.take(factors)?,
        })
    }

    /// The same memory with other extents, which must not take more of it.
    pub(crate) fn reshaped(&mut self, shape: [usize; 2]) -> RowMemory<'_> {
        let [data, scales, factors] = Self::sizes(self.format, shape);
        RowMemory {
            format: self.format,
            shape,
            data: &mut self.data[..data],
            scales: &mut self.scales[..scales],
            factors: &mut self.factors[..factors],
        }
    }

    /// To be read from now on.
    pub(crate) fn into_input(self) -> Input<'a> {
        Input::of(self.format, self.shape, self.data, self.scales, self.factors)
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input::of(self.format, self.shape, self.data, self.scales, self.factors)
    }

    pub(crate) fn output(&mut self) -> Output<'_> {
        Output::of(self.format, self.shape, self.data, self.scales, self.factors)
    }

    fn sizes(format: Format, [rows, columns]: [usize; 2]) -> [usize; 3] {
        let factor = if format == Format::Nvfp4 { 4 } else { 0 };
        [
            rows.saturating_mul(format.row_bytes(columns)),
            rows.saturating_mul(format.row_scales(columns)),
            rows.saturating_mul(factor),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_is_too_small_or_lies_ill_is_refused_with_both_numbers() {
        let mut memory = [0u8; 256];
        let address = Span::of_mut(&mut memory).address.next_multiple_of(64);
        let error = Workspace::new(&Span { address, bytes: 63 }, 64).err().unwrap();
        assert!(error.message().contains("63") && error.message().contains("64"), "{error}");
        assert!(Workspace::new(&Span { address: address + 32, bytes: 128 }, 64).is_err());
        assert!(Workspace::new(&Span::NONE, 0).is_ok());

        let span = Span { address, bytes: 128 };
        let mut workspace = Workspace::new(&span, 128).unwrap();
        assert_eq!(workspace.take::<f32>(3).unwrap().len(), 3);
        assert_eq!(workspace.take::<u8>(64).unwrap().as_ptr() as u64, address + 64);
        assert!(workspace.take::<u8>(1).is_err());
    }
}
