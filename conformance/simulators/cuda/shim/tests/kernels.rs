//! What is allowed runs, and each fault is named.

mod compiled;

use core::ffi::c_void;
use std::path::PathBuf;

use mxhal_cuda_emulation::{Checks, Error, Kernels, Shape, compile};

fn kernels() -> &'static Kernels {
    compiled::kernels("kernels.cu")
}

/// A buffer of 64 numbers, a multiple of 16 bytes in memory, and after it room that is nobody's.
#[repr(C, align(16))]
struct Buffer([i32; 64], [i32; 64]);

/// Runs with 64 numbers in and out, one block of so many threads per block.
fn run(kernel: &str, threads: u32, seed: u64) -> Result<[i32; 64], Error> {
    let from = Buffer(core::array::from_fn(|i| i as i32 + 1), [0; 64]);
    let mut to = Buffer([0; 64], [0; 64]);
    let (mut source, mut sink) = (from.0.as_ptr(), to.0.as_mut_ptr());
    kernels().announce(source.cast(), 256);
    kernels().announce(sink.cast(), 256);
    let arguments: [*mut c_void; 2] = [(&raw mut source).cast(), (&raw mut sink).cast()];
    let shape = Shape::new([64 / threads, 1, 1], [threads, 1, 1]).with_seed(seed);
    // SAFETY: every kernel of the file takes two pointers to 64 numbers.
    let result = unsafe { kernels().launch(kernel, &arguments, &shape) };
    kernels().withdraw(source.cast());
    kernels().withdraw(sink.cast());
    result.map(|()| to.0)
}

fn fault(kernel: &str) -> String {
    match run(kernel, 64, 0) {
        Err(Error::Fault(words)) => words,
        other => panic!("{kernel}: {other:?}"),
    }
}

#[test]
fn barriers_and_warps_pass_values_in_any_order() {
    for seed in 0..50 {
        assert_eq!(run("reverse", 64, seed).unwrap(), core::array::from_fn(|i| 64 - i as i32));
        assert_eq!(run("sum", 32, seed).unwrap()[0], 64 * 65 / 2);
        let handed = run("handed_over", 64, seed).unwrap();
        assert_eq!(handed, core::array::from_fn(|i| if i < 32 { i as i32 + 1 } else { 64 - i as i32 }));
        assert_eq!(run("operated", 64, seed).unwrap(), core::array::from_fn(|i| i as i32 + 1));
        let copied = run("copied", 64, seed).unwrap();
        assert_eq!(copied, core::array::from_fn(|i| i as i32 / 4 * 4 + 3));
    }
}

#[test]
fn each_fault_is_named_with_its_place() {
    for (kernel, words) in [
        ("no_barrier", "race: write after read at offset 128"),
        ("no_warp_barrier", "race: "),
        ("unwritten", "thread 5: read at offset 20 of shared memory, which nobody wrote"),
        ("past_shared", "thread 63: out of bounds: write of 4 bytes at offset 256 of 256"),
        ("past_buffer", "thread 63: out of bounds: write of 4 bytes"),
        ("divergent", "divergent"),
        ("not_waited", "asynchronous copy was not waited for"),
        ("misaligned", "misaligned address: asynchronous copy from device memory"),
        ("not_handed_over", "race: read after write"),
        ("never_arrived", "wait at the mbarrier at offset 0, phase 0, for 1 of 33 arrivals"),
        ("operated_unseen", "without a fence of the asynchronous proxy"),
        ("operated_unpublished", "never published"),
        ("operated_not_waited", "whose operation was not waited for"),
        ("operated_not_fenced", "no tcgen05.fence::after_thread_sync"),
        ("operated_not_freed", "the block ended with 32 columns of tensor memory not freed"),
        ("operated_past_columns", "columns 480 to 512 of tensor memory"),
        ("operated_overwritten", "which an asynchronous operation may still read"),
    ] {
        let fault = fault(kernel);
        assert!(fault.contains(words) && fault.starts_with(kernel), "{kernel}: {fault}");
        // And the fibers are good for another launch.
        assert!(run("reverse", 64, 1).is_ok());
    }
}

#[test]
fn what_is_no_kernel_and_what_is_no_block_is_refused() {
    assert!(matches!(run("nothing", 64, 0), Err(Error::Library(..))));
    // SAFETY: it is refused before a thread runs.
    let refused = unsafe { kernels().launch("reverse", &[], &Shape::new([1; 3], [33, 1, 1])) };
    assert!(refused.unwrap_err().to_string().contains("whole warps"));
}

#[test]
fn a_compiler_that_refuses_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let source: PathBuf = folder.path().join("wrong.cu");
    std::fs::write(&source, "int x = nothing;\n").unwrap();
    let error = compile(&[source], &[], Checks::Off, folder.path()).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}
