//! Tensor maps: what the copies of the Tensor Memory Accelerator find a matrix by, described for the driver to encode.
//!
//! The bytes of a map are the driver's own, so that what is here is what `cuTensorMapEncodeTiled` is to be told. Rules
//! that it enforces are those of its documentation in `cuda.h` (CUDA 13.0); which of them a product's operands meet is
//! said where they are described.

use core::fmt;

use crate::launch::{Product, format};
use crate::parameters::{Address, ProductParameters};

/// A `CUtensorMap`: 128 bytes that the driver wrote. A kernel takes it as `__grid_constant__`, aligned as
/// `cuda.h` of CUDA 13.0 declares it; the documentation asks for 64.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TensorMap(pub [u64; 16]);

/// What is copied, and how it lands in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapElement {
    /// Bytes as they are: `CU_TENSOR_MAP_DATA_TYPE_UINT8`.
    Byte,
    /// 4-bit codes, of which 16 are 8 bytes that land in 16, the upper 8 being a gap:
    /// `CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B`. What `kind::mxf8f6f4` reads.
    PaddedE2m1,
}

impl MapElement {
    /// The number of `CUtensorMapDataType`.
    pub const fn number(self) -> u32 {
        match self {
            Self::Byte => 0,
            Self::PaddedE2m1 => 14,
        }
    }

    /// What the first extent of such elements is a multiple of.
    const fn extent_multiple(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::PaddedE2m1 => 128,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Byte => "bytes",
            Self::PaddedE2m1 => "4-bit codes",
        }
    }
}

/// A matrix as `cuTensorMapEncodeTiled` is told of it: of rank 2, the dimension along a row first.
///
/// What is not said here is the same for all: elements one after the other, no interleaving, the swizzle of 128 bytes
/// ([`Self::SWIZZLE`]), zeros for what is out of bounds, and L2 filled by 256 bytes ([`Self::L2_PROMOTION`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorMapDesc {
    /// The elements.
    pub codes: MapElement,
    /// Of the first row.
    pub address: Address,
    /// Elements of a row, and rows.
    pub extents: [u64; 2],
    /// Bytes from row to row.
    pub row_stride: u64,
    /// What one copy brings: elements of a row, and rows.
    pub tile: [u32; 2],
}

impl TensorMapDesc {
    /// `CU_TENSOR_MAP_SWIZZLE_128B`.
    pub const SWIZZLE: u32 = 3;
    /// `CU_TENSOR_MAP_L2_PROMOTION_L2_256B`.
    pub const L2_PROMOTION: u32 = 3;
}

impl fmt::Display for TensorMapDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codes, address, extents: [columns, rows], row_stride, tile } = self;
        write!(
            f,
            "{rows} rows of {columns} {}, {row_stride} bytes apart, from {address:#x} on, in tiles of {} by {}",
            codes.name(),
            tile[1],
            tile[0]
        )
    }
}

/// Columns of a tile: 128 bytes of shared memory a row, the span of the swizzle.
const TILE_COLUMNS: u32 = 128;
/// Rows of a tile of weights: as many as the instruction has.
const WEIGHT_ROWS: u32 = 128;
/// Rows of a tile of activations, of which a kernel copies as many as it has rows for.
const ACTIVATION_ROWS: u32 = 32;

impl ProductParameters {
    /// The maps of weights and activations, for a product that takes a
    /// [`TensorProductParameters`](crate::parameters::TensorProductParameters); `None` for all others.
    ///
    /// [`Product::choose`] gives such a product where strides are as maps want them; addresses of tensors are multiples
    /// of 16, and those of weights of 256. Beyond the last column and row copies bring zeros.
    pub fn tensor_maps(&self, product: Product) -> Option<[TensorMapDesc; 2]> {
        let codes = match product {
            // Of W4A16 the weights' map is not looked at.
            Product::TensorW4A4(_) | Product::TensorNvfp4(_) | Product::TensorW4A16(_) => MapElement::Byte,
            Product::TensorW4A8(_) => MapElement::PaddedE2m1,
            _ => return None,
        };
        let w_columns = match codes {
            MapElement::Byte => self.k / 2,
            MapElement::PaddedE2m1 => self.k,
        };
        let a_columns = match self.a_format {
            format::MXFP4 | format::NVFP4 => u64::from(self.k) / 2,
            format::BF16 => u64::from(self.k) * 2,
            _ => self.k.into(),
        };
        let w = TensorMapDesc {
            codes,
            address: self.w,
            extents: [
                u64::from(w_columns).next_multiple_of(codes.extent_multiple().into()),
                u64::from(self.groups) * u64::from(self.n),
            ],
            row_stride: self.w_stride,
            tile: [TILE_COLUMNS, WEIGHT_ROWS],
        };
        let a = TensorMapDesc {
            codes: MapElement::Byte,
            address: self.a,
            extents: [a_columns, self.m.into()],
            row_stride: self.a_stride,
            tile: [TILE_COLUMNS, ACTIVATION_ROWS],
        };
        Some([w, a])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_of_what_a_product_reads() {
        let p = ProductParameters {
            a: 0x1000,
            w: 0x2000,
            a_stride: 1248,
            w_stride: 640,
            m: 5,
            n: 130,
            k: 1216,
            groups: 3,
            a_format: format::MXFP8,
            w_format: format::MXFP4,
            ..Default::default()
        };
        let [w, a] = p.tensor_maps(Product::TensorW4A8(32)).unwrap();
        let expected = TensorMapDesc {
            codes: MapElement::PaddedE2m1,
            address: 0x2000,
            extents: [1280, 390],
            row_stride: 640,
            tile: [128, 128],
        };
        assert_eq!(w, expected);
        assert_eq!((a.codes, a.address), (MapElement::Byte, 0x1000));
        assert_eq!((a.extents, a.row_stride, a.tile), ([1216, 5], 1248, [128, 32]));
        assert_eq!(
            w.to_string(),
            "390 rows of 1280 4-bit codes, 640 bytes apart, from 0x2000 on, in tiles of 128 by 128"
        );

        let p = ProductParameters { a_format: format::MXFP4, a_stride: 608, w_stride: 608, ..p };
        let [w, a] = p.tensor_maps(Product::TensorW4A4(128)).unwrap();
        assert_eq!((w.codes, w.extents, w.row_stride), (MapElement::Byte, [608, 390], 608));
        assert_eq!((a.extents, a.row_stride), ([608, 5], 608));

        let p = ProductParameters { a_format: format::BF16, a_stride: 2432, ..p };
        let [_, a] = p.tensor_maps(Product::TensorW4A16(128)).unwrap();
        assert_eq!((a.codes, a.extents, a.row_stride), (MapElement::Byte, [2432, 5], 2432));
    }

    #[test]
    fn products_without_tensor_memory_have_no_maps() {
        let p = ProductParameters { k: 128, n: 1, m: 1, groups: 1, ..Default::default() };
        for product in [Product::Decode, Product::W4A8(32), Product::Wgmma(128), Product::Wide] {
            assert_eq!(p.tensor_maps(product), None);
        }
    }
}
