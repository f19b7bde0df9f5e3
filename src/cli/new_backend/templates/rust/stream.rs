//! Streams and events. Work is done when the call that enqueues it returns, so there is nothing to wait for.
//!
//! A real queue keeps its first failure, and reports it, once, when it is synchronised.

use std::any::Any;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mxhal_core::{Error, Event, Result, Span, Stream};

use crate::memory;

/// A stream: the caller's thread.
pub(crate) struct HostStream;

impl Stream for HostStream {
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
        *HostEvent::of(event)?.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    fn wait(&self, event: &dyn Event) -> Result<()> {
        // Whatever was recorded has passed.
        HostEvent::of(event).map(drop)
    }

    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }
}

/// An event: when it was last recorded.
#[derive(Default)]
pub(crate) struct HostEvent {
    mark: Mutex<Option<Instant>>,
}

impl HostEvent {
    fn of(event: &dyn Event) -> Result<&Self> {
        let event: &dyn Any = event;
        event.downcast_ref().ok_or_else(|| Error::invalid("the event is not of this backend"))
    }

    fn recorded(&self, which: &str) -> Result<Instant> {
        let mark = *self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.ok_or_else(|| Error::invalid(format!("the {which} event was never recorded")))
    }
}

impl Event for HostEvent {
    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let start = Self::of(earlier)?.recorded("earlier")?;
        Ok(self.recorded("later")?.saturating_duration_since(start))
    }
}
