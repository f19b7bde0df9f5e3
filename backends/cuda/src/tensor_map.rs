//! Tensor maps, encoded by the driver.

use mxhal_core::Result;
use mxhal_kernels_cuda::tensor_map::{MapElement, TensorMap, TensorMapDesc};

use crate::error::check;
use crate::sys;

/// The map of a matrix. It is made of numbers alone: nothing is read at the address, and no context is asked for.
///
/// # Errors
///
/// The driver's, with whose map it is and what it was told: a rule of `cuTensorMapEncodeTiled` is broken.
pub(crate) fn encode(whose: &str, desc: &TensorMapDesc) -> Result<TensorMap> {
    let element = match desc.codes {
        MapElement::Byte => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        MapElement::PaddedE2m1 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B,
    };
    let mut map = TensorMap::default();
    // SAFETY: the arrays have the two dimensions that the rank says, and the map is ours and aligned to 64 bytes.
    let answer = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            element,
            2,
            desc.address as *mut _,
            desc.extents.as_ptr(),
            &raw const desc.row_stride,
            desc.tile.as_ptr(),
            [1, 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    check("cuTensorMapEncodeTiled", answer)
        .map_err(|error| error.within(format_args!("the tensor map of the {whose}, {desc}")))?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_driver() {
        for (element, number) in [
            (MapElement::Byte, sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8 as u32),
            (MapElement::PaddedE2m1, sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B as u32),
        ] {
            assert_eq!(element.number(), number);
        }
        let swizzle = sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B as u32;
        let promotion = sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as u32;
        assert_eq!((TensorMapDesc::SWIZZLE, TensorMapDesc::L2_PROMOTION), (swizzle, promotion));
    }
}
