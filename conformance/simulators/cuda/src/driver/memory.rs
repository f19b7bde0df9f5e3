//! Memory that is allocated and freed at once, and pinned memory.

use core::ffi::{c_int, c_void};

use super::capture;
use super::context::current;
use super::pool;
use super::stream;
use crate::memory;
use crate::refusal::{Answer, Refusal, cu, give};
use crate::settings::settings;

fn pin(place: *mut *mut c_void, size: usize, function: &str) -> Answer {
    current()?;
    capture::expect_none(function)?;
    give(place, "pp", memory::pin(size)? as *mut c_void)
}

fn address(address: u64) -> usize {
    usize::try_from(address).unwrap_or(0)
}

cu! {
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let device = current()?.device;
        give(free, "free", pool::available(device, 0)?)?;
        give(total, "total", settings()?.memory)
    }

    fn cuMemAlloc_v2(place: *mut u64, size: usize) {
        let device = current()?.device;
        capture::expect_none("cuMemAlloc")?;
        let start = memory::promise(device, 0, size, pool::available(device, 0)?)?;
        memory::open(start)?;
        give(place, "dptr", start as u64)
    }

    /// Waits for all work, as the driver does; null is freed without harm.
    fn cuMemFree_v2(place: u64) {
        let context = current()?;
        if place == 0 {
            return Ok(());
        }
        capture::expect_none("cuMemFree")?;
        memory::give_back(address(place))?;
        stream::synchronise_all(&context);
        memory::close(address(place))
    }

    fn cuMemHostAlloc(place: *mut *mut c_void, size: usize, flags: u32) {
        if flags & !7 != 0 {
            return Err(Refusal::invalid(format!("Flags is {flags:#x}, expected portable (1), mapped (2), write-combined (4)")));
        }
        pin(place, size, "cuMemHostAlloc")
    }

    fn cuMemAllocHost_v2(place: *mut *mut c_void, size: usize) {
        pin(place, size, "cuMemAllocHost")
    }

    fn cuMemFreeHost(place: *mut c_void) {
        let context = current()?;
        capture::expect_none("cuMemFreeHost")?;
        stream::synchronise_all(&context);
        memory::unpin(place as usize)
    }

    /// One address space: the address is the same.
    fn cuMemHostGetDevicePointer_v2(place: *mut u64, host: *mut c_void, _flags: u32) {
        current()?;
        if !memory::is_pinned(host as usize, 1) {
            return Err(Refusal::invalid(format!("p {host:p} is no pinned memory")));
        }
        give(place, "pdptr", host as u64)
    }

    fn cuMemGetAddressRange_v2(start: *mut u64, size: *mut usize, place: u64) {
        current()?;
        let (first, bytes) = memory::bounds(address(place))?;
        if !start.is_null() {
            give(start, "pbase", first as u64)?;
        }
        if size.is_null() { Ok(()) } else { give(size, "psize", bytes) }
    }

    /// The kind of memory (2) and the device (9) of an address.
    fn cuPointerGetAttribute(value: *mut c_void, attribute: c_int, place: u64) {
        settings()?;
        let pinned = memory::is_pinned(address(place), 1);
        match attribute {
            // CU_MEMORYTYPE_HOST 1, CU_MEMORYTYPE_DEVICE 2.
            2 if pinned => give(value.cast::<c_int>(), "data", 1),
            2 => memory::device_of(address(place)).and_then(|_| give(value.cast::<c_int>(), "data", 2)),
            9 => give(value.cast::<c_int>(), "data", if pinned { 0 } else { memory::device_of(address(place))? }),
            _ => Err(Refusal::invalid(format!("attribute {attribute} is not simulated"))),
        }
    }
}
