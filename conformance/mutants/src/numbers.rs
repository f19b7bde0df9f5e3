//! Numbers as bytes, and back.

use mxhal_core::Format;
use mxhal_core::format::{bf16, f16};

/// Values in F32, BF16 or F16.
pub(crate) fn floats(format: Format, bytes: &[u8]) -> Vec<f32> {
    let halves = |decode: fn(u16) -> f32| {
        bytes.as_chunks().0.iter().map(|bytes| decode(u16::from_ne_bytes(*bytes))).collect()
    };
    match format {
        Format::Bf16 => halves(bf16::to_f32),
        Format::F16 => halves(f16::to_f32),
        _ => bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect(),
    }
}

/// The bytes of values in F32, BF16 or F16.
pub(crate) fn float_bytes(format: Format, values: &[f32]) -> Vec<u8> {
    let halves =
        |encode: fn(f32) -> u16| values.iter().flat_map(|value| encode(*value).to_ne_bytes()).collect();
    match format {
        Format::Bf16 => halves(bf16::from_f32),
        Format::F16 => halves(f16::from_f32),
        _ => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
    }
}

/// Values in I32.
pub(crate) fn integers(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect()
}

/// The bytes of values in I32.
pub(crate) fn integer_bytes(integers: impl IntoIterator<Item = i32>) -> Vec<u8> {
    integers.into_iter().flat_map(i32::to_ne_bytes).collect()
}
