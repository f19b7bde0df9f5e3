//! Gating, permutation and combination against references written out here.

use std::ptr;

use crate::support::{
    BF16, Cann, E2M1, E8M0, F32, I32, I64, Pointer, call, f32_bytes, i32_bytes, phase_one, run,
};

fn close(got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((f64::from(*got) - expected).abs() < 1e-5, "{got}, expected {expected}");
    }
}

#[test]
fn the_bias_chooses_and_does_not_weigh() {
    let cann = Cann::start();
    let logits = [0.5_f32, 1.0, -1.0, 1.0];
    let x = cann.tensor_of(&[1, 4], F32, &f32_bytes(&logits));
    let bias = cann.tensor_of(&[4], F32, &f32_bytes(&[0.0, 0.0, 9.0, 0.0]));
    let (y_data, id_data) = (cann.malloc(8), cann.malloc(8));
    let (y, ids) = (cann.tensor(&[1, 2], F32, y_data), cann.tensor(&[1, 2], I32, id_data));
    let none = ptr::null_mut();
    let status = run!(
        cann, "aclnnMoeGatingTopKV2", x => Pointer, bias => Pointer, none => Pointer, none => Pointer, 2 => i64, 1 => i64,
        1 => i64, 0 => i64, 0 => i64, 2 => i64, false => bool, 2.5 => f64, 1e-20 => f64, y => Pointer, ids => Pointer,
        none => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    // Of the equal experts 1 and 3 the lower one.
    assert_eq!(cann.download_i32(id_data, 2), [2, 1]);
    let score = |x: f64| x.exp().ln_1p().sqrt();
    let (a, b) = (score(-1.0), score(1.0));
    close(&cann.download_f32(y_data, 2), &[2.5 * a / (a + b), 2.5 * b / (a + b)]);
    cann.finish();
}

#[test]
fn hash_layers_take_their_experts_from_the_table() {
    let cann = Cann::start();
    let x = cann.tensor_of(&[2, 4], F32, &f32_bytes(&[0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]));
    let ids = cann.tensor_of(&[2], I32, &i32_bytes(&[2, 0]));
    let table = cann.tensor_of(&[3, 1], I32, &i32_bytes(&[3, 0, 1]));
    let (y_data, id_data) = (cann.malloc(8), cann.malloc(8));
    let (y, experts) = (cann.tensor(&[2, 1], F32, y_data), cann.tensor(&[2, 1], I32, id_data));
    let none = ptr::null_mut();
    let status = run!(
        cann, "aclnnMoeGatingTopKV2", x => Pointer, none => Pointer, ids => Pointer, table => Pointer, 1 => i64, 1 => i64,
        1 => i64, 0 => i64, 0 => i64, 0 => i64, false => bool, 1.0 => f64, 0.0 => f64, y => Pointer, experts => Pointer,
        none => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_i32(id_data, 2), [1, 3]);
    let sum: f64 = (0..4).map(|x| f64::from(x).exp()).sum();
    close(&cann.download_f32(y_data, 2), &[1.0_f64.exp() / sum, 0.25]);
    cann.finish();
}

#[test]
fn the_softmax_of_the_chosen_is_renorm_of_v2() {
    let cann = Cann::start();
    let x = cann.tensor_of(&[1, 3], F32, &f32_bytes(&[1.0, 3.0, 2.0]));
    let (y_data, id_data) = (cann.malloc(8), cann.malloc(8));
    let (y, ids) = (cann.tensor(&[1, 2], F32, y_data), cann.tensor(&[1, 2], I32, id_data));
    let none = ptr::null_mut();
    let status = run!(
        cann, "aclnnMoeGatingTopKSoftmaxV2", x => Pointer, none => Pointer, 2 => i64, 1 => i64, false => bool, y => Pointer,
        ids => Pointer, none => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_i32(id_data, 2), [1, 2]);
    let e = 1.0_f64.exp();
    close(&cann.download_f32(y_data, 2), &[e / (1.0 + e), 1.0 / (1.0 + e)]);

    let (row_data, rows) = (cann.malloc(8), 1);
    let row_index = cann.tensor(&[rows, 2], I32, row_data);
    let status = run!(
        cann, "aclnnMoeGatingTopKSoftmax", x => Pointer, none => Pointer, 2 => i64, y => Pointer, ids => Pointer,
        row_index => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    let sum = e + e.powi(2) + e.powi(3);
    close(&cann.download_f32(y_data, 2), &[e.powi(3) / sum, e.powi(2) / sum]);
    assert_eq!(cann.download_i32(row_data, 2), [0, 1]);
    cann.finish();
}

#[test]
fn rows_are_sorted_by_expert_and_come_back_weighted() {
    let cann = Cann::start();
    let none = ptr::null_mut();
    let x = cann.tensor_of(&[3, 2], F32, &f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let experts = cann.tensor_of(&[3, 2], I32, &i32_bytes(&[2, 0, 2, 1, 0, 2]));
    let (rows_data, index_data, counts_data) = (cann.malloc(48), cann.malloc(24), cann.malloc(32));
    let (rows, index) = (cann.tensor(&[6, 2], F32, rows_data), cann.tensor(&[6], I32, index_data));
    let counts = cann.tensor(&[4], I64, counts_data);
    let status = run!(
        cann, "aclnnMoeInitRoutingV3", x => Pointer, experts => Pointer, none => Pointer, none => Pointer, 6 => i64,
        0 => i64, 4 => i64, 0 => i64, 1 => i64, true => bool, -1 => i64, none => Pointer, 0 => i64, rows => Pointer,
        index => Pointer, counts => Pointer, none => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_i64(counts_data, 4), [2, 1, 3, 0]);
    // Expert 0: tokens 0 and 2; 1: token 1; 2: tokens 0, 1 and 2.
    assert_eq!(cann.download_f32(rows_data, 12), [1., 2., 5., 6., 3., 4., 1., 2., 3., 4., 5., 6.]);
    assert_eq!(cann.download_i32(index_data, 6), [3, 0, 4, 2, 1, 5]);

    let weights = cann.tensor_of(&[3, 2], F32, &f32_bytes(&[0.5, 0.25, 1.0, 2.0, 0.0, 1.0]));
    let shared = cann.tensor_of(&[3, 2], F32, &f32_bytes(&[10.0; 6]));
    let out_data = cann.malloc(24);
    let out = cann.tensor(&[3, 2], F32, out_data);
    let status = run!(
        cann, "aclnnMoeFinalizeRoutingV2", rows => Pointer, index => Pointer, shared => Pointer, none => Pointer,
        none => Pointer, weights => Pointer, none => Pointer, 2 => i64, out => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_f32(out_data, 6), [10.75, 11.5, 19.0, 22.0, 15.0, 16.0]);

    let (cumulative_data, none_before) = (cann.malloc(16), ptr::null_mut());
    let cumulative = cann.tensor(&[4], I32, cumulative_data);
    let status = run!(
        cann, "aclnnMoeInitRoutingV2", x => Pointer, experts => Pointer, 0 => i64, 0 => i64, 4 => i64, 0 => i64, 1 => i64,
        false => bool, rows => Pointer, index => Pointer, cumulative => Pointer, none_before => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_i32(cumulative_data, 4), [2, 3, 6, 6]);
    cann.finish();
}

#[test]
fn routing_quantizes_and_skips_experts_of_others() {
    let cann = Cann::start();
    let none = ptr::null_mut();
    // Token 0 is all 1, token 1 all 4, as bfloat16.
    let x = cann.tensor_of(&[2, 32], BF16, &[[0x80, 0x3F].repeat(32), [0x80, 0x40].repeat(32)].concat());
    let experts = cann.tensor_of(&[2, 1], I32, &i32_bytes(&[0, 2]));
    let (rows_data, scale_data) = (cann.upload(&[0x11; 32]), cann.upload(&[9; 4]));
    let (index_data, counts_data) = (cann.malloc(8), cann.malloc(16));
    let (rows, scale) = (cann.tensor(&[2, 32], E2M1, rows_data), cann.tensor(&[2, 1, 2], E8M0, scale_data));
    let (index, counts) = (cann.tensor(&[2], I32, index_data), cann.tensor(&[2], I64, counts_data));
    // SAFETY: declared so.
    let range = unsafe {
        let create =
            cann.library.get::<unsafe extern "C" fn(*const i64, u64) -> Pointer>("aclCreateIntArray");
        create.expect("exported")([1_i64, 3].as_ptr(), 2)
    };
    let status = run!(
        cann, "aclnnMoeInitRoutingV3", x => Pointer, experts => Pointer, none => Pointer, none => Pointer, 2 => i64,
        0 => i64, 4 => i64, 0 => i64, 1 => i64, true => bool, 9 => i64, range => Pointer, 0 => i64, rows => Pointer,
        index => Pointer, counts => Pointer, scale => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert_eq!(cann.download_i32(index_data, 2), [-1, 0]);
    assert_eq!(cann.download_i64(counts_data, 2), [0, 1]);
    // 4 has the exponent of the largest code: scale 1, code 6. The other row stays as it was.
    assert_eq!(cann.download(rows_data, 32), [[0x66; 16], [0x11; 16]].concat());
    assert_eq!(cann.download(scale_data, 4), [127, 0, 9, 9]);
    assert_eq!(call!(cann, "aclDestroyIntArray", range => Pointer), 0);
    cann.finish();
}

#[test]
fn an_expert_that_does_not_exist_is_an_exception() {
    let cann = Cann::start();
    let none = ptr::null_mut();
    let x = cann.tensor_of(&[1, 2], F32, &f32_bytes(&[1.0, 2.0]));
    let experts = cann.tensor_of(&[1, 1], I32, &i32_bytes(&[4]));
    let rows = cann.tensor(&[1, 2], F32, cann.malloc(8));
    let (index, counts) = (cann.tensor(&[1], I32, cann.malloc(4)), cann.tensor(&[4], I64, cann.malloc(32)));
    let (status, size, executor) = phase_one!(
        cann, "aclnnMoeInitRoutingV3", x => Pointer, experts => Pointer, none => Pointer, none => Pointer, 1 => i64,
        0 => i64, 4 => i64, 0 => i64, 1 => i64, true => bool, -1 => i64, none => Pointer, 0 => i64, rows => Pointer,
        index => Pointer, counts => Pointer, none => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    let (stream, workspace) = (cann.stream(), cann.malloc(size as usize));
    let status = call!(
        cann, "aclnnMoeInitRoutingV3", workspace => Pointer, size => u64, executor => Pointer, stream => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    let status = call!(cann, "aclrtSynchronizeStream", stream => Pointer);
    cann.refused(status, 507_015, "expert-ids", "expertIdx[0][0] is 4");
    assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    cann.finish();
}
