//! Streams and events: CANN's.

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mxhal_cann::{safe, sys};
use mxhal_core::{Error, Event, Result, Span, Status, Stream};

use crate::device::Shared;
use crate::error::from_cann;

/// A stream of a device.
pub(crate) struct AscendStream {
    shared: Arc<Shared>,
    stream: safe::Stream,
}

impl AscendStream {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let stream = safe::Stream::new(&shared.context).map_err(from_cann)?;
        Ok(Self { shared, stream })
    }

    /// An engine's `aclrtStream`, which stays the engine's; 0 is the default one of the device.
    pub(crate) fn wrap(shared: Arc<Shared>, native: u64) -> Self {
        // SAFETY: the caller of `wrap_stream` says that it is a stream of this device and outlives the wrapper.
        let stream = unsafe { safe::Stream::borrowed(&shared.context, pointer(native)) };
        Self { shared, stream }
    }

    /// CANN's, if a stream is of the device that `shared` belongs to.
    pub(crate) fn of<'a>(stream: &'a dyn Stream, shared: &Arc<Shared>) -> Result<&'a safe::Stream> {
        let stream: &dyn Any = stream;
        match stream.downcast_ref::<Self>() {
            Some(stream) if Arc::ptr_eq(&stream.shared, shared) => Ok(&stream.stream),
            Some(_) => Err(Error::invalid("the stream is of another device than the plan")),
            None => Err(Error::invalid("the stream is not of the Ascend backend, and the plan is")),
        }
    }
}

impl Stream for AscendStream {
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()> {
        copy(&self.stream, to, from, sys::ACL_MEMCPY_HOST_TO_DEVICE)
    }

    fn copy_to_host(&self, to: u64, from: Span) -> Result<()> {
        copy(&self.stream, to, from, sys::ACL_MEMCPY_DEVICE_TO_HOST)
    }

    fn copy_on_device(&self, to: u64, from: Span) -> Result<()> {
        copy(&self.stream, to, from, sys::ACL_MEMCPY_DEVICE_TO_DEVICE)
    }

    fn fill(&self, to: Span, value: u8) -> Result<()> {
        fill(&self.stream, to, value)
    }

    fn record(&self, event: &dyn Event) -> Result<()> {
        let event = AscendEvent::of(event)?;
        event.event.record(&self.stream).map_err(from_cann)?;
        event.recorded.store(true, Ordering::Release);
        Ok(())
    }

    fn wait(&self, event: &dyn Event) -> Result<()> {
        let event = AscendEvent::of(event)?;
        // CANN does not say what a wait for an event that was never recorded does; ours is over at once.
        if event.recorded.load(Ordering::Acquire) {
            self.stream.wait_for(&event.event).map_err(from_cann)?;
        }
        Ok(())
    }

    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        match timeout {
            None => self.stream.synchronize(),
            // CANN counts from one millisecond up.
            Some(Duration::ZERO) if !self.stream.is_idle().map_err(from_cann)? => {
                return Err(Error::new(Status::Timeout, "the stream is not done yet"));
            }
            Some(Duration::ZERO) => self.stream.synchronize(),
            Some(time) => self.stream.synchronize_within(time),
        }
        .map_err(from_cann)
    }
}

/// Enqueues a copy. Between host and device it is asynchronous only for page-locked memory; else CANN returns when the
/// bytes have moved.
pub(crate) fn copy(stream: &safe::Stream, to: u64, from: Span, kind: sys::aclrtMemcpyKind) -> Result<()> {
    let count = length(from.bytes)?;
    if count == 0 {
        return Ok(());
    }
    let enqueue = || {
        let _current = stream.context().enter()?;
        let (to, source) = (pointer(to), pointer(from.address).cast_const());
        // SAFETY: the caller of the trait's method says that both ranges are valid until the stream has passed the copy.
        unsafe {
            stream.context().library().aclrt_memcpy_async(to, count, source, count, kind, stream.handle())
        }
    };
    enqueue().map_err(from_cann)
}

/// Enqueues that bytes get a value.
pub(crate) fn fill(stream: &safe::Stream, to: Span, value: u8) -> Result<()> {
    let count = length(to.bytes)?;
    if count == 0 {
        return Ok(());
    }
    let enqueue = || {
        let _current = stream.context().enter()?;
        let (library, to) = (stream.context().library(), pointer(to.address));
        // SAFETY: the caller of the trait's method says that the range is valid until the stream has passed it.
        unsafe { library.aclrt_memset_async(to, count, value.into(), count, stream.handle()) }
    };
    enqueue().map_err(from_cann)
}

/// An address as CANN takes it.
pub(crate) fn pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

fn length(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::invalid(format!("{bytes} bytes are more than memory has")))
}

/// An event, which keeps the time.
pub(crate) struct AscendEvent {
    event: safe::Event,
    recorded: AtomicBool,
}

impl AscendEvent {
    pub(crate) fn new(shared: &Shared) -> Result<Self> {
        let event = safe::Event::with_time(&shared.context).map_err(from_cann)?;
        Ok(Self { event, recorded: AtomicBool::new(false) })
    }

    fn of(event: &dyn Event) -> Result<&Self> {
        let event: &dyn Any = event;
        event.downcast_ref().ok_or_else(|| Error::invalid("the event is not of the Ascend backend"))
    }

    /// The event, once it was recorded and passed.
    fn passed(&self, which: &str) -> Result<&safe::Event> {
        if !self.recorded.load(Ordering::Acquire) {
            return Err(Error::invalid(format!("the {which} event was never recorded")));
        }
        match self.event.is_complete().map_err(from_cann)? {
            true => Ok(&self.event),
            false => Err(Error::new(Status::NotReady, format!("the {which} event has not been passed yet"))),
        }
    }
}

impl Event for AscendEvent {
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        if !self.recorded.load(Ordering::Acquire) {
            return Ok(());
        }
        match timeout {
            None => self.event.synchronize(),
            Some(Duration::ZERO) if !self.event.is_complete().map_err(from_cann)? => {
                return Err(Error::new(Status::NotReady, "the event has not been passed yet"));
            }
            // What failed before it is reported by whoever waits for it.
            Some(Duration::ZERO) => self.event.synchronize(),
            Some(time) => self.event.synchronize_within(time),
        }
        .map_err(from_cann)
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let start = Self::of(earlier)?.passed("earlier")?;
        self.passed("later")?.since(start).map_err(from_cann)
    }
}
