//! Rows quantized by AVX-512. The portable twin is the core's codec, and results are the same to the bit.
//!
//! Sixteen blocks at a time: their largest magnitudes become the lanes of a register, and so do their scales. Then each 64
//! elements are encoded.

use std::arch::x86_64::*;

use mxhal_core::format::{e2m1, e4m3, quantize_row};
use mxhal_core::{Format, Quantization};

use crate::carry::Carry;

/// Blocks whose scales are chosen at once.
const BLOCKS: usize = 16;

/// Elements that are encoded at once.
const ELEMENTS: usize = 64;

/// See [`RowKernels::quantize`](crate::kernel::RowKernels::quantize).
pub(super) fn quantize(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    let format = to.format;
    let fits = x.len().is_multiple_of(format.column_multiple())
        && data.len() == format.row_bytes(x.len())
        && scales.len() == format.row_scales(x.len());
    // SAFETY: elements and scales are as many as the format wants, the encoders write as many bytes as is said, and the
    // table that holds this function is made only where the instructions are.
    unsafe {
        match format {
            Format::Mxfp4 if fits => {
                blocks::<32, 32>(to, x, data, scales, 1.0, |x| Encoded::Half(e2m1_bytes(x)));
            }
            Format::Mxint8 if fits => {
                blocks::<32, 64>(to, x, data, scales, 64.0, |x| Encoded::Full(int8_bytes(x)));
            }
            Format::Mxfp8 if fits => {
                blocks::<32, 64>(to, x, data, scales, 1.0, |x| Encoded::Full(e4m3_bytes(x)));
            }
            Format::Mxfp8G128 if fits => {
                blocks::<128, 64>(to, x, data, scales, 1.0, |x| Encoded::Full(e4m3_bytes(x)));
            }
            Format::Nvfp4 if fits => return nvfp4(x, data, scales),
            _ => return quantize_row(to, x, data, scales),
        }
    }
    1.0
}

/// The bytes of 64 elements.
enum Encoded {
    /// Four bits each.
    Half(__m256i),
    /// Eight.
    Full(__m512i),
}

/// Quantizes blocks of `COLUMNS` values; `encode` makes `BYTES` bytes of 64 of them, which are over the scale and times
/// `unit`. What is out of the ordinary, and what is left at the end, is for the portable twin.
///
/// # Safety
///
/// Elements and scales are as many as the format wants, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn blocks<const COLUMNS: usize, const BYTES: usize>(
    to: &Quantization,
    x: &[f32],
    data: &mut [u8],
    scales: &mut [u8],
    unit: f32,
    encode: impl Fn([__m512; 4]) -> Encoded,
) {
    let rule = Carry::of(to);
    let parts = x.chunks(BLOCKS * COLUMNS).zip(data.chunks_mut(BLOCKS * COLUMNS / ELEMENTS * BYTES));
    for ((x, data), scales) in parts.zip(scales.chunks_mut(BLOCKS)) {
        // As many as there are both whole blocks and whole registers of.
        let whole = x.len() / COLUMNS.max(ELEMENTS) * COLUMNS.max(ELEMENTS);
        let count = whole / COLUMNS;
        let Some(bytes) = scale_bytes(to, rule, amaxes::<COLUMNS>(x[..whole].as_chunks().0)) else {
            quantize_row(to, x, data, scales);
            continue;
        };
        // Of zeros, whose byte is 0, this is as good as any.
        let reciprocals = _mm512_slli_epi32::<23>(_mm512_sub_epi32(_mm512_set1_epi32(254), bytes));
        let mut factors = [0.0; BLOCKS];
        let mut chosen = [0; BLOCKS];
        // SAFETY: there is room for 16.
        unsafe {
            let reciprocals = _mm512_mul_ps(_mm512_castsi512_ps(reciprocals), _mm512_set1_ps(unit));
            _mm512_storeu_ps(factors.as_mut_ptr(), reciprocals);
            _mm_storeu_si128(chosen.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(bytes));
        }
        scales[..count].copy_from_slice(&chosen[..count]);
        let elements = x[..whole].as_chunks::<ELEMENTS>().0.iter().zip(data.chunks_exact_mut(BYTES));
        for (i, (x, data)) in elements.enumerate() {
            fetch(x, 2 * BLOCKS * 32);
            // SAFETY: there are 64 values, and room for the bytes.
            unsafe {
                let part = |part: usize| {
                    let factor = _mm512_set1_ps(factors[(ELEMENTS * i + 16 * part) / COLUMNS]);
                    _mm512_mul_ps(_mm512_loadu_ps(x.as_ptr().add(16 * part)), factor)
                };
                store(encode([part(0), part(1), part(2), part(3)]), data);
            }
        }
        if whole < x.len() {
            let done = whole / ELEMENTS * BYTES;
            quantize_row(to, &x[whole..], &mut data[done..], &mut scales[count..]);
        }
    }
}

/// Asks for the values that are so much further on: largest magnitudes are looked for long before anything is done with
/// them, and what would come from memory would be waited for.
#[inline(always)]
fn fetch(x: &[f32; ELEMENTS], further: usize) {
    for line in 0..ELEMENTS / 16 {
        // SAFETY: nothing is read, wherever that is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.as_ptr().wrapping_add(further + 16 * line).cast()) };
    }
}

/// # Safety
///
/// This machine has the instructions.
#[target_feature(enable = "avx512f")]
unsafe fn store(encoded: Encoded, data: &mut [u8]) {
    // SAFETY: the lengths are asserted.
    unsafe {
        match encoded {
            Encoded::Half(bytes) => {
                assert!(data.len() == 32);
                _mm256_storeu_si256(data.as_mut_ptr().cast(), bytes);
            }
            Encoded::Full(bytes) => {
                assert!(data.len() == 64);
                _mm512_storeu_si512(data.as_mut_ptr().cast(), bytes);
            }
        }
    }
}

/// The bits of the largest magnitude of each of up to sixteen blocks; beyond them 0.
#[target_feature(enable = "avx512f")]
fn amaxes<const COLUMNS: usize>(blocks: &[[f32; COLUMNS]]) -> __m512i {
    let mut amax = [_mm512_setzero_si512(); BLOCKS];
    if let Some(blocks) = blocks.first_chunk::<BLOCKS>() {
        // The usual case once more, with a number of turns that is known.
        for (amax, block) in amax.iter_mut().zip(blocks) {
            *amax = magnitude_lanes(block);
        }
    } else {
        for (amax, block) in amax.iter_mut().zip(blocks) {
            *amax = magnitude_lanes(block);
        }
    }
    lane_maxima(amax)
}

/// The bits of the largest magnitudes of a block, of every sixteenth value each.
#[target_feature(enable = "avx512f")]
fn magnitude_lanes<const COLUMNS: usize>(block: &[f32; COLUMNS]) -> __m512i {
    let mut amax = _mm512_setzero_si512();
    for x in block.as_chunks::<16>().0 {
        // SAFETY: there are 16.
        let bits = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
        amax = _mm512_max_epi32(amax, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff_ffff)));
    }
    amax
}

/// Lane i is the largest of register i's lanes.
#[target_feature(enable = "avx512f")]
fn lane_maxima(m: [__m512i; BLOCKS]) -> __m512i {
    let fours: [__m512i; 8] = std::array::from_fn(|i| {
        let (a, b) = (m[2 * i], m[2 * i + 1]);
        _mm512_max_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b))
    });
    // Each four lanes are of four registers now.
    let quarters: [__m512i; 4] = std::array::from_fn(|i| {
        let (a, b) = (fours[2 * i], fours[2 * i + 1]);
        _mm512_max_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
    });
    let [a, b, c, d] = quarters;
    let ab = _mm512_max_epi32(_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let cd = _mm512_max_epi32(_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    _mm512_max_epi32(_mm512_shuffle_i32x4::<0x88>(ab, cd), _mm512_shuffle_i32x4::<0xdd>(ab, cd))
}

/// [`Quantization::scale_byte`] by [`Carry`], in 32 bits each; `None` if any magnitude is not 0 and out of its range. That
/// includes infinities and NaNs.
#[target_feature(enable = "avx512f")]
fn scale_bytes(to: &Quantization, rule: Carry, amax: __m512i) -> Option<__m512i> {
    const RANGE: std::ops::Range<u32> = Carry::RANGE;
    let lanes = |number: u32| _mm512_set1_epi32(number.cast_signed());
    let amax = _mm512_max_epi32(amax, lanes(to.amax_floor.to_bits()));
    let over = _mm512_sub_epi32(amax, lanes(RANGE.start));
    let ordinary = _mm512_cmplt_epu32_mask(over, lanes(RANGE.end - RANGE.start));
    let zero = _mm512_testn_epi32_mask(amax, amax);
    let exponents = _mm512_srli_epi32::<23>(_mm512_add_epi32(amax, lanes(rule.carry)));
    let bytes = _mm512_maskz_sub_epi32(!zero, exponents, lanes(rule.emax));
    (ordinary | zero == 0xffff).then_some(bytes)
}

/// The nearest codes of 64 values, ties to even; a magnitude of 32 or more gives any code.
///
/// Midpoints between codes have two bits of mantissa. So exponent, two bits, and whether anything follows them (which is
/// or-ed into the third) say which code it is: six bits and the sign, with which a table is looked up. The upper
/// halves of values are taken in the order in which nibbles are wanted: those with an even index, then the others.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn e2m1_bytes([a, b, c, d]: [__m512; 4]) -> __m256i {
    // SAFETY: as many bytes as registers.
    let (upper, positive, negative) = unsafe {
        (
            _mm512_loadu_si512(UPPER_HALVES.as_ptr().cast()),
            _mm512_loadu_si512(E2M1_CODES.as_ptr().cast()),
            _mm512_loadu_si512(E2M1_CODES.as_ptr().add(64).cast()),
        )
    };
    let lower = _mm512_sub_epi16(upper, _mm512_set1_epi16(1));
    let index = |first: __m512, second: __m512| {
        let (first, second) = (_mm512_castps_si512(first), _mm512_castps_si512(second));
        let high = _mm512_permutex2var_epi16(first, upper, second);
        let low = _mm512_permutex2var_epi16(first, lower, second);
        // low | high & 15
        let rest = _mm512_ternarylogic_epi32::<0xf8>(low, high, _mm512_set1_epi16(15));
        // Saturated, all ones if there is any rest, else all but the last.
        let sticky = _mm512_adds_epu16(rest, _mm512_set1_epi16(-2));
        let magnitude = _mm512_and_si512(high, _mm512_set1_epi16(0x7fff));
        let from_an_eighth = _mm512_subs_epu16(magnitude, _mm512_set1_epi16(124 << 7));
        let bits = _mm512_srli_epi16::<4>(from_an_eighth);
        // bits | sticky & 1, and the same with the sign.
        let bits = _mm512_ternarylogic_epi32::<0xf8>(bits, sticky, _mm512_set1_epi16(1));
        _mm512_ternarylogic_epi32::<0xf8>(bits, _mm512_srli_epi16::<9>(high), _mm512_set1_epi16(0x40))
    };
    let indices = _mm512_packus_epi16(index(a, c), index(b, d));
    let codes = _mm512_permutex2var_epi8(positive, indices, negative);
    let odd = _mm256_slli_epi16::<4>(_mm512_extracti64x4_epi64::<1>(codes));
    _mm256_or_si256(_mm512_castsi512_si256(codes), odd)
}

/// Where the upper halves are, in two registers of words: in each 128 bits those of one of them, even ones first.
const UPPER_HALVES: [u16; 32] = {
    let mut places = [0; 32];
    let mut i = 0;
    while i < 32 {
        let (quarter, element) = (i / 8, i % 8 * 2 + i / 16);
        places[i] = ((quarter % 2) * 32 + 2 * element + 1) as u16;
        i += 1;
    }
    places
};

/// Sign, three bits of exponent (0 is that of an eighth), three of mantissa.
const E2M1_CODES: [u8; 128] = {
    let mut codes = [0; 128];
    let mut i = 0;
    while i < 64 {
        let value = f32::from_bits((124 + (i as u32 >> 3)) << 23 | (i as u32 & 7) << 20);
        codes[i] = e2m1::encode(value);
        codes[64 + i] = codes[i] | 8;
        i += 1;
    }
    codes
};

/// 64 integers, saturated.
#[target_feature(enable = "avx512f,avx512bw")]
fn int8_bytes(values: [__m512; 4]) -> __m512i {
    let [a, b, c, d] = values.map(|values| _mm512_cvtps_epi32(values));
    let bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    _mm512_max_epi8(in_order(bytes), _mm512_set1_epi8(-127))
}

/// The nearest codes of 64 values, ties to even, saturated.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
fn e4m3_bytes(values: [__m512; 4]) -> __m512i {
    let [a, b, c, d] = values.map(|values| {
        let sign = _mm512_srli_epi32::<24>(_mm512_castps_si512(values));
        // code | sign & 0x80
        _mm512_ternarylogic_epi32::<0xf8>(e4m3_codes(_mm512_abs_ps(values)), sign, _mm512_set1_epi32(0x80))
    });
    in_order(_mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d)))
}

/// Of bytes that were packed from four registers of 32 bits.
#[target_feature(enable = "avx512f")]
fn in_order(bytes: __m512i) -> __m512i {
    let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(places, bytes)
}

/// The codes of magnitudes, in 32 bits each.
///
/// As in the core's codec: the last place at 2^14 is that of the subnormals, and from 2^−6 on three bits of mantissa are
/// left.
#[target_feature(enable = "avx512f")]
fn e4m3_codes(magnitude: __m512) -> __m512i {
    const ROUNDER: f32 = 16384.0;
    let bits = _mm512_castps_si512(magnitude);
    let shifted = _mm512_castps_si512(_mm512_add_ps(magnitude, _mm512_set1_ps(ROUNDER)));
    let small = _mm512_sub_epi32(shifted, _mm512_set1_epi32(ROUNDER.to_bits().cast_signed()));
    let odd = _mm512_and_si512(_mm512_srli_epi32::<20>(bits), _mm512_set1_epi32(1));
    let rounder = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7_ffff));
    let rounded = _mm512_srli_epi32::<20>(_mm512_add_epi32(bits, rounder));
    let normal = _mm512_sub_epi32(rounded, _mm512_set1_epi32(120 << 3));
    let large = _mm512_min_epi32(normal, _mm512_set1_epi32(0x7e));
    let is_small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(magnitude, _mm512_set1_ps(1.0 / 64.0));
    _mm512_mask_mov_epi32(large, is_small, small)
}

/// Quantizes to NVFP4, and gives the row's factor.
///
/// # Safety
///
/// There are 16 elements for each scale, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn nvfp4(x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    const COLUMNS: usize = 16;
    let factor = (finite_amax(x) / (e2m1::MAX * e4m3::MAX)).max(f32::MIN_POSITIVE);
    // The next row, in all likelihood, is the next to be read.
    let row = x.len();
    let parts = x.chunks(BLOCKS * COLUMNS).zip(data.chunks_mut(BLOCKS * COLUMNS / 2));
    for ((x, data), scales) in parts.zip(scales.chunks_mut(BLOCKS)) {
        let (mut values, mut bytes) = ([0.0; BLOCKS * COLUMNS], [0; BLOCKS * COLUMNS / 2]);
        if x.len() == values.len() {
            // SAFETY: as the caller says.
            let chosen = unsafe { nvfp4_blocks(x, data, factor, row) };
            scales.copy_from_slice(&chosen);
        } else {
            values[..x.len()].copy_from_slice(x);
            // SAFETY: as the caller says.
            let chosen = unsafe { nvfp4_blocks(&values, &mut bytes, factor, row) };
            data.copy_from_slice(&bytes[..data.len()]);
            scales.copy_from_slice(&chosen[..scales.len()]);
        }
    }
    factor
}

/// The largest magnitude among those that are finite.
#[target_feature(enable = "avx512f")]
fn finite_amax(x: &[f32]) -> f32 {
    let mut amax = [_mm512_setzero_si512(); 4];
    for (i, x) in x.chunks(16).enumerate() {
        let mask = (u32::MAX >> (32 - x.len())) as u16;
        // SAFETY: what the mask excludes is not touched.
        let bits = unsafe { _mm512_maskz_loadu_epi32(mask, x.as_ptr().cast()) };
        let magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff_ffff));
        let finite = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f80_0000));
        amax[i % 4] = _mm512_mask_max_epi32(amax[i % 4], finite, amax[i % 4], magnitude);
    }
    let [a, b, c, d] = amax;
    let amax = _mm512_max_epi32(_mm512_max_epi32(a, b), _mm512_max_epi32(c, d));
    f32::from_bits(_mm512_reduce_max_epi32(amax).cast_unsigned())
}

/// Quantizes sixteen blocks of a row of so many values, and gives their scales.
///
/// # Safety
///
/// There are 256 values and 128 bytes, and this machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn nvfp4_blocks(x: &[f32], data: &mut [u8], factor: f32, row: usize) -> [u8; BLOCKS] {
    let amax = amaxes::<16>(x.as_chunks().0);
    let is_zero = _mm512_testn_epi32_mask(amax, amax);
    let is_lost = _mm512_cmpge_epi32_mask(amax, _mm512_set1_epi32(0x7f80_0000));
    let factor = _mm512_set1_ps(factor);
    let wanted = _mm512_div_ps(_mm512_div_ps(_mm512_castsi512_ps(amax), _mm512_set1_ps(e2m1::MAX)), factor);
    let least = _mm512_set1_ps(e4m3::VALUES[1]);
    let wanted = _mm512_max_ps(_mm512_min_ps(wanted, _mm512_set1_ps(e4m3::MAX)), least);
    let codes = e4m3_codes(wanted);
    // With a code's bits where float32 has them it is 2^120 times too small, and perhaps subnormal.
    let up = _mm512_set1_ps(f32::from_bits((127 + 120) << 23));
    let decoded = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32::<20>(codes)), up);
    // For an all-zero block anything but 0, which would make its zeros NaN.
    let divisor = _mm512_mask_mov_ps(_mm512_mul_ps(decoded, factor), is_zero | is_lost, _mm512_set1_ps(1.0));
    let codes = _mm512_maskz_mov_epi32(!is_zero, codes);
    let codes = _mm512_mask_mov_epi32(codes, is_lost, _mm512_set1_epi32(e4m3::NAN.into()));
    let (mut divisors, mut scales) = ([0.0; BLOCKS], [0; BLOCKS]);
    // SAFETY: there is room for 16.
    unsafe {
        _mm512_storeu_ps(divisors.as_mut_ptr(), divisor);
        _mm_storeu_si128(scales.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(codes));
    }
    let elements = x.as_chunks::<ELEMENTS>().0.iter().zip(data.as_chunks_mut::<32>().0);
    for ((x, data), divisors) in elements.zip(divisors.as_chunks::<4>().0) {
        fetch(x, row);
        // SAFETY: there are 64 values, and 32 bytes.
        unsafe {
            let part = |i: usize| {
                _mm512_div_ps(_mm512_loadu_ps(x.as_ptr().add(16 * i)), _mm512_set1_ps(divisors[i]))
            };
            _mm256_storeu_si256(data.as_mut_ptr().cast(), e2m1_bytes([part(0), part(1), part(2), part(3)]));
        }
    }
    if is_lost != 0 {
        for (block, data) in data.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            if is_lost >> block & 1 == 1 {
                data.fill(0);
            }
        }
    }
    scales
}
