//! Streams and events over the table.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use mxhal_core::{Error, Event, Graph, Result, Span, Stream};

use super::device::OpenDevice;
use super::graph::GraphTable;
use super::{Table, foreign};
use crate::convert::{pointer, timeout_to_c};
use crate::sys::{mxhal_error, mxhal_event, mxhal_stream};

/// A stream that a plugin made.
pub(super) struct PluginStream {
    device: Arc<OpenDevice>,
    handle: NonNull<mxhal_stream>,
}

// SAFETY: by R7 a stream is used by one thread at a time, whichever that is; `Stream` is not `Sync`.
unsafe impl Send for PluginStream {}

impl PluginStream {
    pub(super) fn new(device: &Arc<OpenDevice>, handle: NonNull<mxhal_stream>) -> Self {
        Self { device: Arc::clone(device), handle }
    }

    /// The handle of a stream, if the same device made it.
    pub(super) fn of(stream: &dyn Stream, device: &Arc<OpenDevice>) -> Result<*mut mxhal_stream> {
        match (stream as &dyn Any).downcast_ref::<Self>() {
            Some(stream) if Arc::ptr_eq(&stream.device, device) => Ok(stream.handle.as_ptr()),
            _ => Err(foreign("stream")),
        }
    }

    fn call(
        &self,
        function: &str,
        call: impl FnOnce(&Table, *mut mxhal_stream, *mut mxhal_error) -> i32,
    ) -> Result<()> {
        self.device.loaded.call(function, |table, error| call(table, self.handle.as_ptr(), error))
    }
}

impl Drop for PluginStream {
    fn drop(&mut self) {
        // SAFETY: the stream was created and not destroyed before.
        self.device
            .loaded
            .destroy("stream_destroy", |f, error| unsafe { (f.stream_destroy)(self.handle.as_ptr(), error) });
    }
}

impl Stream for PluginStream {
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()> {
        self.call("copy_to_device", |f, stream, error| {
            // SAFETY: the stream lives; that the addresses are good is the caller's business.
            unsafe {
                (f.copy_to_device)(stream, pointer(to), pointer::<u8>(from.address).cast(), from.bytes, error)
            }
        })
    }

    fn copy_to_host(&self, to: u64, from: Span) -> Result<()> {
        self.call("copy_to_host", |f, stream, error| {
            // SAFETY: as above.
            unsafe {
                (f.copy_to_host)(stream, pointer(to), pointer::<u8>(from.address).cast(), from.bytes, error)
            }
        })
    }

    fn copy_on_device(&self, to: u64, from: Span) -> Result<()> {
        self.call("copy_on_device", |f, stream, error| {
            // SAFETY: as above.
            unsafe {
                (f.copy_on_device)(stream, pointer(to), pointer::<u8>(from.address).cast(), from.bytes, error)
            }
        })
    }

    fn fill(&self, to: Span, value: u8) -> Result<()> {
        self.call("fill", |f, stream, error| {
            // SAFETY: as above.
            unsafe { (f.fill)(stream, pointer(to.address), value, to.bytes, error) }
        })
    }

    fn record(&self, event: &dyn Event) -> Result<()> {
        let event = PluginEvent::of(event, &self.device)?;
        self.call("event_record", |f, stream, error| {
            // SAFETY: both live, and the same device made them.
            unsafe { (f.event_record)(event, stream, error) }
        })
    }

    fn wait(&self, event: &dyn Event) -> Result<()> {
        let event = PluginEvent::of(event, &self.device)?;
        self.call("event_wait", |f, stream, error| {
            // SAFETY: both live, and the same device made them.
            unsafe { (f.event_wait)(event, stream, error) }
        })
    }

    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        self.call("stream_synchronize", |f, stream, error| {
            // SAFETY: the stream lives.
            unsafe { (f.stream_synchronize)(stream, timeout_to_c(timeout), error) }
        })
    }

    fn begin_capture(&self) -> Result<()> {
        GraphTable::of(&self.device.loaded)?.begin(self.handle.as_ptr())
    }

    fn end_capture(&self) -> Result<Arc<dyn Graph>> {
        let graph = GraphTable::of(&self.device.loaded)?.end(&self.device, self.handle.as_ptr())?;
        Ok(Arc::new(graph))
    }
}

/// An event that a plugin made.
pub(super) struct PluginEvent {
    device: Arc<OpenDevice>,
    handle: NonNull<mxhal_event>,
}

// SAFETY: by R7 the functions of a device, events among them, may be called from any thread at any time.
unsafe impl Send for PluginEvent {}
// SAFETY: as above.
unsafe impl Sync for PluginEvent {}

impl PluginEvent {
    pub(super) fn new(device: &Arc<OpenDevice>, handle: NonNull<mxhal_event>) -> Self {
        Self { device: Arc::clone(device), handle }
    }

    fn of(event: &dyn Event, device: &Arc<OpenDevice>) -> Result<*mut mxhal_event> {
        match (event as &dyn Any).downcast_ref::<Self>() {
            Some(event) if Arc::ptr_eq(&event.device, device) => Ok(event.handle.as_ptr()),
            _ => Err(foreign("event")),
        }
    }
}

impl Drop for PluginEvent {
    fn drop(&mut self) {
        // SAFETY: the event was created and not destroyed before.
        self.device
            .loaded
            .destroy("event_destroy", |f, error| unsafe { (f.event_destroy)(self.handle.as_ptr(), error) });
    }
}

impl Event for PluginEvent {
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        self.device.loaded.call("event_synchronize", |f, error| {
            // SAFETY: the event lives.
            unsafe { (f.event_synchronize)(self.handle.as_ptr(), timeout_to_c(timeout), error) }
        })
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let earlier = Self::of(earlier, &self.device)?;
        let mut seconds = 0.0;
        self.device.loaded.call("event_elapsed", |f, error| {
            // SAFETY: both live, and the same device made them.
            unsafe { (f.event_elapsed)(earlier, self.handle.as_ptr(), &raw mut seconds, error) }
        })?;
        // Clocks of devices are coarse: what was recorded later may read a little earlier.
        let seconds = if seconds < 0.0 { 0.0 } else { seconds };
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| Error::internal(format!("event_elapsed gave {seconds} seconds")))
    }
}
