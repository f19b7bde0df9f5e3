//! Panels and packed rows made by AVX-512; the portable twins are [`panel::pack`] and [`packed::pack`].

use std::arch::x86_64::*;

use mxhal_core::Format;
use mxhal_core::format::e4m3;

use crate::packed::{self, FLOAT_RECORD, HALVES_RECORD, INTEGER_RECORD, Numbers, OFFSET};
use crate::panel::{self, BLOCK, COLUMNS, Column, Kind, ORDINARY, ORDINARY_E4M3};

/// See [`panel::pack`].
pub(super) fn pack_panel(kind: Kind, columns: &[Column<'_>], panel: &mut [u8]) {
    let Some(Column { codes, scales }) = columns.first() else { return panel::pack(kind, columns, panel) };
    let blocks = codes.len() * COLUMNS / kind.block_bytes();
    let is_whole = columns.len() == COLUMNS
        && blocks.is_multiple_of(4)
        && codes.len() == blocks * kind.block_bytes() / COLUMNS
        && panel.len() == kind.bytes(blocks)
        && columns.iter().all(|c| c.scales.len() == scales.len() && c.codes.len() == codes.len());
    let scales_wanted = match kind {
        Kind::Mxfp4 | Kind::Nvfp4 => blocks * kind.parts(),
        Kind::Fp8Tile128 => blocks / 4,
        Kind::Bf16 => 0,
    };
    if !is_whole || scales.len() != scales_wanted {
        return panel::pack(kind, columns, panel);
    }
    // SAFETY: columns and panel have so many blocks, and the table that holds this function is made only where the
    // instructions are.
    unsafe {
        match kind {
            Kind::Mxfp4 => transpose::<1>(kind, columns, blocks / kind.group(), panel.as_mut_ptr()),
            Kind::Nvfp4 => transpose::<2>(kind, columns, blocks / kind.group(), panel.as_mut_ptr()),
            Kind::Fp8Tile128 => transpose_tiles(columns, blocks, panel),
            Kind::Bf16 => transpose_bf16(columns, blocks, panel.as_mut_ptr()),
        }
    }
}

/// # Safety
///
/// There are 16 columns, columns and panel have so many blocks of FP8 tiles, a multiple of 4, and this machine has the
/// instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn transpose_tiles(columns: &[Column<'_>], blocks: usize, panel: &mut [u8]) {
    let kind = Kind::Fp8Tile128;
    for pair in (0..blocks).step_by(2) {
        let [group, scales, to] = kind.places(pair);
        if pair % kind.group() == 0 {
            panel[group..][..kind.scales_bytes()].fill(0);
        }
        for (scale, column) in panel[group + scales..].iter_mut().zip(columns) {
            *scale = column.scales[pair / 4];
        }
        // SAFETY: as the caller says.
        unsafe {
            let to = panel.as_mut_ptr().add(group + to);
            let mut words = [_mm512_setzero_si512(); COLUMNS];
            for c in 0..COLUMNS {
                words[c] = _mm512_loadu_si512(columns[c].codes.as_ptr().add(32 * pair).cast());
            }
            let words = transposed(words);
            // Of eight codes, in two words, the lower halves of both and the upper halves of both.
            for i in (0..COLUMNS).step_by(2) {
                let (low, high) = (words[i], words[i + 1]);
                let first = _mm512_mask_mov_epi16(_mm512_slli_epi32::<16>(high), 0x5555_5555, low);
                let second = _mm512_mask_mov_epi16(high, 0x5555_5555, _mm512_srli_epi32::<16>(low));
                _mm512_storeu_si512(to.add(64 * i).cast(), first);
                _mm512_storeu_si512(to.add(64 * i + 64).cast(), second);
            }
        }
    }
}

/// # Safety
///
/// There are 16 columns, columns and panel have so many blocks of BF16, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn transpose_bf16(columns: &[Column<'_>], blocks: usize, panel: *mut u8) {
    let kind = Kind::Bf16;
    for block in 0..blocks {
        let [group, _, to] = kind.places(block);
        // SAFETY: as the caller says.
        unsafe {
            let to = panel.add(group + to);
            let mut words = [_mm512_setzero_si512(); COLUMNS];
            for c in 0..COLUMNS {
                words[c] = _mm512_loadu_si512(columns[c].codes.as_ptr().add(64 * block).cast());
            }
            let words = transposed(words);
            // Of eight codes, in four words: the lower halves of the first and the third word, their upper halves, and
            // the same of the second and the fourth.
            for i in (0..COLUMNS).step_by(4) {
                for second in 0..2 {
                    let (low, high) = (words[i + second], words[i + second + 2]);
                    let lower = _mm512_mask_mov_epi16(_mm512_slli_epi32::<16>(high), 0x5555_5555, low);
                    let upper = _mm512_mask_mov_epi16(high, 0x5555_5555, _mm512_srli_epi32::<16>(low));
                    _mm512_storeu_si512(to.add(64 * (i + 2 * second)).cast(), lower);
                    _mm512_storeu_si512(to.add(64 * (i + 2 * second + 1)).cast(), upper);
                }
            }
        }
    }
}

/// # Safety
///
/// There are 16 columns, columns and panel have so many groups of `P` scales a block, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn transpose<const P: usize>(kind: Kind, columns: &[Column<'_>], groups: usize, panel: *mut u8) {
    // SAFETY: as the caller says.
    unsafe {
        for group in 0..groups {
            let to = panel.add(group * kind.group_bytes());
            let mut words = [_mm512_setzero_si512(); COLUMNS];
            let mut scales = [[0i32; COLUMNS]; P];
            for c in 0..COLUMNS {
                let codes = columns[c].codes.as_ptr().add(64 * group);
                // Sixteen columns are more streams than the processor follows by itself.
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(512).cast());
                words[c] = _mm512_loadu_si512(codes.cast());
                let from = columns[c].scales.as_ptr().add(4 * P * group).cast::<i32>();
                for (four, scales) in scales.iter_mut().enumerate() {
                    scales[c] = from.add(four).read_unaligned();
                }
            }
            let words = transposed(words);
            // Byte 16 · b + c of 64 is byte b of column c's four.
            let order: [u8; 64] = std::array::from_fn(|i| (i % 16 * 4 + i / 16) as u8);
            let order = _mm512_loadu_si512(order.as_ptr().cast());
            for (four, scales) in scales.iter().enumerate() {
                let scales = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(scales.as_ptr().cast()));
                _mm512_storeu_si512(to.add(64 * four).cast(), scales);
            }
            for (i, word) in words.into_iter().enumerate() {
                _mm512_storeu_si512(to.add(kind.scales_bytes() + 64 * i).cast(), word);
            }
        }
    }
    const {
        assert!(Kind::Mxfp4.group() * Kind::Mxfp4.block_bytes() == 64 * COLUMNS);
        assert!(Kind::Nvfp4.group() * Kind::Nvfp4.block_bytes() == 64 * COLUMNS);
    }
}

/// Of 16 registers of 16 words: word `i` of register `c` becomes word `c` of register `i`.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // In each quarter of a register now words 4 · q + i of four rows that follow each other.
    let mut quads = pairs;
    for i in (0..16).step_by(4) {
        quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    let mut out = quads;
    for i in 0..4 {
        let [a, b, c, d] = [quads[i], quads[4 + i], quads[8 + i], quads[12 + i]];
        let (low_ab, high_ab) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (low_cd, high_cd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        out[i] = _mm512_shuffle_i32x4::<0x88>(low_ab, low_cd);
        out[8 + i] = _mm512_shuffle_i32x4::<0xdd>(low_ab, low_cd);
        out[4 + i] = _mm512_shuffle_i32x4::<0x88>(high_ab, high_cd);
        out[12 + i] = _mm512_shuffle_i32x4::<0xdd>(high_ab, high_cd);
    }
    out
}

/// See [`packed::pack`].
pub(super) fn pack(numbers: Numbers, format: Format, data: &[u8], scales: &[u8], out: &mut [u8]) -> bool {
    let (record, as_floats) = (numbers.record(), numbers == Numbers::Floats);
    let blocks = match format {
        Format::Mxfp8G128 => data.len() / BLOCK,
        Format::Bf16 => data.len() / (2 * BLOCK),
        Format::Nvfp4 => scales.len() / 2,
        _ => scales.len(),
    };
    assert!(out.len() >= blocks * record && data.len() == format.row_bytes(blocks * BLOCK));
    assert!(scales.len() == format.row_scales(blocks * BLOCK));
    // SAFETY: there are so many blocks of everything, and the table that holds this function is made only where the
    // instructions are.
    unsafe {
        match format {
            Format::Mxint8 if as_floats => floats(
                data,
                32,
                blocks,
                |block| scales[block],
                6,
                out,
                |data| (widened_integers(_mm256_loadu_si256(data.cast())), true),
            ),
            Format::Mxfp4 if as_floats => floats(
                data,
                16,
                blocks,
                |block| scales[block],
                1,
                out,
                |data| (widened_integers(doubled(data)), true),
            ),
            Format::Nvfp4 if as_floats => floats(
                data,
                16,
                blocks,
                |_| 127,
                1,
                out,
                |block| {
                    let first = block.offset_from_unsigned(data.as_ptr()) / 8;
                    (times(doubled(block), [scales[first], scales[first + 1]].map(e4m3::decode)), true)
                },
            ),
            Format::Mxint8 => integers(data, scales, 7, out, |data| _mm256_loadu_si256(data.cast())),
            Format::Mxfp4 => integers(data, scales, 2, out, |data| doubled(data)),
            Format::Nvfp4 => halves(data, scales, out),
            Format::Bf16 => {
                floats(data, 64, blocks, |_| 127, 0, out, |data| (_mm512_loadu_si512(data.cast()), true))
            }
            Format::Mxfp8 => floats(data, 32, blocks, |block| scales[block], 0, out, |data| widened(data)),
            Format::Mxfp8G128 => {
                floats(data, 32, blocks, |block| scales[block / 4], 0, out, |data| widened(data))
            }
            _ => packed::pack(numbers, format, data, scales, out),
        }
    }
}

/// 32 codes of E2M1 as doubled integers.
///
/// # Safety
///
/// There are 16 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn doubled(data: *const u8) -> __m256i {
    // SAFETY: as the caller says.
    let bytes = unsafe { _mm_loadu_si128(data.cast()) };
    let low = _mm_and_si128(bytes, _mm_set1_epi8(15));
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(15));
    let table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    let (low, high) = (_mm_shuffle_epi8(table, low), _mm_shuffle_epi8(table, high));
    _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high))
}

/// 32 integers in BF16.
///
/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn widened_integers(integers: __m256i) -> __m512i {
    // SAFETY: as the caller says.
    unsafe { times(integers, [1.0; 2]) }
}

/// 32 integers, each half of them times a scale, in BF16, which has room for the products.
///
/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn times(integers: __m256i, scales: [f32; 2]) -> __m512i {
    let upper_halves = |bytes, scale| {
        let floats = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
        let floats = _mm512_castps_si512(_mm512_mul_ps(floats, _mm512_set1_ps(scale)));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(floats))
    };
    let low = upper_halves(_mm256_castsi256_si128(integers), scales[0]);
    let high = upper_halves(_mm256_extracti128_si256::<1>(integers), scales[1]);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// 32 codes of E4M3 in BF16, and whether all are numbers.
///
/// # Safety
///
/// There are 32 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) unsafe fn widened(data: *const u8) -> (__m512i, bool) {
    // SAFETY: as the caller says.
    let bytes = unsafe { _mm256_loadu_si256(data.cast()) };
    let words = _mm512_cvtepu8_epi16(bytes);
    let magnitude = _mm512_and_si512(words, _mm512_set1_epi16(0x7f));
    let nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7f));
    // Exponent and mantissa where BF16 has them, with the bias raised from 7 to 127. Without an exponent a mantissa is
    // one of seven numbers.
    let normal = _mm512_add_epi16(_mm512_slli_epi16::<4>(magnitude), _mm512_set1_epi16(120 << 7));
    const SMALL: [u16; 8] = [0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60];
    let small: [u16; 32] = std::array::from_fn(|i| SMALL[i % 8]);
    // SAFETY: as many bytes as a register.
    let small = unsafe { _mm512_loadu_si512(small.as_ptr().cast()) };
    let is_small = _mm512_cmplt_epi16_mask(magnitude, _mm512_set1_epi16(8));
    let value = _mm512_mask_permutexvar_epi16(normal, is_small, magnitude, small);
    let sign = _mm512_slli_epi16::<8>(_mm512_and_si512(words, _mm512_set1_epi16(0x80)));
    (_mm512_or_si512(value, sign), nan == 0)
}

/// The scale that kernels use, and whether they can; the twin of `usable` in [`packed`].
#[inline(always)]
fn usable(scale: u8, is_zero: bool) -> (i32, bool) {
    let ordinary = scale.wrapping_sub(*ORDINARY.start()) <= *ORDINARY.end() - *ORDINARY.start();
    if is_zero || !ordinary { (127, is_zero && scale != 255) } else { (i32::from(scale), true) }
}

/// # Safety
///
/// `data` has `data.len() / scales.len()` bytes for each block, `out` a record, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
unsafe fn integers(
    data: &[u8],
    scales: &[u8],
    shift: i32,
    out: &mut [u8],
    codes: impl Fn(*const u8) -> __m256i,
) -> bool {
    let each = data.len() / scales.len().max(1);
    // SAFETY: as the caller says.
    unsafe {
        let order = integer_order();
        let ones = _mm256_set1_epi8(1);
        let mut all = true;
        for (block, scale) in scales.iter().enumerate() {
            let codes = codes(data.as_ptr().add(block * each));
            let (scale, is_usable) = usable(*scale, _mm256_testz_si256(codes, codes) == 1);
            all &= is_usable;
            let record = out.as_mut_ptr().add(block * INTEGER_RECORD);
            _mm256_storeu_si256(record.cast(), _mm256_permutexvar_epi8(order, codes));
            let sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, codes);
            let half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            let sum = sum_of_four(half);
            record.add(32).cast::<i32>().write_unaligned((scale - 127 - shift) << 23);
            record.add(36).cast::<i32>().write_unaligned(-OFFSET * sum);
        }
        all
    }
}

/// # Safety
///
/// `data` has 16 bytes for each two of `scales`, `out` a record, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
unsafe fn halves(data: &[u8], scales: &[u8], out: &mut [u8]) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let order = integer_order();
        let ones = _mm256_set1_epi8(1);
        for (block, scales) in scales.as_chunks::<2>().0.iter().enumerate() {
            let codes = doubled(data.as_ptr().add(block * BLOCK / 2));
            let record = out.as_mut_ptr().add(block * HALVES_RECORD);
            _mm256_storeu_si256(record.cast(), _mm256_permutexvar_epi8(order, codes));
            let sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, codes);
            let halves = [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)];
            for (half, (sums, scale)) in halves.into_iter().zip(scales).enumerate() {
                let scale = e4m3::decode(*scale) / 4.0;
                record.add(32 + 4 * half).cast::<f32>().write_unaligned(scale);
                record.add(40 + 4 * half).cast::<i32>().write_unaligned(-OFFSET * sum_of_four(sums));
            }
        }
    }
    scales.iter().all(|scale| ORDINARY_E4M3.contains(scale))
}

/// The order of a record's integers.
#[target_feature(enable = "avx512f")]
fn integer_order() -> __m256i {
    let order: [u8; BLOCK] = std::array::from_fn(|i| (i / 8 * 8 + packed::INTEGER_ORDER[i % 8]) as u8);
    // SAFETY: as many bytes as a register.
    unsafe { _mm256_loadu_si256(order.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn sum_of_four(words: __m128i) -> i32 {
    let two = _mm_add_epi32(words, _mm_shuffle_epi32::<0x4e>(words));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0xb1>(two)))
}

/// # Safety
///
/// There are so many blocks of `each` bytes, `out` has a record for each, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn floats(
    data: &[u8],
    each: usize,
    blocks: usize,
    scale: impl Fn(usize) -> u8,
    shift: i32,
    out: &mut [u8],
    codes: impl Fn(*const u8) -> (__m512i, bool),
) -> bool {
    let order: [u16; BLOCK] = std::array::from_fn(|i| (i / 8 * 8 + packed::FLOAT_ORDER[i % 8]) as u16);
    // SAFETY: as the caller says.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        let (least, most) = (*packed::ORDINARY_BF16.start(), *packed::ORDINARY_BF16.end());
        let mut all = true;
        for block in 0..blocks {
            let (codes, are_numbers) = codes(data.as_ptr().add(block * each));
            let magnitude = _mm512_and_si512(codes, _mm512_set1_epi16(0x7fff));
            let zero = _mm512_testn_epi16_mask(magnitude, magnitude);
            let above = _mm512_cmpgt_epu16_mask(magnitude, _mm512_set1_epi16(most.cast_signed()));
            let below = _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(least.cast_signed()));
            let (scale, is_usable) = usable(scale(block), zero == u32::MAX);
            all &= is_usable && are_numbers && (above | below) & !zero == 0;
            let record = out.as_mut_ptr().add(block * FLOAT_RECORD);
            _mm512_storeu_si512(record.cast(), _mm512_permutexvar_epi16(order, codes));
            record.add(64).cast::<i32>().write_unaligned((scale - 127 - shift) << 23);
        }
        all
    }
}
