//! Events: how often one was recorded, and how many of these recordings the device has reached.

use core::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::capture::Mark;
use super::context::{current, expect_current};
use super::stream::{Stream, stream_of};
use crate::refusal::{Answer, Refusal, code, cu, give};
use crate::registry::Registry;

pub(crate) static EVENTS: Registry<Event> = Registry::new("an event", 3);

/// `CU_EVENT_DISABLE_TIMING`.
const WITHOUT_TIMING: u32 = 2;

/// An event of a context.
pub(crate) struct Event {
    pub(crate) context: usize,
    flags: u32,
    progress: Mutex<Progress>,
    reached: Condvar,
}

#[derive(Default)]
struct Progress {
    recorded: u64,
    reached: u64,
    at: Option<Instant>,
    /// Where in a graph it was recorded last, if that was captured.
    mark: Option<Mark>,
}

impl Event {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, number: u64) {
        let mut progress = self.lock();
        progress.reached = progress.reached.max(number);
        progress.at = Some(Instant::now());
        self.reached.notify_all();
    }

    fn wait(&self, number: u64) {
        let waiting = self.reached.wait_while(self.lock(), |progress| progress.reached < number);
        drop(waiting);
    }

    /// The number of the last recording; an event that was recorded into a graph has none to wait for.
    fn recorded(&self, argument: &str) -> Answer<u64> {
        let progress = self.lock();
        if progress.mark.is_some() {
            let what = format!("{argument} was last recorded in a stream that captures");
            return Err(Refusal::new(code::CAPTURED_EVENT, what));
        }
        Ok(progress.recorded)
    }
}

fn event_of(handle: *mut c_void, argument: &str) -> Answer<Arc<Event>> {
    let event = EVENTS
        .get(handle)
        .map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("{argument} is {what}")))?;
    expect_current(event.context, argument)?;
    Ok(event)
}

fn record(event: Arc<Event>, stream: &Stream) -> Answer {
    if let Some(participant) = stream.capture().as_ref() {
        event.lock().mark = Some(participant.mark());
        return Ok(());
    }
    let number = {
        let mut progress = event.lock();
        progress.mark = None;
        progress.recorded += 1;
        progress.recorded
    };
    stream.enqueue_always("cuEventRecord", move || {
        event.reach(number);
        Ok(())
    })
}

/// The moment of the last recording, which the device has reached.
fn moment(handle: *mut c_void, argument: &str) -> Answer<Instant> {
    let event = event_of(handle, argument)?;
    if event.flags & WITHOUT_TIMING != 0 {
        return Err(Refusal::new(code::INVALID_HANDLE, format!("{argument} was made without timing")));
    }
    let recorded = event.recorded(argument)?;
    let progress = event.lock();
    if recorded == 0 {
        return Err(Refusal::new(code::INVALID_HANDLE, format!("{argument} was never recorded")));
    }
    let reached = progress.at.filter(|_| progress.reached >= recorded);
    reached.ok_or_else(|| Refusal::new(code::NOT_READY, format!("{argument} is not reached yet")))
}

fn elapsed(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) -> Answer {
    let (start, end) = (moment(start, "hStart")?, moment(end, "hEnd")?);
    let forwards = end.saturating_duration_since(start).as_secs_f32();
    let backwards = start.saturating_duration_since(end).as_secs_f32();
    give(milliseconds, "pMilliseconds", (forwards - backwards) * 1e3)
}

cu! {
    fn cuEventCreate(event: *mut *mut c_void, flags: u32) {
        let context = current()?;
        if flags & !(1 | WITHOUT_TIMING) != 0 {
            return Err(Refusal::invalid(format!("Flags is {flags:#x}, expected blocking (1), without timing (2)")));
        }
        let made = Event { context: context.handle, flags, progress: Mutex::default(), reached: Condvar::new() };
        give(event, "phEvent", EVENTS.insert(made))
    }

    fn cuEventDestroy_v2(event: *mut c_void) {
        event_of(event, "hEvent")?;
        let removed = EVENTS.remove(event).map(|_| ());
        removed.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hEvent is {what}")))
    }

    fn cuEventRecord(event: *mut c_void, stream: *mut c_void) {
        let stream = stream_of(stream)?;
        record(event_of(event, "hEvent")?, &stream)
    }

    /// An event that was never recorded is not waited for.
    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, flags: u32) {
        let (stream, event) = (stream_of(stream)?, event_of(event, "hEvent")?);
        if flags != 0 {
            return Err(Refusal::invalid(format!("Flags is {flags}, expected 0")));
        }
        let mark = event.lock().mark.clone();
        if let Some(mark) = mark {
            return mark.join(&stream);
        }
        if let Some(participant) = stream.capture().as_mut() {
            return Err(participant.isolate("cuStreamWaitEvent"));
        }
        let number = event.recorded("hEvent")?;
        stream.enqueue_always("cuStreamWaitEvent", move || {
            event.wait(number);
            Ok(())
        })
    }

    fn cuEventQuery(event: *mut c_void) {
        let event = event_of(event, "hEvent")?;
        let recorded = event.recorded("hEvent")?;
        match event.lock().reached >= recorded {
            true => Ok(()),
            false => Err(Refusal::new(code::NOT_READY, "the event is not reached yet")),
        }
    }

    fn cuEventSynchronize(event: *mut c_void) {
        let event = event_of(event, "hEvent")?;
        let recorded = event.recorded("hEvent")?;
        event.wait(recorded);
        expect_current(event.context, "hEvent").map(|_| ())
    }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) {
        elapsed(milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) {
        elapsed(milliseconds, start, end)
    }
}
