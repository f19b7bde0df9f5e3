//! Allocations, what is known about the machine's memory, and copies.
//!
//! Addresses come from outside as plain numbers. Those that are freed are looked up first, so that a wrong one is an
//! error; those that are copied from and to cannot be, because an engine may pass memory of its own. That they are valid
//! is what the contract demands of the caller.

use std::alloc::{self, Layout};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::{fs, ptr};

use mxhal_core::{Error, MemoryInfo, Result, Span, Status};

/// What every allocation is aligned to: a cache line.
pub(crate) const ALIGNMENT: u64 = 64;

/// The allocations that callers hold, by address. What they still hold when the device goes is freed.
#[derive(Default)]
pub(crate) struct Ledger {
    live: Mutex<HashMap<u64, Layout>>,
}

impl Ledger {
    pub(crate) fn allocate(&self, bytes: u64) -> Result<u64> {
        let MemoryInfo { free, total } = info();
        let out_of_memory = || {
            let message = format!("{bytes} bytes were asked for, and {free} of {total} are free");
            Error::new(Status::OutOfMemory, message)
        };
        // A system that overcommits would promise memory that it has not got, and kill the process when it is touched.
        if bytes > free {
            return Err(out_of_memory());
        }
        let layout = usize::try_from(bytes.max(1))
            .ok()
            .and_then(|size| Layout::from_size_align(size, ALIGNMENT as usize).ok())
            .ok_or_else(out_of_memory)?;
        // SAFETY: the layout's size is at least 1.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        if memory.is_null() {
            return Err(out_of_memory());
        }
        let address = memory as u64;
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(address, layout);
        Ok(address)
    }

    pub(crate) fn free(&self, address: u64) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        let found = self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        let layout = found.ok_or_else(|| {
            Error::invalid(format!("{address:#x} was not allocated by this device, or was freed before"))
        })?;
        // SAFETY: it was allocated with this layout, and was in the ledger until now.
        unsafe { alloc::dealloc(address as *mut u8, layout) };
        Ok(())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        for (address, layout) in self.live.get_mut().unwrap_or_else(PoisonError::into_inner).drain() {
            // SAFETY: it was allocated with this layout, and was not freed.
            unsafe { alloc::dealloc(address as *mut u8, layout) };
        }
    }
}

/// The machine's memory, as far as Linux tells; all of the address space where it does not.
pub(crate) fn info() -> MemoryInfo {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let all = isize::MAX as u64;
    MemoryInfo { free: field("MemAvailable:").unwrap_or(all), total: field("MemTotal:").unwrap_or(all) }
}

/// Copies `from` to `to`; the ranges may overlap.
pub(crate) fn copy(to: u64, from: Span) -> Result<()> {
    let bytes = not_null("copy", from.address.min(to), from.bytes)?;
    if bytes > 0 {
        // SAFETY: the caller of the stream says that both ranges are valid.
        unsafe { ptr::copy(from.address as *const u8, to as *mut u8, bytes) };
    }
    Ok(())
}

/// Sets every byte of `to`.
pub(crate) fn fill(to: Span, value: u8) -> Result<()> {
    let bytes = not_null("fill", to.address, to.bytes)?;
    if bytes > 0 {
        // SAFETY: the caller of the stream says that the range is valid.
        unsafe { ptr::write_bytes(to.address as *mut u8, value, bytes) };
    }
    Ok(())
}

/// How many bytes there are, where an address is not null or there are none.
fn not_null(what: &str, address: u64, bytes: u64) -> Result<usize> {
    if address == 0 && bytes > 0 {
        return Err(Error::invalid(format!("{bytes} bytes cannot be reached by a {what}: address 0")));
    }
    usize::try_from(bytes)
        .map_err(|_| Error::invalid(format!("{bytes} bytes are more than an address space holds")))
}
