//! Rules are broken one by one; each is named, with its documented code and the argument.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::support::{
    BF16, Cann, E2M1, E4M3, E8M0, F16, F32, I32, I64, ND, NZ, Pointer, call, f32_bytes, i64_bytes, in_child,
    is_child, passes_in_child, phase_one,
};

const NONE: Pointer = ptr::null_mut();
/// What is wrong with a parameter or a tensor.
const INVALID: i32 = 161_002;

/// `aclnnDynamicMxQuantV2` of x (rows, columns) along the last axis, with one thing changed.
#[derive(Clone)]
struct Quantize {
    x: (Vec<i64>, i32),
    axis: i64,
    mode: &'static std::ffi::CStr,
    to: i64,
    block: i64,
    algorithm: i64,
    max: f64,
    y: (Vec<i64>, i32),
    scale: (Vec<i64>, i32),
}

impl Quantize {
    fn right() -> Self {
        Self {
            x: (vec![2, 64], F32),
            axis: -1,
            mode: c"rint",
            to: 40,
            block: 32,
            algorithm: 0,
            max: 0.0,
            y: (vec![2, 64], E2M1),
            scale: (vec![2, 1, 2], E8M0),
        }
    }

    fn status(&self, cann: &Cann) -> i32 {
        let tensor = |(shape, element): &(Vec<i64>, i32)| cann.tensor(shape, *element, cann.malloc(4096));
        let (x, y, scale) = (tensor(&self.x), tensor(&self.y), tensor(&self.scale));
        let (status, _, executor) = phase_one!(
            cann, "aclnnDynamicMxQuantV2", x => Pointer, self.axis => i64, self.mode.as_ptr() => *const c_char,
            self.to => i64, self.block => i64, self.algorithm => i64, self.max => f64, y => Pointer, scale => Pointer
        );
        if status == 0 {
            cann.destroy_executor(executor);
        }
        status
    }
}

#[test]
fn quantization_names_what_is_wrong() {
    let cann = Cann::start();
    assert_eq!(Quantize::right().status(&cann), 0, "{:?}", cann.message());
    let breaks = |change: &dyn Fn(&mut Quantize), rule: &str, names: &str| {
        let mut quantize = Quantize::right();
        change(&mut quantize);
        cann.refused(quantize.status(&cann), INVALID, rule, names);
    };
    breaks(&|q| q.x.1 = I32, "dtype-combination", "x (INT32");
    breaks(&|q| q.axis = 2, "parameter-range", "axis 2");
    breaks(&|q| q.mode = c"ceil", "round-mode", "`ceil`");
    breaks(&|q| q.to = 34, "dtype-combination", "dstType 34");
    breaks(&|q| q.block = 48, "block-size", "blocksize 48");
    breaks(&|q| q.block = 64, "block-size", "blocksize 64 with FLOAT");
    breaks(&|q| q.algorithm = 1, "scale-algorithm", "scaleAlg 1");
    breaks(&|q| q.max = 6.0, "parameter-range", "dstTypeMax 6");
    breaks(&|q| q.y.0 = vec![2, 32], "fp4-counts-elements", "yOut");
    breaks(&|q| q.y.0 = vec![2, 62], "shape", "yOut");
    breaks(&|q| q.y.1 = E4M3, "dtype-combination", "yOut");
    breaks(&|q| q.scale.0 = vec![2, 2], "scale-pairs", "mxscaleOut");
    breaks(&|q| q.scale.1 = F16, "dtype-combination", "mxscaleOut");
    breaks(
        &|q| {
            q.x.0 = vec![2, 63];
            q.y.0 = vec![2, 63];
        },
        "fp4-even",
        "x ",
    );
    breaks(
        &|q| {
            q.to = 36;
            q.y.1 = E4M3;
            q.mode = c"round";
        },
        "round-mode",
        "FLOAT8_E4M3FN",
    );
    cann.finish();
}

/// `aclnnQuantMatmulV5` with (m, n, k) = (2, 4, 64) and a transposed x2, with one thing changed.
struct Matmul {
    x1: (Vec<i64>, i32),
    x2: (Vec<i64>, i32),
    x1_scale: Vec<i64>,
    x2_scale: Vec<i64>,
    x2_format: i32,
    x2_strides: Option<Vec<i64>>,
    y_scale: bool,
    transpose: [bool; 2],
    group_size: i64,
    out: (Vec<i64>, i32),
}

impl Matmul {
    fn right() -> Self {
        Self {
            x1: (vec![2, 64], E2M1),
            x2: (vec![4, 64], E2M1),
            x1_scale: vec![2, 1, 2],
            x2_scale: vec![4, 1, 2],
            x2_format: ND,
            x2_strides: None,
            y_scale: false,
            transpose: [false, true],
            group_size: 4_295_032_864,
            out: (vec![2, 4], BF16),
        }
    }

    fn status(&self, cann: &Cann) -> i32 {
        let tensor = |shape: &[i64], element| cann.tensor(shape, element, cann.malloc(4096));
        let (x1, out) = (tensor(&self.x1.0, self.x1.1), tensor(&self.out.0, self.out.1));
        let x2 = cann.view(
            &self.x2.0,
            self.x2_strides.as_deref(),
            self.x2.1,
            self.x2_format,
            &[64, 64],
            cann.malloc(4096),
        );
        let (x1_scale, x2_scale) = (tensor(&self.x1_scale, E8M0), tensor(&self.x2_scale, E8M0));
        let y_scale = if self.y_scale { tensor(&[1], F32) } else { NONE };
        let (status, _, executor) = phase_one!(
            cann, "aclnnQuantMatmulV5", x1 => Pointer, x2 => Pointer, x1_scale => Pointer, x2_scale => Pointer,
            y_scale => Pointer, NONE => Pointer, NONE => Pointer, NONE => Pointer, NONE => Pointer,
            self.transpose[0] => bool, self.transpose[1] => bool, self.group_size => i64, out => Pointer
        );
        if status == 0 {
            cann.destroy_executor(executor);
        }
        status
    }
}

#[test]
fn a_product_names_what_is_wrong() {
    let cann = Cann::start();
    assert_eq!(Matmul::right().status(&cann), 0, "{:?}", cann.message());
    let breaks = |change: &dyn Fn(&mut Matmul), rule: &str, names: &str| {
        let mut matmul = Matmul::right();
        change(&mut matmul);
        cann.refused(matmul.status(&cann), INVALID, rule, names);
    };
    breaks(&|m| m.x1.1 = BF16, "dtype-combination", "x1 BF16");
    breaks(&|m| m.out.1 = I32, "dtype-combination", "out");
    breaks(&|m| m.group_size = 32, "group-size", "groupSize 32");
    breaks(&|m| m.y_scale = true, "unused-argument", "yScale");
    breaks(&|m| m.x1_scale = vec![2, 2], "scale-pairs", "x1Scale");
    breaks(&|m| m.x2_scale = vec![1, 4, 2], "scale-pairs", "x2Scale");
    breaks(&|m| m.out.0 = vec![4, 2], "shape", "out");
    breaks(&|m| m.transpose = [false, false], "shape", "K = 4");
    breaks(&|m| m.x2_format = NZ, "format", "x2");
    breaks(&|m| m.x2_strides = Some(vec![128, 2]), "strides", "x2");
    breaks(&|m| m.x2.0 = vec![4, 32], "shape", "K = 32");
    breaks(
        &|m| {
            m.x2.0 = vec![64, 5];
            m.x2_scale = vec![1, 5, 2];
            m.transpose = [false, false];
            m.out.0 = vec![2, 5];
        },
        "fp4-even",
        "x2",
    );
    breaks(
        &|m| {
            m.x1.0 = vec![2, 2];
            m.x2.0 = vec![4, 2];
        },
        "fp4-inner-above-two",
        "K = 2",
    );
    breaks(
        &|m| {
            (m.x1, m.x2.0) = ((vec![2, 60], E4M3), vec![4, 60]);
        },
        "w4a8-k-of-eight",
        "K = 60",
    );
    breaks(
        &|m| {
            // x2 is a view of (n, k) storage; its scales are those of (k, n) storage.
            (m.x1.0, m.x1_scale) = (vec![2, 128], vec![2, 2, 2]);
            (m.x2.0, m.x2_strides) = (vec![128, 4], Some(vec![1, 128]));
            (m.transpose, m.x2_scale) = ([false, false], vec![2, 4, 2]);
        },
        "scale-transposition",
        "x2Scale",
    );
    cann.finish();
}

/// `aclnnGroupedMatmulV5` with (m, n, k, groups) = (4, 6, 128, 2) and a transposed weight.
struct Grouped {
    weight_strides: [i64; 3],
    scale_strides: [i64; 4],
    list: (Vec<i64>, i32),
    values: Vec<i64>,
    split_item: i64,
    act_type: i64,
    x_tensors: usize,
}

impl Grouped {
    fn right() -> Self {
        Self {
            weight_strides: [768, 1, 128],
            scale_strides: [24, 2, 4, 1],
            list: (vec![2], I64),
            values: vec![1, 3],
            split_item: 3,
            act_type: 0,
            x_tensors: 1,
        }
    }

    fn phase_one(&self, cann: &Cann) -> (i32, u64, Pointer) {
        let tensor = |shape: &[i64], element| cann.tensor(shape, element, cann.malloc(4096));
        let x = cann.list(&(0..self.x_tensors).map(|_| tensor(&[4, 128], E2M1)).collect::<Vec<_>>());
        let (w, s) = (cann.malloc(4096), cann.malloc(4096));
        let weight =
            cann.list(&[cann.view(&[2, 128, 6], Some(&self.weight_strides), E2M1, ND, &[2, 6, 128], w)]);
        let scale =
            cann.list(&[cann.view(&[2, 2, 6, 2], Some(&self.scale_strides), E8M0, ND, &[2, 6, 2, 2], s)]);
        let (x_scale, out) = (cann.list(&[tensor(&[4, 2, 2], E8M0)]), cann.list(&[tensor(&[4, 6], BF16)]));
        let list = cann.tensor(&self.list.0, self.list.1, cann.upload(&i64_bytes(&self.values)));
        phase_one!(
            cann, "aclnnGroupedMatmulV5", x => Pointer, weight => Pointer, NONE => Pointer, scale => Pointer,
            NONE => Pointer, NONE => Pointer, NONE => Pointer, x_scale => Pointer, list => Pointer, NONE => Pointer,
            NONE => Pointer, NONE => Pointer, self.split_item => i64, 0 => i64, 0 => i64, self.act_type => i64,
            NONE => Pointer, out => Pointer, NONE => Pointer, NONE => Pointer
        )
    }
}

#[test]
fn a_grouped_product_names_what_is_wrong() {
    let cann = Cann::start();
    let breaks = |change: &dyn Fn(&mut Grouped), rule: &str, names: &str| {
        let mut grouped = Grouped::right();
        change(&mut grouped);
        cann.refused(grouped.phase_one(&cann).0, INVALID, rule, names);
    };
    breaks(&|g| g.weight_strides = [768, 6, 1], "scale-transposition", "scaleOptional");
    breaks(&|g| g.scale_strides = [24, 12, 2, 1], "scale-transposition", "scaleOptional");
    breaks(&|g| g.weight_strides = [1, 2, 128], "strides", "weight");
    breaks(&|g| g.list.1 = I32, "group-list", "groupListOptional");
    breaks(&|g| g.list.0 = vec![1], "group-list", "groupListOptional");
    breaks(&|g| g.split_item = 0, "parameter-range", "splitItem 0");
    breaks(&|g| g.act_type = 1, "parameter-range", "actType 1");
    breaks(&|g| g.x_tensors = 2, "list-length", "x has 2");

    // Values are seen on the device only.
    for values in [vec![3, 1], vec![1, 5], vec![-1, 2]] {
        let grouped = Grouped { values, ..Grouped::right() };
        let (status, size, executor) = grouped.phase_one(&cann);
        assert_eq!(status, 0, "{:?}", cann.message());
        let (stream, workspace) = (cann.stream(), cann.malloc(size as usize));
        let status = call!(
            cann, "aclnnGroupedMatmulV5", workspace => Pointer, size => u64, executor => Pointer, stream => Pointer
        );
        assert_eq!(status, 0, "{:?}", cann.message());
        let status = call!(cann, "aclrtSynchronizeStream", stream => Pointer);
        cann.refused(status, 507_015, "group-list-values", "entry");
        assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    }
    cann.finish();
}

#[test]
fn a_tensor_names_what_is_wrong() {
    let cann = Cann::start();
    let data = cann.malloc(4096);
    let refused = |tensor: Pointer, rule: &str, names: &str| {
        assert!(tensor.is_null());
        cann.refused(INVALID, INVALID, rule, names);
    };
    let unaligned = data.wrapping_byte_add(8);
    refused(cann.try_view(&[4], None, F32, ND, &[4], unaligned), "tensor-alignment", "tensorData");
    refused(cann.try_view(&[-1], None, F32, ND, &[4], data), "tensor-description", "viewDims has -1");
    refused(
        cann.try_view(&[4, 2], Some(&[1, 5]), F32, ND, &[2, 4], data),
        "tensor-description",
        "reaches element 8",
    );
    refused(cann.try_view(&[4], None, 99, ND, &[4], data), "dtype-combination", "dataType 99");
    refused(cann.try_view(&[4], None, F32, 77, &[4], data), "format", "format 77");
    let host = [0_u128; 8];
    let host: Pointer = host.as_ptr().cast::<c_void>().cast_mut();
    let host = host.wrapping_byte_add(host.align_offset(32));
    refused(cann.try_view(&[4], None, F32, ND, &[4], host), "device-memory", "address of the host");

    // A tensor belongs to its list, which destroys it.
    let tensor = cann.tensor(&[4], F32, data);
    let list = cann.list(&[tensor]);
    let status = call!(cann, "aclDestroyTensor", tensor => Pointer);
    cann.refused(status, INVALID, "tensor-in-a-list", "destroy the list");
    let other = cann.tensor(&[4], F32, data);
    let gone = cann.list(&[other]);
    cann.forget(gone);
    assert_eq!(call!(cann, "aclDestroyTensorList", gone => Pointer), 0);
    let status = call!(cann, "aclDestroyTensor", other => Pointer);
    cann.refused(status, INVALID, "tensor-owned-by-list", "aclDestroyTensorList");
    let status = call!(cann, "aclDestroyTensorList", gone => Pointer);
    cann.refused(status, INVALID, "live-handle", "destroyed already");
    assert!(!list.is_null());

    // Storage past the end of the allocation is seen by the operator.
    let (x, out) = (cann.tensor(&[1, 2048], F32, data), cann.tensor(&[1, 1024], F32, data));
    let (status, ..) = phase_one!(cann, "aclnnSwiGlu", x => Pointer, -1 => i64, out => Pointer);
    cann.refused(status, INVALID, "allocation-bounds", "x ");
    cann.finish();
}

/// An executor of `aclnnMoeInitRoutingV2`, which asks for a workspace, with the tensor of its input.
fn executor(cann: &Cann) -> (u64, Pointer, Pointer) {
    let x = cann.tensor(&[1, 2], F32, cann.upload(&f32_bytes(&[1.0, 2.0])));
    let experts = cann.tensor_of(&[1, 1], I32, &[0; 4]);
    let (rows, index) = (cann.tensor(&[1, 2], F32, cann.malloc(8)), cann.tensor(&[1], I32, cann.malloc(4)));
    let (status, size, executor) = phase_one!(
        cann, "aclnnMoeInitRoutingV2", x => Pointer, experts => Pointer, 0 => i64, 0 => i64, 4 => i64, 0 => i64, 0 => i64,
        false => bool, rows => Pointer, index => Pointer, NONE => Pointer, NONE => Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    assert!(size > 0);
    (size, executor, x)
}

fn launch(cann: &Cann, workspace: Pointer, size: u64, executor: Pointer, stream: Pointer) -> i32 {
    call!(
        cann, "aclnnMoeInitRoutingV2", workspace => Pointer, size => u64, executor => Pointer, stream => Pointer
    )
}

#[test]
fn the_second_phase_names_what_is_wrong() {
    let cann = Cann::start();
    let (size, first, _) = executor(&cann);
    let workspace = cann.malloc(size as usize);
    cann.refused(launch(&cann, workspace, size - 1, first, NONE), INVALID, "workspace-size", "workspaceSize");
    cann.refused(launch(&cann, workspace, size, first, NONE), INVALID, "executor-once", "executor");

    let (_, second, _) = executor(&cann);
    assert_eq!(launch(&cann, workspace, size, second, NONE), 0, "{:?}", cann.message());
    cann.refused(launch(&cann, workspace, size, second, NONE), INVALID, "executor-once", "executor");
    assert_eq!(call!(cann, "aclrtSynchronizeDevice"), 0);

    let (_, third, _) = executor(&cann);
    cann.refused(launch(&cann, NONE, size, third, NONE), INVALID, "workspace-size", "workspace is null");
    let (_, fourth, _) = executor(&cann);
    let small = cann.malloc(8);
    cann.refused(
        launch(&cann, small, size, fourth, NONE),
        INVALID,
        "workspace-size",
        "end of its allocation",
    );
    let (_, fifth, _) = executor(&cann);
    let mut host = vec![0_u8; size as usize];
    let status = launch(&cann, host.as_mut_ptr().cast(), size, fifth, NONE);
    cann.refused(status, INVALID, "device-memory", "workspace");

    let (_, sixth, x) = executor(&cann);
    cann.forget(x);
    assert_eq!(call!(cann, "aclDestroyTensor", x => Pointer), 0);
    cann.refused(launch(&cann, workspace, size, sixth, NONE), INVALID, "tensor-outlives-executor", "x is");

    let (_, seventh, x) = executor(&cann);
    let status = call!(cann, "aclnnSwiGlu", NONE => Pointer, 0 => u64, seventh => Pointer, NONE => Pointer);
    cann.refused(status, INVALID, "executor-of-the-operator", "aclnnMoeInitRoutingV2");
    let status = call!(
        cann, "aclSetInputTensorAddr", seventh => Pointer, 0 => usize, x => Pointer, workspace => Pointer
    );
    cann.refused(status, INVALID, "executor-repeatable", "not repeatable");
    let status = call!(cann, "aclDestroyAclOpExecutor", seventh => Pointer);
    cann.refused(status, INVALID, "executor-repeatable", "not repeatable");
    cann.destroy_executor(seventh);
    cann.finish();
}

#[test]
fn memory_and_contexts_name_what_is_wrong() {
    let cann = Cann::start();
    let memory = cann.malloc(64);
    let mut host = [0_u8; 128];
    let address: Pointer = host.as_mut_ptr().cast();
    let copy = |to: Pointer, max: usize, from: Pointer, count: usize, kind| {
        call!(
            cann, "aclrtMemcpy", to => Pointer, max => usize, from.cast_const() => *const c_void, count => usize, kind => i32
        )
    };
    cann.refused(copy(memory, 64, address, 65, 1), 107_000, "copy-size", "destMax 64");
    cann.refused(copy(memory, 128, address, 128, 1), 107_000, "allocation-bounds", "dst");
    cann.refused(copy(address, 64, memory, 64, 1), 107_000, "copy-kind", "dst");
    cann.refused(copy(memory, 64, memory, 64, 9), 107_000, "copy-kind", "kind 9");
    let fill = |to: Pointer| call!(cann, "aclrtMemset", to => Pointer, 64 => usize, 0 => i32, 64 => usize);
    cann.refused(fill(address), 107_000, "device-memory", "address of the host");
    let freed = cann.malloc(64);
    cann.forget(freed);
    assert_eq!(call!(cann, "aclrtFree", freed => Pointer), 0);
    cann.refused(fill(freed), 107_000, "use-after-free", "devPtr");
    let status = call!(cann, "aclrtFree", freed => Pointer);
    cann.refused(status, 107_000, "use-after-free", "devPtr");
    let inside = memory.wrapping_byte_add(8);
    let status = call!(cann, "aclrtFree", inside => Pointer);
    cann.refused(status, 107_000, "allocation-bounds", "not its start");

    // Another thread has no context of its own.
    let (address, cann) = (memory as usize, &cann);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let status =
                call!(cann, "aclrtMemset", address as Pointer => Pointer, 64 => usize, 0 => i32, 64 => usize);
            cann.refused(status, 107_002, "current-context", "aclrtSetDevice");
        });
    });

    // A stream and an event of another context.
    let (stream, mut event) = (cann.stream(), NONE);
    assert_eq!(call!(cann, "aclrtCreateEvent", &mut event => *mut Pointer), 0);
    let (mut before, mut context) = (NONE, NONE);
    assert_eq!(call!(cann, "aclrtGetCurrentContext", &mut before => *mut Pointer), 0);
    assert_eq!(call!(cann, "aclrtCreateContext", &mut context => *mut Pointer, 0 => i32), 0);
    let status = call!(cann, "aclrtSynchronizeStream", stream => Pointer);
    cann.refused(status, 107_003, "stream-context", "stream");
    let status = call!(cann, "aclrtSynchronizeEvent", event => Pointer);
    cann.refused(status, 107_003, "event-context", "event");
    assert_eq!(call!(cann, "aclrtDestroyContext", context => Pointer), 0);
    assert_eq!(call!(cann, "aclrtSetCurrentContext", before => Pointer), 0);
    assert_eq!(call!(cann, "aclrtDestroyEvent", event => Pointer), 0);
    assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    let status = call!(cann, "aclrtDestroyStream", stream => Pointer);
    cann.refused(status, 107_017, "live-handle", "destroyed already");
}

#[test]
fn leaks_are_reported_and_written_down() {
    const TEST: &str = "rules::leaks_are_reported_and_written_down";
    if !is_child() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let report = folder.path().join("report");
        passes_in_child(TEST, &[("MXHAL_SIM_REPORT", report.to_str().expect("UTF-8"))]);
        let report = std::fs::read_to_string(report).expect("the child wrote it");
        assert_eq!(report.lines().filter(|line| line.starts_with("500000 [leak] ")).count(), 2, "{report}");
        return;
    }
    let cann = Cann::start();
    let (_, leaked, _) = executor(&cann);
    assert!(!leaked.is_null());
    let stream = cann.stream();
    let status = call!(cann, "aclrtResetDevice", 0 => i32);
    cann.refused(status, 500_000, "leak", "executor");
    assert!(!stream.is_null());
    cann.refused(call!(cann, "aclFinalize"), 500_000, "leak", "tensor");
}

#[test]
fn an_older_product_has_no_mx_operators_but_the_others() {
    const TEST: &str = "rules::an_older_product_has_no_mx_operators_but_the_others";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_SOC", "Ascend910B1")]);
        assert!(in_child(TEST, &[]).status.code() != Some(0), "an Ascend 950 offers them");
        return;
    }
    let cann = Cann::start();
    cann.refused(Quantize::right().status(&cann), 361_001, "platform", "Ascend910B1");
    cann.refused(Matmul::right().status(&cann), 361_001, "platform", "Ascend910B1");
    let (_, executor, _) = executor(&cann);
    cann.destroy_executor(executor);
    cann.finish();
}

#[test]
fn null_is_a_code_of_its_own() {
    let cann = Cann::start();
    let (status, ..) = phase_one!(cann, "aclnnSwiGlu", NONE => Pointer, -1 => i64, NONE => Pointer);
    cann.refused(status, 161_001, "null-argument", "x is null");
    let status = call!(cann, "aclnnSwiGlu", NONE => Pointer, 0 => u64, NONE => Pointer, NONE => Pointer);
    cann.refused(status, 161_001, "null-argument", "executor");
    cann.finish();
}
