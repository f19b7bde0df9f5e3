//! Memory of the device, from a pool that keeps what was freed, and page-locked memory of the host; by address.

use std::collections::HashSet;
use std::ffi::c_void;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};

use mxhal_core::{Error, MemoryInfo, Result, Span, Status};

use crate::context::Context;
use crate::stream::{Copy, Queue};
use crate::sys::{
    self, CUdevice_attribute, CUmemAllocationHandleType, CUmemAllocationType, CUmemLocation,
    CUmemLocationType, CUmemPool_attribute, CUmemPoolProps, CUmemoryPool,
};

/// What tensors are aligned to: kernels read 16 bytes at once. The pool gives 512.
pub(crate) const ALIGNMENT: u64 = 16;

/// Where a memory's allocations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Device,
    Host,
}

/// The memory of a device.
///
/// The pool is ordered by streams; whoever calls here is not. So it is used on one stream of its own, which is waited
/// for when memory was allocated, and which never has anything else to do than what is said here.
pub(crate) struct Memory {
    context: Arc<Context>,
    queue: Queue,
    pool: CUmemoryPool,
    /// What was given and not taken back, so that an address that is none is an error.
    device: Mutex<HashSet<u64>>,
    host: Mutex<HashSet<u64>>,
}

// SAFETY: the functions of the driver may be called from any thread, with pools too.
unsafe impl Send for Memory {}
// SAFETY: as above; the sets are locked.
unsafe impl Sync for Memory {}

impl Memory {
    /// A pool that keeps at least `reserve` bytes of freed memory for the next allocation.
    pub(crate) fn new(context: &Arc<Context>, reserve: u64) -> Result<Self> {
        if context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? == 0 {
            let text = "the driver has no memory pools for this device (a virtual GPU without them?), and this backend \
                        allocates from one";
            return Err(Error::new(Status::Unavailable, text));
        }
        let queue = Queue::new(context)?;
        let mut pool = std::ptr::null_mut();
        let wanted = CUmemPoolProps {
            allocType: CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            handleTypes: CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location: CUmemLocation {
                type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
                id: context.device(),
            },
            win32SecurityAttributes: std::ptr::null_mut(),
            maxSize: 0,
            usage: 0,
            reserved: [0; 54],
        };
        context.call("cuMemPoolCreate", || {
            // SAFETY: both live during the call.
            unsafe { sys::cuMemPoolCreate(&raw mut pool, &raw const wanted) }
        })?;
        let memory = Self {
            context: Arc::clone(context),
            queue,
            pool,
            device: Mutex::default(),
            host: Mutex::default(),
        };
        let mut reserve = reserve;
        context.call("cuMemPoolSetAttribute", || {
            let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            // SAFETY: the attribute is 64 bits.
            unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut reserve).cast()) }
        })?;
        Ok(memory)
    }

    /// # Errors
    ///
    /// [`Status::OutOfMemory`], with what was wanted and what is free.
    pub(crate) fn allocate(&self, bytes: u64) -> Result<u64> {
        let address = self.try_allocate(bytes).or_else(|error| match error.status() {
            Status::OutOfMemory => {
                // What is kept may be in pieces that are too small: the device gets them back, and is asked once more.
                self.context.call("cuMemPoolTrimTo", || {
                    // SAFETY: the pool lives.
                    unsafe { sys::cuMemPoolTrimTo(self.pool, 0) }
                })?;
                self.try_allocate(bytes).map_err(|error| self.explained(Place::Device, bytes, error))
            }
            _ => Err(error),
        })?;
        self.live(Place::Device).insert(address);
        Ok(address)
    }

    /// Frees what [`Self::allocate`] gave.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`] for any other address, and for one that was freed.
    pub(crate) fn free(&self, address: u64) -> Result<()> {
        if !self.forget(Place::Device, address)? {
            return Ok(());
        }
        self.context.call("cuMemFreeAsync", || {
            // SAFETY: allocated here and forgotten since; nobody uses it any more, by the contract of `free`.
            unsafe { sys::cuMemFreeAsync(address, self.queue.raw()) }
        })
    }

    /// # Errors
    ///
    /// As [`Self::allocate`].
    pub(crate) fn allocate_host(&self, bytes: u64) -> Result<u64> {
        let mut address: *mut c_void = std::ptr::null_mut();
        let count = count(bytes)?;
        self.context
            .call("cuMemHostAlloc", || {
                // SAFETY: the pointer is ours.
                unsafe { sys::cuMemHostAlloc(&raw mut address, count, 0) }
            })
            .map_err(|error| self.explained(Place::Host, bytes, error))?;
        let address = address.expose_provenance() as u64;
        self.live(Place::Host).insert(address);
        Ok(address)
    }

    /// As [`Self::free`].
    pub(crate) fn free_host(&self, address: u64) -> Result<()> {
        if !self.forget(Place::Host, address)? {
            return Ok(());
        }
        self.context.call("cuMemFreeHost", || {
            // SAFETY: allocated here and forgotten since.
            unsafe { sys::cuMemFreeHost(std::ptr::with_exposed_provenance_mut(address as usize)) }
        })
    }

    /// What is free counts what the pool keeps.
    pub(crate) fn info(&self) -> Result<MemoryInfo> {
        let (mut free, mut total) = (0, 0);
        self.context.call("cuMemGetInfo", || {
            // SAFETY: the numbers are ours.
            unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) }
        })?;
        let reserved = self.pool_number(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.pool_number(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(MemoryInfo { free: free as u64 + reserved.saturating_sub(used), total: total as u64 })
    }

    /// Copies bytes to the device, and waits until they are there.
    pub(crate) fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.queue.copy(Copy::ToDevice, to, Span::of(bytes))?;
        self.queue.synchronize()
    }

    /// Copies bytes from the device, and waits for them.
    pub(crate) fn read(&self, bytes: &mut [u8], from: u64) -> Result<()> {
        let to = Span::of_mut(bytes);
        self.queue.copy(Copy::ToHost, to.address, Span { address: from, bytes: to.bytes })?;
        self.queue.synchronize()
    }

    fn try_allocate(&self, bytes: u64) -> Result<u64> {
        let mut address = 0;
        let count = count(bytes)?;
        self.context.call("cuMemAllocFromPoolAsync", || {
            // SAFETY: the address is ours, pool and stream live.
            unsafe { sys::cuMemAllocFromPoolAsync(&raw mut address, count, self.pool, self.queue.raw()) }
        })?;
        // Other streams may use it when this one has come by.
        self.queue.synchronize()?;
        Ok(address)
    }

    /// Whether there is something to free.
    fn forget(&self, place: Place, address: u64) -> Result<bool> {
        if address == 0 {
            return Ok(false);
        }
        if !self.live(place).remove(&address) {
            return Err(Error::invalid(format!(
                "{address:#x} is not an address that `allocate{}` of this device gave, or it was freed already",
                if place == Place::Host { "_host" } else { "" }
            )));
        }
        Ok(true)
    }

    fn live(&self, place: Place) -> impl DerefMut<Target = HashSet<u64>> {
        let set = if place == Place::Host { &self.host } else { &self.device };
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool_number(&self, attribute: CUmemPool_attribute) -> Result<u64> {
        let mut value: u64 = 0;
        self.context.call("cuMemPoolGetAttribute", || {
            // SAFETY: the attributes asked for are 64 bits.
            unsafe { sys::cuMemPoolGetAttribute(self.pool, attribute, (&raw mut value).cast()) }
        })?;
        Ok(value)
    }

    /// Out of memory, with what was wanted and what is free.
    fn explained(&self, place: Place, bytes: u64, error: Error) -> Error {
        if error.status() != Status::OutOfMemory {
            return error;
        }
        let free = match (place, self.info()) {
            (Place::Device, Ok(MemoryInfo { free, total })) => {
                format!(", and {free} of {total} are free (`nvidia-smi` tells which processes have the rest)")
            }
            _ => String::new(),
        };
        let whose = if place == Place::Device { "the device's memory" } else { "page-locked memory" };
        let text = format!("{bytes} bytes of {whose} were wanted{free}: {}", error.message());
        Error::new(Status::OutOfMemory, text).with_vendor_code(error.vendor_code())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Whoever goes without freeing leaves what it has to the pool, which goes with it. Nobody can be told of a failure.
        let _ = self.context.call("cuMemPoolDestroy", || {
            // SAFETY: the last use of the pool; what was freed on the stream is ordered before.
            unsafe { sys::cuMemPoolDestroy(self.pool) }
        });
    }
}

/// Memory that is freed when it is dropped.
pub(crate) struct Held {
    memory: Arc<Memory>,
    span: Span,
}

impl Held {
    /// # Errors
    ///
    /// As [`Memory::allocate`].
    pub(crate) fn new(memory: &Arc<Memory>, bytes: u64) -> Result<Self> {
        let span = Span { address: memory.allocate(bytes)?, bytes };
        Ok(Self { memory: Arc::clone(memory), span })
    }

    /// Its address and size.
    pub(crate) fn span(&self) -> Span {
        self.span
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A device that was lost cannot free; there is nobody to tell.
        let _ = self.memory.free(self.span.address);
    }
}

/// A size as the driver takes it: no bytes are one, and more than there are addresses are out of memory.
fn count(bytes: u64) -> Result<usize> {
    match usize::try_from(bytes.max(1)) {
        Ok(count) if isize::try_from(count).is_ok() => Ok(count),
        _ => {
            let text = format!("{bytes} bytes were wanted, more than there are addresses");
            Err(Error::new(Status::OutOfMemory, text))
        }
    }
}
