//! Memory pools: how much they keep for the next allocation, and what is left of the device.
//!
//! Of a pool there is only its account: every allocation gets addresses of its own, so that what was freed is recognised
//! when it is used, and none is read through what another left there.

use core::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::current;
use super::device::device_of;
use super::stream::stream_of;
use crate::memory;
use crate::refusal::{Answer, Refusal, code, cu, give};
use crate::registry::Registry;
use crate::settings::settings;

pub(crate) static POOLS: Registry<Pool> = Registry::new("a memory pool", 5);

/// Attributes of `CUmemPool_attribute`; 1 to 3 are about reuse, and change nothing here.
const RELEASE_THRESHOLD: c_int = 4;
const RESERVED: c_int = 5;
const RESERVED_HIGH: c_int = 6;
const USED: c_int = 7;
const USED_HIGH: c_int = 8;

/// A pool of a device.
pub(crate) struct Pool {
    handle: usize,
    device: c_int,
    is_default: bool,
    account: Mutex<Account>,
}

#[derive(Default)]
struct Account {
    threshold: u64,
    reserved: u64,
    reserved_high: u64,
    used_high: u64,
}

/// The beginning of `CUmemPoolProps`; more follows, and must be zero.
#[repr(C)]
struct Properties {
    allocation: c_int,
    handles: c_int,
    location: c_int,
    device: c_int,
}

impl Pool {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> u64 {
        memory::used(self.device, self.handle) as u64
    }

    /// Keeps no more than so many bytes beyond what is used.
    fn trim(&self, keep: u64) {
        let used = self.used();
        let mut account = self.account();
        account.reserved = account.reserved.min(keep).max(used);
    }
}

/// What is kept beyond the thresholds goes back to the devices: at each synchronisation.
pub(crate) fn settle() {
    for (_, pool) in POOLS.all() {
        let threshold = pool.account().threshold;
        pool.trim(threshold);
    }
}

/// Bytes of a device that are not in use: without what pools keep, but for one of them.
pub(crate) fn available(device: c_int, of_pool: usize) -> Answer<usize> {
    let pools = POOLS.all().into_iter().map(|(_, pool)| pool).filter(|pool| pool.device == device);
    let taken: u64 = pools
        .map(|pool| {
            let used = pool.used();
            if pool.handle == of_pool { used } else { used.max(pool.account().reserved) }
        })
        .sum();
    let taken = usize::try_from(taken).unwrap_or(usize::MAX);
    Ok(settings()?.memory.saturating_sub(taken).saturating_sub(memory::used(device, 0)))
}

fn pool_of(handle: *mut c_void) -> Answer<Arc<Pool>> {
    POOLS.get(handle).map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("pool is {what}")))
}

fn create(device: c_int, is_default: bool) -> *mut c_void {
    POOLS.insert_with(|handle| Pool { handle, device, is_default, account: Mutex::default() })
}

fn default_pool(device: c_int) -> *mut c_void {
    let found = POOLS.all().into_iter().find(|(_, pool)| pool.device == device && pool.is_default);
    found.map_or_else(|| create(device, true), |(handle, _)| handle as *mut c_void)
}

fn allocate(address: *mut u64, size: usize, pool: &Pool, stream: *mut c_void) -> Answer {
    let stream = stream_of(stream)?;
    if stream.capture().is_some() {
        let what = "allocations are not simulated in graphs";
        return Err(Refusal::new(code::NOT_SUPPORTED, what));
    }
    let start = memory::promise(pool.device, pool.handle, size, available(pool.device, pool.handle)?)?;
    {
        let used = pool.used();
        let mut account = pool.account();
        account.reserved = account.reserved.max(used);
        account.reserved_high = account.reserved_high.max(account.reserved);
        account.used_high = account.used_high.max(used);
    }
    stream.enqueue("cuMemAllocAsync", move || memory::open(start))?;
    give(address, "dptr", start as u64)
}

cu! {
    fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, device: c_int) {
        give(pool, "pool_out", default_pool(device_of(device)?))
    }

    /// The pool that `cuMemAllocAsync` takes from: always the default one.
    fn cuDeviceGetMemPool(pool: *mut *mut c_void, device: c_int) {
        give(pool, "pool", default_pool(device_of(device)?))
    }

    fn cuMemPoolCreate(pool: *mut *mut c_void, properties: *const Properties) {
        settings()?;
        if properties.is_null() {
            return Err(Refusal::invalid("poolProps is null"));
        }
        // SAFETY: not null; a CUmemPoolProps, as the C declaration asks.
        let Properties { allocation, handles, location, device } = unsafe { properties.read() };
        if (allocation, handles, location) != (1, 0, 1) {
            return Err(Refusal::invalid(format!(
                "poolProps: allocType {allocation}, handleTypes {handles}, location.type {location}; simulated are pinned (1), none (0), a device (1)"
            )));
        }
        give(pool, "pool", create(device_of(device)?, false))
    }

    /// What is still allocated stays until it is freed.
    fn cuMemPoolDestroy(pool: *mut c_void) {
        if pool_of(pool)?.is_default {
            return Err(Refusal::invalid("the default pool is not destroyed"));
        }
        let removed = POOLS.remove(pool).map(|_| ());
        removed.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("pool is {what}")))
    }

    fn cuMemPoolSetAttribute(pool: *mut c_void, attribute: c_int, value: *mut c_void) {
        let pool = pool_of(pool)?;
        if value.is_null() {
            return Err(Refusal::invalid("value is null"));
        }
        match attribute {
            1..=3 => return Ok(()),
            // SAFETY: not null; for these attributes a 64-bit number.
            RELEASE_THRESHOLD => pool.account().threshold = unsafe { value.cast::<u64>().read() },
            RESERVED_HIGH | USED_HIGH => {
                let used = pool.used();
                let mut account = pool.account();
                let reserved = account.reserved;
                if attribute == USED_HIGH { account.used_high = used } else { account.reserved_high = reserved }
            }
            _ => return Err(Refusal::invalid(format!("attribute {attribute} cannot be set"))),
        }
        Ok(())
    }

    fn cuMemPoolGetAttribute(pool: *mut c_void, attribute: c_int, value: *mut c_void) {
        let pool = pool_of(pool)?;
        let used = pool.used();
        let account = pool.account();
        let number = match attribute {
            1..=3 => return give(value.cast::<c_int>(), "value", 1),
            RELEASE_THRESHOLD => account.threshold,
            RESERVED => account.reserved,
            RESERVED_HIGH => account.reserved_high,
            USED => used,
            USED_HIGH => account.used_high,
            _ => return Err(Refusal::invalid(format!("attribute {attribute} is not simulated"))),
        };
        give(value.cast::<u64>(), "value", number)
    }

    fn cuMemPoolTrimTo(pool: *mut c_void, keep: usize) {
        pool_of(pool)?.trim(keep as u64);
        Ok(())
    }

    fn cuMemAllocAsync(address: *mut u64, size: usize, stream: *mut c_void) {
        let device = current()?.device;
        let pool = pool_of(default_pool(device))?;
        allocate(address, size, &pool, stream)
    }

    fn cuMemAllocFromPoolAsync(address: *mut u64, size: usize, pool: *mut c_void, stream: *mut c_void) {
        current()?;
        let pool = pool_of(pool)?;
        allocate(address, size, &pool, stream)
    }

    /// The memory is gone when the stream comes to it.
    fn cuMemFreeAsync(address: u64, stream: *mut c_void) {
        let stream = stream_of(stream)?;
        let address = usize::try_from(address).unwrap_or(0);
        memory::give_back(address)?;
        stream.enqueue("cuMemFreeAsync", move || memory::close(address))
    }
}

/// Takes down the pools of a device; gives a description of those that somebody made.
pub(crate) fn take_all(device: c_int) -> Vec<String> {
    let mut left = Vec::new();
    for (handle, pool) in POOLS.all().into_iter().filter(|(_, pool)| pool.device == device) {
        let _ = POOLS.remove(handle as *const c_void);
        if !pool.is_default {
            left.push(format!("memory pool {handle:#x}"));
        }
    }
    left
}
