//! Memory of the device, and page-locked memory of the host.

use core::ffi::c_void;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::slice;
use std::sync::Arc;

use super::{Context, Stream, report};
use crate::error::{Error, Result};
use crate::sys;

/// The pages that memory of the device is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Huge pages while there are some.
    #[default]
    HugeFirst,
    /// Huge pages only.
    HugeOnly,
    /// Normal pages only.
    NormalOnly,
}

impl Policy {
    fn number(self) -> sys::aclrtMemMallocPolicy {
        match self {
            Self::HugeFirst => sys::ACL_MEM_MALLOC_HUGE_FIRST,
            Self::HugeOnly => sys::ACL_MEM_MALLOC_HUGE_ONLY,
            Self::NormalOnly => sys::ACL_MEM_MALLOC_NORMAL_ONLY,
        }
    }
}

/// Memory of the device, aligned to 64 bytes; clones are the same memory, which the last one frees.
#[derive(Clone)]
pub struct DeviceBuffer(Arc<Allocation>);

struct Allocation {
    context: Context,
    pointer: *mut c_void,
    bytes: usize,
}

// SAFETY: an address of the device, which the host never reads through.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl DeviceBuffer {
    /// So many bytes; what is in them is not defined.
    ///
    /// # Errors
    ///
    /// No bytes, or not enough memory.
    pub fn new(context: &Context, bytes: usize) -> Result<Self> {
        Self::with_policy(context, bytes, Policy::default())
    }

    /// So many bytes from such pages.
    ///
    /// # Errors
    ///
    /// No bytes, or not enough memory.
    pub fn with_policy(context: &Context, bytes: usize, policy: Policy) -> Result<Self> {
        not_empty(bytes)?;
        let _current = context.enter()?;
        let pointer = context.library().aclrt_malloc(bytes, policy.number())?;
        if pointer.is_null() {
            return Err(Error::Null { function: "aclrtMalloc", recent_message: None });
        }
        Ok(Self(Arc::new(Allocation { context: context.clone(), pointer, bytes })))
    }

    /// A copy of these bytes.
    ///
    /// # Errors
    ///
    /// No bytes, not enough memory, or the copy fails.
    pub fn from_host(context: &Context, bytes: &[u8]) -> Result<Self> {
        let buffer = Self::new(context, bytes.len())?;
        buffer.write(0, bytes)?;
        Ok(buffer)
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The address on the device of the first byte.
    pub fn pointer(&self) -> *mut c_void {
        self.0.pointer
    }

    /// Writes bytes of the host from `offset` on, and waits for it.
    ///
    /// # Errors
    ///
    /// The range is not within the buffer, or the copy fails.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.range(offset, bytes.len())?;
        let _current = self.0.context.enter()?;
        let (library, count) = (self.0.context.library(), bytes.len());
        // SAFETY: the range is within the allocation, and the slice lives through the call.
        unsafe {
            library.aclrt_memcpy(to, count, bytes.as_ptr().cast(), count, sys::ACL_MEMCPY_HOST_TO_DEVICE)
        }
    }

    /// Reads bytes from `offset` on to the host, and waits for it.
    ///
    /// # Errors
    ///
    /// The range is not within the buffer, or the copy fails.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.range(offset, bytes.len())?;
        let _current = self.0.context.enter()?;
        let (library, count) = (self.0.context.library(), bytes.len());
        // SAFETY: the range is within the allocation, and the slice lives through the call.
        unsafe {
            library.aclrt_memcpy(
                bytes.as_mut_ptr().cast(),
                count,
                from,
                count,
                sys::ACL_MEMCPY_DEVICE_TO_HOST,
            )
        }
    }

    /// All bytes, on the host.
    ///
    /// # Errors
    ///
    /// The copy fails.
    pub fn to_host(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.0.bytes];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills all bytes with this one, and waits for it.
    ///
    /// # Errors
    ///
    /// What `aclrtMemset` answers.
    pub fn fill(&self, byte: u8) -> Result<()> {
        let _current = self.0.context.enter()?;
        // SAFETY: all of the allocation, which is alive.
        unsafe {
            self.0.context.library().aclrt_memset(self.0.pointer, self.0.bytes, byte.into(), self.0.bytes)
        }
    }

    /// Enqueues a copy of bytes of page-locked memory from `offset` on.
    ///
    /// # Errors
    ///
    /// The range is not within the buffer, or the copy cannot be enqueued.
    ///
    /// # Safety
    ///
    /// Until the stream has done it, both stay alive and nobody writes to `bytes`.
    pub unsafe fn write_async(&self, offset: usize, bytes: &HostBuffer, stream: &Stream) -> Result<()> {
        let to = self.range(offset, bytes.len())?;
        let _current = stream.context().enter()?;
        let (library, count) = (self.0.context.library(), bytes.len());
        // SAFETY: the range is within the allocation; the rest is the caller's promise.
        unsafe {
            library.aclrt_memcpy_async(
                to,
                count,
                bytes.as_ptr().cast(),
                count,
                sys::ACL_MEMCPY_HOST_TO_DEVICE,
                stream.handle(),
            )
        }
    }

    /// Enqueues a copy of bytes from `offset` on into page-locked memory.
    ///
    /// # Errors
    ///
    /// The range is not within the buffer, or the copy cannot be enqueued.
    ///
    /// # Safety
    ///
    /// Until the stream has done it, both stay alive and nobody touches `bytes`.
    pub unsafe fn read_async(&self, offset: usize, bytes: &mut HostBuffer, stream: &Stream) -> Result<()> {
        let from = self.range(offset, bytes.len())?;
        let _current = stream.context().enter()?;
        let (library, count) = (self.0.context.library(), bytes.len());
        // SAFETY: the range is within the allocation; the rest is the caller's promise.
        unsafe {
            library.aclrt_memcpy_async(
                bytes.as_mut_ptr().cast(),
                count,
                from,
                count,
                sys::ACL_MEMCPY_DEVICE_TO_HOST,
                stream.handle(),
            )
        }
    }

    /// The address of a range, once it is known to lie within the buffer.
    pub(super) fn range(&self, offset: usize, bytes: usize) -> Result<*mut c_void> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.0.bytes) {
            let all = self.0.bytes;
            return Err(Error::InvalidArgument(format!(
                "{bytes} bytes from {offset} on are not within the {all} bytes of the buffer"
            )));
        }
        Ok(self.0.pointer.wrapping_byte_add(offset))
    }
}

impl fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceBuffer").field("bytes", &self.0.bytes).finish_non_exhaustive()
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let outcome = self.context.enter().and_then(|_current| {
            // SAFETY: made by `DeviceBuffer`, freed once.
            unsafe { self.context.library().aclrt_free(self.pointer) }
        });
        report(outcome);
    }
}

/// Page-locked memory of the host, which the device copies from and to without a detour. A slice of bytes, zero at first.
pub struct HostBuffer {
    context: Context,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: memory of the host with one owner.
unsafe impl Send for HostBuffer {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// So many zero bytes.
    ///
    /// # Errors
    ///
    /// No bytes, or not enough memory.
    pub fn new(context: &Context, bytes: usize) -> Result<Self> {
        not_empty(bytes)?;
        let _current = context.enter()?;
        let pointer: *mut u8 = context.library().aclrt_malloc_host(bytes)?.cast();
        if pointer.is_null() {
            return Err(Error::Null { function: "aclrtMallocHost", recent_message: None });
        }
        // SAFETY: so many bytes were just allocated on the host.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Self { context: context.clone(), pointer, bytes })
    }
}

impl Deref for HostBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated and initialised.
        unsafe { slice::from_raw_parts(self.pointer, self.bytes) }
    }
}

impl DerefMut for HostBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes were allocated and initialised, and there is no other reference to them.
        unsafe { slice::from_raw_parts_mut(self.pointer, self.bytes) }
    }
}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuffer").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        let outcome = self.context.enter().and_then(|_current| {
            // SAFETY: made by `new`, freed once.
            unsafe { self.context.library().aclrt_free_host(self.pointer.cast()) }
        });
        report(outcome);
    }
}

fn not_empty(bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Err(Error::InvalidArgument(
            "a buffer of no bytes cannot be allocated; ask for at least one".into(),
        ));
    }
    Ok(())
}
