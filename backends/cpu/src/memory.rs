//! Allocations, what is known about the machine's memory, and copies.
//!
//! Addresses come from outside as plain numbers. Those that are freed are looked up first, so that a wrong one is an
//! error; those that are copied from and to cannot be, because an engine may pass memory of its own. That they are
//! valid is the contract's demand on the caller.

use std::alloc::{self, Layout};
use std::collections::HashMap;
use std::fs;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use mxhal_core::{Error, MemoryInfo, Result, Span, Status};

/// What every allocation is aligned to: a cache line.
pub(crate) const ALIGNMENT: u64 = 64;

/// Smaller allocations are not compared with what is free: asking the kernel takes longer than they do.
const WORTH_ASKING: u64 = 1 << 20;

/// From this size on, allocations are mapped by themselves, in pages as large.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory that frees itself.
pub(crate) struct Allocation {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is plain memory with one owner.
unsafe impl Send for Allocation {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// Zeroed memory, at least one byte of it.
    ///
    /// # Errors
    ///
    /// [`Status::OutOfMemory`], with what was wanted and what is free.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        let layout = usize::try_from(bytes.max(1))
            .ok()
            .and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT as usize).ok())
            .ok_or_else(|| out_of_memory(bytes))?;
        // Linux promises memory that it does not have, and kills whoever touches it: ask before.
        if bytes >= WORTH_ASKING && bytes > info().free {
            return Err(out_of_memory(bytes));
        }
        let start = if layout.size() < HUGE_PAGE {
            // SAFETY: the layout's size is not zero.
            NonNull::new(unsafe { alloc::alloc_zeroed(layout) })
        } else {
            map(layout.size())
        };
        start.map(|start| Self { start, layout }).ok_or_else(|| out_of_memory(bytes))
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: this many bytes were allocated, zeroed, and are written only through `&mut self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let (start, size) = (self.start.as_ptr(), self.layout.size());
        if size < HUGE_PAGE {
            // SAFETY: it came from the allocator with this very layout, and nothing uses it after its owner.
            unsafe { alloc::dealloc(start, self.layout) }
        } else {
            // SAFETY: it was mapped with this size, and nothing uses it after its owner. Unmapping a whole mapping does
            // not fail.
            let _ = unsafe { mm::munmap(start.cast(), size.next_multiple_of(HUGE_PAGE)) };
        }
    }
}

/// Maps zeroed memory, aligned to huge pages and, where Linux grants them, made of them: reading weights from ordinary
/// ones costs a tenth of the bandwidth, and touching new ones several times as much.
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let size = bytes.checked_next_multiple_of(HUGE_PAGE)?;
    // What is too much for the sake of alignment is given back at once.
    let whole = size.checked_add(HUGE_PAGE)?;
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: memory of nobody's, at an address that the kernel chooses.
    let mapped = unsafe { mm::mmap_anonymous(ptr::null_mut(), whole, protection, flags) }.ok()?;
    let before = mapped.addr().next_multiple_of(HUGE_PAGE) - mapped.addr();
    let after = whole - size - before;
    // SAFETY: all of it was mapped just now, and the ends that are unmapped are no part of what is kept. Advice that is
    // not taken does no harm.
    unsafe {
        let start = mapped.cast::<u8>().add(before);
        if before > 0 {
            let _ = mm::munmap(mapped, before);
        }
        if after > 0 {
            let _ = mm::munmap(start.add(size).cast(), after);
        }
        let _ = mm::madvise(start.cast(), size, Advice::LinuxHugepage);
        NonNull::new(start)
    }
}

fn out_of_memory(bytes: u64) -> Error {
    let MemoryInfo { free, total } = info();
    Error::new(Status::OutOfMemory, format!("{bytes} bytes were wanted; {free} of {total} are free"))
}

/// The allocations that callers hold by address. What they still hold when the backend's last handle goes is freed.
pub(crate) struct Ledger {
    /// The function of the device that fills it, for messages.
    function: &'static str,
    live: Mutex<HashMap<u64, Allocation>>,
}

impl Ledger {
    pub(crate) fn new(function: &'static str) -> Self {
        Self { function, live: Mutex::default() }
    }

    pub(crate) fn allocate(&self, bytes: u64) -> Result<u64> {
        let allocation = Allocation::new(bytes)?;
        let address = allocation.address();
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(address, allocation);
        Ok(address)
    }

    pub(crate) fn free(&self, address: u64) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        let found = self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        // Dropped here, after the lock.
        found.map(drop).ok_or_else(|| {
            Error::invalid(format!(
                "{address:#x} cannot be freed: `{}` did not give it, or it was freed before",
                self.function
            ))
        })
    }
}

/// The machine's memory, as far as Linux tells; all of the address space where it does not.
pub(crate) fn info() -> MemoryInfo {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| parse_kib(&text, name).unwrap_or(isize::MAX as u64);
    MemoryInfo { free: field("MemAvailable:"), total: field("MemTotal:") }
}

fn parse_kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Copies `from` to `to`; the ranges may overlap.
///
/// # Errors
///
/// [`Status::InvalidArgument`] for address 0.
pub(crate) fn copy(to: u64, from: Span) -> Result<()> {
    let bytes = size(from.bytes)?;
    if bytes == 0 {
        return Ok(());
    }
    not_null("a copy reads from", from.address, from.bytes)?;
    not_null("a copy writes to", to, from.bytes)?;
    // SAFETY: the caller of the stream says that both ranges are valid, and they may overlap here.
    unsafe { ptr::copy(from.address as *const u8, to as *mut u8, bytes) };
    Ok(())
}

/// Sets every byte of `to`.
///
/// # Errors
///
/// [`Status::InvalidArgument`] for address 0.
pub(crate) fn fill(to: Span, value: u8) -> Result<()> {
    let bytes = size(to.bytes)?;
    if bytes == 0 {
        return Ok(());
    }
    not_null("a fill writes to", to.address, to.bytes)?;
    // SAFETY: the caller of the stream says that the range is valid.
    unsafe { ptr::write_bytes(to.address as *mut u8, value, bytes) };
    Ok(())
}

fn size(bytes: u64) -> Result<usize> {
    isize::try_from(bytes)
        .map(isize::cast_unsigned)
        .map_err(|_| Error::invalid(format!("{bytes} bytes are more than an address space holds")))
}

fn not_null(what: &str, address: u64, bytes: u64) -> Result<()> {
    if address == 0 {
        return Err(Error::invalid(format!("{what} address 0, {bytes} bytes of it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_aligned_zeroed_and_freed_once() {
        let ledger = Ledger::new("allocate");
        for bytes in [0, 1, 63, 4096] {
            let address = ledger.allocate(bytes).unwrap();
            assert!(address != 0 && address.is_multiple_of(ALIGNMENT));
            ledger.free(address).unwrap();
            let error = ledger.free(address).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
        assert_eq!(ledger.free(0), Ok(()));
        assert!(ledger.free(64).unwrap_err().message().contains("0x40"));
        assert!(Allocation::new(1000).unwrap().bytes().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_how_much_it_was() {
        for bytes in [1 << 45, isize::MAX as u64, u64::MAX] {
            let error = Allocation::new(bytes).err().unwrap();
            assert_eq!(error.status(), Status::OutOfMemory);
            assert!(error.message().contains(&bytes.to_string()), "{error}");
        }
        for bytes in [1 << 20, HUGE_PAGE as u64, 5 * HUGE_PAGE as u64 / 2 + 1] {
            let mut allocation = Allocation::new(bytes).unwrap();
            assert!(allocation.address().is_multiple_of(ALIGNMENT));
            assert!(allocation.bytes().iter().all(|byte| *byte == 0));
            allocation.bytes_mut().fill(1);
            assert_eq!(allocation.bytes().len() as u64, bytes);
        }
    }

    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   8192 kB\n";
        assert_eq!(parse_kib(text, "MemTotal:"), Some(16 << 20));
        assert_eq!(parse_kib(text, "MemAvailable:"), Some(8 << 20));
        assert_eq!(parse_kib(text, "SwapTotal:"), None);
        assert!(info().free <= info().total);
    }

    #[test]
    fn null_is_refused_unless_nothing_is_copied() {
        let mut bytes = [1, 2, 3];
        assert_eq!(copy(0, Span::NONE), Ok(()));
        assert_eq!(fill(Span::NONE, 0), Ok(()));
        assert!(copy(0, Span::of(&bytes)).is_err());
        assert!(fill(Span { address: 0, bytes: 1 }, 0).is_err());
        fill(Span::of_mut(&mut bytes).part(1, 2).unwrap(), 9).unwrap();
        assert_eq!(bytes, [1, 9, 9]);
    }
}
