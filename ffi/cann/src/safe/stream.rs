//! Streams and events.

use core::fmt;
use core::time::Duration;

use super::{Context, report};
use crate::error::Result;
use crate::sys;

/// Work on a device that is done in the order in which it is enqueued.
pub struct Stream {
    context: Context,
    handle: sys::aclrtStream,
    /// Somebody else destroys it.
    borrowed: bool,
}

// SAFETY: CANN allows a stream to be used from any thread whose current context is its own, which each method sets.
unsafe impl Send for Stream {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream on the device of the context.
    ///
    /// # Errors
    ///
    /// What `aclrtCreateStream` answers.
    pub fn new(context: &Context) -> Result<Self> {
        let _current = context.enter()?;
        let handle = context.library().aclrt_create_stream()?;
        Ok(Self { context: context.clone(), handle, borrowed: false })
    }

    /// A stream that somebody else made and destroys, such as an engine's.
    ///
    /// # Safety
    ///
    /// It is a stream of this context, and alive as long as this is.
    pub unsafe fn borrowed(context: &Context, handle: sys::aclrtStream) -> Self {
        Self { context: context.clone(), handle, borrowed: true }
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// CANN's handle.
    pub fn handle(&self) -> sys::aclrtStream {
        self.handle
    }

    /// Waits until everything enqueued is done.
    ///
    /// # Errors
    ///
    /// The failure of something that was enqueued.
    pub fn synchronize(&self) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive.
        unsafe { self.context.library().aclrt_synchronize_stream(self.handle) }
    }

    /// The same, for at most so long; the work goes on after that.
    ///
    /// # Errors
    ///
    /// The failure of something that was enqueued;
    /// [`ACL_ERROR_RT_STREAM_SYNC_TIMEOUT`](sys::ACL_ERROR_RT_STREAM_SYNC_TIMEOUT) when the time was not enough.
    pub fn synchronize_within(&self, time: Duration) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive.
        unsafe {
            self.context.library().aclrt_synchronize_stream_with_timeout(self.handle, milliseconds(time))
        }
    }

    /// Whether everything enqueued is done.
    ///
    /// # Errors
    ///
    /// What `aclrtStreamQuery` answers.
    pub fn is_idle(&self) -> Result<bool> {
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive.
        let status = unsafe { self.context.library().aclrt_stream_query(self.handle) }?;
        Ok(status == sys::ACL_STREAM_STATUS_COMPLETE)
    }

    /// What is enqueued from now on waits for the event.
    ///
    /// # Errors
    ///
    /// What `aclrtStreamWaitEvent` answers.
    pub fn wait_for(&self, event: &Event) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: both are alive.
        unsafe { self.context.library().aclrt_stream_wait_event(self.handle, event.handle) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.borrowed {
            return;
        }
        let outcome = self.context.enter().and_then(|_current| {
            // SAFETY: made by `new`, destroyed once.
            unsafe { self.context.library().aclrt_destroy_stream(self.handle) }
        });
        report(outcome);
    }
}

/// A point in the work of a stream.
pub struct Event {
    context: Context,
    handle: sys::aclrtEvent,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Event {}
// SAFETY: as for `Stream`.
unsafe impl Sync for Event {}

impl Event {
    /// An event.
    ///
    /// # Errors
    ///
    /// What `aclrtCreateEvent` answers.
    pub fn new(context: &Context) -> Result<Self> {
        let _current = context.enter()?;
        let handle = context.library().aclrt_create_event()?;
        Ok(Self { context: context.clone(), handle })
    }

    /// An event that keeps the time.
    ///
    /// # Errors
    ///
    /// What `aclrtCreateEventWithFlag` answers.
    pub fn with_time(context: &Context) -> Result<Self> {
        let _current = context.enter()?;
        let handle = context.library().aclrt_create_event_with_flag(sys::ACL_EVENT_TIME_LINE)?;
        Ok(Self { context: context.clone(), handle })
    }

    /// CANN's handle.
    pub fn handle(&self) -> sys::aclrtEvent {
        self.handle
    }

    /// Marks the place in the stream that has been reached so far.
    ///
    /// # Errors
    ///
    /// What `aclrtRecordEvent` answers.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: both are alive.
        unsafe { self.context.library().aclrt_record_event(self.handle, stream.handle) }
    }

    /// Whether the stream has passed the place.
    ///
    /// # Errors
    ///
    /// What `aclrtQueryEventStatus` answers.
    pub fn is_complete(&self) -> Result<bool> {
        let _current = self.context.enter()?;
        // SAFETY: the event is alive.
        let status = unsafe { self.context.library().aclrt_query_event_status(self.handle) }?;
        Ok(status == sys::ACL_EVENT_RECORDED_STATUS_COMPLETE)
    }

    /// Waits until the stream has passed the place.
    ///
    /// # Errors
    ///
    /// What `aclrtSynchronizeEvent` answers.
    pub fn synchronize(&self) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe { self.context.library().aclrt_synchronize_event(self.handle) }
    }

    /// The same, for at most so long.
    ///
    /// # Errors
    ///
    /// What `aclrtSynchronizeEventWithTimeout` answers.
    pub fn synchronize_within(&self, time: Duration) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe {
            self.context.library().aclrt_synchronize_event_with_timeout(self.handle, milliseconds(time))
        }
    }

    /// The time from `start` to this event; both were made by [`with_time`](Self::with_time) and have been passed.
    ///
    /// # Errors
    ///
    /// What `aclrtEventElapsedTime` answers.
    pub fn since(&self, start: &Self) -> Result<Duration> {
        let _current = self.context.enter()?;
        // SAFETY: both are alive.
        let milliseconds =
            unsafe { self.context.library().aclrt_event_elapsed_time(start.handle, self.handle) }?;
        Ok(Duration::try_from_secs_f32(milliseconds / 1000.0).unwrap_or_default())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let outcome = self.context.enter().and_then(|_current| {
            // SAFETY: made by `new` or `with_time`, destroyed once.
            unsafe { self.context.library().aclrt_destroy_event(self.handle) }
        });
        report(outcome);
    }
}

/// Whole milliseconds, rounded up, at least one; more than CANN can count to is the most that it can.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX).max(1)
}
