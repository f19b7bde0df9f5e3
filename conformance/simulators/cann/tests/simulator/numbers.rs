//! Quantization and products against references written out here.

use std::ffi::c_char;
use std::ptr;

use crate::support::{
    BF16, Cann, E2M1, E4M3, E8M0, F32, I64, NZ, Pointer, Random, call, f32_bytes, i64_bytes, phase_one, run,
};

const TABLE: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The value of an FP4 code.
fn e2m1(code: u8) -> f64 {
    let magnitude = TABLE[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

fn code_at(bytes: &[u8], index: usize) -> u8 {
    bytes[index / 2] >> (4 * (index % 2)) & 0xF
}

/// A matrix of MXFP4 rows: codes of (rows, k), scales of (rows, k/32).
struct Matrix {
    codes: Vec<u8>,
    scales: Vec<u8>,
    k: usize,
}

impl Matrix {
    fn random(random: &mut Random, rows: usize, k: usize) -> Self {
        // Pairs of scales, so that none pads.
        assert_eq!(k % 64, 0);
        Self { codes: random.bytes(rows * k / 2), scales: random.scales(rows * k / 32), k }
    }

    fn at(&self, row: usize, k: usize) -> f64 {
        let index = row * self.k + k;
        e2m1(code_at(&self.codes, index)) * f64::from(i32::from(self.scales[index / 32]) - 127).exp2()
    }
}

fn reference(x: &Matrix, w: &Matrix, row: usize, column: usize) -> f64 {
    (0..x.k).map(|k| x.at(row, k) * w.at(column, k)).sum()
}

#[test]
fn quantize_follows_the_ocp_rule_and_pads_with_zero() {
    let cann = Cann::start();
    let mut values = [0.0_f32; 64 + 32];
    values[..6].copy_from_slice(&[7.9, -2.5, 0.25, 0.75, 1.0, -0.2]);
    values[32..34].copy_from_slice(&[f32::NAN, 1.0]);
    values[64..67].copy_from_slice(&[24.0, 10.0, -4.0]);
    let x = cann.tensor_of(&[1, 96], F32, &f32_bytes(&values));
    let (y_data, scale_data) = (cann.malloc(48), cann.malloc(4));
    let (y, scale) = (cann.tensor(&[1, 96], E2M1, y_data), cann.tensor(&[1, 2, 2], E8M0, scale_data));
    let status = run!(
        cann, "aclnnDynamicMxQuant", x => Pointer, -1 => i64, c"rint".as_ptr() => *const c_char, 40 => i64, 32 => i64,
        0 => i64, y => Pointer, scale => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    // 7.9 has the exponent 2, that of the largest code; 24 has 4, two more. The fourth byte pads.
    assert_eq!(cann.download(scale_data, 4), [127, 255, 129, 0]);
    let codes = cann.download(y_data, 48);
    let first: Vec<f64> = (0..6).map(|i| e2m1(code_at(&codes, i))).collect();
    // 7.9 saturates; 2.5 and 0.25 are ties and go to the even code, 0.75 to 1.
    assert_eq!(first, [6.0, -2.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(code_at(&codes, 5), 8, "the sign of zero is kept");
    let third: Vec<f64> = (64..67).map(|i| e2m1(code_at(&codes, i))).collect();
    assert_eq!(third, [6.0, 2.0, -1.0]);
    cann.finish();
}

#[test]
fn the_scale_algorithms_of_v2_and_fp8_differ_from_ocp() {
    let cann = Cann::start();
    for (to, algorithm, max, amax, byte) in [
        (40, 0, 0.0, 7.0_f32, 127_u8),
        (40, 2, 0.0, 7.0, 128),
        (40, 2, 6.0, 5.0, 127),
        (40, 2, 7.0, 6.5, 127),
        (40, 2, 7.0, 7.5, 128),
        (40, 2, 12.0, 12.0, 127),
        (36, 0, 0.0, 500.0, 127),
        (36, 1, 0.0, 500.0, 128),
    ] {
        let x = cann.tensor_of(&[1, 32], F32, &f32_bytes(&[amax; 32]));
        let scale_data = cann.malloc(2);
        let bytes = if to == 40 { 16 } else { 32 };
        let y = cann.tensor(&[1, 32], to, cann.malloc(bytes));
        let scale = cann.tensor(&[1, 1, 2], E8M0, scale_data);
        let status = run!(
            cann, "aclnnDynamicMxQuantV2", x => Pointer, 1 => i64, ptr::null() => *const c_char, i64::from(to) => i64,
            32 => i64, algorithm => i64, max => f64, y => Pointer, scale => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        assert_eq!(
            cann.download(scale_data, 2),
            [byte, 0],
            "scaleAlg {algorithm}, dstTypeMax {max}, amax {amax}"
        );
    }
    cann.finish();
}

#[test]
fn scales_along_another_axis_are_interleaved() {
    let cann = Cann::start();
    // 64 rows of 2: column 0 has 4 above and 8 below, column 1 has 16 and 32.
    let values: Vec<f32> = (0..64).flat_map(|row| if row < 32 { [4.0, 16.0] } else { [8.0, 32.0] }).collect();
    let x = cann.tensor_of(&[64, 2], F32, &f32_bytes(&values));
    let (y_data, scale_data) = (cann.malloc(64), cann.malloc(4));
    let (y, scale) = (cann.tensor(&[64, 2], E2M1, y_data), cann.tensor(&[1, 2, 2], E8M0, scale_data));
    let status = run!(
        cann, "aclnnDynamicMxQuant", x => Pointer, 0 => i64, ptr::null() => *const c_char, 40 => i64, 32 => i64, 0 => i64,
        y => Pointer, scale => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download(scale_data, 4), [127, 128, 129, 130]);
    let back_data = cann.malloc(4 * 128);
    let back = cann.tensor(&[64, 2], F32, back_data);
    let status =
        run!(cann, "aclnnAntiMxQuant", y => Pointer, scale => Pointer, 0 => i64, 0 => i64, back => Pointer);
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_f32(back_data, 128), values);
    cann.finish();
}

#[test]
fn a_product_is_the_sum_of_its_terms_transposed_in_every_way() {
    let cann = Cann::start();
    let mut random = Random(7);
    let (m, n, k) = (3_usize, 6_usize, 128_usize);
    let (x, w) = (Matrix::random(&mut random, m, k), Matrix::random(&mut random, n, k));
    let (mi, ni, ki, pairs) = (m as i64, n as i64, k as i64, k as i64 / 64);
    let bias: Vec<f32> = (0..n).map(|n| n as f32).collect();
    let x1 = cann.tensor_of(&[mi, ki], E2M1, &x.codes);
    let x1_scale = cann.tensor_of(&[mi, pairs, 2], E8M0, &x.scales);
    let (w_data, s_data) = (cann.upload(&w.codes), cann.upload(&w.scales));
    let bias_tensor = cann.tensor_of(&[ni], F32, &f32_bytes(&bias));
    // (n, k) with the flag; and the same bytes seen as (k, n) without.
    let flagged = (cann.tensor(&[ni, ki], E2M1, w_data), cann.tensor(&[ni, pairs, 2], E8M0, s_data), true);
    let strided = (
        cann.view(&[ki, ni], Some(&[1, ki]), E2M1, 2, &[ni, ki], w_data),
        cann.view(&[pairs, ni, 2], Some(&[2, 2 * pairs, 1]), E8M0, 2, &[ni, pairs, 2], s_data),
        false,
    );
    for (x2, x2_scale, transposed) in [flagged, strided] {
        let out_data = cann.malloc(4 * m * n);
        let out = cann.tensor(&[mi, ni], F32, out_data);
        let none = ptr::null_mut();
        let status = run!(
            cann, "aclnnQuantMatmulV5", x1 => Pointer, x2 => Pointer, x1_scale => Pointer, x2_scale => Pointer,
            none => Pointer, none => Pointer, none => Pointer, none => Pointer, bias_tensor => Pointer, false => bool,
            transposed => bool, 4_295_032_864 => i64, out => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        let got = cann.download_f32(out_data, m * n);
        for (index, got) in got.into_iter().enumerate() {
            // Products in quarters of at most 36 and scales within 2^±6: exact in float32.
            let expected = reference(&x, &w, index / n, index % n) + f64::from(bias[index % n]);
            assert_eq!(f64::from(got), expected, "element {index}, transposeX2 {transposed}");
        }
    }
    cann.finish();
}

#[test]
fn a_weight_in_nz_gives_the_same_product() {
    let cann = Cann::start();
    let mut random = Random(11);
    let (m, n, k) = (2_usize, 34_usize, 64_usize);
    let (x, w) = (Matrix::random(&mut random, m, k), Matrix::random(&mut random, n, k));
    let x1 = cann.tensor_of(&[m as i64, k as i64], E2M1, &x.codes);
    let x1_scale = cann.tensor_of(&[m as i64, 1, 2], E8M0, &x.scales);
    let plain = cann.tensor_of(&[n as i64, k as i64], E2M1, &w.codes);
    let x2_scale = cann.tensor_of(&[n as i64, 1, 2], E8M0, &w.scales);
    let (mut dims, mut count, mut format) = (ptr::null_mut::<i64>(), 0_u64, 0);
    let status = call!(
        cann, "aclnnNpuFormatCastCalculateSizeAndFormat", plain => Pointer, 29 => i32, -1 => i32,
        &mut dims => *mut *mut i64, &mut count => *mut u64, &mut format => *mut i32
    );
    assert_eq!((status, format), (0, NZ), "{:?}", cann.message());
    // SAFETY: so many values were just given.
    let storage = unsafe { std::slice::from_raw_parts(dims, count as usize) };
    assert_eq!(storage, [1, 3, 16, 64]);
    let nz_data = cann.malloc(3 * 16 * 64 / 2);
    let nz = cann.view(&[n as i64, k as i64], None, E2M1, NZ, storage, nz_data);
    assert_eq!(run!(cann, "aclnnNpuFormatCast", plain => Pointer, nz => Pointer), 0, "{:?}", cann.message());
    let out_data = cann.malloc(4 * m * n);
    let out = cann.tensor(&[m as i64, n as i64], F32, out_data);
    let none = ptr::null_mut();
    let status = run!(
        cann, "aclnnQuantMatmulWeightNz", x1 => Pointer, nz => Pointer, x1_scale => Pointer, x2_scale => Pointer,
        none => Pointer, none => Pointer, none => Pointer, none => Pointer, none => Pointer, false => bool, true => bool,
        0 => i64, out => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    for (index, got) in cann.download_f32(out_data, m * n).into_iter().enumerate() {
        assert_eq!(f64::from(got), reference(&x, &w, index / n, index % n), "element {index}");
    }
    cann.finish();
}

#[test]
fn a_weight_alone_is_multiplied_by_bfloat16() {
    let cann = Cann::start();
    // (k, n) = (32, 2): column 0 is all 1, column 1 all 6; scales 2 and 1/2.
    let codes: Vec<u8> = vec![0x72; 32];
    let x = cann.tensor_of(&[1, 32], BF16, &[0x80, 0x3F].repeat(32));
    let weight = cann.tensor_of(&[32, 2], E2M1, &codes);
    let scale = cann.tensor_of(&[1, 2], E8M0, &[128, 126]);
    let y_data = cann.malloc(4);
    let y = cann.tensor(&[1, 2], BF16, y_data);
    let none = ptr::null_mut();
    let status = run!(
        cann, "aclnnWeightQuantBatchMatmulV3", x => Pointer, weight => Pointer, scale => Pointer, none => Pointer,
        none => Pointer, none => Pointer, none => Pointer, 32 => i32, 0 => i32, y => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    // 64 = 0x4280 and 96 = 0x42C0.
    assert_eq!(cann.download(y_data, 4), [0x80, 0x42, 0xC0, 0x42]);
    cann.finish();
}

#[test]
fn groups_use_their_own_weights_and_rows_beyond_stay_as_they_were() {
    let cann = Cann::start();
    let mut random = Random(13);
    let (m, n, k, groups) = (6_usize, 4_usize, 64_usize, 3_usize);
    let x = Matrix::random(&mut random, m, k);
    let w = Matrix::random(&mut random, groups * n, k);
    let (mi, ni, ki, gi) = (m as i64, n as i64, k as i64, groups as i64);
    for (kind, list, shape) in
        [(0_i64, &[2, 2, 5][..], &[3_i64][..]), (1, &[2, 0, 3], &[3]), (2, &[0, 2, 2, 3, 1, 0], &[3, 2])]
    {
        let xs = cann.list(&[cann.tensor_of(&[mi, ki], E2M1, &x.codes)]);
        let x_scales = cann.list(&[cann.tensor_of(&[mi, 1, 2], E8M0, &x.scales)]);
        let (w_data, s_data) = (cann.upload(&w.codes), cann.upload(&w.scales));
        let weight =
            cann.list(&[cann.view(&[gi, ki, ni], Some(&[ni * ki, 1, ki]), E2M1, 2, &[gi, ni, ki], w_data)]);
        let scale = cann.list(&[cann.view(
            &[gi, 1, ni, 2],
            Some(&[2 * ni, 2, 2, 1]),
            E8M0,
            2,
            &[gi, ni, 1, 2],
            s_data,
        )]);
        let out_data = cann.upload(&f32_bytes(&vec![-77.0; m * n]));
        let out = cann.list(&[cann.tensor(&[mi, ni], F32, out_data)]);
        let list = cann.tensor_of(shape, I64, &i64_bytes(list));
        let none = ptr::null_mut();
        let status = run!(
            cann, "aclnnGroupedMatmulV5", xs => Pointer, weight => Pointer, none => Pointer, scale => Pointer,
            none => Pointer, none => Pointer, none => Pointer, x_scales => Pointer, list => Pointer, none => Pointer,
            none => Pointer, none => Pointer, 3 => i64, 0 => i64, kind => i64, 0 => i64, none => Pointer, out => Pointer,
            none => Pointer, none => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        for (index, got) in cann.download_f32(out_data, m * n).into_iter().enumerate() {
            let (row, column) = (index / n, index % n);
            let expected = match row {
                0 | 1 => reference(&x, &w, row, column),
                2..=4 => reference(&x, &w, row, 2 * n + column),
                _ => -77.0,
            };
            assert_eq!(f64::from(got), expected, "element {index}, groupListType {kind}");
        }
    }
    cann.finish();
}

#[test]
fn swiglu_is_silu_of_the_left_times_the_right_and_its_clamp_is_deepseeks() {
    let cann = Cann::start();
    let x = cann.tensor_of(&[1, 4], F32, &f32_bytes(&[1.0, -2.0, 3.0, 0.5]));
    let out_data = cann.malloc(8);
    let out = cann.tensor(&[1, 2], F32, out_data);
    assert_eq!(run!(cann, "aclnnSwiGlu", x => Pointer, -1 => i64, out => Pointer), 0, "{:?}", cann.message());
    let expected = [1.0 / (1.0 + (-1.0_f64).exp()) * 3.0, -2.0 / (1.0 + 2.0_f64.exp()) * 0.5];
    for (got, expected) in cann.download_f32(out_data, 2).into_iter().zip(expected) {
        assert!((f64::from(got) - expected).abs() < 1e-6, "{got}, expected {expected}");
    }

    // Gate 100 and up -100, clamped at 4: 4 · σ(4) · -4 ≈ -15.7, an exponent of 3; as FP4 with scale 2, -6 saturates.
    let values: Vec<f32> = (0..128).map(|i| if i < 64 { 100.0 } else { -100.0 }).collect();
    let x = cann.tensor_of(&[1, 128], F32, &f32_bytes(&values));
    let (y_data, scale_data) = (cann.malloc(32), cann.malloc(2));
    let (y, scale) = (cann.tensor(&[1, 64], E2M1, y_data), cann.tensor(&[1, 1, 2], E8M0, scale_data));
    let status = run!(
        cann, "aclnnSwigluMxQuant", x => Pointer, ptr::null_mut() => Pointer, -1 => i64, true => bool, 1 => i64,
        4.0 => f64, 1.0 => f64, 0.0 => f64, 0 => i64, -1 => i64, 40 => i64, ptr::null() => *const c_char, 0 => i64,
        0.0 => f64, y => Pointer, scale => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download(scale_data, 2), [128, 128]);
    assert_eq!(cann.download(y_data, 32), [0xFF; 32]);
    cann.finish();
}

#[test]
fn a_repeatable_executor_runs_again_at_another_address() {
    let cann = Cann::start();
    let (a, b) = (cann.upload(&f32_bytes(&[2.0; 32])), cann.upload(&f32_bytes(&[8.0; 32])));
    let x = cann.tensor(&[1, 32], F32, a);
    let scale_data = cann.malloc(2);
    let y = cann.tensor(&[1, 32], E4M3, cann.malloc(32));
    let scale = cann.tensor(&[1, 1, 2], E8M0, scale_data);
    let (status, size, executor) = phase_one!(
        cann, "aclnnDynamicMxQuant", x => Pointer, -1 => i64, ptr::null() => *const c_char, 36 => i64, 32 => i64,
        0 => i64, y => Pointer, scale => Pointer
    );
    assert_eq!((status, size), (0, 0), "{:?}", cann.message());
    assert_eq!(call!(cann, "aclSetAclOpExecutorRepeatable", executor => Pointer), 0);
    let none = ptr::null_mut();
    for (address, byte) in [(a, 120), (b, 122), (a, 120)] {
        let status = call!(
            cann, "aclSetInputTensorAddr", executor => Pointer, 0 => usize, x => Pointer, address => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        let status = call!(
            cann, "aclnnDynamicMxQuant", none => Pointer, 0 => u64, executor => Pointer, none => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        assert_eq!(call!(cann, "aclrtSynchronizeStream", none => Pointer), 0);
        assert_eq!(cann.download(scale_data, 2), [byte, 0]);
    }
    cann.destroy_executor(executor);
    cann.finish();
}
