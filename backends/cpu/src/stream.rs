//! Streams and events. Everything enqueued is done when the call returns, so there is nothing to wait for.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mxhal_core::{Error, Event, Result, Span, Status, Stream};

use crate::device::Shared;
use crate::memory;

/// A stream: the caller's thread.
pub(crate) struct CpuStream {
    shared: Arc<Shared>,
}

impl CpuStream {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Checks that a stream is of the device that `shared` belongs to.
    pub(crate) fn check(stream: &dyn Stream, shared: &Arc<Shared>) -> Result<()> {
        let stream: &dyn Any = stream;
        match stream.downcast_ref::<Self>() {
            Some(stream) if Arc::ptr_eq(&stream.shared, shared) => Ok(()),
            Some(_) => Err(Error::invalid("the stream is of another CPU backend than the plan")),
            None => Err(Error::invalid("the stream is not of the CPU backend, and the plan is")),
        }
    }
}

impl Stream for CpuStream {
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()> {
        memory::copy(to, from)
    }

    fn copy_to_host(&self, to: u64, from: Span) -> Result<()> {
        memory::copy(to, from)
    }

    fn copy_on_device(&self, to: u64, from: Span) -> Result<()> {
        memory::copy(to, from)
    }

    fn fill(&self, to: Span, value: u8) -> Result<()> {
        memory::fill(to, value)
    }

    fn record(&self, event: &dyn Event) -> Result<()> {
        *CpuEvent::of(event)?.mark() = Some(Instant::now());
        Ok(())
    }

    fn wait(&self, event: &dyn Event) -> Result<()> {
        // Whatever was recorded has passed.
        CpuEvent::of(event).map(drop)
    }

    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }
}

/// An event: when it was last recorded.
pub(crate) struct CpuEvent {
    mark: Mutex<Option<Instant>>,
}

impl CpuEvent {
    pub(crate) fn new() -> Self {
        Self { mark: Mutex::new(None) }
    }

    fn of(event: &dyn Event) -> Result<&Self> {
        let event: &dyn Any = event;
        event.downcast_ref().ok_or_else(|| Error::invalid("the event is not of the CPU backend"))
    }

    fn mark(&self) -> impl std::ops::DerefMut<Target = Option<Instant>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorded(&self, which: &str) -> Result<Instant> {
        let mark = *self.mark();
        mark.ok_or_else(|| {
            Error::new(Status::InvalidArgument, format!("the {which} event was never recorded"))
        })
    }
}

impl Event for CpuEvent {
    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let start = Self::of(earlier)?.recorded("earlier")?;
        Ok(self.recorded("later")?.saturating_duration_since(start))
    }
}
