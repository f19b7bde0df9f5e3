//! Events: how often one was recorded, and how many of these recordings the device has reached.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{current_context, settings, stream_of};
use crate::refusal::{Answer, Refusal, acl, code, give};
use crate::registry::Registry;
use crate::rules;

pub(crate) static EVENTS: Registry<Event> = Registry::new("an event", 3);

/// An event of a context.
pub(crate) struct Event {
    pub(crate) context: usize,
    progress: Mutex<Progress>,
    reached: Condvar,
}

#[derive(Default)]
struct Progress {
    recorded: u64,
    reached: u64,
    at: Option<Instant>,
}

/// A recording in a stream's queue. Dropped, whether executed or not, it is reached: nobody waits for ever.
struct Recording {
    event: Arc<Event>,
    number: u64,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut progress = self.event.lock();
        progress.reached = progress.reached.max(self.number);
        progress.at = Some(Instant::now());
        self.event.reached.notify_all();
    }
}

impl Event {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether recording `number` was reached within the time (None: for ever).
    fn wait(&self, number: u64, timeout: Option<Duration>) -> bool {
        let not_yet = |progress: &mut Progress| progress.reached < number;
        match timeout {
            None => {
                let _reached =
                    self.reached.wait_while(self.lock(), not_yet).unwrap_or_else(PoisonError::into_inner);
                true
            }
            Some(timeout) => {
                let waited = self.reached.wait_timeout_while(self.lock(), timeout, not_yet);
                !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            }
        }
    }

    /// The number of the last recording, which there must be.
    fn recorded(&self, argument: &str) -> Answer<u64> {
        match self.lock().recorded {
            0 => {
                let what = format!("{argument} was never recorded");
                Err(Refusal::new(code::RT_PARAM_INVALID, rules::EVENT_RECORDED, what))
            }
            number => Ok(number),
        }
    }
}

fn event_of(handle: *mut c_void, argument: &str) -> Answer<Arc<Event>> {
    let (current, _) = current_context()?;
    let event = EVENTS.get(handle).map_err(|what| {
        Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("{argument} is {what}"))
    })?;
    if event.context != current {
        let what =
            format!("{argument} {handle:p} is of context {:#x}, current is {current:#x}", event.context);
        return Err(Refusal::new(code::RT_STREAM_CONTEXT, rules::EVENT_CONTEXT, what));
    }
    Ok(event)
}

fn create(event: *mut *mut c_void) -> Answer {
    let (context, _) = current_context()?;
    give(
        event,
        "event",
        EVENTS.insert(Event { context, progress: Mutex::default(), reached: Condvar::new() }),
    )
}

fn synchronise(event: *mut c_void, timeout: i32) -> Answer {
    let event = event_of(event, "event")?;
    let number = event.recorded("event")?;
    match event.wait(number, u64::try_from(timeout).ok().map(Duration::from_millis)) {
        true => Ok(()),
        false => {
            let what = format!("the event is not reached after {timeout} ms");
            Err(Refusal::new(code::RT_WAIT_TIMEOUT, rules::STREAM_TIMEOUT, what))
        }
    }
}

acl! {
    fn aclrtCreateEvent(event: *mut *mut c_void) {
        create(event)
    }

    fn aclrtCreateEventWithFlag(event: *mut *mut c_void, _flag: u32) {
        create(event)
    }

    fn aclrtCreateEventExWithFlag(event: *mut *mut c_void, _flag: u32) {
        create(event)
    }

    fn aclrtDestroyEvent(event: *mut c_void) {
        settings()?;
        match EVENTS.remove(event) {
            Ok(_) => Ok(()),
            Err(what) => Err(Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("event is {what}"))),
        }
    }

    fn aclrtRecordEvent(event: *mut c_void, stream: *mut c_void) {
        let (stream, event) = (stream_of(stream)?, event_of(event, "event")?);
        let number = {
            let mut progress = event.lock();
            progress.recorded += 1;
            progress.recorded
        };
        let recording = Recording { event, number };
        stream.enqueue("aclrtRecordEvent", move || {
            drop(recording);
            Ok(())
        });
        Ok(())
    }

    /// Forgets the recordings, in the order of the stream.
    fn aclrtResetEvent(event: *mut c_void, stream: *mut c_void) {
        let (stream, event) = (stream_of(stream)?, event_of(event, "event")?);
        stream.synchronise(-1)?;
        *event.lock() = Progress::default();
        Ok(())
    }

    fn aclrtStreamWaitEvent(stream: *mut c_void, event: *mut c_void) {
        let (stream, event) = (stream_of(stream)?, event_of(event, "event")?);
        let number = event.recorded("event")?;
        stream.enqueue("aclrtStreamWaitEvent", move || {
            event.wait(number, None);
            Ok(())
        });
        Ok(())
    }

    fn aclrtQueryEventStatus(event: *mut c_void, status: *mut i32) {
        let event = event_of(event, "event")?;
        let progress = event.lock();
        // NOT_READY 0, COMPLETE 1.
        give(status, "status", i32::from(progress.reached >= progress.recorded))
    }

    fn aclrtSynchronizeEvent(event: *mut c_void) {
        synchronise(event, -1)
    }

    fn aclrtSynchronizeEventWithTimeout(event: *mut c_void, timeout: i32) {
        synchronise(event, timeout)
    }

    fn aclrtEventElapsedTime(ms: *mut f32, start: *mut c_void, end: *mut c_void) {
        let (start, end) = (event_of(start, "startEvent")?, event_of(end, "endEvent")?);
        let mut at = [Instant::now(); 2];
        for ((event, name), at) in [(start, "startEvent"), (end, "endEvent")].into_iter().zip(&mut at) {
            let number = event.recorded(name)?;
            if !event.wait(number, Some(Duration::ZERO)) {
                let what = format!("{name} is not reached yet; synchronise first");
                return Err(Refusal::new(code::RT_PARAM_INVALID, rules::EVENT_RECORDED, what));
            }
            *at = event.lock().at.expect("reached, so the moment is known");
        }
        give(ms, "ms", at[1].saturating_duration_since(at[0]).as_secs_f32() * 1e3)
    }
}
