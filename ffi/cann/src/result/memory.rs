//! Memory of the device, page-locked memory of the host, and copies.

use core::ffi::c_void;
use core::ptr;

use super::calls;
use crate::error::Result;
use crate::library::Library;
use crate::sys;

calls! { runtime_table;
    /// So many bytes of device memory, aligned to 64.
    safe aclrt_malloc(bytes: usize, policy: sys::aclrtMemMallocPolicy) = aclrtMalloc(&mut pointer, bytes, policy)
        -> pointer: *mut c_void;
    /// The variant for an alignment of 32.
    safe aclrt_malloc_align32(bytes: usize, policy: sys::aclrtMemMallocPolicy)
        = aclrtMallocAlign32(&mut pointer, bytes, policy) -> pointer: *mut c_void;
    /// Device memory that the caches of the device may hold.
    safe aclrt_malloc_cached(bytes: usize, policy: sys::aclrtMemMallocPolicy)
        = aclrtMallocCached(&mut pointer, bytes, policy) -> pointer: *mut c_void;
    /// The same without attributes.
    safe aclrt_malloc_with_cfg(bytes: usize, policy: sys::aclrtMemMallocPolicy)
        = aclrtMallocWithCfg(&mut pointer, bytes, policy, ptr::null_mut()) -> pointer: *mut c_void;
    /// Frees device memory.
    unsafe aclrt_free(pointer: *mut c_void) = aclrtFree(pointer);
    /// So many bytes of page-locked host memory.
    safe aclrt_malloc_host(bytes: usize) = aclrtMallocHost(&mut pointer, bytes) -> pointer: *mut c_void;
    /// Frees page-locked host memory.
    unsafe aclrt_free_host(pointer: *mut c_void) = aclrtFreeHost(pointer);
    /// Fills `count` bytes of `capacity` with a byte, and waits.
    unsafe aclrt_memset(pointer: *mut c_void, capacity: usize, value: i32, count: usize)
        = aclrtMemset(pointer, capacity, value, count);
    /// The same, in the order of a stream.
    unsafe aclrt_memset_async(
        pointer: *mut c_void,
        capacity: usize,
        value: i32,
        count: usize,
        stream: sys::aclrtStream
    ) = aclrtMemsetAsync(pointer, capacity, value, count, stream);
    /// Copies `count` bytes to where there is room for `capacity`, and waits.
    unsafe aclrt_memcpy(
        to: *mut c_void,
        capacity: usize,
        from: *const c_void,
        count: usize,
        kind: sys::aclrtMemcpyKind
    ) = aclrtMemcpy(to, capacity, from, count, kind);
    /// The same, in the order of a stream.
    unsafe aclrt_memcpy_async(
        to: *mut c_void,
        capacity: usize,
        from: *const c_void,
        count: usize,
        kind: sys::aclrtMemcpyKind,
        stream: sys::aclrtStream
    ) = aclrtMemcpyAsync(to, capacity, from, count, kind, stream);
    /// Copies `height` rows of `width` bytes, and waits.
    unsafe aclrt_memcpy2d(
        to: *mut c_void,
        to_pitch: usize,
        from: *const c_void,
        from_pitch: usize,
        width: usize,
        height: usize,
        kind: sys::aclrtMemcpyKind
    ) = aclrtMemcpy2d(to, to_pitch, from, from_pitch, width, height, kind);
    /// The same, in the order of a stream.
    unsafe aclrt_memcpy2d_async(
        to: *mut c_void,
        to_pitch: usize,
        from: *const c_void,
        from_pitch: usize,
        width: usize,
        height: usize,
        kind: sys::aclrtMemcpyKind,
        stream: sys::aclrtStream
    ) = aclrtMemcpy2dAsync(to, to_pitch, from, from_pitch, width, height, kind, stream);
    /// Free and total bytes of a kind of memory.
    safe aclrt_get_mem_info(kind: sys::aclrtMemAttr) = aclrtGetMemInfo(kind, &mut free, &mut total)
        -> free: usize, total: usize;
    /// Where a pointer points to.
    unsafe aclrt_pointer_get_attributes(pointer: *const c_void) = aclrtPointerGetAttributes(pointer, &mut attributes)
        -> attributes: sys::aclrtPtrAttributes;
}
