//! What a driver refuses.

use std::ffi::c_void;
use std::ptr;

use mxhal_cuda_emulation::{Checks, compile};

use crate::support::{Cuda, Pointer, call, copying, in_a_child, passed};

#[test]
fn nothing_goes_before_initialisation_and_little_without_a_context() {
    let cuda = Cuda::open();
    let mut count = 0;
    assert_eq!(call!(cuda, "cuDeviceGetCount", &mut count => *mut i32), 3);
    assert_eq!(call!(cuda, "cuInit", 0 => u32), 0);
    assert_eq!((call!(cuda, "cuDeviceGetCount", &mut count => *mut i32), count), (0, 1));
    let mut stream = ptr::null_mut();
    let code = call!(cuda, "cuStreamCreate", &mut stream => *mut Pointer, 0 => u32);
    assert_eq!(cuda.name_of(code), "CUDA_ERROR_INVALID_CONTEXT");
    let context = cuda.make_current();
    assert_eq!(call!(cuda, "cuStreamCreate", &mut stream => *mut Pointer, 0 => u32), 0);
    let mut popped = ptr::null_mut();
    assert_eq!(call!(cuda, "cuCtxPopCurrent_v2", &mut popped => *mut Pointer), 0);
    assert_eq!(popped, context);
    assert_eq!(cuda.synchronise(stream), 201);
    // Of another thread nothing is current either.
    assert_eq!(call!(cuda, "cuCtxPushCurrent_v2", context => Pointer), 0);
    std::thread::scope(|scope| {
        let (cuda, stream) = (&cuda, stream as usize);
        let other = scope.spawn(move || cuda.synchronise(stream as Pointer));
        assert_eq!(other.join().expect("no panic"), 201);
    });
    assert_eq!(cuda.synchronise(stream), 0);
}

#[test]
fn without_a_device_there_is_none_and_an_unknown_architecture_is_named() {
    let name = "rules::without_a_device_there_is_none_and_an_unknown_architecture_is_named";
    if let Some(output) = in_a_child(name, &[("MXHAL_SIM_DEVICES", "0")]) {
        passed(&output);
        return;
    }
    let cuda = Cuda::open();
    assert_eq!(call!(cuda, "cuInit", 0 => u32), 100);
}

#[test]
fn an_image_for_another_architecture_and_what_is_no_image_are_refused() {
    let cuda = Cuda::start();
    let mut image = cuda.image();
    assert!(cuda.load(&image).is_ok());
    image[49] = 90;
    assert_eq!(cuda.name_of(cuda.load(&image).unwrap_err()), "CUDA_ERROR_NO_BINARY_FOR_GPU");
    assert_eq!(cuda.name_of(cuda.load(&[0; 64]).unwrap_err()), "CUDA_ERROR_INVALID_IMAGE");
    // A fatbin without an entry.
    let mut fatbin = [0_u8; 16];
    fatbin[..8].copy_from_slice(&[0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0]);
    assert_eq!(cuda.name_of(cuda.load(&fatbin).unwrap_err()), "CUDA_ERROR_NO_BINARY_FOR_GPU");
}

#[test]
fn launches_that_no_device_begins_are_refused() {
    let cuda = Cuda::start();
    let function = cuda.function("combine");
    let (x, positions, y) = (cuda.alloc(256), cuda.copy(&[0_i32]), cuda.alloc(256));
    let mut parameters = copying(x, positions, y, 1);
    for (grid, threads) in [(0, 32), (1, 0), (1, 1025)] {
        assert_eq!(cuda.launch(function, grid, threads, ptr::null_mut(), &mut parameters), 1);
    }
    let launch = |shared: u32, addresses: *mut Pointer, extra: *mut Pointer| {
        call!(
            cuda, "cuLaunchKernel", function => Pointer, 1 => u32, 1 => u32, 1 => u32, 32 => u32, 1 => u32, 1 => u32,
            shared => u32, ptr::null_mut() => Pointer, addresses => *mut Pointer, extra => *mut Pointer
        )
    };
    let mut addresses = [(&raw mut parameters).cast::<c_void>()];
    let mut nowhere: [Pointer; 1] = [ptr::null_mut()];
    assert_eq!(launch(0, ptr::null_mut(), ptr::null_mut()), 1, "no parameters");
    assert_eq!(launch(0, nowhere.as_mut_ptr(), ptr::null_mut()), 1, "a null parameter");
    assert_eq!(launch((48 << 10) + 1, addresses.as_mut_ptr(), ptr::null_mut()), 1, "too much shared memory");
    let allow = |bytes: i32| call!(cuda, "cuFuncSetAttribute", function => Pointer, 8 => i32, bytes => i32);
    assert_eq!((allow(99 << 10), allow((99 << 10) + 1)), (0, 1));
    assert_eq!(launch((48 << 10) + 1, addresses.as_mut_ptr(), ptr::null_mut()), 0);
    // The other way to pass parameters tells how many bytes they are.
    for (bytes, status) in [(64_usize, 0), (56, 1)] {
        let mut size = bytes;
        let mut extra = [1 as Pointer, addresses[0], 2 as Pointer, (&raw mut size).cast(), ptr::null_mut()];
        assert_eq!(launch(0, ptr::null_mut(), extra.as_mut_ptr()), status, "{bytes} bytes");
    }
    assert_eq!(cuda.synchronise(ptr::null_mut()), 0);
}

#[test]
fn a_grid_that_its_clusters_do_not_divide_is_refused() {
    let name = "rules::a_grid_that_its_clusters_do_not_divide_is_refused";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("ranks.cu");
    let kernel = r#"#include <emulation.h>
extern "C" __global__ void __cluster_dims__(2, 1, 1) ranks(unsigned* to) {
  to[blockIdx.x * 32 + threadIdx.x] = 1 + emulation::cluster_rank();
}
MXHAL_CLUSTER_KERNEL(ranks, 2)
"#;
    std::fs::write(&source, kernel).expect("a folder of this test");
    let library =
        compile(&[source], &[], Checks::Off, folder.path()).unwrap_or_else(|error| panic!("{error}"));
    let library = library.to_str().expect("a path of this test");
    if let Some(output) = in_a_child(name, &[("MXHAL_SIM_KERNELS", library)]) {
        let words = "a cluster of [2, 1, 1] in a grid of [3, 1, 1]";
        let said = passed(&output);
        assert!(said.contains(words), "{said}");
        return;
    }
    let cuda = Cuda::start();
    let function = cuda.function("ranks");
    let mut to = cuda.alloc(256);
    assert_eq!(cuda.launch(function, 3, 32, ptr::null_mut(), &mut to), 1);
    assert_eq!(cuda.launch(function, 2, 32, ptr::null_mut(), &mut to), 0);
    assert_eq!(cuda.synchronise(ptr::null_mut()), 0);
    let ranks: Vec<u32> = cuda.read(to, 64);
    assert!(ranks[..32] == [1; 32] && ranks[32..] == [2; 32], "{ranks:?}");
}

#[test]
fn copies_are_refused_where_no_memory_is() {
    let cuda = Cuda::start();
    let y = cuda.alloc(64);
    let stream = cuda.stream();
    let mut bytes = [0_u8; 128];
    let host: Pointer = bytes.as_mut_ptr().cast();
    let copy = |to: u64, from: *const c_void, len: usize| {
        call!(
            cuda, "cuMemcpyHtoDAsync_v2", to => u64, from => *const c_void, len => usize, stream => Pointer
        )
    };
    assert_eq!(copy(y, host, 64), 0);
    assert_eq!(copy(y, host, 65), 1, "too long");
    assert_eq!(copy(host as u64, host, 64), 1, "to the host");
    assert_eq!(copy(y, y as *const c_void, 64), 1, "from the device");
    assert_eq!(cuda.synchronise(stream), 0);
    assert_eq!(call!(cuda, "cuMemFree_v2", y => u64), 0);
    assert_eq!(copy(y, host, 64), 1, "freed");
    assert_eq!(call!(cuda, "cuMemFree_v2", y => u64), 1, "twice");
    assert_eq!(call!(cuda, "cuStreamDestroy_v2", stream => Pointer), 0);
    assert_eq!(cuda.synchronise(stream), 400, "destroyed");
}

#[test]
fn memory_ends_and_a_pool_keeps_what_its_threshold_says() {
    let name = "rules::memory_ends_and_a_pool_keeps_what_its_threshold_says";
    if let Some(output) = in_a_child(name, &[("MXHAL_SIM_MEMORY", "1048576")]) {
        passed(&output);
        return;
    }
    let cuda = Cuda::start();
    let stream = cuda.stream();
    let mut pool = ptr::null_mut();
    // A CUmemPoolProps: pinned, without handles, on a device.
    let mut properties = [0_i32; 22];
    (properties[0], properties[2]) = (1, 1);
    let status = call!(
        cuda, "cuMemPoolCreate", &mut pool => *mut Pointer, properties.as_ptr() => *const i32
    );
    assert_eq!(status, 0);
    let mut threshold = u64::MAX;
    let status = call!(
        cuda, "cuMemPoolSetAttribute", pool => Pointer, 4 => i32, &mut threshold => *mut u64
    );
    assert_eq!(status, 0);
    let mut address = 0;
    let mut allocate = |bytes: usize| {
        call!(
            cuda, "cuMemAllocFromPoolAsync", &mut address => *mut u64, bytes => usize, pool => Pointer, stream => Pointer
        )
    };
    assert_eq!((allocate(2 << 20), allocate(768 << 10)), (2, 0));
    assert_eq!(call!(cuda, "cuMemFreeAsync", address => u64, stream => Pointer), 0);
    assert_eq!(cuda.synchronise(stream), 0);
    let reserved = || {
        let mut bytes = 0_u64;
        assert_eq!(
            call!(cuda, "cuMemPoolGetAttribute", pool => Pointer, 5 => i32, &mut bytes => *mut u64),
            0
        );
        bytes
    };
    assert_eq!(reserved(), 768 << 10);
    // What a pool keeps is not there for others.
    let mut other = 0;
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut other => *mut u64, 512 << 10 => usize), 2);
    assert_eq!(call!(cuda, "cuMemPoolTrimTo", pool => Pointer, 0 => usize), 0);
    assert_eq!(reserved(), 0);
    assert_eq!(call!(cuda, "cuMemAlloc_v2", &mut other => *mut u64, 512 << 10 => usize), 0);
}

/// A `CUtensorMap`, as far apart as the driver wants it.
#[repr(C, align(64))]
struct Map([u64; 17]);

#[test]
fn a_tensor_map_is_encoded_where_its_numbers_are_allowed() {
    let cuda = Cuda::open();
    let mut map = Map([7; 17]);
    let mut encode = |byte: usize, rank: u32, address: u64, strides: *const u64, swizzle: u32| {
        let (extents, tile, ones) = ([256_u64, 3], [128_u32, 128], [1_u32, 1]);
        let place = map.0.as_mut_ptr().wrapping_byte_add(byte);
        let code = call!(
            cuda, "cuTensorMapEncodeTiled", place => *mut u64, 14 => u32, rank => u32, address => u64,
            extents.as_ptr() => *const u64, strides => *const u64, tile.as_ptr() => *const u32,
            ones.as_ptr() => *const u32, 0 => u32, swizzle => u32, 3 => u32, 0 => u32
        );
        (code, map.0[0], map.0[1])
    };
    let strides = [128_u64];
    let strides = strides.as_ptr();
    assert_eq!(encode(0, 2, 0x1000, strides, 3).0, 3, "before cuInit");
    assert_eq!(call!(cuda, "cuInit", 0 => u32), 0);
    assert_eq!(encode(8, 2, 0x1000, strides, 3).0, 1, "a map between the places for one");
    assert_eq!(encode(0, 6, 0x1000, strides, 3).0, 1, "a rank of 6");
    assert_eq!(encode(0, 2, 0x1000, ptr::null(), 3).0, 1, "no strides");
    assert_eq!(encode(0, 2, 0x1010, strides, 3).0, 1, "an address that is no multiple of 32");
    assert_eq!(encode(0, 2, 0x1000, strides, 2), (1, 7, 7), "a swizzle that spread codes do not have");
    // Without a context, and of memory that nobody allocated.
    let head = u32::from_ne_bytes(*b"TMAP");
    let (code, first, address) = encode(0, 2, 0x1000, strides, 3);
    assert_eq!((code, first.to_ne_bytes()[..4] == head.to_ne_bytes(), address), (0, true, 0x1000));
    assert_eq!(
        (encode(0, 1, 0x1000, ptr::null(), 0).0, map.0[16]),
        (0, 7),
        "strides of a row, beyond the map"
    );
}
