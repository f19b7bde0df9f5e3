//! MXFP4 and NVFP4 weights as they lie in memory: panels of 16 columns, which every instruction set reads.
//!
//! A panel holds [`COLUMNS`] columns of the output (rows of the matrix) over all of K, in groups of four blocks of 32:
//!
//! ```text
//! group   64 bytes of scales: byte 16·b + c is that of block b and column c
//!         4 blocks of 256 bytes: the 4 bytes at 64·j + 4·c are the codes 8·j .. 8·j + 8 of column c, as in a checkpoint
//! ```
//!
//! So 64 bytes are eight codes of each of 16 columns: a register of AVX-512, two of AVX2, four of NEON, and a sum of
//! products never crosses columns. Scales lie beside their codes, and a panel is read from its first byte to its last.
//! The last group has as many blocks as are left; columns that pad the last panel have codes and scales 0. That is 4.25
//! bits a weight, and 32 bytes a panel where the last group is short.
//!
//! In NVFP4, with a scale per 16, a group begins with 128 bytes of scales: byte 16·(2·b + h) + c is that of half h of
//! block b. That is 4.5 bits a weight. The factors lie elsewhere.
//!
//! Making it is a transposition of 32-bit words, and so is undoing it.

use mxhal_core::Format;
use mxhal_core::format::{e2m1, e4m3, e8m0};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 16;

/// Elements along K that are multiplied together: a block of MXFP4, two of NVFP4.
pub(crate) const BLOCK: usize = 32;

/// Blocks of a group.
pub(crate) const GROUP: usize = 4;

/// Bytes of the codes of a block.
pub(crate) const BLOCK_BYTES: usize = COLUMNS * BLOCK / 2;

/// What panels hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mxfp4,
    Nvfp4,
}

impl Kind {
    /// As what weights of a format with rows of `k` elements are held, if they are.
    pub(crate) const fn of(format: Format, k: usize) -> Option<Self> {
        match format {
            Format::Mxfp4 => Some(Self::Mxfp4),
            Format::Nvfp4 if k.is_multiple_of(BLOCK) => Some(Self::Nvfp4),
            _ => None,
        }
    }

    /// Scales of a block of one column.
    pub(crate) const fn parts(self) -> usize {
        match self {
            Self::Mxfp4 => 1,
            Self::Nvfp4 => 2,
        }
    }

    /// Bytes of the scales of a group.
    pub(crate) const fn scales_bytes(self) -> usize {
        GROUP * COLUMNS * self.parts()
    }

    /// Bytes of a whole group.
    pub(crate) const fn group_bytes(self) -> usize {
        self.scales_bytes() + GROUP * BLOCK_BYTES
    }

    /// Bytes of a panel of so many blocks: a multiple of 64.
    pub(crate) const fn bytes(self, blocks: usize) -> usize {
        let rest = blocks % GROUP;
        let last = if rest == 0 { 0 } else { self.scales_bytes() + rest * BLOCK_BYTES };
        (blocks / GROUP).saturating_mul(self.group_bytes()).saturating_add(last)
    }

    /// The scales of a block, column by column (first those of its first half), and its codes.
    pub(crate) fn block(self, panel: &[u8], block: usize) -> (&[u8], &[u8]) {
        let group = &panel[block / GROUP * self.group_bytes()..];
        let scales = COLUMNS * self.parts();
        (
            &group[block % GROUP * scales..][..scales],
            &group[self.scales_bytes() + block % GROUP * BLOCK_BYTES..][..BLOCK_BYTES],
        )
    }
}

/// Panels of so many columns.
pub(crate) const fn count(columns: usize) -> usize {
    columns.div_ceil(COLUMNS)
}

/// The scale bytes of MXFP4 that kernels apply as they are: 2^±50. Together with an activation scale in the same range,
/// and an activation no smaller or greater than that, no sum of a block leaves the normal numbers of float32.
///
/// Blocks beyond it, which no checkpoint of a model has, are multiplied value by value.
pub(crate) const ORDINARY: std::ops::RangeInclusive<u8> = 77..=177;

/// The scale bytes of NVFP4 that kernels apply: numbers, and none below zero.
pub(crate) const ORDINARY_E4M3: std::ops::RangeInclusive<u8> = 0..=0x7e;

/// Whether kernels may apply a factor of NVFP4 to a sum, rather than to each value: it leaves no value that is not zero
/// beyond the normal numbers of float32, where values would be rounded to fewer bits.
pub(crate) fn is_ordinary_factor(factor: f32) -> bool {
    let bound = f32::from_bits((127 + 100) << 23);
    factor == 0.0 || (1.0 / bound..=bound).contains(&factor.abs())
}

/// Whether kernels may take all blocks of a panel: in MXFP4 each has a scale in [`ORDINARY`], or codes that are all zero
/// and a scale not above it; in NVFP4 each has scales in [`ORDINARY_E4M3`].
pub(crate) fn is_ordinary(kind: Kind, panel: &[u8], blocks: usize) -> bool {
    (0..blocks).all(|block| {
        let (scales, codes) = kind.block(panel, block);
        match kind {
            Kind::Nvfp4 => scales.iter().all(|scale| ORDINARY_E4M3.contains(scale)),
            Kind::Mxfp4 => scales.iter().enumerate().all(|(column, scale)| {
                let is_zero = || {
                    let words = codes.as_chunks::<4>().0.iter().skip(column).step_by(COLUMNS);
                    words.fold(0, |all, word| all | u32::from_ne_bytes(*word)) & 0x7777_7777 == 0
                };
                ORDINARY.contains(scale) || (scale < ORDINARY.start() && is_zero())
            }),
        }
    })
}

/// One column of a matrix: its codes, two a byte, and its scales.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [u8],
}

/// Writes a panel of at most [`COLUMNS`] columns of equal length.
pub(crate) fn pack(kind: Kind, columns: &[Column<'_>], panel: &mut [u8]) {
    let parts = kind.parts();
    if columns.len() < COLUMNS {
        panel.fill(0);
    }
    for (c, column) in columns.iter().enumerate() {
        let blocks = column.codes.as_chunks::<{ BLOCK / 2 }>().0.iter().zip(column.scales.chunks(parts));
        for (block, (codes, scales)) in blocks.enumerate() {
            let group = &mut panel[block / GROUP * kind.group_bytes()..];
            for (part, scale) in scales.iter().enumerate() {
                group[(block % GROUP * parts + part) * COLUMNS + c] = *scale;
            }
            let out = &mut group[kind.scales_bytes() + block % GROUP * BLOCK_BYTES..][..BLOCK_BYTES];
            for (word, out) in codes.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<64>().0) {
                out[4 * c..][..4].copy_from_slice(word);
            }
        }
    }
    // The scales of blocks that the last group lacks.
    let blocks = columns.first().map_or(0, |column| column.scales.len() / parts);
    if !blocks.is_multiple_of(GROUP) {
        let group = &mut panel[blocks / GROUP * kind.group_bytes()..];
        group[blocks % GROUP * parts * COLUMNS..kind.scales_bytes()].fill(0);
    }
}

/// The codes and scales of one column again, as they were given to [`pack`].
pub(crate) fn unpack(kind: Kind, panel: &[u8], column: usize, codes: &mut [u8], scales: &mut [u8]) {
    let blocks = codes.as_chunks_mut::<{ BLOCK / 2 }>().0.iter_mut().zip(scales.chunks_mut(kind.parts()));
    for (block, (codes, scales)) in blocks.enumerate() {
        let (packed_scales, packed) = kind.block(panel, block);
        for (scale, of_columns) in scales.iter_mut().zip(packed_scales.chunks(COLUMNS)) {
            *scale = of_columns[column];
        }
        for (word, packed) in codes.as_chunks_mut::<4>().0.iter_mut().zip(packed.as_chunks::<64>().0) {
            word.copy_from_slice(&packed[4 * column..][..4]);
        }
    }
}

/// The values of one column; `out` has as many places as the panel has elements along K. The factor is NVFP4's.
pub(crate) fn decode(kind: Kind, panel: &[u8], column: usize, factor: f32, out: &mut [f32]) {
    for (block, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let (scales, packed) = kind.block(panel, block);
        let halves = out.as_chunks_mut::<{ BLOCK / 2 }>().0.iter_mut().zip(packed.chunks(BLOCK_BYTES / 2));
        for (half, (out, packed)) in halves.enumerate() {
            let table = match kind {
                Kind::Mxfp4 => e2m1::VALUES.map(|value| value * e8m0::decode(scales[column])),
                Kind::Nvfp4 => {
                    let scale = e4m3::decode(scales[half * COLUMNS + column]);
                    e2m1::VALUES.map(|value| value * scale * factor)
                }
            };
            for (values, packed) in out.as_chunks_mut::<8>().0.iter_mut().zip(packed.as_chunks::<64>().0) {
                for (byte, pair) in packed[4 * column..][..4].iter().zip(values.as_chunks_mut::<2>().0) {
                    let (low, high) = e2m1::unpack(*byte);
                    *pair = [table[usize::from(low)], table[usize::from(high)]];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::format::dequantize_row;

    fn column(kind: Kind, seed: usize, blocks: usize) -> (Vec<u8>, Vec<u8>) {
        let byte = |i: usize| ((i * 7919 + seed * 104_729) >> 3) as u8;
        ((0..blocks * 16).map(byte).collect(), (0..blocks * kind.parts()).map(|i| byte(i + 5)).collect())
    }

    #[test]
    fn a_panel_leads_back_and_has_the_values_of_its_columns() {
        for (kind, format, factor) in [(Kind::Mxfp4, Format::Mxfp4, 1.0), (Kind::Nvfp4, Format::Nvfp4, 0.3)] {
            for (blocks, columns) in [(1, 16), (3, 5), (4, 16), (9, 1), (9, 16)] {
                let all: Vec<_> = (0..columns).map(|seed| column(kind, seed, blocks)).collect();
                let views: Vec<_> = all.iter().map(|(codes, scales)| Column { codes, scales }).collect();
                let mut panel = vec![0xa5; kind.bytes(blocks)];
                pack(kind, &views, &mut panel);
                for (c, (codes, scales)) in all.iter().enumerate() {
                    let (mut codes_back, mut scales_back) = (vec![1; codes.len()], vec![1; scales.len()]);
                    unpack(kind, &panel, c, &mut codes_back, &mut scales_back);
                    assert_eq!((&codes_back, &scales_back), (codes, scales));
                    let (mut values, mut expected) = (vec![0.0; blocks * 32], vec![0.0; blocks * 32]);
                    decode(kind, &panel, c, factor, &mut values);
                    dequantize_row(format, codes, scales, factor, &mut expected);
                    let bits = |values: &[f32]| {
                        values.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>()
                    };
                    assert_eq!(bits(&values), bits(&expected), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_scale_out_of_the_ordinary_is_seen_unless_its_block_is_zero() {
        let blocks = 5;
        let (codes, mut scales) = (vec![0x21; blocks * 16], vec![127; blocks]);
        let ordinary = |codes: &[u8], scales: &[u8]| {
            let mut panel = vec![0; Kind::Mxfp4.bytes(blocks)];
            pack(Kind::Mxfp4, &[Column { codes, scales }], &mut panel);
            is_ordinary(Kind::Mxfp4, &panel, blocks)
        };
        assert!(ordinary(&codes, &scales));
        for (scale, expected) in [(76, false), (77, true), (177, true), (178, false), (255, false)] {
            scales[4] = scale;
            assert_eq!(ordinary(&codes, &scales), expected, "{scale}");
        }
        let mut codes = codes;
        codes[4 * 16..].fill(0x80);
        for (scale, expected) in [(0, true), (76, true), (178, false), (255, false)] {
            scales[4] = scale;
            assert_eq!(ordinary(&codes, &scales), expected, "{scale}");
        }
    }

    #[test]
    fn a_scale_of_nvfp4_out_of_the_ordinary_is_seen() {
        let mut panel = vec![0; Kind::Nvfp4.bytes(2)];
        let codes = vec![0x21; 32];
        for (scale, expected) in
            [(0, true), (1, true), (0x7e, true), (0x7f, false), (0x80, false), (255, false)]
        {
            pack(Kind::Nvfp4, &[Column { codes: &codes, scales: &[1, 2, 3, scale] }], &mut panel);
            assert_eq!(is_ordinary(Kind::Nvfp4, &panel, 2), expected, "{scale}");
        }
        for (factor, expected) in [(1.0, true), (-0.5, true), (0.0, true), (1e-31, false), (f32::NAN, false)]
        {
            assert_eq!(is_ordinary_factor(factor), expected, "{factor}");
        }
    }

    #[test]
    fn real_shapes_take_less_than_a_hundredth_more_than_a_checkpoint() {
        for (n, k) in [(4096, 4096), (2048, 4096), (4096, 2048), (7168, 3072), (5760, 2880), (2880, 2880)] {
            for (kind, bytes) in [(Kind::Mxfp4, 17), (Kind::Nvfp4, 18)] {
                let panels = count(n) * kind.bytes(k / BLOCK);
                assert!(panels as f64 <= 1.01 * (n * k / 32 * bytes) as f64, "{n}x{k} {kind:?}");
            }
        }
    }
}
