//! Tensor maps: numbers that the host puts together. Neither context nor memory is asked for.

use core::ffi::{c_uint, c_void};
use std::slice;

use mxhal_cuda_emulation::{Tiled, encode_tensor_map};

use crate::refusal::{Answer, Refusal, cu};
use crate::settings::settings;

/// What the driver's documentation asks of a map's address.
const ALIGNMENT: usize = 64;

/// `count` elements of an array of the caller's.
fn elements<'a, T>(array: *const T, argument: &str, count: usize) -> Answer<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if array.is_null() {
        return Err(Refusal::invalid(format!("{argument} is null")));
    }
    // SAFETY: not null; that it has so many elements, which live for the call, is what the C declaration asks.
    Ok(unsafe { slice::from_raw_parts(array, count) })
}

cu! {
    fn cuTensorMapEncodeTiled(
        map: *mut [u64; 16],
        data_type: c_uint,
        rank: c_uint,
        address: *mut c_void,
        extents: *const u64,
        strides: *const u64,
        tile: *const c_uint,
        element_strides: *const c_uint,
        interleave: c_uint,
        swizzle: c_uint,
        l2_promotion: c_uint,
        fill: c_uint,
    ) {
        settings()?;
        if map.is_null() || !(map as usize).is_multiple_of(ALIGNMENT) {
            return Err(Refusal::invalid(format!("tensorMap is {map:p}, expected a multiple of {ALIGNMENT}")));
        }
        if !(1..=5).contains(&rank) {
            return Err(Refusal::invalid(format!("tensorRank is {rank}, expected 1 to 5")));
        }
        let rank = rank as usize;
        let given = Tiled {
            data_type,
            address: address as u64,
            extents: elements(extents, "globalDim", rank)?,
            strides: elements(strides, "globalStrides", rank - 1)?,
            tile: elements(tile, "boxDim", rank)?,
            element_strides: elements(element_strides, "elementStrides", rank)?,
            interleave,
            swizzle,
            l2_promotion,
            fill,
        };
        let bytes = encode_tensor_map(&given).map_err(Refusal::invalid)?;
        // SAFETY: not null, and aligned; that it is a CUtensorMap is what the C declaration asks.
        unsafe { map.write(bytes) };
        Ok(())
    }
}
