//! Messages of a plugin, on their way to the host's log.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::sys;

/// Where a plugin's messages go: level, target within the plugin, message. Called from any thread.
pub type LogSink = Arc<dyn Fn(LogLevel, &str, &str) + Send + Sync>;

/// How much a message matters; the numbers are those of `mxhal_log_level` in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be, and the work goes on.
    Warn = 2,
    /// What an operator of the system wants to know.
    Info = 3,
    /// What a developer wants to know.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl LogLevel {
    /// The level with this number in the header; what lies outside is the nearest one.
    pub const fn from_number(number: i32) -> Self {
        match number {
            ..=1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            5.. => Self::Trace,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Events of [`tracing`] with target `mxhal::plugin`, the plugin's own target as a field.
pub(super) fn to_tracing(level: LogLevel, target: &str, message: &str) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: "mxhal::plugin", tracing::Level::$level, source = target, "{message}")
        };
    }
    match level {
        LogLevel::Error => event!(ERROR),
        LogLevel::Warn => event!(WARN),
        LogLevel::Info => event!(INFO),
        LogLevel::Debug => event!(DEBUG),
        LogLevel::Trace => event!(TRACE),
    }
}

/// `mxhal_host.log`, whose context is a [`LogSink`].
///
/// # Safety
///
/// `context` points to a live [`LogSink`]; the texts are null, or end in a zero byte and live during the call.
pub(super) unsafe extern "C" fn log(
    context: *mut c_void,
    level: i32,
    target: *const c_char,
    message: *const c_char,
) {
    // SAFETY: the host hands out this function together with such a context, and keeps it until shutdown returned.
    let Some(sink) = (unsafe { context.cast::<LogSink>().as_ref() }) else { return };
    // SAFETY: a plugin keeps the contract for texts.
    let (target, message) = unsafe { (text(target), text(message)) };
    // A sink that panics must not unwind into the plugin; its panic has been reported where it happened.
    let _ = catch_unwind(AssertUnwindSafe(|| sink(LogLevel::from_number(level), &target, &message)));
}

/// # Safety
///
/// `at` is null, or a text that ends in a zero byte.
unsafe fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: not null, so the caller promises a text.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

const _: () =
    assert!(LogLevel::Error as u32 == sys::MXHAL_LOG_ERROR && LogLevel::Trace as u32 == sys::MXHAL_LOG_TRACE);
