//! How a call ends: a `CUresult`, and a sentence for whoever looks for the reason.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::demand;

macro_rules! codes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// Numbers of `CUresult`, without `CUDA_ERROR_`.
        #[allow(dead_code, reason = "some are given on demand only")]
        pub(crate) mod code {
            $(pub(crate) const $name: i32 = $value;)*
        }

        /// Each code's name and description, both ending with a zero.
        const CODES: &[(i32, &str, &str)] =
            &[(0, "CUDA_SUCCESS\0", "no error\0"),
            $(($value, concat!("CUDA_ERROR_", stringify!($name), "\0"), concat!($text, "\0"))),*];
    };
}

codes! {
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "initialization error";
    DEINITIALIZED = 4, "driver shutting down";
    DEVICE_UNAVAILABLE = 46, "CUDA-capable device(s) is/are busy or unavailable";
    NO_DEVICE = 100, "no CUDA-capable device is detected";
    INVALID_DEVICE = 101, "invalid device ordinal";
    INVALID_IMAGE = 200, "device kernel image is invalid";
    INVALID_CONTEXT = 201, "invalid device context";
    NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
    ECC_UNCORRECTABLE = 214, "uncorrectable ECC error encountered";
    INVALID_HANDLE = 400, "invalid resource handle";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "device not ready";
    ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
    ILLEGAL_INSTRUCTION = 715, "an illegal instruction was encountered";
    MISALIGNED_ADDRESS = 716, "misaligned address";
    LAUNCH_FAILED = 719, "unspecified launch failure";
    NOT_SUPPORTED = 801, "operation not supported";
    SYSTEM_NOT_READY = 802, "system not yet initialized";
    SYSTEM_DRIVER_MISMATCH = 803, "system has unsupported display driver / cuda driver combination";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
    STREAM_CAPTURE_MERGE = 902, "operation would result in a merge of separate capture sequences";
    STREAM_CAPTURE_UNMATCHED = 903, "capture was not ended in the same stream as it began";
    STREAM_CAPTURE_UNJOINED = 904, "capturing stream has unjoined work";
    STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
    CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
    UNKNOWN = 999, "unknown error";
}

/// A call that is refused, or work that failed.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    /// What was seen where, and what was expected.
    pub(crate) what: String,
}

pub(crate) type Answer<T = ()> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(code: i32, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }

    /// `CUDA_ERROR_INVALID_VALUE`.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(code::INVALID_VALUE, what)
    }
}

/// The code's name and its description, each with its zero at the end.
pub(crate) fn words(code: i32) -> Option<(&'static str, &'static str)> {
    CODES.iter().find(|(value, ..)| *value == code).map(|(_, name, text)| (*name, *text))
}

/// Runs the body of a C function: failures on demand first, then the body.
pub(crate) fn answer(function: &str, body: impl FnOnce() -> Answer) -> i32 {
    let outcome = demand::failure_of(function).and_then(|()| {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(Refusal::new(code::UNKNOWN, what.unwrap_or_else(|| "a panic".into())))
        })
    });
    match outcome {
        Ok(()) => 0,
        Err(refusal) => {
            // What is asked for by polling is an answer and no error.
            if refusal.code != code::NOT_READY {
                note(function, &refusal);
            }
            refusal.code
        }
    }
}

/// Writes a refusal down: the driver's API passes on no more than its number.
pub(crate) fn note(function: &str, refusal: &Refusal) {
    let name = words(refusal.code).map_or("error", |(name, _)| name.trim_end_matches('\0'));
    report(&format!("{name} {function}: {}", refusal.what));
}

/// Appends a line to the file of `MXHAL_SIM_REPORT`, or to standard error if there is none.
pub(crate) fn report(message: &str) {
    let line = format!("{}\n", message.replace('\n', " "));
    // What cannot be written must not become an error of the driver.
    let _ = match std::env::var_os("MXHAL_SIM_REPORT") {
        Some(path) => OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes())),
        None => std::io::stderr().write_all(format!("simulated CUDA: {line}").as_bytes()),
    };
}

/// Stores a result where the caller wants it.
pub(crate) fn give<T>(place: *mut T, argument: &str, value: T) -> Answer {
    if place.is_null() {
        return Err(Refusal::invalid(format!("{argument} is null")));
    }
    // SAFETY: not null; that it points to a T is what the C declaration asks of the caller.
    unsafe { place.write(value) };
    Ok(())
}

/// Defines functions of the driver, whose bodies give an [`Answer`].
macro_rules! cu {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $type),*) -> i32 {
            $crate::refusal::answer(stringify!($name), move || $body)
        }
    )*};
}
pub(crate) use cu;
