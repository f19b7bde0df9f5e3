//! Tensor maps: what `cuTensorMapEncodeTiled` refuses, and the bytes of an emulated map.
//!
//! The rules are those of the function's documentation in `cuda.h` (CUDA 13.0). The bytes are this emulation's own, read
//! by its copies of tiles; on a device they are the driver's.
//!
//! | bytes | are |
//! | --- | --- |
//! | 0 | `MAGIC`, of 32 bits |
//! | 4, 5, 6, 7 | the number of the data type, the rank, the number of the swizzle, 0 |
//! | 8 | the address |
//! | 16 | five extents of 64 bits, in elements |
//! | 56 | four strides of 64 bits, in bytes, from the second dimension on |
//! | 88 | five extents of a tile, of 16 bits |
//! | 98 | zeros, to 128 bytes |
//!
//! Numbers have the host's order of bytes; dimensions beyond the rank are 0.

/// The first bytes of an emulated map: `TMAP`, where the lowest comes first.
const MAGIC: u32 = 0x5041_4d54;

/// What `cuTensorMapEncodeTiled` is given, the rank being that of the extents. Enumerations are their numbers in `cuda.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiled<'a> {
    /// `tensorDataType`.
    pub data_type: u32,
    /// `globalAddress`.
    pub address: u64,
    /// `globalDim`: elements, innermost first.
    pub extents: &'a [u64],
    /// `globalStrides`: bytes, of all dimensions but the first.
    pub strides: &'a [u64],
    /// `boxDim`: elements of a tile.
    pub tile: &'a [u32],
    /// `elementStrides`.
    pub element_strides: &'a [u32],
    /// `interleave`.
    pub interleave: u32,
    /// `swizzle`.
    pub swizzle: u32,
    /// `l2Promotion`.
    pub l2_promotion: u32,
    /// `oobFill`.
    pub fill: u32,
}

/// Numbers of `CUtensorMapDataType`: those that are emulated, and the last.
const UINT8: u32 = 0;
const CODES: u32 = 13;
const PADDED_CODES: u32 = 14;
const LAST_DATA_TYPE: u32 = 15;
/// The last numbers of the other enumerations; of swizzles also the last without atoms.
const LAST_INTERLEAVE: u32 = 2;
const SWIZZLE_128B: u32 = 3;
const LAST_SWIZZLE: u32 = 6;
const LAST_L2_PROMOTION: u32 = 3;
const LAST_FILL: u32 = 1;

/// The bytes of an emulated map.
///
/// # Errors
///
/// A sentence with the argument and what is wrong with it, or `not emulated` and what is not: data types but `UINT8`,
/// `16U4_ALIGN8B` and `16U4_ALIGN16B`, none of which may be filled with NaN; element strides but 1, interleaving, and
/// swizzles by atoms.
pub fn encode_tensor_map(given: &Tiled<'_>) -> Result<[u64; 16], String> {
    check_numbers(given)?;
    check_rank(given)?;
    check_emulated(given)?;
    check_tensor(given)?;
    check_tile(given)?;
    Ok(bytes(given))
}

fn check_numbers(given: &Tiled<'_>) -> Result<(), String> {
    for (argument, number, last) in [
        ("tensorDataType", given.data_type, LAST_DATA_TYPE),
        ("interleave", given.interleave, LAST_INTERLEAVE),
        ("swizzle", given.swizzle, LAST_SWIZZLE),
        ("l2Promotion", given.l2_promotion, LAST_L2_PROMOTION),
        ("oobFill", given.fill, LAST_FILL),
    ] {
        if number > last {
            return Err(format!("{argument} is {number}, expected 0 to {last}"));
        }
    }
    Ok(())
}

fn check_rank(given: &Tiled<'_>) -> Result<(), String> {
    let rank = given.extents.len();
    if !(1..=5).contains(&rank) {
        return Err(format!("tensorRank is {rank}, expected 1 to 5"));
    }
    for (argument, count, expected) in [
        ("globalStrides", given.strides.len(), rank - 1),
        ("boxDim", given.tile.len(), rank),
        ("elementStrides", given.element_strides.len(), rank),
    ] {
        if count != expected {
            return Err(format!("{argument} has {count} elements, expected {expected} for rank {rank}"));
        }
    }
    Ok(())
}

fn check_emulated(given: &Tiled<'_>) -> Result<(), String> {
    let not_emulated = |what: String| Err(format!("not emulated: {what}"));
    if ![UINT8, CODES, PADDED_CODES].contains(&given.data_type) {
        return not_emulated(format!(
            "tensorDataType {}, but for {UINT8}, {CODES} and {PADDED_CODES}",
            given.data_type
        ));
    }
    if given.interleave != 0 {
        return not_emulated(format!("interleave {}, but for 0", given.interleave));
    }
    if given.swizzle > SWIZZLE_128B {
        return not_emulated(format!("swizzle {}, but for 0 to {SWIZZLE_128B}", given.swizzle));
    }
    if given.fill != 0 {
        return Err(format!(
            "oobFill is {}, data type {} is no floating-point one",
            given.fill, given.data_type
        ));
    }
    for (dimension, stride) in given.element_strides.iter().enumerate() {
        if !(1..=8).contains(stride) {
            return Err(format!("elementStrides[{dimension}] is {stride}, expected 1 to 8"));
        }
        if *stride != 1 {
            return not_emulated(format!("elementStrides[{dimension}] {stride}, but for 1"));
        }
    }
    Ok(())
}

/// Bits of an element in memory.
fn element_bits(data_type: u32) -> u64 {
    if data_type == UINT8 { 8 } else { 4 }
}

fn check_tensor(given: &Tiled<'_>) -> Result<(), String> {
    let &Tiled { data_type, address, extents, strides, .. } = given;
    let (alignment, multiple) = match data_type {
        UINT8 => (16, 1),
        CODES => (16, 2),
        _ => (32, 128),
    };
    if !address.is_multiple_of(alignment) {
        return Err(format!("globalAddress is {address:#x}, no multiple of {alignment}"));
    }
    for (dimension, extent) in extents.iter().enumerate() {
        if !(1..=1 << 32).contains(extent) {
            return Err(format!("globalDim[{dimension}] is {extent}, expected 1 to 2^32"));
        }
    }
    if !extents[0].is_multiple_of(multiple) {
        return Err(format!(
            "globalDim[0] is {}, no multiple of {multiple}, as data type {data_type} has it",
            extents[0]
        ));
    }
    // At most 2^32 and 2^40: products do not overflow before the stride is too large.
    let mut inner = extents[0] * element_bits(data_type) / 8;
    for (dimension, stride) in strides.iter().enumerate() {
        if !stride.is_multiple_of(alignment) {
            return Err(format!("globalStrides[{dimension}] is {stride}, no multiple of {alignment}"));
        }
        if *stride >= 1 << 40 {
            return Err(format!("globalStrides[{dimension}] is {stride}, expected less than 2^40"));
        }
        if *stride < inner {
            return Err(format!(
                "globalStrides[{dimension}] is {stride}, less than the {inner} bytes of what it steps over"
            ));
        }
        inner = stride.saturating_mul(extents[dimension + 1]);
    }
    Ok(())
}

fn check_tile(given: &Tiled<'_>) -> Result<(), String> {
    let &Tiled { data_type, tile, swizzle, .. } = given;
    for (dimension, extent) in tile.iter().enumerate() {
        if !(1..=256).contains(extent) {
            return Err(format!("boxDim[{dimension}] is {extent}, expected 1 to 256"));
        }
    }
    if data_type == PADDED_CODES {
        if tile[0] != 128 {
            return Err(format!("boxDim[0] is {}, expected 128 for data type {data_type}", tile[0]));
        }
        if ![0, SWIZZLE_128B].contains(&swizzle) {
            return Err(format!(
                "swizzle is {swizzle}, expected 0 or {SWIZZLE_128B} for data type {data_type}"
            ));
        }
    }
    let inner = u64::from(tile[0]) * element_bits(data_type);
    if !inner.is_multiple_of(8 * 16) {
        return Err(format!("boxDim[0] is {}: {inner} bits, no multiple of 16 bytes", tile[0]));
    }
    let span = 16 << swizzle;
    if swizzle != 0 && inner / 8 > span {
        return Err(format!(
            "boxDim[0] is {}: {} bytes, of which swizzle {swizzle} has at most {span}",
            tile[0],
            inner / 8
        ));
    }
    Ok(())
}

/// Of what was checked: it fits where it is put.
fn bytes(given: &Tiled<'_>) -> [u64; 16] {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(MAGIC.to_ne_bytes());
    bytes.extend([given.data_type as u8, given.extents.len() as u8, given.swizzle as u8, 0]);
    bytes.extend(given.address.to_ne_bytes());
    for dimension in 0..5 {
        bytes.extend(given.extents.get(dimension).copied().unwrap_or(0).to_ne_bytes());
    }
    for dimension in 0..4 {
        bytes.extend(given.strides.get(dimension).copied().unwrap_or(0).to_ne_bytes());
    }
    for dimension in 0..5 {
        bytes.extend((given.tile.get(dimension).copied().unwrap_or(0) as u16).to_ne_bytes());
    }
    bytes.resize(128, 0);
    core::array::from_fn(|i| u64::from_ne_bytes(bytes.as_chunks().0[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Tiled<'_> = Tiled {
        data_type: UINT8,
        address: 0x1230,
        extents: &[608, 390],
        strides: &[640],
        tile: &[128, 32],
        element_strides: &[1, 1],
        interleave: 0,
        swizzle: 3,
        l2_promotion: 3,
        fill: 0,
    };

    const PADDED: Tiled<'_> =
        Tiled { data_type: PADDED_CODES, address: 0x1220, extents: &[1280, 390], tile: &[128, 128], ..BYTES };

    #[test]
    fn a_map_holds_what_was_given() {
        let map = encode_tensor_map(&PADDED).unwrap();
        let head = u64::from(MAGIC) | 14 << 32 | 2 << 40 | 3 << 48;
        // Of a host whose first byte is the lowest.
        if cfg!(target_endian = "little") {
            assert_eq!(map[..8], [head, 0x1220, 1280, 390, 0, 0, 0, 640]);
            assert_eq!(map[8..], [0, 0, 0, 128 | 128 << 16, 0, 0, 0, 0]);
        }
        let cube = Tiled {
            extents: &[64, 3, 5],
            strides: &[64, 256],
            tile: &[16, 1, 4],
            element_strides: &[1; 3],
            ..BYTES
        };
        let map = encode_tensor_map(&cube).unwrap();
        assert_eq!((map[2..7].to_vec(), map[7..11].to_vec()), (vec![64, 3, 5, 0, 0], vec![64, 256, 0, 0]));
    }

    #[test]
    fn what_is_just_allowed_is_taken() {
        let most = 1 << 32;
        for given in [
            BYTES,
            PADDED,
            Tiled {
                extents: &[1 << 32],
                strides: &[],
                tile: &[256],
                element_strides: &[1],
                swizzle: 0,
                ..BYTES
            },
            Tiled { extents: &[most, most], strides: &[(1 << 40) - 16], ..BYTES },
            Tiled { extents: &[1, 1], strides: &[16], tile: &[16, 256], swizzle: 1, ..BYTES },
            Tiled { tile: &[64, 1], swizzle: 2, ..BYTES },
            Tiled { data_type: CODES, extents: &[2, 1], tile: &[256, 1], ..BYTES },
            Tiled { data_type: CODES, tile: &[32, 1], swizzle: 0, ..BYTES },
            Tiled { swizzle: 0, l2_promotion: 0, ..PADDED },
        ] {
            assert!(encode_tensor_map(&given).is_ok(), "{given:?}: {:?}", encode_tensor_map(&given));
        }
    }

    #[test]
    fn every_rule_is_asked() {
        for (given, words) in [
            (Tiled { data_type: 16, ..BYTES }, "tensorDataType is 16"),
            (Tiled { data_type: 9, ..BYTES }, "not emulated: tensorDataType 9"),
            (
                Tiled { extents: &[], strides: &[], tile: &[], element_strides: &[], ..BYTES },
                "tensorRank is 0",
            ),
            (Tiled { extents: &[16; 6], ..BYTES }, "tensorRank is 6"),
            (Tiled { strides: &[640, 640], ..BYTES }, "globalStrides has 2"),
            (Tiled { tile: &[128], ..BYTES }, "boxDim has 1"),
            (Tiled { element_strides: &[1], ..BYTES }, "elementStrides has 1"),
            (Tiled { address: 0x1238, ..BYTES }, "globalAddress is 0x1238, no multiple of 16"),
            (Tiled { address: 0x1230, ..PADDED }, "globalAddress is 0x1230, no multiple of 32"),
            (Tiled { extents: &[0, 390], ..BYTES }, "globalDim[0] is 0"),
            (Tiled { extents: &[608, (1 << 32) + 1], ..BYTES }, "globalDim[1] is 4294967297"),
            (Tiled { extents: &[1216, 390], ..PADDED }, "globalDim[0] is 1216, no multiple of 128"),
            (
                Tiled { data_type: CODES, extents: &[607, 390], ..BYTES },
                "globalDim[0] is 607, no multiple of 2",
            ),
            (Tiled { strides: &[648], ..BYTES }, "globalStrides[0] is 648, no multiple of 16"),
            (Tiled { strides: &[656], ..PADDED }, "globalStrides[0] is 656, no multiple of 32"),
            (Tiled { strides: &[1 << 40], ..BYTES }, "globalStrides[0] is 1099511627776"),
            (Tiled { strides: &[592], ..BYTES }, "globalStrides[0] is 592, less than the 608 bytes"),
            (
                Tiled {
                    extents: &[16, 4, 2],
                    strides: &[32, 112],
                    tile: &[16; 3],
                    element_strides: &[1; 3],
                    ..BYTES
                },
                "globalStrides[1] is 112, less than the 128 bytes",
            ),
            (Tiled { tile: &[128, 0], ..BYTES }, "boxDim[1] is 0"),
            (Tiled { tile: &[128, 257], ..BYTES }, "boxDim[1] is 257"),
            (Tiled { tile: &[64, 128], ..PADDED }, "boxDim[0] is 64, expected 128"),
            (Tiled { tile: &[24, 32], ..BYTES }, "boxDim[0] is 24: 192 bits, no multiple of 16 bytes"),
            (Tiled { tile: &[144, 32], ..BYTES }, "144 bytes, of which swizzle 3 has at most 128"),
            (Tiled { tile: &[64, 32], swizzle: 1, ..BYTES }, "64 bytes, of which swizzle 1 has at most 32"),
            (Tiled { element_strides: &[1, 9], ..BYTES }, "elementStrides[1] is 9"),
            (Tiled { element_strides: &[1, 2], ..BYTES }, "not emulated: elementStrides[1] 2"),
            (Tiled { interleave: 3, ..BYTES }, "interleave is 3"),
            (Tiled { interleave: 1, ..BYTES }, "not emulated: interleave 1"),
            (Tiled { swizzle: 7, ..BYTES }, "swizzle is 7"),
            (Tiled { swizzle: 4, ..BYTES }, "not emulated: swizzle 4"),
            (Tiled { swizzle: 2, ..PADDED }, "swizzle is 2, expected 0 or 3"),
            (Tiled { l2_promotion: 4, ..BYTES }, "l2Promotion is 4"),
            (Tiled { fill: 2, ..BYTES }, "oobFill is 2"),
            (Tiled { fill: 1, ..BYTES }, "oobFill is 1, data type 0 is no floating-point one"),
        ] {
            let refused = encode_tensor_map(&given).unwrap_err();
            assert!(refused.contains(words), "{given:?}: {refused}");
        }
    }
}
