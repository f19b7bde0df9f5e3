//! MXFP4, NVFP4, FP8 and BF16 weights as they lie in memory: panels of 16 columns, which every instruction set reads.
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
//! In FP8 tiles a group is 16 blocks: 64 bytes of scales, byte 16·t + c that of columns 128·t .. 128·t + 128 along K, and
//! 16 blocks of 512 bytes. Of each 8 codes e of column c, the 4 bytes at 4·c are e0, e1, e4, e5, and those 64 further
//! on e2, e3, e6, e7: so the halves of words are the same elements as those of the nibbles of MXFP4.
//!
//! In BF16 there are no scales, and a block has 1024 bytes. Of each 8 elements e of column c, the 4 bytes at 64·i + 4·c
//! are e(i) and e(i + 4): those of the nibbles of a half word.
//!
//! Making it is a transposition of 32-bit words, and so is undoing it.

use std::ops::RangeInclusive;

use mxhal_core::Format;
use mxhal_core::format::{bf16, e2m1, e4m3, e8m0};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 16;

/// Elements along K that are multiplied together: a block of MXFP4, two of NVFP4.
pub(crate) const BLOCK: usize = 32;

/// What panels hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mxfp4,
    Nvfp4,
    Fp8Tile128,
    Bf16,
}

impl Kind {
    /// As what weights of a format with rows of `k` elements are held, if they are.
    pub(crate) const fn of(format: Format, k: usize) -> Option<Self> {
        match format {
            Format::Mxfp4 => Some(Self::Mxfp4),
            Format::Nvfp4 if k.is_multiple_of(BLOCK) => Some(Self::Nvfp4),
            Format::Fp8Tile128 if k.is_multiple_of(BLOCK) => Some(Self::Fp8Tile128),
            Format::Bf16 if k.is_multiple_of(BLOCK) => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Parts of a block that have a scale of their own.
    pub(crate) const fn parts(self) -> usize {
        match self {
            Self::Mxfp4 | Self::Fp8Tile128 | Self::Bf16 => 1,
            Self::Nvfp4 => 2,
        }
    }

    /// Blocks of a group.
    pub(crate) const fn group(self) -> usize {
        match self {
            Self::Mxfp4 | Self::Nvfp4 | Self::Bf16 => 4,
            Self::Fp8Tile128 => 16,
        }
    }

    /// Scales of a group and column.
    const fn scales(self) -> usize {
        match self {
            Self::Mxfp4 | Self::Fp8Tile128 => 4,
            Self::Nvfp4 => 8,
            Self::Bf16 => 0,
        }
    }

    /// Bytes of the scales of a group.
    pub(crate) const fn scales_bytes(self) -> usize {
        self.scales() * COLUMNS
    }

    /// Bytes of the codes of a block.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Self::Mxfp4 | Self::Nvfp4 => COLUMNS * BLOCK / 2,
            Self::Fp8Tile128 => COLUMNS * BLOCK,
            Self::Bf16 => 2 * COLUMNS * BLOCK,
        }
    }

    /// Bytes of a whole group.
    pub(crate) const fn group_bytes(self) -> usize {
        self.scales_bytes() + self.group() * self.block_bytes()
    }

    /// Bytes of a panel of so many blocks: a multiple of 64.
    pub(crate) const fn bytes(self, blocks: usize) -> usize {
        let rest = blocks % self.group();
        let last = if rest == 0 { 0 } else { self.scales_bytes() + rest * self.block_bytes() };
        (blocks / self.group()).saturating_mul(self.group_bytes()).saturating_add(last)
    }

    /// Where the group of a block begins, and in it the scales of the block's first part and the block's codes.
    pub(crate) const fn places(self, block: usize) -> [usize; 3] {
        let in_group = block % self.group();
        let scales = in_group * self.scales() / self.group() * COLUMNS;
        let codes = self.scales_bytes() + in_group * self.block_bytes();
        [block / self.group() * self.group_bytes(), scales, codes]
    }

    /// The scales of a block, column by column (first those of its first part), and its codes.
    pub(crate) fn block(self, panel: &[u8], block: usize) -> (&[u8], &[u8]) {
        let [group, scales, codes] = self.places(block);
        let group = &panel[group..];
        let scales_bytes = if self.scales() == 0 { 0 } else { COLUMNS * self.parts() };
        (&group[scales..][..scales_bytes], &group[codes..][..self.block_bytes()])
    }

    /// Where the scale of index `scale` of column 0 lies.
    const fn scale_at(self, scale: usize) -> usize {
        scale / self.scales() * self.group_bytes() + scale % self.scales() * COLUMNS
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
pub(crate) const ORDINARY: RangeInclusive<u8> = 77..=177;

/// The scale bytes of NVFP4 that kernels apply: numbers, and none below zero.
pub(crate) const ORDINARY_E4M3: RangeInclusive<u8> = 0..=0x7e;

/// The magnitudes of BF16 weights that kernels take, and of the BF16 activations beside them: sums of products are
/// multiples of 2^-124, and so never subnormal.
pub(crate) const ORDINARY_BF16: RangeInclusive<u16> = (127 - 55) << 7..=(127 + 50) << 7;

/// Whether kernels may apply a factor of NVFP4 to a sum, rather than to each value: it leaves no value that is not zero
/// beyond the normal numbers of float32, where values would be rounded to fewer bits.
pub(crate) fn is_ordinary_factor(factor: f32) -> bool {
    let bound = f32::from_bits((127 + 100) << 23);
    factor == 0.0 || (1.0 / bound..=bound).contains(&factor.abs())
}

/// Whether kernels may take all blocks of a panel: in MXFP4 and FP8 each has a scale in [`ORDINARY`], or codes that are
/// all zero and a scale not above it, and no code is NaN; in NVFP4 each has scales in [`ORDINARY_E4M3`]; in BF16 all are
/// zero or in [`ORDINARY_BF16`].
pub(crate) fn is_ordinary(kind: Kind, panel: &[u8], blocks: usize) -> bool {
    (0..blocks).all(|block| {
        let (scales, codes) = kind.block(panel, block);
        // All at once, whichever comes first: the compiler makes a few instructions of it.
        let all_in =
            |range: &RangeInclusive<u8>| scales.iter().fold(true, |all, scale| all & range.contains(scale));
        let (magnitudes, are_numbers) = match kind {
            Kind::Nvfp4 => return all_in(&ORDINARY_E4M3),
            Kind::Bf16 => return are_ordinary_bf16(codes),
            Kind::Mxfp4 => (0x7777_7777, true),
            Kind::Fp8Tile128 => {
                (0x7f7f_7f7f, codes.iter().fold(true, |all, code| all & (code & 0x7f != 0x7f)))
            }
        };
        let is_zero = |column: usize| {
            let words = codes.as_chunks::<4>().0.iter().skip(column).step_by(COLUMNS);
            words.fold(0, |all, word| all | u32::from_ne_bytes(*word)) & magnitudes == 0
        };
        let is_usable = |(column, scale): (usize, &u8)| {
            ORDINARY.contains(scale) || (scale < ORDINARY.start() && is_zero(column))
        };
        are_numbers && (all_in(&ORDINARY) || scales.iter().enumerate().all(is_usable))
    })
}

/// Whether all of these are zero or in [`ORDINARY_BF16`].
pub(crate) fn are_ordinary_bf16(codes: &[u8]) -> bool {
    codes.as_chunks().0.iter().fold(true, |all, code| {
        let magnitude = u16::from_ne_bytes(*code) & 0x7fff;
        all & ((magnitude == 0) | ORDINARY_BF16.contains(&magnitude))
    })
}

/// One column of a matrix: its codes, and its scales along K.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [u8],
}

/// Writes a panel of at most [`COLUMNS`] columns of equal length.
pub(crate) fn pack(kind: Kind, columns: &[Column<'_>], panel: &mut [u8]) {
    panel.fill(0);
    for (c, column) in columns.iter().enumerate() {
        for (i, scale) in column.scales.iter().enumerate() {
            panel[kind.scale_at(i) + c] = *scale;
        }
        for (block, codes) in column.codes.chunks_exact(kind.block_bytes() / COLUMNS).enumerate() {
            let [group, _, to] = kind.places(block);
            let to = panel[group + to..].as_chunks_mut::<64>().0.iter_mut().map(|to| &mut to[4 * c..][..4]);
            match kind {
                Kind::Mxfp4 | Kind::Nvfp4 => {
                    for (word, to) in codes.as_chunks::<4>().0.iter().zip(to) {
                        to.copy_from_slice(word);
                    }
                }
                Kind::Fp8Tile128 => {
                    for ([e0, e1, e2, e3, e4, e5, e6, e7], (i, to)) in eights(codes).zip(to.enumerate()) {
                        to.copy_from_slice(&if i % 2 == 0 { [e0, e1, e4, e5] } else { [e2, e3, e6, e7] });
                    }
                }
                Kind::Bf16 => {
                    let eights = codes.as_chunks::<16>().0.iter().flat_map(|eight| [*eight; 4]);
                    for (eight, (i, to)) in eights.zip(to.enumerate()) {
                        let at = 2 * (i % 4);
                        to.copy_from_slice(&[eight[at], eight[at + 1], eight[at + 8], eight[at + 9]]);
                    }
                }
            }
        }
    }
}

/// Each eight codes, twice.
fn eights(codes: &[u8]) -> impl Iterator<Item = [u8; 8]> {
    codes.as_chunks().0.iter().flat_map(|eight| [*eight; 2])
}

/// The codes and scales of one column again, as they were given to [`pack`].
pub(crate) fn unpack(kind: Kind, panel: &[u8], column: usize, codes: &mut [u8], scales: &mut [u8]) {
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = panel[kind.scale_at(i) + column];
    }
    for (block, codes) in codes.chunks_exact_mut(kind.block_bytes() / COLUMNS).enumerate() {
        unpack_block(kind, kind.block(panel, block).1, column, codes);
    }
}

/// The codes of one column of a block.
fn unpack_block(kind: Kind, packed: &[u8], column: usize, codes: &mut [u8]) {
    let mut words = packed.as_chunks::<64>().0.iter().map(|packed| {
        let word = &packed[4 * column..][..4];
        [word[0], word[1], word[2], word[3]]
    });
    match kind {
        Kind::Mxfp4 | Kind::Nvfp4 => {
            codes.as_chunks_mut().0.iter_mut().zip(words).for_each(|(codes, word)| *codes = word);
        }
        Kind::Fp8Tile128 => {
            for codes in codes.as_chunks_mut().0 {
                if let (Some([e0, e1, e4, e5]), Some([e2, e3, e6, e7])) = (words.next(), words.next()) {
                    *codes = [e0, e1, e2, e3, e4, e5, e6, e7];
                }
            }
        }
        Kind::Bf16 => {
            for (i, [low0, low1, high0, high1]) in words.enumerate() {
                let at = i / 4 * 16 + 2 * (i % 4);
                codes[at..at + 2].copy_from_slice(&[low0, low1]);
                codes[at + 8..at + 10].copy_from_slice(&[high0, high1]);
            }
        }
    }
}

/// The values of one column; `out` has as many places as the panel has elements along K. The factor is NVFP4's.
pub(crate) fn decode(kind: Kind, panel: &[u8], column: usize, factor: f32, out: &mut [f32]) {
    let mut codes = [0; 2 * BLOCK];
    let codes = &mut codes[..kind.block_bytes() / COLUMNS];
    for (block, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let (scales, packed) = kind.block(panel, block);
        unpack_block(kind, packed, column, codes);
        if kind == Kind::Bf16 {
            for (out, code) in out.iter_mut().zip(codes.as_chunks().0) {
                *out = bf16::to_f32(u16::from_ne_bytes(*code));
            }
            continue;
        }
        let parts = kind.parts();
        let parts = out.chunks_mut(BLOCK / parts).zip(codes.chunks(codes.len() / parts));
        for ((out, codes), scale) in parts.zip(scales.iter().skip(column).step_by(COLUMNS)) {
            if kind == Kind::Fp8Tile128 {
                let scale = e8m0::decode(*scale);
                out.iter_mut().zip(codes).for_each(|(out, code)| *out = e4m3::decode(*code) * scale);
                continue;
            }
            let table = match kind {
                Kind::Nvfp4 => e2m1::VALUES.map(|value| value * e4m3::decode(*scale) * factor),
                _ => e2m1::VALUES.map(|value| value * e8m0::decode(*scale)),
            };
            for (pair, code) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                let (low, high) = e2m1::unpack(*code);
                *pair = [table[usize::from(low)], table[usize::from(high)]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::format::{dequantize_row, tile};

    const KINDS: [(Kind, Format, f32); 4] = [
        (Kind::Mxfp4, Format::Mxfp4, 1.0),
        (Kind::Nvfp4, Format::Nvfp4, 0.3),
        (Kind::Fp8Tile128, Format::Fp8Tile128, 1.0),
        (Kind::Bf16, Format::Bf16, 1.0),
    ];

    fn column(format: Format, seed: usize, blocks: usize) -> (Vec<u8>, Vec<u8>) {
        let byte = |i: usize| ((i * 7919 + seed * 104_729) >> 3) as u8;
        let k = blocks * BLOCK;
        ((0..format.row_bytes(k)).map(byte).collect(), (5..5 + format.row_scales(k)).map(byte).collect())
    }

    #[test]
    fn a_panel_leads_back_and_has_the_values_of_its_columns() {
        for (kind, format, factor) in KINDS {
            for (blocks, columns) in [(1, 16), (3, 5), (4, 16), (9, 1), (9, 16), (21, 16), (32, 3)] {
                let all: Vec<_> = (0..columns).map(|seed| column(format, seed, blocks)).collect();
                let views: Vec<_> = all.iter().map(|(codes, scales)| Column { codes, scales }).collect();
                let mut panel = vec![0xa5; kind.bytes(blocks)];
                pack(kind, &views, &mut panel);
                for (c, (codes, scales)) in all.iter().enumerate() {
                    let (mut codes_back, mut scales_back) = (vec![1; codes.len()], vec![1; scales.len()]);
                    unpack(kind, &panel, c, &mut codes_back, &mut scales_back);
                    assert_eq!((&codes_back, &scales_back), (codes, scales));
                    let (mut values, mut expected) = (vec![0.0; blocks * 32], vec![0.0; blocks * 32]);
                    decode(kind, &panel, c, factor, &mut values);
                    match format {
                        Format::Fp8Tile128 => tile::dequantize_row(codes, scales, &mut expected),
                        Format::Bf16 => {
                            for (value, code) in expected.iter_mut().zip(codes.as_chunks().0) {
                                *value = bf16::to_f32(u16::from_ne_bytes(*code));
                            }
                        }
                        _ => dequantize_row(format, codes, scales, factor, &mut expected),
                    }
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
    fn a_nan_among_fp8_codes_is_seen() {
        let mut codes = vec![0x21; 64];
        let ordinary = |codes: &[u8]| {
            let mut panel = vec![0; Kind::Fp8Tile128.bytes(2)];
            pack(Kind::Fp8Tile128, &[Column { codes, scales: &[127] }], &mut panel);
            is_ordinary(Kind::Fp8Tile128, &panel, 2)
        };
        assert!(ordinary(&codes));
        for nan in [0x7f, 0xff] {
            codes[63] = nan;
            assert!(!ordinary(&codes));
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
    fn a_bf16_weight_out_of_the_ordinary_is_seen() {
        for (value, expected) in [
            (0.0, true),
            (-1e-16, true),
            (1e-17, false),
            (1e15, true),
            (-1e16, false),
            (1e-40, false),
            (f32::NAN, false),
        ] {
            let mut codes: Vec<u8> = [0x3f80u16; 64].iter().flat_map(|one| one.to_ne_bytes()).collect();
            codes[126..].copy_from_slice(&bf16::from_f32(value).to_ne_bytes());
            let mut panel = vec![0; Kind::Bf16.bytes(2)];
            pack(Kind::Bf16, &[Column { codes: &codes, scales: &[] }], &mut panel);
            assert_eq!(is_ordinary(Kind::Bf16, &panel, 2), expected, "{value}");
        }
    }

    #[test]
    fn real_shapes_take_less_than_a_hundredth_more_than_a_checkpoint() {
        for (n, k) in [(4096, 4096), (2048, 4096), (4096, 2048), (7168, 3072), (5760, 2880), (2880, 2880)] {
            for (kind, format, _) in KINDS {
                let panels = count(n) * kind.bytes(k / BLOCK);
                // A row of tiles has its scales once.
                let scales = if kind == Kind::Fp8Tile128 { 0 } else { format.row_scales(k) };
                let bytes = n * (format.row_bytes(k) + scales);
                assert!(panels as f64 <= 1.01 * bytes as f64, "{n}x{k} {kind:?}");
            }
        }
    }
}
