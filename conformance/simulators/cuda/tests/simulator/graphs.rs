//! Captured work.

use std::ptr;

use crate::support::{Cuda, Pointer, call, copying};

fn begin(cuda: &Cuda, stream: Pointer) {
    assert_eq!(call!(cuda, "cuStreamBeginCapture_v2", stream => Pointer, 1 => i32), 0);
}

fn end(cuda: &Cuda, stream: Pointer) -> Result<Pointer, String> {
    let mut graph = ptr::null_mut();
    match call!(cuda, "cuStreamEndCapture", stream => Pointer, &mut graph => *mut Pointer) {
        0 => Ok(graph),
        code => Err(cuda.name_of(code)),
    }
}

#[test]
fn a_graph_does_its_work_each_time_in_the_order_of_its_dependencies() {
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    let (first, second) = (cuda.stream(), cuda.stream());
    let (fork, join) = (cuda.event(), cuda.event());
    let (x, positions) = (cuda.copy(&[1.0_f32; 64]), cuda.copy(&[0_i32]));
    let (a, b, c) = (cuda.copy(&[0.0_f32; 64]), cuda.alloc(256), cuda.alloc(256));
    begin(&cuda, first);
    assert_eq!(cuda.launch(function, 1, 32, first, &mut copying(x, positions, a, 1)), 0);
    assert_eq!(call!(cuda, "cuEventRecord", fork => Pointer, first => Pointer), 0);
    assert_eq!(call!(cuda, "cuStreamWaitEvent", second => Pointer, fork => Pointer, 0 => u32), 0);
    assert_eq!(cuda.launch(function, 1, 32, second, &mut copying(a, positions, b, 1)), 0);
    assert_eq!(call!(cuda, "cuEventRecord", join => Pointer, second => Pointer), 0);
    assert_eq!(call!(cuda, "cuStreamWaitEvent", first => Pointer, join => Pointer, 0 => u32), 0);
    assert_eq!(cuda.launch(function, 1, 32, first, &mut copying(b, positions, c, 1)), 0);
    let graph = end(&cuda, first).unwrap();
    let mut count = 0;
    let status = call!(
        cuda, "cuGraphGetNodes", graph => Pointer, ptr::null_mut() => *mut Pointer, &mut count => *mut usize
    );
    assert_eq!((status, count), (0, 3));
    assert_eq!(cuda.read::<f32>(a, 64), [0.0; 64], "captured, not done");
    let mut executable = ptr::null_mut();
    let status = call!(
        cuda, "cuGraphInstantiateWithFlags", &mut executable => *mut Pointer, graph => Pointer, 0 => u64
    );
    assert_eq!(status, 0);
    assert_eq!(call!(cuda, "cuGraphDestroy", graph => Pointer), 0);
    for value in [1.0_f32, 2.0, 3.0, 4.0, 5.0] {
        let bytes = value.to_bits();
        let status = call!(cuda, "cuMemsetD32Async", x => u64, bytes => u32, 64 => usize, first => Pointer);
        assert_eq!(status, 0);
        assert_eq!(call!(cuda, "cuGraphLaunch", executable => Pointer, first => Pointer), 0);
        assert_eq!(cuda.synchronise(first), 0);
        assert_eq!(cuda.read::<f32>(c, 64), [value; 64]);
    }
    assert_eq!(call!(cuda, "cuGraphExecDestroy", executable => Pointer), 0);
}

#[test]
fn what_a_capture_does_not_allow_makes_it_invalid() {
    let cuda = Cuda::start();
    let stream = cuda.stream();
    begin(&cuda, stream);
    assert_eq!(cuda.name_of(cuda.synchronise(stream)), "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED");
    assert_eq!(end(&cuda, stream).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED");
    begin(&cuda, stream);
    let mut address = 0;
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut address => *mut u64, 16 => usize), 900);
    assert_eq!(end(&cuda, stream).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED");
    assert_eq!(end(&cuda, stream).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED");
    assert_eq!(cuda.synchronise(stream), 0);
}

#[test]
fn work_of_another_stream_that_is_not_joined_is_refused() {
    let cuda = Cuda::start();
    let (first, second, event) = (cuda.stream(), cuda.stream(), cuda.event());
    let y = cuda.alloc(64);
    begin(&cuda, first);
    assert_eq!(call!(cuda, "cuEventRecord", event => Pointer, first => Pointer), 0);
    assert_eq!(call!(cuda, "cuStreamWaitEvent", second => Pointer, event => Pointer, 0 => u32), 0);
    let status = call!(cuda, "cuMemsetD8Async", y => u64, 1 => u8, 64 => usize, second => Pointer);
    assert_eq!(status, 0);
    assert_eq!(end(&cuda, first).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_UNJOINED");
    // Both streams are as they were before.
    for stream in [first, second] {
        let status = call!(cuda, "cuMemsetD8Async", y => u64, 2 => u8, 64 => usize, stream => Pointer);
        assert_eq!((status, cuda.synchronise(stream)), (0, 0));
    }
    assert_eq!(cuda.read::<u8>(y, 64), [2; 64]);
}
