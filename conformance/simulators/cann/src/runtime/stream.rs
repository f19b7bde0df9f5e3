//! Streams: a queue and a thread each, which waits a random moment before each piece of work.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{CONTEXTS, current_context, settings};
use crate::demand;
use crate::refusal::{Answer, Refusal, acl, code, give, note};
use crate::registry::Registry;
use crate::rules;

pub(crate) static STREAMS: Registry<Stream> = Registry::new("a stream", 2);

type Work = Box<dyn FnOnce() -> Answer + Send>;

/// A stream of a context.
pub(crate) struct Stream {
    /// The context's handle.
    pub(crate) context: usize,
    pub(crate) device: i32,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(&'static str, Work)>,
    /// In the queue or being worked on.
    pending: usize,
    /// The first failure; it stays until the stream is destroyed, as whatever follows it was not done.
    /// How long hardware stays so is a question for hardware.
    fault: Option<(&'static str, Refusal)>,
    stopping: bool,
}

/// The stream of a handle, or the context's default stream for null, if it may be used on this thread.
pub(crate) fn stream_of(handle: *mut c_void) -> Answer<Arc<Stream>> {
    let (current, context) = current_context()?;
    let handle = if handle.is_null() {
        let mut default = context.default_stream.lock().unwrap_or_else(PoisonError::into_inner);
        if *default == 0 {
            *default = create(current, context.device)? as usize;
        }
        *default as *mut c_void
    } else {
        handle
    };
    let stream = find(handle)?;
    if stream.context != current {
        let what = format!("stream {handle:p} is of context {:#x}, current is {current:#x}", stream.context);
        return Err(Refusal::new(code::RT_STREAM_CONTEXT, rules::STREAM_CONTEXT, what));
    }
    Ok(stream)
}

impl Stream {
    /// Appends work; `name` is that of the function that asked for it.
    pub(crate) fn enqueue(&self, name: &'static str, work: impl FnOnce() -> Answer + Send + 'static) {
        let mut state = self.shared.lock();
        state.pending += 1;
        state.queue.push_back((name, Box::new(work)));
        self.shared.changed.notify_all();
    }

    /// Waits until all work is done, or for so many milliseconds (negative: for ever).
    pub(crate) fn synchronise(&self, timeout: i32) -> Answer {
        let deadline = u64::try_from(timeout).ok().map(|ms| Instant::now() + Duration::from_millis(ms));
        let mut state = self.shared.lock();
        while state.pending > 0 {
            let Some(deadline) = deadline else {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("{} pieces of work are pending after {timeout} ms", state.pending);
                return Err(Refusal::new(code::RT_STREAM_SYNC_TIMEOUT, rules::STREAM_TIMEOUT, what));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.fault {
            None => Ok(()),
            Some((name, fault)) => {
                let what = format!("{name} failed on the device: {}", fault.what);
                Err(Refusal::new(fault.code, fault.rule, what))
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.shared.lock().pending == 0
    }

    /// Ends the thread, after the work or, when forced, without what has not begun.
    pub(crate) fn stop(&self, forced: bool) {
        let mut state = self.shared.lock();
        state.stopping = true;
        if forced {
            state.pending -= state.queue.len();
            let dropped = mem::take(&mut state.queue);
            drop(state);
            // Outside the lock: a recording that is dropped completes its event.
            drop(dropped);
        } else {
            drop(state);
        }
        self.shared.changed.notify_all();
        let mut state = self.shared.lock();
        while state.pending > 0 {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, delay: u64, seed: u64) {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        loop {
            let mut state = self.lock();
            let (name, work) = loop {
                match state.queue.pop_front() {
                    Some(next) => break next,
                    None if state.stopping => return,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            let failed = state.fault.is_some();
            drop(state);
            // xorshift64.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            thread::sleep(Duration::from_micros(random % (delay + 1)));
            // After a failure nothing more is executed, but events complete as their recordings are dropped.
            let outcome = if failed {
                drop(work);
                Ok(())
            } else {
                execute(name, work)
            };
            let mut state = self.lock();
            state.pending -= 1;
            if let Err(fault) = outcome {
                note(name, &fault);
                state.fault.get_or_insert((name, fault));
            }
            self.changed.notify_all();
        }
    }
}

/// One piece of work, with the failures and stalls that are asked for.
fn execute(name: &'static str, work: Work) -> Answer {
    if let Some((_, milliseconds)) = demand::value_of("stall") {
        thread::sleep(Duration::from_millis(milliseconds));
    }
    demand::failure_of("kernel")?;
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Err(Refusal::new(code::RT_AICORE_EXCEPTION, rules::INTERNAL, format!("{name}: {what}")))
    })
}

fn find(handle: *mut c_void) -> Answer<Arc<Stream>> {
    STREAMS
        .get(handle)
        .map_err(|what| Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("stream is {what}")))
}

fn create(context: usize, device: i32) -> Answer<*mut c_void> {
    let settings = settings()?;
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
    let stream = Stream { context, device, shared: Arc::clone(&shared) };
    let handle = STREAMS.insert(stream);
    // Streams of one process differ from each other, and are the same in the next run.
    let seed = settings.seed.wrapping_add((handle as u64) << 7);
    thread::spawn(move || shared.work(settings.delay, seed));
    Ok(handle)
}

/// All streams of the current context's device.
fn streams_of_device() -> Answer<Vec<Arc<Stream>>> {
    let (_, context) = current_context()?;
    let all = STREAMS.all().into_iter().map(|(_, stream)| stream);
    Ok(all.filter(|stream| stream.device == context.device).collect())
}

fn synchronise_device(timeout: i32) -> Answer {
    streams_of_device()?.iter().try_for_each(|stream| stream.synchronise(timeout))
}

fn destroy(handle: *mut c_void, forced: bool) -> Answer {
    let stream = find(handle)?;
    let context = CONTEXTS.get(stream.context as *const c_void);
    if context.is_ok_and(|context| {
        *context.default_stream.lock().expect("nothing panics with it held") == handle as usize
    }) {
        return Err(Refusal::new(
            code::RT_INVALID_HANDLE,
            rules::HANDLE,
            "the default stream is not destroyed",
        ));
    }
    let _ = STREAMS.remove(handle);
    stream.stop(forced);
    Ok(())
}

acl! {
    fn aclrtCreateStream(stream: *mut *mut c_void) {
        let (handle, context) = current_context()?;
        give(stream, "stream", create(handle, context.device)?)
    }

    fn aclrtCreateStreamWithConfig(stream: *mut *mut c_void, priority: u32, flag: u32) {
        let (handle, context) = current_context()?;
        if priority > 7 || flag > 0x3F {
            let what = format!("priority {priority}, flag {flag:#x}; expected 0 to 7 and a union of stream flags");
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::PARAMETER, what));
        }
        give(stream, "stream", create(handle, context.device)?)
    }

    /// Waits for the stream's work.
    fn aclrtDestroyStream(stream: *mut c_void) {
        settings()?;
        destroy(stream, false)
    }

    fn aclrtDestroyStreamForce(stream: *mut c_void) {
        settings()?;
        destroy(stream, true)
    }

    fn aclrtSynchronizeStream(stream: *mut c_void) {
        stream_of(stream)?.synchronise(-1)
    }

    fn aclrtSynchronizeStreamWithTimeout(stream: *mut c_void, timeout: i32) {
        stream_of(stream)?.synchronise(timeout)
    }

    fn aclrtStreamQuery(stream: *mut c_void, status: *mut i32) {
        // COMPLETE 0, NOT_READY 1.
        give(status, "status", i32::from(!stream_of(stream)?.is_idle()))
    }

    fn aclrtSynchronizeDevice() {
        synchronise_device(-1)
    }

    fn aclrtSynchronizeDeviceWithTimeout(timeout: i32) {
        synchronise_device(timeout)
    }

    /// The function is called on the stream's thread.
    fn aclrtLaunchHostFunc(stream: *mut c_void, function: Option<unsafe extern "C" fn(*mut c_void)>, arguments: *mut c_void) {
        let stream = stream_of(stream)?;
        let Some(function) = function else {
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::NULL, "fn is null"));
        };
        let arguments = arguments as usize;
        stream.enqueue("aclrtLaunchHostFunc", move || {
            // SAFETY: the caller's own function with the caller's own argument, as asked.
            unsafe { function(arguments as *mut c_void) };
            Ok(())
        });
        Ok(())
    }
}
