//! Tensors: views of device memory, and of host memory.

use mxhal_core::{Error, HostTensor, Layout, MAX_RANK, Result, Span, Tensor};

use super::{address, empty, extent_from_c, format_from_c, pointer, read};
use crate::sys::{MXHAL_MAX_RANK, mxhal_tensor};

const _: () = assert!(MAX_RANK == MXHAL_MAX_RANK as usize);

/// A view of device memory as the header has it.
pub fn tensor_to_c(tensor: &Tensor) -> mxhal_tensor {
    let mut to = layout_to_c(tensor.layout());
    let (data, scales, factors) = (tensor.data(), tensor.scales(), tensor.factors());
    (to.data, to.data_bytes) = (pointer(data.address), data.bytes);
    (to.scales, to.scales_bytes) = (pointer(scales.address), scales.bytes);
    (to.factors, to.factors_bytes) = (pointer(factors.address), factors.bytes);
    to
}

/// Reads a view of device memory. Nothing that it points to is touched.
///
/// # Errors
///
/// [`Status::Unsupported`](mxhal_core::Status::Unsupported) for an unknown format, and
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for null, a struct that is too short, a negative
/// extent or stride, and what [`Layout::strided`] and [`Tensor::new`] refuse.
///
/// # Safety
///
/// `from` is null, or points to at least as many readable bytes as its first four say, and at least four.
pub unsafe fn tensor_from_c(what: &str, from: *const mxhal_tensor) -> Result<Tensor> {
    // SAFETY: the same promise.
    let from = unsafe { read(what, from) }?;
    view(&from).map_err(|error| error.within(what))
}

/// Host memory as the header has it.
pub fn host_tensor_to_c(tensor: &HostTensor<'_>) -> mxhal_tensor {
    let mut to = layout_to_c(tensor.layout());
    let span = |bytes: &[u8]| if bytes.is_empty() { Span::NONE } else { Span::of(bytes) };
    let (data, scales, factors) = (span(tensor.data()), span(tensor.scales()), span(tensor.factors()));
    (to.data, to.data_bytes) = (pointer(data.address), data.bytes);
    (to.scales, to.scales_bytes) = (pointer(scales.address), scales.bytes);
    (to.factors, to.factors_bytes) = (pointer(factors.address), factors.bytes);
    to
}

/// Reads a tensor in host memory: contiguous, with at least the bytes that its layout takes.
///
/// # Errors
///
/// As [`tensor_from_c`], and for a layout that has gaps.
///
/// # Safety
///
/// As [`tensor_from_c`]; and the memory that it says it has can be read, and is not written, during `'a`.
pub unsafe fn host_tensor_from_c<'a>(what: &str, from: *const mxhal_tensor) -> Result<HostTensor<'a>> {
    // SAFETY: the same promise.
    let tensor = unsafe { tensor_from_c(what, from) }?;
    let layout = *tensor.layout();
    let factors = match layout.factors_bytes() {
        per_row if tensor.factors().bytes >= per_row as u64 => per_row,
        _ => 4,
    };
    // SAFETY: `tensor_from_c` has checked that each has at least as many bytes and is not null where it has any, and
    // the caller promises that they can be read during 'a.
    let [data, scales, factors] = unsafe {
        [
            bytes(tensor.data(), layout.data_bytes()),
            bytes(tensor.scales(), layout.scales_bytes()),
            bytes(tensor.factors(), factors),
        ]
    };
    HostTensor::new(layout, data, scales, factors).map_err(|error| error.within(what))
}

/// # Safety
///
/// `length` bytes at the span's address can be read during `'a`, unless it is 0.
unsafe fn bytes<'a>(span: Span, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller promises; a checked layout takes at most isize::MAX bytes.
    unsafe { std::slice::from_raw_parts(pointer::<u8>(span.address), length) }
}

fn layout_to_c(layout: &Layout) -> mxhal_tensor {
    let mut to: mxhal_tensor = empty();
    to.format = layout.format() as u32;
    to.rank = layout.shape().len() as u32;
    for (dimension, (&extent, &stride)) in layout.shape().iter().zip(layout.strides()).enumerate() {
        // A layout's sizes fit an isize; the stride of a dimension without a second index may be anything, and says
        // nothing.
        to.shape[dimension] = i64::try_from(extent).unwrap_or(i64::MAX);
        to.stride[dimension] = i64::try_from(stride).unwrap_or(i64::MAX);
    }
    to
}

fn view(from: &mxhal_tensor) -> Result<Tensor> {
    let format = format_from_c("format", from.format)?;
    let rank = from.rank as usize;
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(Error::invalid(format!("rank is {rank}; it is 1 to {MAX_RANK}")));
    }
    let mut shape = [0; MAX_RANK];
    let mut strides = [0; MAX_RANK];
    for dimension in 0..rank {
        shape[dimension] = extent_from_c(format_args!("shape[{dimension}]"), from.shape[dimension])?;
        strides[dimension] = extent_from_c(format_args!("stride[{dimension}]"), from.stride[dimension])?;
    }
    let layout = Layout::strided(format, &shape[..rank], &strides[..rank])?;
    let span = |at, bytes| Span { address: address(at), bytes };
    Tensor::new(layout, span(from.data, from.data_bytes))?
        .with_scales(span(from.scales, from.scales_bytes))?
        .with_factors(span(from.factors, from.factors_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::{Format, Status};
    use proptest::prelude::*;

    fn back(tensor: &mxhal_tensor) -> Result<Tensor> {
        // SAFETY: it is a whole struct.
        unsafe { tensor_from_c("x", tensor) }
    }

    fn full(layout: Layout) -> Tensor {
        let span =
            |address, bytes| if bytes == 0 { Span::NONE } else { Span { address, bytes: bytes as u64 } };
        Tensor::new(layout, span(4096, layout.data_bytes()))
            .and_then(|tensor| tensor.with_scales(span(1 << 40, layout.scales_bytes())))
            .and_then(|tensor| tensor.with_factors(span(1 << 41, layout.factors_bytes())))
            .unwrap()
    }

    proptest! {
        #[test]
        fn views_lead_back(
            format in prop::sample::select(Format::ALL.to_vec()),
            outer in prop::collection::vec(0_usize..5, 0..MAX_RANK),
            blocks in 0_usize..4,
            gap in 0_usize..3,
        ) {
            let mut shape = outer;
            shape.push(blocks * format.column_multiple());
            let dense = Layout::contiguous(format, &shape).unwrap();
            let mut strides = dense.strides().to_vec();
            if !format.is_block_scaled() && shape.len() > 1 {
                strides[0] += gap;
            }
            let tensor = full(Layout::strided(format, &shape, &strides).unwrap());
            prop_assert_eq!(back(&tensor_to_c(&tensor)), Ok(tensor));
        }

        #[test]
        fn host_tensors_lead_back(rows in 0_usize..4, blocks in 0_usize..4, per_row: bool) {
            let layout = Layout::contiguous(Format::Nvfp4, &[rows, blocks * 16]).unwrap();
            let data: Vec<u8> = (0..layout.data_bytes()).map(|byte| byte as u8).collect();
            let scales = vec![7; layout.scales_bytes()];
            let factors = vec![9; if per_row { rows * 4 } else { rows.min(1) * 4 }];
            let tensor = HostTensor::new(layout, &data, &scales, &factors).unwrap();
            let raw = host_tensor_to_c(&tensor);
            // SAFETY: it points to the vectors above.
            let again = unsafe { host_tensor_from_c("w", &raw) }.unwrap();
            prop_assert_eq!(again.layout(), tensor.layout());
            prop_assert_eq!((again.data(), again.scales()), (&*data, &*scales));
            prop_assert_eq!(again.factors(), &*factors);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = tensor_to_c(&full(Layout::contiguous(Format::Mxfp4, &[2, 64]).unwrap()));
        let message = |change: fn(&mut mxhal_tensor)| {
            let mut tensor = good;
            change(&mut tensor);
            let error = back(&tensor).unwrap_err();
            (error.status(), error.message().to_owned())
        };
        assert_eq!(
            message(|t| t.format = 99),
            (Status::Unsupported, "x: format is 99, which is no format that is known here".to_owned())
        );
        assert_eq!(
            message(|t| t.shape[1] = -64),
            (Status::InvalidArgument, "x: shape[1] is -64; it is 0 or more".to_owned())
        );
        assert!(message(|t| t.rank = 5).1.contains("rank is 5"));
        assert!(message(|t| t.struct_size = 40).1.contains("set it to sizeof(mxhal_tensor)"));
        assert!(message(|t| t.scales = std::ptr::null_mut()).1.contains("scales"));
        assert!(message(|t| t.data_bytes = 63).1.contains("take 64 bytes, and 63 were given"));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { tensor_from_c("x", std::ptr::null()) }.unwrap_err().message(), "x is null");
    }
}
