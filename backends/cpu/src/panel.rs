//! MXFP4 weights as they lie in memory: panels of 16 columns, which every instruction set reads.
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
//! Making it is a transposition of 32-bit words, and so is undoing it.

use mxhal_core::format::{e2m1, e8m0};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 16;

/// Elements along K that share a scale.
pub(crate) const BLOCK: usize = 32;

/// Blocks of a group.
pub(crate) const GROUP: usize = 4;

/// Bytes of the scales of a group.
pub(crate) const SCALES_BYTES: usize = GROUP * COLUMNS;

/// Bytes of the codes of a block.
pub(crate) const BLOCK_BYTES: usize = COLUMNS * BLOCK / 2;

/// Bytes of a whole group.
pub(crate) const GROUP_BYTES: usize = SCALES_BYTES + GROUP * BLOCK_BYTES;

/// Bytes of a panel of so many blocks: a multiple of 64.
pub(crate) const fn bytes(blocks: usize) -> usize {
    let rest = blocks % GROUP;
    let last = if rest == 0 { 0 } else { SCALES_BYTES + rest * BLOCK_BYTES };
    (blocks / GROUP).saturating_mul(GROUP_BYTES).saturating_add(last)
}

/// Panels of so many columns.
pub(crate) const fn count(columns: usize) -> usize {
    columns.div_ceil(COLUMNS)
}

/// The scale bytes that kernels apply as they are: 2^±50. Together with an activation scale in the same range, and an
/// activation no smaller or greater than that, no sum of a block leaves the normal numbers of float32.
///
/// Blocks beyond it, which no checkpoint of a model has, are multiplied value by value.
pub(crate) const ORDINARY: std::ops::RangeInclusive<u8> = 77..=177;

/// Whether all blocks of a panel have a scale in [`ORDINARY`], or codes that are all zero and a scale not above it.
pub(crate) fn is_ordinary(panel: &[u8], blocks: usize) -> bool {
    (0..blocks).all(|block| {
        let (scales, codes) = block_of(panel, block);
        scales.iter().enumerate().all(|(column, scale)| {
            let is_zero = || {
                let words = codes.as_chunks::<4>().0.iter().skip(column).step_by(COLUMNS);
                words.fold(0, |all, word| all | u32::from_ne_bytes(*word)) & 0x7777_7777 == 0
            };
            ORDINARY.contains(scale) || (scale < ORDINARY.start() && is_zero())
        })
    })
}

/// The scales of a block, one for each column, and its codes.
pub(crate) fn block_of(panel: &[u8], block: usize) -> (&[u8], &[u8]) {
    let group = &panel[block / GROUP * GROUP_BYTES..];
    let scales = &group[block % GROUP * COLUMNS..][..COLUMNS];
    (scales, &group[SCALES_BYTES + block % GROUP * BLOCK_BYTES..][..BLOCK_BYTES])
}

/// One column of a matrix: its codes, two a byte, and its scales.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [u8],
}

/// Writes a panel of at most [`COLUMNS`] columns of equal length.
pub(crate) fn pack(columns: &[Column<'_>], panel: &mut [u8]) {
    if columns.len() < COLUMNS {
        panel.fill(0);
    }
    for (c, column) in columns.iter().enumerate() {
        let blocks = column.codes.as_chunks::<{ BLOCK / 2 }>().0.iter().zip(column.scales);
        for (block, (codes, scale)) in blocks.enumerate() {
            let group = &mut panel[block / GROUP * GROUP_BYTES..];
            group[block % GROUP * COLUMNS + c] = *scale;
            let out = &mut group[SCALES_BYTES + block % GROUP * BLOCK_BYTES..][..BLOCK_BYTES];
            for (word, out) in codes.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<64>().0) {
                out[4 * c..][..4].copy_from_slice(word);
            }
        }
    }
    // The scales of blocks that the last group lacks.
    if let Some(blocks) = columns.first().map(|column| column.scales.len()).filter(|b| b % GROUP > 0) {
        let group = &mut panel[blocks / GROUP * GROUP_BYTES..];
        group[blocks % GROUP * COLUMNS..SCALES_BYTES].fill(0);
    }
}

/// The codes and scales of one column again, as they were given to [`pack`].
pub(crate) fn unpack(panel: &[u8], column: usize, codes: &mut [u8], scales: &mut [u8]) {
    for (block, (codes, scale)) in codes.as_chunks_mut::<{ BLOCK / 2 }>().0.iter_mut().zip(scales).enumerate()
    {
        let (packed_scales, packed) = block_of(panel, block);
        *scale = packed_scales[column];
        for (word, packed) in codes.as_chunks_mut::<4>().0.iter_mut().zip(packed.as_chunks::<64>().0) {
            word.copy_from_slice(&packed[4 * column..][..4]);
        }
    }
}

/// The values of one column; `out` has as many places as the panel has elements along K.
pub(crate) fn decode(panel: &[u8], column: usize, out: &mut [f32]) {
    for (block, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let (scales, packed) = block_of(panel, block);
        let scale = e8m0::decode(scales[column]);
        let table = e2m1::VALUES.map(|value| value * scale);
        for (values, packed) in out.as_chunks_mut::<8>().0.iter_mut().zip(packed.as_chunks::<64>().0) {
            for (byte, pair) in packed[4 * column..][..4].iter().zip(values.as_chunks_mut::<2>().0) {
                let (low, high) = e2m1::unpack(*byte);
                *pair = [table[usize::from(low)], table[usize::from(high)]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::Format;
    use mxhal_core::format::dequantize_row;

    fn column(seed: usize, blocks: usize) -> (Vec<u8>, Vec<u8>) {
        let byte = |i: usize| ((i * 7919 + seed * 104_729) >> 3) as u8;
        ((0..blocks * 16).map(byte).collect(), (0..blocks).map(|i| byte(i + 5)).collect())
    }

    #[test]
    fn a_panel_leads_back_and_has_the_values_of_its_columns() {
        for blocks in [1, 3, 4, 9] {
            for columns in [1, 5, COLUMNS] {
                let all: Vec<_> = (0..columns).map(|seed| column(seed, blocks)).collect();
                let views: Vec<_> = all.iter().map(|(codes, scales)| Column { codes, scales }).collect();
                let mut panel = vec![0xa5; bytes(blocks)];
                pack(&views, &mut panel);
                for (c, (codes, scales)) in all.iter().enumerate() {
                    let (mut codes_back, mut scales_back) = (vec![1; codes.len()], vec![1; blocks]);
                    unpack(&panel, c, &mut codes_back, &mut scales_back);
                    assert_eq!((&codes_back, &scales_back), (codes, scales));
                    let (mut values, mut expected) = (vec![0.0; blocks * 32], vec![0.0; blocks * 32]);
                    decode(&panel, c, &mut values);
                    dequantize_row(Format::Mxfp4, codes, scales, 1.0, &mut expected);
                    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&values), bits(&expected));
                }
            }
        }
    }

    #[test]
    fn a_scale_out_of_the_ordinary_is_seen_unless_its_block_is_zero() {
        let blocks = 5;
        let (codes, mut scales) = (vec![0x21; blocks * 16], vec![127; blocks]);
        let ordinary = |codes: &[u8], scales: &[u8]| {
            let mut panel = vec![0; bytes(blocks)];
            pack(&[Column { codes, scales }], &mut panel);
            is_ordinary(&panel, blocks)
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
    fn real_shapes_take_less_than_a_hundredth_more_than_a_checkpoint() {
        for (n, k) in [(4096, 4096), (2048, 4096), (4096, 2048), (7168, 3072), (5760, 2880), (2880, 2880)] {
            let panels = count(n) * bytes(k / BLOCK);
            assert!(panels as f64 <= 1.01 * (n * k / 32 * 17) as f64, "{n}x{k}");
        }
    }
}
