//! What goes wrong on the device, or is made to.

use std::os::unix::process::ExitStatusExt;
use std::ptr;

use crate::support::{Cuda, Pointer, call, copying, in_a_child, passed};

#[test]
fn a_host_that_looks_at_device_memory_gets_a_signal() {
    let name = "faults::a_host_that_looks_at_device_memory_gets_a_signal";
    let Some(output) = in_a_child(name, &[]) else {
        let cuda = Cuda::start();
        let address = cuda.copy(&[1_u8; 16]);
        // SAFETY: none; this is what the test is about.
        let byte = unsafe { ptr::read_volatile(address as *const u8) };
        panic!("read {byte}");
    };
    assert_eq!(output.status.signal(), Some(11), "{output:?}");
}

#[test]
fn a_kernel_in_freed_memory_loses_the_context_when_it_comes_to_it() {
    let name = "faults::a_kernel_in_freed_memory_loses_the_context_when_it_comes_to_it";
    if let Some(output) = in_a_child(name, &[]) {
        let text = passed(&output);
        assert!(
            text.contains("CUDA_ERROR_ILLEGAL_ADDRESS cuLaunchKernel: combine: block (0, 0, 0)"),
            "{text}"
        );
        return;
    }
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    let (x, positions, y) = (cuda.alloc(256), cuda.copy(&[0_i32]), cuda.alloc(256));
    assert_eq!(call!(cuda, "cuMemFree_v2", x => u64), 0);
    let stream = cuda.stream();
    assert_eq!(cuda.launch(function, 1, 32, stream, &mut copying(x, positions, y, 1)), 0, "asynchronous");
    let code = cuda.synchronise(stream);
    assert_eq!(cuda.name_of(code), "CUDA_ERROR_ILLEGAL_ADDRESS");
    // And it stays so.
    let mut address = 0;
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 256 => usize), code);
    assert_eq!(cuda.synchronise(ptr::null_mut()), code);
    // Until the context is gone.
    assert_eq!(call!(cuda, "cuDevicePrimaryCtxReset_v2", 0 => i32), 0);
    cuda.make_current();
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 256 => usize), 0);
}

#[test]
fn a_kernel_past_the_end_of_its_memory_is_told() {
    let name = "faults::a_kernel_past_the_end_of_its_memory_is_told";
    // With checks to the byte, without them where the pages end.
    for (checks, tokens, words) in
        [("on", "2", "bytes of device memory at"), ("off", "100", "is no device memory")]
    {
        let variables = [("MXHAL_SIM_CHECKS", checks), ("TOKENS", tokens)];
        if let Some(output) = in_a_child(name, &variables) {
            let text = passed(&output);
            assert!(text.contains(words), "{text}");
            continue;
        }
        let cuda = Cuda::start();
        let function = cuda.function("combine");
        let tokens: u32 = std::env::var("TOKENS").expect("set above").parse().expect("a number");
        let positions: Vec<i32> = (0..tokens as i32).collect();
        let (x, positions) = (cuda.alloc(256), cuda.copy(&positions));
        let y = cuda.alloc(256 * tokens as usize);
        let stream = cuda.stream();
        let blocks = tokens.div_ceil(4);
        assert_eq!(cuda.launch(function, blocks, 32, stream, &mut copying(x, positions, y, tokens)), 0);
        assert_eq!(cuda.name_of(cuda.synchronise(stream)), "CUDA_ERROR_ILLEGAL_ADDRESS");
        return;
    }
}

#[test]
fn what_was_written_beside_an_allocation_shows_when_it_is_freed() {
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    // One value less than the row that is written.
    let (x, positions, y) = (cuda.copy(&[1.0_f32; 64]), cuda.copy(&[0_i32]), cuda.alloc(252));
    assert_eq!(cuda.launch(function, 1, 32, ptr::null_mut(), &mut copying(x, positions, y, 1)), 0);
    assert_eq!(call!(cuda, "cuMemFree_v2", y => u64), 700);
}

#[test]
fn failures_come_on_demand() {
    let name = "faults::failures_come_on_demand";
    let demands = "cuMemAlloc_v2:2:2,kernel:2:719,cuStreamCreate:1:999";
    if let Some(output) = in_a_child(name, &[("MXHAL_SIM_FAIL", demands)]) {
        passed(&output);
        return;
    }
    let cuda = Cuda::start();
    let y = cuda.alloc(64);
    let mut address = 0;
    let failed = call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 64 => usize);
    assert_eq!(cuda.name_of(failed), "CUDA_ERROR_OUT_OF_MEMORY");
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 64 => usize), 0);
    let mut stream = ptr::null_mut();
    assert_eq!(call!(cuda, "cuStreamCreate", &mut stream => *mut Pointer, 0 => u32), 999);
    let stream = cuda.stream();
    for _ in 0..2 {
        let status = call!(cuda, "cuMemsetD8Async", y => u64, 1 => u8, 64 => usize, stream => Pointer);
        assert!(matches!(status, 0 | 719), "{status}");
    }
    assert_eq!(cuda.name_of(cuda.synchronise(stream)), "CUDA_ERROR_LAUNCH_FAILED");
}

#[test]
fn what_is_left_over_is_reported() {
    let name = "faults::what_is_left_over_is_reported";
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    if let Some(output) = in_a_child(name, &[("MXHAL_SIM_REPORT", report.to_str().unwrap())]) {
        passed(&output);
        let text = std::fs::read_to_string(&report).unwrap();
        for what in ["leak: 96 bytes", "leak: stream", "leak: event", "leak: module", "pinned bytes"] {
            assert!(text.contains(what), "{what}: {text}");
        }
        assert!(text.contains("CUDA_ERROR_INVALID_VALUE cuMemAlloc_v2: bytesize is 0"), "{text}");
        return;
    }
    let cuda = Cuda::start();
    let mut address = 0;
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 0 => usize), 1);
    let kept = (cuda.alloc(96), cuda.stream(), cuda.event(), cuda.function("combine"));
    let mut pinned = ptr::null_mut();
    assert_eq!(call!(cuda, "cuMemHostAlloc", &mut pinned => *mut Pointer, 64 => usize, 0 => u32), 0);
    assert_eq!(call!(cuda, "cuDevicePrimaryCtxRelease_v2", 0 => i32), 0);
    assert_eq!(call!(cuda, "cuStreamSynchronize", kept.1 => Pointer), 201);
}
