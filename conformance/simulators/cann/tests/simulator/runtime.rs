//! The runtime: devices and products, order on streams, protected memory, failures on demand, versions of CANN.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr;

use crate::support::{Cann, LIBRARY, Pointer, call, f32_bytes, in_child, is_child, passes_in_child};
use mxhal_simulated_cann_install::{Libraries, PRODUCTS, Variant};

#[test]
fn nothing_goes_before_init_and_init_repeats_are_told() {
    let cann = Cann::open(Variant::All, Libraries::Split);
    cann.refused(call!(cann, "aclrtSetDevice", 0 => i32), 100_001, "initialised", "aclrtSetDevice");
    assert_eq!(call!(cann, "aclInit", ptr::null() => *const c_char), 0);
    cann.refused(call!(cann, "aclInit", ptr::null() => *const c_char), 100_002, "init-once", "aclInit");
    cann.refused(call!(cann, "aclrtSetDevice", 7 => i32), 107_001, "device-exists", "device 7");
    assert_eq!(call!(cann, "aclrtSetDevice", 0 => i32), 0);
    cann.finish();
}

#[test]
fn a_message_is_given_once_and_to_its_own_thread() {
    let cann = Cann::start();
    assert_ne!(call!(cann, "aclrtSetDevice", 7 => i32), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(cann.message(), None));
    });
    assert!(cann.message().is_some());
    assert_eq!(cann.message(), None);
    cann.finish();
}

#[test]
fn the_product_is_what_the_environment_says() {
    const TEST: &str = "runtime::the_product_is_what_the_environment_says";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_SOC", "Ascend950DT_9591"), ("MXHAL_SIM_DEVICES", "2")]);
        return;
    }
    let cann = Cann::start();
    // SAFETY: declared so.
    let name = unsafe {
        let get =
            cann.library.get::<unsafe extern "C" fn() -> *const c_char>("aclrtGetSocName").expect("exported");
        CStr::from_ptr(get())
    };
    assert_eq!(name, c"Ascend950DT_9591");
    let mut count = 0;
    assert_eq!(call!(cann, "aclrtGetDeviceCount", &mut count => *mut u32), 0);
    assert_eq!(count, 2);
    let mut value = 0;
    assert_eq!(call!(cann, "aclrtGetDeviceInfo", 1 => u32, 301 => i32, &mut value => *mut i64), 0);
    assert_eq!(value, 154_618_822_656);
    assert_eq!(call!(cann, "aclrtGetDeviceInfo", 0 => u32, 102 => i32, &mut value => *mut i64), 0);
    assert_eq!(value, 36);
    cann.finish();
}

#[test]
fn an_unknown_product_is_refused_with_the_names() {
    const TEST: &str = "runtime::an_unknown_product_is_refused_with_the_names";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_SOC", "Ascend1")]);
        return;
    }
    let cann = Cann::open(Variant::All, Libraries::Split);
    let status = call!(cann, "aclInit", ptr::null() => *const c_char);
    // Those that are installed by name are all of those that there are.
    let names = PRODUCTS.join(", ");
    cann.refused(status, 100_000, "simulator-configuration", &format!("expected one of {names}; the rule"));
}

#[test]
fn the_host_cannot_read_device_memory() {
    const TEST: &str = "runtime::the_host_cannot_read_device_memory";
    if is_child() {
        let cann = Cann::start();
        let pointer = cann.upload(&[1; 64]);
        // SAFETY: it is not: this is the misuse that must fault.
        let byte = unsafe { pointer.cast::<u8>().read_volatile() };
        println!("read {byte}");
        return;
    }
    let output = in_child(TEST, &[]);
    assert_eq!(output.status.signal(), Some(11), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_host_cannot_write_freed_device_memory() {
    const TEST: &str = "runtime::the_host_cannot_write_freed_device_memory";
    if is_child() {
        let cann = Cann::start();
        let pointer = cann.upload(&[1; 64]);
        assert_eq!(call!(cann, "aclrtFree", pointer => Pointer), 0);
        // SAFETY: it is not: this is the misuse that must fault.
        unsafe { pointer.cast::<u8>().write_volatile(1) };
        return;
    }
    let output = in_child(TEST, &[]);
    assert_eq!(output.status.signal(), Some(11), "{}", String::from_utf8_lossy(&output.stdout));
}

extern "C" fn count_up(counter: *mut c_void) {
    // SAFETY: the test passes a counter that lives until the stream is synchronised.
    let counter = unsafe { &mut *counter.cast::<Vec<u64>>() };
    counter.push(counter.len() as u64);
}

#[test]
fn work_of_a_stream_is_done_in_order_and_later() {
    const TEST: &str = "runtime::work_of_a_stream_is_done_in_order_and_later";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_DELAY_US", "20000"), ("MXHAL_SIM_SEED", "3")]);
        return;
    }
    let cann = Cann::start();
    let stream = cann.stream();
    let mut values: Vec<u64> = Vec::new();
    let function: extern "C" fn(*mut c_void) = count_up;
    let argument: *mut Vec<u64> = &mut values;
    for _ in 0..10 {
        let status = call!(
            cann, "aclrtLaunchHostFunc", stream => Pointer, function => extern "C" fn(*mut c_void), argument.cast() => Pointer
        );
        assert_eq!(status, 0);
    }
    let mut status = 0;
    assert_eq!(call!(cann, "aclrtStreamQuery", stream => Pointer, &mut status => *mut i32), 0);
    assert_eq!(status, 1, "ten delays of up to 20 ms cannot have passed");
    assert_eq!(call!(cann, "aclrtSynchronizeStream", stream => Pointer), 0);
    assert_eq!(values, (0..10).collect::<Vec<_>>());
    assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    cann.finish();
}

#[test]
fn an_event_orders_two_streams() {
    const TEST: &str = "runtime::an_event_orders_two_streams";
    if !is_child() {
        for seed in ["1", "2", "3"] {
            passes_in_child(TEST, &[("MXHAL_SIM_DELAY_US", "5000"), ("MXHAL_SIM_SEED", seed)]);
        }
        return;
    }
    let cann = Cann::start();
    let (first, second) = (cann.stream(), cann.stream());
    let mut event = ptr::null_mut();
    assert_eq!(call!(cann, "aclrtCreateEvent", &mut event => *mut Pointer), 0);
    let waited = call!(cann, "aclrtStreamWaitEvent", second => Pointer, event => Pointer);
    cann.refused(waited, 107_000, "event-recorded", "event");
    let memory = cann.malloc(4096);
    let mut seen = [0_u8; 4096];
    for round in 1..=20_u8 {
        let fill = i32::from(round);
        let status = call!(
            cann, "aclrtMemsetAsync", memory => Pointer, 4096 => usize, fill => i32, 4096 => usize, first => Pointer
        );
        assert_eq!(status, 0);
        assert_eq!(call!(cann, "aclrtRecordEvent", event => Pointer, first => Pointer), 0);
        assert_eq!(call!(cann, "aclrtStreamWaitEvent", second => Pointer, event => Pointer), 0);
        let to: Pointer = seen.as_mut_ptr().cast();
        let status = call!(
            cann, "aclrtMemcpyAsync", to => Pointer, 4096 => usize, memory.cast_const() => *const c_void, 4096 => usize,
            2 => i32, second => Pointer
        );
        assert_eq!(status, 0);
        assert_eq!(call!(cann, "aclrtSynchronizeStream", second => Pointer), 0);
        assert_eq!(seen, [round; 4096]);
    }
    assert_eq!(call!(cann, "aclrtDestroyEvent", event => Pointer), 0);
    for stream in [first, second] {
        assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    }
    cann.finish();
}

#[test]
fn an_allocation_fails_on_demand_and_the_next_succeeds() {
    const TEST: &str = "runtime::an_allocation_fails_on_demand_and_the_next_succeeds";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_FAIL", "aclrtMalloc:2:207001,aclrtCreateStream:1:207008")]);
        return;
    }
    let cann = Cann::start();
    let mut pointer = ptr::null_mut();
    let mut malloc = || call!(cann, "aclrtMalloc", &mut pointer => *mut Pointer, 64 => usize, 0 => i32);
    assert_eq!(malloc(), 0);
    cann.refused(malloc(), 207_001, "failure-on-demand", "call 2 of aclrtMalloc");
    assert_eq!(malloc(), 0);
    let mut stream = ptr::null_mut();
    let status = call!(cann, "aclrtCreateStream", &mut stream => *mut Pointer);
    cann.refused(status, 207_008, "failure-on-demand", "aclrtCreateStream");
}

#[test]
fn a_kernel_exception_comes_at_the_synchronisation_and_stays() {
    const TEST: &str = "runtime::a_kernel_exception_comes_at_the_synchronisation_and_stays";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_FAIL", "kernel:1:507015")]);
        return;
    }
    let cann = Cann::start();
    let (stream, memory) = (cann.stream(), cann.malloc(64));
    let fill = || call!(cann, "aclrtMemsetAsync", memory => Pointer, 64 => usize, 1 => i32, 64 => usize, stream => Pointer);
    assert_eq!(fill(), 0, "the launch itself succeeds");
    for _ in 0..2 {
        let status = call!(cann, "aclrtSynchronizeStream", stream => Pointer);
        cann.refused(status, 507_015, "failure-on-demand", "aclrtMemsetAsync failed on the device");
    }
    assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    cann.finish();
}

#[test]
fn a_stalled_kernel_times_the_synchronisation_out() {
    const TEST: &str = "runtime::a_stalled_kernel_times_the_synchronisation_out";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_FAIL", "stall:1:600")]);
        return;
    }
    let cann = Cann::start();
    let (stream, memory) = (cann.stream(), cann.malloc(64));
    let fill = call!(cann, "aclrtMemsetAsync", memory => Pointer, 64 => usize, 1 => i32, 64 => usize, stream => Pointer);
    assert_eq!(fill, 0);
    let status = call!(cann, "aclrtSynchronizeStreamWithTimeout", stream => Pointer, 20 => i32);
    cann.refused(status, 507_046, "synchronise-timeout", "after 20 ms");
    let status = call!(cann, "aclrtFree", memory => Pointer);
    cann.refused(status, 107_000, "free-while-in-use", "devPtr");
    assert_eq!(call!(cann, "aclrtSynchronizeStreamWithTimeout", stream => Pointer, 60_000 => i32), 0);
    assert_eq!(call!(cann, "aclrtDestroyStream", stream => Pointer), 0);
    cann.finish();
}

#[test]
fn memory_ends_and_is_there_again_after_a_free() {
    const TEST: &str = "runtime::memory_ends_and_is_there_again_after_a_free";
    if !is_child() {
        passes_in_child(TEST, &[("MXHAL_SIM_MEMORY", "100000")]);
        return;
    }
    let cann = Cann::start();
    let mut pointer = ptr::null_mut();
    let mut malloc = |size| call!(cann, "aclrtMalloc", &mut pointer => *mut Pointer, size => usize, 0 => i32);
    assert_eq!(malloc(60_000), 0);
    cann.refused(malloc(60_000), 207_001, "out-of-memory", "60000 of 100000");
    assert_eq!(call!(cann, "aclrtFree", pointer => Pointer), 0);
    let mut pointer = ptr::null_mut();
    assert_eq!(call!(cann, "aclrtMalloc", &mut pointer => *mut Pointer, 60_000 => usize, 0 => i32), 0);
    assert_eq!(call!(cann, "aclrtFree", pointer => Pointer), 0);
    cann.finish();
}

#[test]
fn older_versions_lack_symbols_and_newer_ones_have_them() {
    for (variant, there, gone) in [
        (Variant::NewestOnly, "aclnnDynamicMxQuantV3", "aclnnDynamicMxQuant"),
        (Variant::V2Only, "aclnnDynamicMxQuantV2", "aclnnDynamicMxQuantV3"),
        (Variant::V1Only, "aclnnDynamicMxQuant", "aclnnDynamicMxQuantV2"),
        (Variant::V1Only, "aclnnGroupedMatmulV4", "aclnnGroupedMatmulV5"),
    ] {
        for libraries in [Libraries::Split, Libraries::Legacy] {
            let cann = Cann::open(variant, libraries);
            for suffix in ["", "GetWorkspaceSize"] {
                assert!(cann.has(&format!("{there}{suffix}")), "{variant:?}");
                assert!(!cann.has(&format!("{gone}{suffix}")), "{variant:?}");
            }
            assert_eq!(call!(cann, "aclInit", ptr::null() => *const c_char), 0);
            assert_eq!(call!(cann, "aclFinalize"), 0);
        }
    }
}

#[test]
fn all_names_are_one_library() {
    let cann = Cann::open(Variant::All, Libraries::Split);
    assert_eq!(call!(cann, "aclInit", ptr::null() => *const c_char), 0);
    for name in Libraries::Split.names() {
        // SAFETY: our own library.
        let other = unsafe { libloading::Library::new(cann.folder.path().join("lib64").join(name)) }
            .expect("a link to it");
        // SAFETY: declared so.
        let status = unsafe {
            let function =
                other.get::<unsafe extern "C" fn(*mut u32) -> i32>("aclrtGetDeviceCount").expect("exported");
            function(&mut 0)
        };
        assert_eq!(status, 0, "{name} does not know that aclInit was called");
    }
    assert!(LIBRARY.exists());
}

/// Adds a number to the values of each block's share; more than 64 are a fault.
const KERNEL: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <string.h>
struct memory { uint8_t *start; uint64_t bytes; };
struct launch {
    const uint64_t *arguments; uint64_t argument_count; uint32_t blocks;
    const struct memory *memory; uint64_t memory_count; char *fault; uint64_t fault_bytes;
};
int add_on_host(const struct launch *launch) {
    float *values = (float *)launch->arguments[0];
    uint64_t count = launch->arguments[1];
    double added;
    memcpy(&added, &launch->arguments[2], sizeof added);
    if (launch->argument_count != 3 || launch->memory_count != 1 || launch->memory->start != (void *)values) return 1;
    if (count > 64) {
        snprintf(launch->fault, launch->fault_bytes, "%d values", (int)count);
        return 1;
    }
    for (uint32_t block = 0; block < launch->blocks; block++)
        for (uint64_t i = block; i < count; i += launch->blocks) values[i] += (float)added;
    return 0;
}
"#;

#[test]
fn a_kernel_compiled_for_the_host_is_loaded_and_launched() {
    let cann = Cann::start();
    let (source, binary) = (cann.folder.path().join("add.c"), cann.folder.path().join("add.so"));
    std::fs::write(&source, KERNEL).expect("the folder is ours");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&binary).arg(&source).status();
    assert!(compiled.expect("a C compiler, as for the whole workspace").success());

    let path = CString::new(binary.to_str().expect("UTF-8")).expect("no zeros");
    let (mut handle, mut function) = (ptr::null_mut(), ptr::null_mut());
    let none = ptr::null_mut();
    let status = call!(
        cann, "aclrtBinaryLoadFromFile", path.as_ptr() => *const c_char, none => Pointer, &mut handle => *mut Pointer
    );
    assert_eq!(status, 0, "{:?}", cann.message());
    let mut find = |name: &CStr| {
        call!(
            cann, "aclrtBinaryGetFunction", handle => Pointer, name.as_ptr() => *const c_char, &mut function => *mut Pointer
        )
    };
    cann.refused(find(c"subtract"), 507_027, "kernel", "subtract");
    assert_eq!(find(c"add"), 0, "{:?}", cann.message());

    let values = cann.upload(&f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0]));
    let launch = |address: Pointer, count: u64| {
        let mut arguments = [address as u64, count, 0.5_f64.to_bits()];
        let arguments: Pointer = arguments.as_mut_ptr().cast();
        call!(
            cann, "aclrtLaunchKernelWithHostArgs", function => Pointer, 4 => u32, none => Pointer, none => Pointer,
            arguments => Pointer, 24 => usize, none => Pointer, 0 => usize
        )
    };
    assert_eq!(launch(values, 5), 0, "{:?}", cann.message());
    assert_eq!(call!(cann, "aclrtSynchronizeStream", none => Pointer), 0, "{:?}", cann.message());
    assert_eq!(cann.download_f32(values, 5), [1.5, 2.5, 3.5, 4.5, 5.5]);
    cann.refused(launch(values.wrapping_byte_add(4096), 5), 107_000, "use-after-free", "hostArgs word 0");
    assert_eq!(launch(values, 65), 0, "what a kernel does wrong is known when it has run");
    let status = call!(cann, "aclrtSynchronizeStream", none => Pointer);
    cann.refused(status, 507_035, "kernel-fault", "65 values");
    assert_eq!(call!(cann, "aclrtBinaryUnLoad", handle => Pointer), 0);
    cann.finish();
}
