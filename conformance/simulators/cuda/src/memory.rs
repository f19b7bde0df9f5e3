//! Device memory that the host cannot touch, and pinned memory.
//!
//! Device addresses are a reservation without any access right, so that a host that reads or writes through one gets
//! SIGSEGV whenever it tries. What the device sees lies in a second reservation, [`Addresses::offset`] further on, of
//! which the pages of live allocations alone are open: a kernel that goes elsewhere gets SIGSEGV there, which the emulation
//! turns into a fault of the device. An address is not handed out a second time before all others were, so that what
//! was freed is recognised. New
//! memory holds a pattern, not zeros; so do the bytes between an allocation and the borders of its pages, which are
//! looked at when it is freed.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;

use crate::kernels;
use crate::refusal::{Answer, Refusal, code};

/// All device addresses of a process. Once they are used up, those that are free are given out again.
const RESERVED: usize = 2 << 40;
/// What the driver promises of an allocation's address.
const ALIGNMENT: usize = 256;
/// Up to here new memory is filled; beyond, pages that nobody writes cost nothing.
const FILLED: usize = 16 << 20;
/// As bfloat16, float16 and float32 a NaN; as E8M0 a NaN.
const PATTERN: u8 = 0xff;
/// Between an allocation and the borders of its pages.
const SLACK: u8 = 0xa5;

/// Where an allocation stands between its two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The stream has not reached its allocation yet.
    Promised,
    Live,
    /// The host gave it back, and the stream has not reached that yet.
    Returned,
}

/// An allocation of a device.
#[derive(Debug)]
struct Allocation {
    start: usize,
    size: usize,
    device: i32,
    /// The pool's handle; 0 for none.
    pool: usize,
    stage: Mutex<Stage>,
}

impl Allocation {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First byte and end of its pages, as device addresses.
    fn pages(&self) -> (usize, usize) {
        let page = page_size();
        (self.start / page * page, (self.start + self.size).next_multiple_of(page))
    }

    /// The bytes of its pages that are not its own, before and after it, as the device sees them.
    fn slack(&self) -> [&'static mut [u8]; 2] {
        let (first, end) = self.pages();
        let own = self.start + self.size;
        [(first, self.start - first), (own, end - own)].map(|(address, len)| {
            // SAFETY: the pages are open while the allocation is live, and no tensor lies there.
            unsafe { std::slice::from_raw_parts_mut(shadow(address), len) }
        })
    }
}

/// A part of a live allocation, which stays live until this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    allocation: Arc<Allocation>,
    address: usize,
    pub(crate) len: usize,
}

impl Span {
    /// Where the device's bytes are.
    pub(crate) fn bytes(&self) -> *mut u8 {
        debug_assert!(self.address >= self.allocation.start);
        shadow(self.address)
    }
}

struct Addresses {
    start: usize,
    /// From a device address to where the device sees it.
    offset: usize,
}

#[derive(Default)]
struct Memory {
    /// Addresses below were given out.
    next: usize,
    live: BTreeMap<usize, Arc<Allocation>>,
    /// Pinned memory of the host: address and bytes.
    pinned: BTreeMap<usize, usize>,
}

impl Memory {
    /// The first address of a free range of so many bytes, a multiple of the page.
    fn place(&self, needed: usize) -> Option<usize> {
        let first = addresses().start;
        let end = first + RESERVED;
        let next = self.next.max(first);
        if next + needed <= end {
            return Some(next);
        }
        let mut candidate = first;
        for allocation in self.live.values() {
            let (from, to) = allocation.pages();
            if candidate + needed <= from {
                return Some(candidate);
            }
            candidate = to;
        }
        (candidate + needed <= end).then_some(candidate)
    }
}

static MEMORY: Mutex<Memory> = Mutex::new(Memory { next: 0, live: BTreeMap::new(), pinned: BTreeMap::new() });

fn lock() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn addresses() -> &'static Addresses {
    static ADDRESSES: OnceLock<Addresses> = OnceLock::new();
    ADDRESSES.get_or_init(|| {
        let reserve = || {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let start = unsafe { mmap_anonymous(ptr::null_mut(), RESERVED, ProtFlags::empty(), flags) };
            start.expect("address space without access rights costs nothing") as usize
        };
        let (start, shadow) = (reserve(), reserve());
        kernels::guard(shadow, RESERVED);
        Addresses { start, offset: shadow.wrapping_sub(start) }
    })
}

/// Where the device sees an address of its own.
fn shadow(address: usize) -> *mut u8 {
    address.wrapping_add(addresses().offset) as *mut u8
}

/// Whether the address is one of a device, live or not.
pub(crate) fn is_device_address(address: usize) -> bool {
    (addresses().start..addresses().start + RESERVED).contains(&address)
}

/// Words of eight bytes that are device addresses become what an emulated kernel may follow.
pub(crate) fn translate(words: &mut [u64]) {
    for word in words {
        if let Ok(address) = usize::try_from(*word)
            && is_device_address(address)
        {
            *word = shadow(address) as u64;
        }
    }
}

/// A text with addresses of the emulation, with those of the device instead.
pub(crate) fn device_words(text: &str) -> String {
    let mut words = String::new();
    for (place, part) in text.split("0x").enumerate() {
        if place == 0 {
            words.push_str(part);
            continue;
        }
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let seen = usize::from_str_radix(&part[..digits], 16).unwrap_or(0);
        let address = seen.wrapping_sub(addresses().offset);
        match is_device_address(address) {
            true => words.push_str(&format!("{address:#x}{}", &part[digits..])),
            false => words.push_str(&format!("0x{part}")),
        }
    }
    words
}

/// Promises memory of the device, of which `available` bytes are left. It is there after [`open`].
pub(crate) fn promise(device: i32, pool: usize, size: usize, available: usize) -> Answer<usize> {
    if size == 0 {
        return Err(Refusal::invalid("bytesize is 0, expected at least 1"));
    }
    let refuse = |what: String| Refusal::new(code::OUT_OF_MEMORY, what);
    if size > available {
        return Err(refuse(format!("{size} bytes with {available} left on device {device}")));
    }
    let page = page_size();
    let mut memory = lock();
    // With a page before it that nobody owns, and as near to the end of its last page as the alignment allows.
    let bytes = size.next_multiple_of(ALIGNMENT);
    let needed = bytes.next_multiple_of(page) + page;
    let base = memory.place(needed).ok_or_else(|| refuse("no range of device addresses is free".into()))?;
    memory.next = memory.next.max(base + needed);
    let start = base + needed - bytes;
    let stage = Mutex::new(Stage::Promised);
    memory.live.insert(start, Arc::new(Allocation { start, size, device, pool, stage }));
    Ok(start)
}

/// Lets the device have what was promised.
pub(crate) fn open(address: usize) -> Answer {
    let allocation = whole(address, "the allocation")?;
    let (first, end) = allocation.pages();
    let rights = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: pages of the reservation, of this allocation alone.
    let opened = unsafe { mprotect(shadow(first).cast(), end - first, rights) };
    opened.map_err(|error| Refusal::new(code::OUT_OF_MEMORY, format!("the host says {error}")))?;
    // SAFETY: just opened with at least `size` bytes.
    unsafe { ptr::write_bytes(shadow(address), PATTERN, allocation.size.min(FILLED)) };
    for slack in allocation.slack() {
        slack.fill(SLACK);
    }
    kernels::announce(shadow(address), allocation.size);
    *allocation.stage() = Stage::Live;
    Ok(())
}

/// The host gives an allocation back; the device does when it comes to [`close`]. Gives its device.
pub(crate) fn give_back(address: usize) -> Answer<i32> {
    let allocation = whole(address, "dptr").map_err(|refusal| Refusal::invalid(refusal.what))?;
    let mut stage = allocation.stage();
    if *stage == Stage::Returned {
        return Err(Refusal::invalid(format!("dptr {address:#x} is freed already")));
    }
    *stage = Stage::Returned;
    Ok(allocation.device)
}

/// Takes the memory from the device.
pub(crate) fn close(address: usize) -> Answer {
    let allocation = whole(address, "dptr")?;
    // What is promised and never opened has no pages.
    lock().live.remove(&address);
    kernels::withdraw(shadow(address));
    let overrun = allocation.slack().iter().any(|slack| slack.iter().any(|byte| *byte != SLACK));
    let (first, end) = allocation.pages();
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: replaces the pages of this allocation alone by closed ones. Copies hold it alive; a kernel that still
    // uses it breaks the order of streams, and is told.
    let closed = unsafe { mmap_closed(shadow(first), end - first, flags) };
    closed.map_err(|error| Refusal::new(code::UNKNOWN, format!("closing memory: {error}")))?;
    if overrun {
        let what = format!("somebody wrote beside the {} bytes at {address:#x}", allocation.size);
        return Err(Refusal::new(code::ILLEGAL_ADDRESS, what));
    }
    Ok(())
}

/// # Safety
///
/// The pages are of the reservation and of one allocation that nobody else uses.
unsafe fn mmap_closed(address: *mut u8, len: usize, flags: MapFlags) -> rustix::io::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { mmap_anonymous(address.cast(), len, ProtFlags::empty(), flags) }.map(|_| ())
}

/// `len` bytes of the device, which the device is about to use.
pub(crate) fn span(address: usize, len: usize) -> Answer<Span> {
    let allocation = containing(address, len, "address")
        .map_err(|refusal| Refusal::new(code::ILLEGAL_ADDRESS, refusal.what))?;
    if *allocation.stage() == Stage::Promised {
        let what =
            format!("{address:#x} is used before the stream that allocates it came to it; wait for an event");
        return Err(Refusal::new(code::ILLEGAL_ADDRESS, what));
    }
    Ok(Span { allocation, address, len })
}

/// That the host names `len` bytes which it has not given back.
pub(crate) fn expect(address: usize, len: usize, argument: &str) -> Answer {
    let allocation = containing(address, len, argument)?;
    if *allocation.stage() == Stage::Returned {
        return Err(Refusal::invalid(format!("{argument} {address:#x} is memory that was freed")));
    }
    Ok(())
}

/// Bytes of live allocations of a pool (0: of none) on the device.
pub(crate) fn used(device: i32, pool: usize) -> usize {
    let memory = lock();
    let of_pool = memory.live.values().filter(|a| a.device == device && a.pool == pool);
    of_pool.map(|allocation| allocation.size).sum()
}

/// Takes away all memory of the device; gives a description of each.
pub(crate) fn take_all(device: i32) -> Vec<String> {
    let left: Vec<usize> =
        lock().live.values().filter(|allocation| allocation.device == device).map(|a| a.start).collect();
    let mut words = Vec::new();
    for address in left {
        let Ok(allocation) = whole(address, "leak") else { continue };
        words.push(format!("{} bytes at {address:#x} of device {device}", allocation.size));
        if *allocation.stage() == Stage::Promised {
            lock().live.remove(&address);
        } else if let Err(refusal) = close(address) {
            words.push(refusal.what);
        }
    }
    words
}

/// The device of an address that is live.
pub(crate) fn device_of(address: usize) -> Answer<i32> {
    containing(address, 1, "dptr").map(|allocation| allocation.device)
}

/// The whole allocation that begins at the address.
fn whole(address: usize, argument: &str) -> Answer<Arc<Allocation>> {
    let found = lock().live.get(&address).cloned();
    found.ok_or_else(|| Refusal::invalid(format!("{argument} {}", complaint(address))))
}

/// The beginning and the bytes of the allocation that holds the address.
pub(crate) fn bounds(address: usize) -> Answer<(usize, usize)> {
    containing(address, 1, "dptr").map(|allocation| (allocation.start, allocation.size))
}

fn containing(address: usize, len: usize, argument: &str) -> Answer<Arc<Allocation>> {
    let memory = lock();
    let found = memory.live.range(..=address).next_back().map(|(_, allocation)| allocation);
    let Some(allocation) = found.filter(|a| address - a.start < a.size) else {
        drop(memory);
        return Err(Refusal::invalid(format!("{argument} {}", complaint(address))));
    };
    let rest = allocation.size - (address - allocation.start);
    if len > rest {
        let what = format!(
            "{argument} {address:#x} is {rest} bytes before the end of its allocation, {len} are needed"
        );
        return Err(Refusal::invalid(what));
    }
    Ok(Arc::clone(allocation))
}

/// Why an address is no live device memory.
fn complaint(address: usize) -> String {
    if address == 0 {
        "is null".to_owned()
    } else if !is_device_address(address) {
        format!("{address:#x} is an address of the host")
    } else if lock().live.range(..=address).next_back().is_some_and(|(_, a)| address - a.start < a.size) {
        format!("{address:#x} is inside an allocation, not its start")
    } else {
        format!("{address:#x} is device memory that was freed, or was never allocated")
    }
}

/// Pinned memory of the host.
pub(crate) fn pin(size: usize) -> Answer<usize> {
    if size == 0 {
        return Err(Refusal::invalid("bytesize is 0, expected at least 1"));
    }
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), size, rights, MapFlags::PRIVATE) };
    let address: *mut u8 = mapped
        .map_err(|error| Refusal::new(code::OUT_OF_MEMORY, format!("{size} pinned bytes: {error}")))?
        .cast();
    kernels::announce(address, size);
    lock().pinned.insert(address as usize, size);
    Ok(address as usize)
}

/// Gives pinned memory back.
pub(crate) fn unpin(address: usize) -> Answer {
    let size = lock().pinned.remove(&address);
    let size = size.ok_or_else(|| Refusal::invalid(format!("p {address:#x} is no pinned memory")))?;
    kernels::withdraw(address as *const u8);
    // SAFETY: mapped by `pin` with this size; the caller says that nobody uses it.
    let unmapped = unsafe { munmap(address as *mut _, size) };
    unmapped.map_err(|error| Refusal::new(code::UNKNOWN, format!("giving pinned memory back: {error}")))
}

/// Whether these bytes of the host are pinned.
pub(crate) fn is_pinned(address: usize, len: usize) -> bool {
    let memory = lock();
    let found = memory.pinned.range(..=address).next_back();
    found.is_some_and(|(start, size)| address + len <= start + size)
}

/// A description of each piece of pinned memory that is left.
pub(crate) fn all_pinned() -> Vec<String> {
    lock().pinned.iter().map(|(address, size)| format!("{size} pinned bytes at {address:#x}")).collect()
}

/// What kernels of a library that is opened later may touch.
pub(crate) fn announce_all() {
    let memory = lock();
    for allocation in memory.live.values().filter(|allocation| *allocation.stage() != Stage::Promised) {
        kernels::announce(shadow(allocation.start), allocation.size);
    }
    for (address, size) in &memory.pinned {
        kernels::announce(*address as *const u8, *size);
    }
}
