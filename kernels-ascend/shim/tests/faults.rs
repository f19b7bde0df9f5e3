//! What is allowed runs, and each fault is named.

use std::ffi::{CStr, c_char};
use std::fs;

use libloading::Library;
use mxhal_kernels_ascend_host::FAULTS;

/// As `include/shim/entry.h` has them.
#[repr(C)]
struct Memory {
    start: *mut u8,
    bytes: u64,
}

#[repr(C)]
struct Launch {
    arguments: *const u64,
    argument_count: u64,
    blocks: u32,
    memory: *const Memory,
    memory_count: u64,
    fault: *mut c_char,
    fault_bytes: u64,
}

/// Runs a kernel of `faults.cpp` on 64 ones; what it wrote, or its fault.
fn run(library: &Library, kernel: &str, arguments: usize) -> Result<[f32; 64], String> {
    let (mut x, mut y) = ([1.0_f32; 64], [0.0_f32; 64]);
    let memory = [&mut x, &mut y].map(|numbers| Memory { start: numbers.as_mut_ptr().cast(), bytes: 256 });
    let addresses = [memory[0].start as u64, memory[1].start as u64];
    let mut fault = [0; 512];
    let launch = Launch {
        arguments: addresses.as_ptr(),
        argument_count: arguments as u64,
        blocks: 2,
        memory: memory.as_ptr(),
        memory_count: 2,
        fault: fault.as_mut_ptr(),
        fault_bytes: fault.len() as u64,
    };
    let name = format!("{kernel}_on_host");
    // SAFETY: the entry is declared so in `entry.h`.
    let entry =
        unsafe { library.get::<unsafe extern "C" fn(*const Launch) -> i32>(name.as_bytes()) }.unwrap();
    // SAFETY: every kernel of the file takes two addresses, and everything named lives through the call.
    match unsafe { entry(&raw const launch) } {
        0 => Ok(y),
        // SAFETY: the entry wrote a text that ends.
        _ => Err(unsafe { CStr::from_ptr(fault.as_ptr()) }.to_str().unwrap().to_owned()),
    }
}

#[test]
fn each_fault_is_named_and_what_is_sound_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.so");
    fs::write(&path, FAULTS).unwrap();
    // SAFETY: compiled from this folder's sources.
    let library = unsafe { Library::new(&path) }.unwrap();
    for (kernel, words) in [
        ("past_memory", "260 bytes are not within the memory"),
        ("unwritten", "reads byte 128 of UB, which nobody wrote"),
        ("no_barrier", "Muls: byte 512 of UB was written by V, and nothing orders V after it"),
        ("no_queue", "was written by MTE2, and nothing orders V"),
        ("early_scalar", "was written by MTE2, and nothing orders S"),
        ("not_freed", "1 tensors of queues were not freed"),
        ("freed_twice", "not at this point of its way"),
        ("taken_twice", "all buffers of the queue are in use"),
        ("empty_queue", "the queue is empty"),
        ("past_ub", "there are 253952"),
        ("past_tensor", "element 64 of a tensor of 64"),
        ("misaligned", "not aligned to 32 bytes"),
        ("partial_compare", "repeats of 256 bytes"),
        ("never_waited", "a flag V_S was set, and nobody waited"),
        ("waits_for_ever", "would wait for ever"),
    ] {
        let fault = run(&library, kernel, 2).expect_err(kernel);
        assert!(fault.starts_with("block 0: ") && fault.contains(words), "{kernel}: {fault}");
        assert_eq!(run(&library, "sound", 2), Ok([2.0; 64]), "after {kernel}");
    }
    let refused = run(&library, "sound", 1).unwrap_err();
    assert!(refused.contains("1 arguments were passed, and the kernel has 2"), "{refused}");
}
