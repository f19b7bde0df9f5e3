//! The way of a backend's messages to the host.

use std::ffi::{CString, c_char, c_void};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::host::LogLevel;
use crate::sys::mxhal_host;

/// Hands messages to the host. Clones go to the same place, from any thread; after the backend was shut down they go
/// nowhere.
#[derive(Clone)]
pub struct Logger {
    sink: Arc<RwLock<Option<Sink>>>,
}

#[derive(Clone, Copy)]
struct Sink {
    log: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    context: *mut c_void,
}

// SAFETY: the header allows `log` to be called with its context from any thread.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

impl Logger {
    /// Where the host's table says; nowhere if it says nothing.
    ///
    /// # Safety
    ///
    /// `log` and `context` keep the contract of the header until [`Self::close`] was called.
    pub(super) unsafe fn new(host: &mxhal_host) -> Self {
        let sink = host.log.map(|log| Sink { log, context: host.context });
        Self { sink: Arc::new(RwLock::new(sink)) }
    }

    /// Hands on a message; `target` says which part of the backend speaks.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        // Whoever is closing it, in this thread or another, wants no more messages.
        let Ok(sink) = self.sink.try_read() else { return };
        let Some(Sink { log, context }) = *sink else { return };
        let text =
            |text: &str| CString::new(text.replace('\0', "\u{fffd}")).expect("its zero bytes were replaced");
        let (target, message) = (text(target), text(message));
        // SAFETY: the lock is held, so that it was not closed; the texts live during the call.
        unsafe { log(context, level as i32, target.as_ptr(), message.as_ptr()) };
    }

    /// From here on messages go nowhere; the host's function is not called any more when this returns.
    pub(super) fn close(&self) {
        *self.sink.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logger")
    }
}
