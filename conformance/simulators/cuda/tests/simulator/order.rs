//! What is done, in which order.

use std::ffi::c_void;
use std::ptr;
use std::thread;
use std::time::Duration;

use mxhal_kernels_cuda::{DEVICE_CODE, KERNELS, Target};

use crate::support::{Cuda, Pointer, call, copying, in_a_child, passed};

const VALUES: [f32; 64] = [1.5; 64];

#[test]
fn a_kernel_runs_on_what_was_copied() {
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    let values: [f32; 64] = std::array::from_fn(|i| i as f32);
    let (x, positions, y) = (cuda.copy(&values), cuda.copy(&[0_i32]), cuda.alloc(256));
    let stream = cuda.stream();
    assert_eq!(cuda.launch(function, 1, 32, stream, &mut copying(x, positions, y, 1)), 0);
    assert_eq!(cuda.synchronise(stream), 0);
    assert_eq!(cuda.read::<f32>(y, 64), values);
}

#[test]
fn compiled_code_is_compared_with_the_emulated_kernels_for_each_architecture() {
    let Ok(code) = DEVICE_CODE else {
        println!("skipped: this build holds no device code");
        return;
    };
    let name = "order::compiled_code_is_compared_with_the_emulated_kernels_for_each_architecture";
    for architecture in ["sm_90", "sm_100", "sm_103", "sm_120", "sm_121"] {
        if let Some(output) = in_a_child(name, &[("MXHAL_SIM_ARCH", architecture)]) {
            passed(&output);
            continue;
        }
        let cuda = Cuda::start();
        let module = cuda.load(code).expect("there is code for it");
        let (mut major, mut minor) = (0, 0);
        for (value, attribute) in [(&mut major, 75), (&mut minor, 76)] {
            let status = call!(cuda, "cuDeviceGetAttribute", value => *mut i32, attribute => i32, 0 => i32);
            assert_eq!(status, 0);
        }
        let target = Target::of_compute_capability(major as u32, minor as u32).expect("one of ours");
        for kernel in KERNELS.iter().filter(|kernel| kernel.targets.contains(&target)) {
            let (mut function, text) = (ptr::null_mut(), format!("{}\0", kernel.name));
            let status = call!(
                cuda, "cuModuleGetFunction", &mut function => *mut Pointer, module => Pointer,
                text.as_ptr() => *const u8
            );
            assert_eq!(status, 0, "{architecture} {}", kernel.name);
        }
        return;
    }
}

unsafe extern "C" fn rest(_: *mut c_void) {
    thread::sleep(Duration::from_millis(30));
}

/// Copies 1.5 to a buffer on one stream, which rests before, and from there to another on a second.
fn over_two_streams(cuda: &Cuda, with_event: bool) -> Vec<f32> {
    let function = cuda.function("combine");
    let (x, positions) = (cuda.copy(&VALUES), cuda.copy(&[0_i32]));
    let (between, y) = (cuda.copy(&[0.0_f32; 64]), cuda.alloc(256));
    let (first, second, event) = (cuda.stream(), cuda.stream(), cuda.event());
    let nothing = ptr::null_mut();
    let status = call!(
        cuda, "cuLaunchHostFunc", first => Pointer, rest as *mut c_void => Pointer, nothing => Pointer
    );
    assert_eq!(status, 0);
    assert_eq!(cuda.launch(function, 1, 32, first, &mut copying(x, positions, between, 1)), 0);
    if with_event {
        assert_eq!(call!(cuda, "cuEventRecord", event => Pointer, first => Pointer), 0);
        assert_eq!(call!(cuda, "cuStreamWaitEvent", second => Pointer, event => Pointer, 0 => u32), 0);
    }
    assert_eq!(cuda.launch(function, 1, 32, second, &mut copying(between, positions, y, 1)), 0);
    assert_eq!(cuda.synchronise(second), 0);
    let values = cuda.read(y, 64);
    assert_eq!(cuda.synchronise(first), 0);
    values
}

#[test]
fn streams_are_ordered_by_events_and_by_nothing_else() {
    let cuda = Cuda::start();
    assert_eq!(over_two_streams(&cuda, true), VALUES);
    assert_ne!(over_two_streams(&cuda, false), VALUES, "somebody waited unasked");
}

#[test]
fn the_legacy_stream_waits_for_blocking_streams_and_they_for_it() {
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    let (x, positions) = (cuda.copy(&VALUES), cuda.copy(&[0_i32]));
    let (a, b, c) = (cuda.alloc(256), cuda.alloc(256), cuda.alloc(256));
    let mut blocking = ptr::null_mut();
    assert_eq!(call!(cuda, "cuStreamCreate", &mut blocking => *mut Pointer, 0 => u32), 0);
    for _ in 0..10 {
        assert_eq!(cuda.launch(function, 1, 32, blocking, &mut copying(x, positions, a, 1)), 0);
    }
    assert_eq!(cuda.launch(function, 1, 32, ptr::null_mut(), &mut copying(a, positions, b, 1)), 0);
    assert_eq!(cuda.launch(function, 1, 32, blocking, &mut copying(b, positions, c, 1)), 0);
    assert_eq!(cuda.synchronise(blocking), 0);
    assert_eq!(cuda.read::<f32>(c, 64), VALUES);
}

#[test]
fn pinned_memory_is_read_when_the_stream_comes_to_it() {
    let cuda = Cuda::start();
    let mut pinned: *mut c_void = ptr::null_mut();
    let status = call!(cuda, "cuMemHostAlloc", &mut pinned => *mut Pointer, 256 => usize, 0 => u32);
    assert_eq!(status, 0);
    let (stream, event, y) = (cuda.stream(), cuda.event(), cuda.alloc(256));
    // SAFETY: 256 bytes of the host's; the device reads them after the host's function of the stream.
    let value = unsafe { &mut *pinned.cast::<[f32; 64]>() };
    *value = [1.0; 64];
    unsafe extern "C" fn set(value: *mut c_void) {
        // SAFETY: the pinned memory, in the order of the stream.
        unsafe { value.cast::<[f32; 64]>().write([2.0; 64]) };
    }
    let status =
        call!(cuda, "cuLaunchHostFunc", stream => Pointer, set as *mut c_void => Pointer, pinned => Pointer);
    assert_eq!(status, 0);
    let status = call!(
        cuda, "cuMemcpyHtoDAsync_v2", y => u64, pinned.cast_const() => *const c_void, 256 => usize, stream => Pointer
    );
    assert_eq!(status, 0);
    assert_eq!(call!(cuda, "cuEventRecord", event => Pointer, stream => Pointer), 0);
    assert_eq!(call!(cuda, "cuEventSynchronize", event => Pointer), 0);
    assert_eq!(cuda.read::<f32>(y, 64), [2.0; 64]);
    assert_eq!(call!(cuda, "cuMemFreeHost", pinned => Pointer), 0);
}

#[test]
fn memory_of_a_pool_comes_and_goes_in_the_order_of_its_stream() {
    let cuda = Cuda::start();
    let (stream, function) = (cuda.stream(), cuda.function("combine"));
    let (x, positions, y) = (cuda.copy(&VALUES), cuda.copy(&[0_i32]), cuda.alloc(256));
    let mut between = 0;
    let status = call!(cuda, "cuMemAllocAsync", &mut between => *mut u64, 256 => usize, stream => Pointer);
    assert_eq!(status, 0);
    assert_eq!(cuda.launch(function, 1, 32, stream, &mut copying(x, positions, between, 1)), 0);
    assert_eq!(cuda.launch(function, 1, 32, stream, &mut copying(between, positions, y, 1)), 0);
    assert_eq!(call!(cuda, "cuMemFreeAsync", between => u64, stream => Pointer), 0);
    // The host gave it back, whatever the stream has done by now.
    let again = call!(cuda, "cuMemFreeAsync", between => u64, stream => Pointer);
    assert_eq!(cuda.name_of(again), "CUDA_ERROR_INVALID_VALUE");
    assert_eq!(cuda.synchronise(stream), 0);
    assert_eq!(cuda.read::<f32>(y, 64), VALUES);
}

#[test]
fn two_processes_and_their_threads_work_at_once() {
    let name = "order::two_processes_and_their_threads_work_at_once";
    if std::env::var_os("MXHAL_TEST_CHILD").is_none() {
        let children = [1, 2].map(|_| thread::spawn(move || in_a_child(name, &[]).expect("the parent")));
        for child in children {
            passed(&child.join().expect("no panic"));
        }
        return;
    }
    let cuda = Cuda::start();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                cuda.make_current();
                for _ in 0..5 {
                    assert_eq!(over_two_streams(&cuda, true), VALUES);
                }
            });
        }
    });
}
