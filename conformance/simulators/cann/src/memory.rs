//! Device memory that the host cannot touch.
//!
//! Device addresses come from one large reservation without any access right, so that a host that reads or writes
//! through one gets SIGSEGV, whenever it tries. What the device sees at the address lies elsewhere, in memory that only the
//! simulator knows; no protection is ever changed, so nothing races. An address is not handed out a second time before
//! all others were: use after free is recognised. New memory holds a pattern, not zeros.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::refusal::{Answer, Refusal, code};
use crate::rules::{self, Rule};

/// All device addresses of a process. Once they are used up, those that were freed first are given out again.
const RESERVED: usize = 2 << 40;
const PAGE: usize = 4096;
/// Up to here new memory is filled; beyond, pages that nobody writes cost nothing.
const FILLED: usize = 16 << 20;
/// As bfloat16, float16 and float32 a NaN; as E8M0 a NaN; as an INT64 negative.
const PATTERN: u8 = 0xFF;

/// An allocation of a device.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) device: i32,
    pub(crate) start: usize,
    pub(crate) size: usize,
    /// Where the bytes really are.
    shadow: *mut u8,
    mapped: usize,
}

// SAFETY: the shadow is plain bytes, mapped until the last owner drops; the order of accesses is the streams'.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: mapped by `allocate` with this length, and no span outlives the owner.
        let unmapped = unsafe { munmap(self.shadow.cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// A part of an allocation, kept alive.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    allocation: Arc<Allocation>,
    offset: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: offset and len were checked against the mapping. Work that races with this work breaks the streams'
        // order; then the bytes are whatever they are, as on a device.
        unsafe { std::slice::from_raw_parts(self.shadow(), self.len) }
    }

    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "{at} + {} past a span of {}", bytes.len(), self.len);
        // SAFETY: inside the span, as asserted; the source is another allocation's or the host's memory.
        unsafe { ptr::copy(bytes.as_ptr(), self.shadow().add(at), bytes.len()) };
    }

    pub(crate) fn fill(&self, value: u8) {
        // SAFETY: the span lies inside the mapping.
        unsafe { ptr::write_bytes(self.shadow(), value, self.len) };
    }

    /// The address at which the simulator itself, or a kernel compiled for the host, finds the first byte.
    pub(crate) fn shadow(&self) -> *mut u8 {
        // SAFETY: the offset lies inside the mapping.
        unsafe { self.allocation.shadow.add(self.offset) }
    }
}

struct Memory {
    /// Addresses below are used up.
    next: usize,
    live: BTreeMap<usize, Arc<Allocation>>,
}

impl Memory {
    /// The first address of a free range of so many bytes, a multiple of the page.
    fn place(&self, needed: usize) -> Option<usize> {
        let end = reservation() + RESERVED;
        let next = self.next.max(reservation());
        if next + needed <= end {
            return Some(next);
        }
        let mut candidate = reservation();
        for allocation in self.live.values() {
            if candidate + needed <= allocation.start - 64 {
                return Some(candidate);
            }
            candidate = (allocation.start + allocation.size).next_multiple_of(PAGE) + PAGE;
        }
        (candidate + needed <= end).then_some(candidate)
    }
}

static MEMORY: Mutex<Memory> = Mutex::new(Memory { next: 0, live: BTreeMap::new() });

fn lock() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// First address of the reservation.
fn reservation() -> usize {
    static START: OnceLock<usize> = OnceLock::new();
    *START.get_or_init(|| {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                RESERVED,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        start.expect("address space without access rights costs nothing") as usize
    })
}

/// Whether the address is one of a device, live or not.
pub(crate) fn is_device_address(address: usize) -> bool {
    (reservation()..reservation() + RESERVED).contains(&address)
}

/// Allocates on the device, whose memory is `total` bytes.
pub(crate) fn allocate(device: i32, size: usize, total: usize) -> Answer<usize> {
    let refuse = |what: String| Refusal::new(code::RT_MEMORY_ALLOCATION, rules::OUT_OF_MEMORY, what);
    if size == 0 {
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::PARAMETER, "size is 0, expected at least 1"));
    }
    let used = used(device);
    if size > total.saturating_sub(used) {
        return Err(refuse(format!("size {size} with {used} of {total} bytes in use on device {device}")));
    }
    let mapped = size.next_multiple_of(PAGE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let shadow = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            mapped,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let shadow: *mut u8 =
        shadow.map_err(|error| refuse(format!("size {size}: the host says {error}")))?.cast();
    // SAFETY: just mapped with at least `size` bytes.
    unsafe { ptr::write_bytes(shadow, PATTERN, size.min(FILLED)) };

    let mut memory = lock();
    let needed = size.next_multiple_of(PAGE) + 2 * PAGE;
    let base = memory.place(needed).ok_or_else(|| refuse("no range of device addresses is free".into()))?;
    // 64 bytes on: aligned to 64, as documented, and to nothing more.
    let start = base + 64;
    memory.next = memory.next.max(base + needed);
    memory.live.insert(start, Arc::new(Allocation { device, start, size, shadow, mapped }));
    Ok(start)
}

/// Frees what `allocate` gave.
pub(crate) fn free(address: usize) -> Answer {
    let mut memory = lock();
    let Some(allocation) = memory.live.get(&address) else {
        drop(memory);
        let (rule, what) = complaint(address);
        return Err(Refusal::new(code::RT_PARAM_INVALID, rule, format!("devPtr {what}")));
    };
    if Arc::strong_count(allocation) > 1 {
        let what = format!("devPtr {address:#x} is used by work that has not ended; synchronise first");
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::FREE_IN_USE, what));
    }
    memory.live.remove(&address);
    Ok(())
}

/// Bytes in use on the device.
pub(crate) fn used(device: i32) -> usize {
    lock()
        .live
        .values()
        .filter(|allocation| allocation.device == device)
        .map(|allocation| allocation.size)
        .sum()
}

/// Takes away all memory of the device; gives what was still allocated.
pub(crate) fn take_all(device: i32) -> Vec<Arc<Allocation>> {
    let mut memory = lock();
    let (gone, kept) = std::mem::take(&mut memory.live).into_iter().partition(|(_, a)| a.device == device);
    memory.live = kept;
    let gone: BTreeMap<usize, Arc<Allocation>> = gone;
    gone.into_values().collect()
}

/// The device of an address, if it is live.
pub(crate) fn device_of(address: usize) -> Option<i32> {
    containing(&lock(), address).map(|allocation| allocation.device)
}

/// From the address to the end of its allocation.
pub(crate) fn rest_of(address: usize) -> Option<Span> {
    let memory = lock();
    let allocation = containing(&memory, address)?;
    let offset = address - allocation.start;
    Some(Span { allocation: Arc::clone(allocation), offset, len: allocation.size - offset })
}

/// `len` bytes of a device at an address; the argument's name goes into the refusal.
pub(crate) fn span(
    device: i32,
    address: usize,
    len: usize,
    argument: &str,
    refusal_code: i32,
) -> Answer<Span> {
    let refuse = |rule, what: String| Err(Refusal::new(refusal_code, rule, format!("{argument} {what}")));
    let Some(rest) = rest_of(address) else {
        let (rule, what) = complaint(address);
        return refuse(rule, what);
    };
    if rest.allocation.device != device {
        return refuse(
            rules::OTHER_DEVICE,
            format!("{address:#x} is memory of device {}, used on device {device}", rest.allocation.device),
        );
    }
    if len > rest.len {
        return refuse(
            rules::BOUNDS,
            format!("{address:#x} is {} bytes before the end of its allocation, {len} are needed", rest.len),
        );
    }
    Ok(Span { len, ..rest })
}

fn containing(memory: &Memory, address: usize) -> Option<&Arc<Allocation>> {
    let (_, allocation) = memory.live.range(..=address).next_back()?;
    (address - allocation.start < allocation.size).then_some(allocation)
}

/// Why an address is no live device memory.
fn complaint(address: usize) -> (&'static Rule, String) {
    let memory = lock();
    if address == 0 {
        (rules::DEVICE_MEMORY, "is null".into())
    } else if !is_device_address(address) {
        (rules::DEVICE_MEMORY, format!("{address:#x} is an address of the host"))
    } else if containing(&memory, address).is_some() {
        (rules::BOUNDS, format!("{address:#x} is inside an allocation, not its start"))
    } else {
        (
            rules::USE_AFTER_FREE,
            format!("{address:#x} is device memory that is freed, or was never allocated"),
        )
    }
}
