//! Small arrays in device memory that operators read and nobody writes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mxhal_cann::safe::{Context, DeviceBuffer};
use mxhal_core::Result;

use crate::error::from_cann;

/// Which array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// INT32: 0, 1, 2, … so many.
    Count(usize),
    /// FLOAT: so many ones.
    Ones(usize),
    /// INT32: so many zeros.
    Zeros(usize),
    /// E4M3: so many ones.
    Fp8Ones(usize),
    /// INT32, twice so many: where the words of `[low words, high words]` go among 64-bit numbers.
    Interleave(usize),
    /// INT32, twice so many: the inverse.
    Deinterleave(usize),
}

impl Constant {
    fn bytes(self) -> Vec<u8> {
        let integers = |count: usize, value: &dyn Fn(usize) -> usize| {
            (0..count).flat_map(|index| (value(index) as u32).to_le_bytes()).collect()
        };
        match self {
            Self::Count(count) => integers(count, &|index| index),
            Self::Ones(count) => 1.0_f32.to_le_bytes().repeat(count),
            Self::Zeros(count) => vec![0; 4 * count],
            Self::Fp8Ones(count) => vec![0x38; count],
            Self::Interleave(count) => {
                integers(2 * count, &|word| if word < count { 2 * word } else { 2 * (word - count) + 1 })
            }
            Self::Deinterleave(count) => integers(2 * count, &|word| word / 2 + (word % 2) * count),
        }
    }
}

/// The constants of a device. They are made when a plan is, and stay until the device closes: a run allocates nothing.
#[derive(Default)]
pub(crate) struct Constants(Mutex<HashMap<Constant, DeviceBuffer>>);

impl Constants {
    /// Where it lies.
    pub(crate) fn address(&self, context: &Context, constant: Constant) -> Result<u64> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = made.get(&constant) {
            return Ok(buffer.pointer().expose_provenance() as u64);
        }
        let buffer = DeviceBuffer::from_host(context, &constant.bytes()).map_err(from_cann)?;
        let address = buffer.pointer().expose_provenance() as u64;
        made.insert(constant, buffer);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(constant: Constant) -> Vec<usize> {
        let bytes = constant.bytes();
        bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word) as usize).collect()
    }

    #[test]
    fn words_that_are_interleaved_and_taken_apart_again_are_where_they_were() {
        for count in [1, 2, 7, 256] {
            let (to, back) = (integers(Constant::Interleave(count)), integers(Constant::Deinterleave(count)));
            assert_eq!((to.len(), back.len()), (2 * count, 2 * count));
            assert!((0..2 * count).all(|word| back[to[word]] == word), "{to:?} {back:?}");
        }
        assert_eq!(integers(Constant::Interleave(3)), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn counting_begins_at_zero_and_ones_are_floats() {
        assert_eq!(integers(Constant::Count(4)), [0, 1, 2, 3]);
        assert_eq!(Constant::Ones(2).bytes(), [0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f]);
    }
}
