//! Activations as they are multiplied with panels.
//!
//! A row is a record for each block of 32 elements, with everything that a kernel wants to know of it:
//!
//! | numbers | record |
//! | --- | --- |
//! | integers: MXINT8, MXFP4 doubled | 32 int8 codes, the exponent, −12 times the sum of the codes |
//! | floats: BF16, MXFP8; beside other weights than MXFP4 MXINT8 and MXFP4 too | 32 BF16 codes, the exponent |
//! | the same: NVFP4 beside other weights | 32 elements times their scale, which BF16 has room for, the exponent |
//! | halves: NVFP4 doubled, beside NVFP4 | 32 int8 codes, a scale for each 16, −12 times the sum of each 16 codes |
//!
//! The exponent, shifted to where float32 has it, is added to the bits of a weight's scale. It holds the activation's
//! scale, and what makes up for doubled elements and for the 64 below MXINT8's; a half's scale, in float32, does the
//! same for NVFP4, without the row's factor. The sum of the codes is there because
//! kernels multiply unsigned weights, each 12 too great.
//!
//! Codes are in the order in which a word of a panel gives its eight: see [`INTEGER_ORDER`] and [`FLOAT_ORDER`].

use mxhal_core::Format;
use mxhal_core::format::{bf16, e2m1, e4m3};

use crate::panel::{BLOCK, Kind, ORDINARY, ORDINARY_E4M3};

/// Elements 8·j + i of a block, as the bytes of two words: a word's low nibbles, and its high ones.
pub(crate) const INTEGER_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Elements 8·j + i of a block, as the halves of four words: the nibbles of a word's halves, from the lowest.
pub(crate) const FLOAT_ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Bytes of a record of integers.
pub(crate) const INTEGER_RECORD: usize = 40;

/// Bytes of a record of floats.
pub(crate) const FLOAT_RECORD: usize = 68;

/// Bytes of a record of halves.
pub(crate) const HALVES_RECORD: usize = 48;

/// What is added to a doubled weight to make it unsigned.
pub(crate) const OFFSET: i32 = 12;

/// The magnitudes of BF16 that kernels take: products with weights neither underflow nor, scaled, overflow. Beside BF16
/// weights they are [`panel::ORDINARY_BF16`](crate::panel::ORDINARY_BF16).
pub(crate) const ORDINARY_BF16: std::ops::RangeInclusive<u16> = (127 - 110) << 7..=(127 + 50) << 7;

/// What a row is multiplied as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Exact sums of integers.
    Integers,
    /// Sums in float32.
    Floats,
    /// Exact sums of 16 integers each.
    Halves,
}

impl Numbers {
    /// As what rows of a format are multiplied with panels, if they are.
    pub(crate) const fn of(format: Format, panels: Kind) -> Option<Self> {
        match (format, panels) {
            (Format::Mxint8 | Format::Mxfp4, Kind::Mxfp4) => Some(Self::Integers),
            (Format::Nvfp4, Kind::Nvfp4) => Some(Self::Halves),
            (Format::Bf16, _) => Some(Self::Floats),
            (format, _) if format.is_row_quantized() => Some(Self::Floats),
            _ => None,
        }
    }

    /// Bytes of a record.
    pub(crate) const fn record(self) -> usize {
        match self {
            Self::Integers => INTEGER_RECORD,
            Self::Floats => FLOAT_RECORD,
            Self::Halves => HALVES_RECORD,
        }
    }

    /// Bytes from one row to the next: an odd number of cache lines, so that the rows of a tile do not meet in the same
    /// sets of a cache.
    pub(crate) const fn stride(self, k: usize) -> usize {
        (self.record().saturating_mul(k / BLOCK)).div_ceil(64).saturating_mul(64) | 64
    }
}

/// Packs a row of a format as [`Numbers::of`] says; `out` has a record for each of its blocks, and perhaps padding.
///
/// False where the row is out of the ordinary and kernels may not take it: it holds a NaN or an infinity, or scales or
/// magnitudes that the arithmetic of kernels has no room for. What is in `out` is of no use then.
pub(crate) fn pack(numbers: Numbers, format: Format, data: &[u8], scales: &[u8], out: &mut [u8]) -> bool {
    let as_floats = numbers == Numbers::Floats;
    let widened = |codes: [i8; BLOCK]| codes.map(|code| bf16::from_f32(f32::from(code)));
    match format {
        Format::Mxint8 if as_floats => {
            let scales = scales.iter().copied();
            floats(data.as_chunks::<32>().0, scales, 6, out, |data| widened(data.map(u8::cast_signed)))
        }
        Format::Mxfp4 if as_floats => {
            floats(data.as_chunks::<16>().0, scales.iter().copied(), 1, out, |data| widened(doubled(data)))
        }
        Format::Nvfp4 if as_floats => {
            let mut scales = scales.as_chunks::<2>().0.iter().map(|scales| scales.map(e4m3::decode));
            floats(data.as_chunks::<16>().0, std::iter::repeat(127), 1, out, |data| {
                let codes = doubled(data);
                let scales = scales.next().unwrap_or_default();
                std::array::from_fn(|i| bf16::from_f32(f32::from(codes[i]) * scales[i / 16]))
            })
        }
        Format::Mxint8 => {
            integers(data.as_chunks::<32>().0, scales, 7, out, |data| data.map(u8::cast_signed))
        }
        Format::Mxfp4 => integers(data.as_chunks::<16>().0, scales, 2, out, doubled),
        Format::Nvfp4 => halves(data, scales, out),
        Format::Bf16 => {
            let blocks = data.as_chunks::<64>().0;
            floats(blocks, std::iter::repeat(127), 0, out, |data| {
                std::array::from_fn(|i| u16::from_ne_bytes([data[2 * i], data[2 * i + 1]]))
            })
        }
        _ => {
            let each = format.blocks().map_or(1, |blocks| blocks.columns / BLOCK);
            let scales = scales.iter().flat_map(|scale| std::iter::repeat_n(*scale, each));
            floats(data.as_chunks::<32>().0, scales, 0, out, |data| {
                data.map(|code| bf16::from_f32(e4m3::decode(code)))
            })
        }
    }
}

/// The scale that kernels use for a block: that of a block of zeros does not matter, and any other must be ordinary.
const fn usable(scale: u8, is_zero: bool) -> Option<u8> {
    match scale {
        255 => None,
        _ if is_zero => Some(127),
        _ if *ORDINARY.start() <= scale && scale <= *ORDINARY.end() => Some(scale),
        _ => None,
    }
}

/// 32 codes of E2M1 as doubled integers.
fn doubled(data: &[u8; BLOCK / 2]) -> [i8; BLOCK] {
    std::array::from_fn(|i| {
        let (low, high) = e2m1::unpack(data[i / 2]);
        (2.0 * e2m1::decode(if i % 2 == 0 { low } else { high })) as i8
    })
}

fn integers<const N: usize>(
    blocks: &[[u8; N]],
    scales: &[u8],
    shift: i32,
    out: &mut [u8],
    decode: impl Fn(&[u8; N]) -> [i8; BLOCK],
) -> bool {
    let mut ordinary = true;
    for ((block, scale), out) in blocks.iter().zip(scales).zip(out.as_chunks_mut::<INTEGER_RECORD>().0) {
        let codes = decode(block);
        let scale = usable(*scale, codes == [0; BLOCK]);
        ordinary &= scale.is_some();
        for (i, byte) in out[..BLOCK].iter_mut().enumerate() {
            *byte = codes[i / 8 * 8 + INTEGER_ORDER[i % 8]].cast_unsigned();
        }
        let exponent = (i32::from(scale.unwrap_or(127)) - 127 - shift) << 23;
        let sum: i32 = codes.iter().map(|code| i32::from(*code)).sum();
        out[32..36].copy_from_slice(&exponent.to_ne_bytes());
        out[36..].copy_from_slice(&(-OFFSET * sum).to_ne_bytes());
    }
    ordinary
}

fn halves(data: &[u8], scales: &[u8], out: &mut [u8]) -> bool {
    let blocks = data.as_chunks().0.iter().zip(scales.as_chunks::<2>().0);
    for ((block, scales), out) in blocks.zip(out.as_chunks_mut::<HALVES_RECORD>().0) {
        let codes = doubled(block);
        for (i, byte) in out[..BLOCK].iter_mut().enumerate() {
            *byte = codes[i / 8 * 8 + INTEGER_ORDER[i % 8]].cast_unsigned();
        }
        for (half, (codes, scale)) in codes.chunks(BLOCK / 2).zip(scales).enumerate() {
            // Elements of both sides are doubled.
            let scale = e4m3::decode(*scale) / 4.0;
            let sum: i32 = codes.iter().map(|code| i32::from(*code)).sum();
            out[32 + 4 * half..][..4].copy_from_slice(&scale.to_ne_bytes());
            out[40 + 4 * half..][..4].copy_from_slice(&(-OFFSET * sum).to_ne_bytes());
        }
    }
    scales.iter().all(|scale| ORDINARY_E4M3.contains(scale))
}

fn floats<const N: usize>(
    blocks: &[[u8; N]],
    scales: impl Iterator<Item = u8>,
    shift: i32,
    out: &mut [u8],
    mut decode: impl FnMut(&[u8; N]) -> [u16; BLOCK],
) -> bool {
    let mut ordinary = true;
    for ((block, scale), out) in blocks.iter().zip(scales).zip(out.as_chunks_mut::<FLOAT_RECORD>().0) {
        let codes = decode(block);
        let magnitudes = codes.map(|code| code & 0x7fff);
        let scale = usable(scale, magnitudes == [0; BLOCK]);
        ordinary &= scale.is_some();
        ordinary &= magnitudes.iter().all(|code| *code == 0 || ORDINARY_BF16.contains(code));
        for (i, half) in out[..64].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *half = codes[i / 8 * 8 + FLOAT_ORDER[i % 8]].to_ne_bytes();
        }
        let exponent = (i32::from(scale.unwrap_or(127)) - 127 - shift) << 23;
        out[64..].copy_from_slice(&exponent.to_ne_bytes());
    }
    ordinary
}
