//! Contexts: one a device, current on a thread or not, and lost with its first fault.

use core::ffi::{c_int, c_void};
use std::cell::RefCell;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::device_of;
use super::leaks;
use super::stream;
use crate::refusal::{Answer, Refusal, code, cu, give, report};
use crate::registry::Registry;
use crate::settings::settings;

pub(crate) static CONTEXTS: Registry<Context> = Registry::new("a context", 1);

/// A device's primary context.
pub(crate) struct Context {
    pub(crate) handle: usize,
    pub(crate) device: c_int,
    /// The first fault; it stays until the context is gone.
    fault: Mutex<Option<Refusal>>,
    /// The stream that null stands for; 0 until it is used.
    pub(crate) default_stream: Mutex<usize>,
}

impl Context {
    /// Everything that is asked of a context after a fault is answered by the fault.
    pub(crate) fn expect_whole(&self) -> Answer {
        match &*self.fault() {
            None => Ok(()),
            Some(fault) => {
                Err(Refusal::new(fault.code, format!("the context is lost since: {}", fault.what)))
            }
        }
    }

    /// Keeps the first fault.
    pub(crate) fn lose(&self, fault: Refusal) {
        self.fault().get_or_insert(fault);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.fault().is_some()
    }

    fn fault(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By device: how often its context is retained, and the handle.
static PRIMARY: Mutex<Vec<(c_int, u32, usize)>> = Mutex::new(Vec::new());

fn primary() -> MutexGuard<'static, Vec<(c_int, u32, usize)>> {
    PRIMARY.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Handles of the thread's contexts, the current one last; 0 stands for none.
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The thread's context, which is not lost.
pub(crate) fn current() -> Answer<Arc<Context>> {
    settings()?;
    let handle = STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0));
    if handle == 0 {
        let what = "the calling thread has no current context";
        return Err(Refusal::new(code::INVALID_CONTEXT, what));
    }
    let context = CONTEXTS.get(handle as *const c_void);
    let context = context
        .map_err(|what| Refusal::new(code::INVALID_CONTEXT, format!("the thread's context: {what}")))?;
    context.expect_whole()?;
    Ok(context)
}

/// That a handle's context is the thread's; `what` it is the handle of.
pub(crate) fn expect_current(context: usize, what: &str) -> Answer<Arc<Context>> {
    let current = current()?;
    if current.handle != context {
        let what = format!("{what} is of context {context:#x}, current is {:#x}", current.handle);
        return Err(Refusal::new(code::INVALID_HANDLE, what));
    }
    Ok(current)
}

fn find(handle: *mut c_void) -> Answer<Arc<Context>> {
    CONTEXTS.get(handle).map_err(|what| Refusal::new(code::INVALID_CONTEXT, format!("ctx is {what}")))
}

fn retain(device: c_int) -> usize {
    let mut primary = primary();
    if let Some((_, count, handle)) = primary.iter_mut().find(|(of, ..)| *of == device) {
        *count += 1;
        return *handle;
    }
    let handle = CONTEXTS.insert_with(|handle| Context {
        handle,
        device,
        fault: Mutex::default(),
        default_stream: Mutex::default(),
    }) as usize;
    primary.push((device, 1, handle));
    handle
}

/// Takes the context down, with what its user left there.
fn release(device: c_int, all: bool) -> Answer {
    let handle = {
        let mut primary = primary();
        let place = primary.iter().position(|(of, ..)| *of == device);
        let place = place.ok_or_else(|| {
            Refusal::new(code::INVALID_CONTEXT, format!("the context of device {device} is not retained"))
        })?;
        primary[place].1 -= 1;
        if primary[place].1 > 0 && !all {
            return Ok(());
        }
        primary.remove(place).2
    };
    let context = find(handle as *mut c_void)?;
    for what in leaks::of_context(&context) {
        report(&format!("leak: {what} when the context of device {device} was released"));
    }
    let _ = CONTEXTS.remove(handle as *const c_void);
    Ok(())
}

/// The number of devices whose context is still retained.
pub(crate) fn retained() -> Vec<c_int> {
    PRIMARY.try_lock().map(|primary| primary.iter().map(|(device, ..)| *device).collect()).unwrap_or_default()
}

cu! {
    fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) {
        let device = device_of(device)?;
        give(context, "pctx", retain(device) as *mut c_void)
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        release(device_of(device)?, false)
    }

    fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        release(device_of(device)?, true)
    }

    fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut u32, active: *mut c_int) {
        let device = device_of(device)?;
        give(flags, "flags", 0)?;
        give(active, "active", c_int::from(primary().iter().any(|(of, ..)| *of == device)))
    }

    fn cuCtxGetCurrent(context: *mut *mut c_void) {
        settings()?;
        let handle = STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0));
        give(context, "pctx", handle as *mut c_void)
    }

    fn cuCtxSetCurrent(context: *mut c_void) {
        settings()?;
        if !context.is_null() {
            find(context)?;
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if !context.is_null() {
                stack.push(context as usize);
            }
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2(context: *mut c_void) {
        settings()?;
        find(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context as usize));
        Ok(())
    }

    /// Where the caller wants it, the context that was current.
    fn cuCtxPopCurrent_v2(context: *mut *mut c_void) {
        settings()?;
        let popped = STACK.with_borrow_mut(Vec::pop);
        let popped =
            popped.ok_or_else(|| Refusal::new(code::INVALID_CONTEXT, "the thread has no context to pop"))?;
        if !context.is_null() {
            give(context, "pctx", popped as *mut c_void)?;
        }
        Ok(())
    }

    fn cuCtxGetDevice(device: *mut c_int) {
        give(device, "device", current()?.device)
    }

    fn cuCtxSynchronize() {
        let context = current()?;
        stream::expect_no_capture(&context, "cuCtxSynchronize")?;
        stream::synchronise_all(&context);
        context.expect_whole()
    }

    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        current()?;
        for (place, value) in [(least, 0), (greatest, -5)] {
            if !place.is_null() {
                // SAFETY: not null, and an int as the C declaration asks.
                unsafe { ptr::write(place, value) };
            }
        }
        Ok(())
    }
}
