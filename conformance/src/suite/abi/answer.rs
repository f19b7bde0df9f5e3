//! What a function answered: a status, and an error that must be as the header says.

use std::mem::offset_of;
use std::ptr;

use mxhal_core::Status;
use mxhal_ffi::sys;

use super::raw::ErrorMode;
use crate::outcome::{Failure, Outcome};

/// What a question found: nothing wrong, or what.
pub(super) type Finding<T = ()> = Result<T, Box<Outcome>>;

/// A failure in a sentence.
pub(super) fn wrong(message: impl Into<String>) -> Box<Outcome> {
    Box::new(Outcome::Fail(Failure::new(message)))
}

/// A failure in a sentence unless this holds.
pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(wrong(message())) }
}

/// What every byte of an error's memory is before a call.
pub(super) const POISON: u8 = 0xa5;

/// Bytes behind an error.
const ZONE: usize = 64;

/// Memory for an error, with a red zone behind it.
#[repr(C)]
pub(super) struct ErrorArea {
    error: sys::mxhal_error,
    zone: [u8; ZONE],
    mode: ErrorMode,
}

impl ErrorArea {
    pub(super) fn new(mode: ErrorMode) -> Self {
        let struct_size = match mode {
            ErrorMode::Short => offset_of!(sys::mxhal_error, message),
            ErrorMode::Longer => offset_of!(Self, zone) + ZONE,
            ErrorMode::Whole | ErrorMode::Null => size_of::<sys::mxhal_error>(),
        };
        let error = sys::mxhal_error {
            struct_size: struct_size as u32,
            status: i32::from_ne_bytes([POISON; 4]),
            vendor_code: i64::from_ne_bytes([POISON; 8]),
            message: [std::ffi::c_char::from_ne_bytes([POISON]); 496],
        };
        Self { error, zone: [POISON; ZONE], mode }
    }

    pub(super) fn pointer(&mut self) -> *mut sys::mxhal_error {
        match self.mode {
            ErrorMode::Null => ptr::null_mut(),
            _ => ptr::from_mut(&mut self.error),
        }
    }

    fn message_bytes(&self) -> Vec<u8> {
        self.error.message.iter().map(|character| character.to_ne_bytes()[0]).collect()
    }

    /// Whether nothing was written to it.
    fn is_untouched(&self) -> bool {
        let fresh = Self::new(self.mode);
        self.error.struct_size == fresh.error.struct_size
            && self.error.status == fresh.error.status
            && self.error.vendor_code == fresh.error.vendor_code
            && self.error.message == fresh.error.message
    }
}

/// A function's answer.
pub(super) struct Answer {
    pub(super) function: &'static str,
    pub(super) status: i32,
    pub(super) area: ErrorArea,
}

impl Answer {
    /// Demands success.
    pub(super) fn ok(self) -> Finding {
        self.within_its_memory()?;
        if self.status == 0 {
            return Ok(());
        }
        if self.status == Status::DeviceLost as i32 {
            return Err(Box::new(Outcome::DeviceLost {
                text: format!("{}: {}", self.function, self.text()),
            }));
        }
        Err(wrong(format!("{} answered {}: {}; expected MXHAL_OK", self.function, self.named(), self.text())))
    }

    /// Demands success, and that the error is left alone.
    pub(super) fn ok_and_silent(self) -> Finding {
        let (function, untouched) = (self.function, self.area.is_untouched());
        self.ok()?;
        ensure(untouched, || format!("{function} succeeded, and wrote to the error all the same"))
    }

    /// Demands a refusal with this status and an error as the header says; gives its message, which is empty where
    /// there was no memory for one. `why` says what was wrong with the call.
    pub(super) fn refused(self, status: Status, why: &str) -> Finding<String> {
        self.refused_as(&[status], why)
    }

    /// The same where more than one status is right.
    pub(super) fn refused_as(self, statuses: &[Status], why: &str) -> Finding<String> {
        self.within_its_memory()?;
        if !statuses.iter().any(|status| *status as i32 == self.status) {
            let wanted: Vec<String> = statuses.iter().map(ToString::to_string).collect();
            let said = if self.status == 0 { String::new() } else { format!(" ({})", self.text()) };
            return Err(wrong(format!(
                "{} with {why} answered {}{said}; expected {}",
                self.function,
                self.named(),
                wanted.join(" or ")
            )));
        }
        self.check_error(why)
    }

    /// The number, and its name where it has one.
    fn named(&self) -> String {
        match (self.status, Status::from_number(self.status)) {
            (0, _) => "MXHAL_OK".to_owned(),
            (number, Some(status)) => format!("{status} ({number})"),
            (number, None) => format!("{number}, which is no mxhal_status"),
        }
    }

    /// The error's message, as far as it can be read.
    fn text(&self) -> String {
        let has_message = matches!(self.area.mode, ErrorMode::Whole | ErrorMode::Longer);
        if !has_message || self.area.is_untouched() {
            return "no message".to_owned();
        }
        let bytes = self.area.message_bytes();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    fn within_its_memory(&self) -> Finding {
        let Self { function, area, .. } = self;
        ensure(area.zone.iter().all(|byte| *byte == POISON), || {
            format!("{function} wrote beyond the end of the mxhal_error that it knows")
        })?;
        let short = area.mode == ErrorMode::Short;
        ensure(!short || area.message_bytes().iter().all(|byte| *byte == POISON), || {
            format!(
                "{function} wrote a message into an mxhal_error whose struct_size of {} ends before it (R1)",
                area.error.struct_size
            )
        })
    }

    fn check_error(&self, why: &str) -> Finding<String> {
        let Self { function, area, .. } = self;
        if area.mode == ErrorMode::Null {
            return Ok(String::new());
        }
        ensure(area.error.status == self.status, || {
            format!(
                "{function} with {why} answered {} and wrote status {} to the error",
                self.named(),
                area.error.status
            )
        })?;
        if area.mode == ErrorMode::Short {
            return Ok(String::new());
        }
        let bytes = area.message_bytes();
        let end = bytes.iter().position(|byte| *byte == 0);
        let message = end.map(|end| String::from_utf8(bytes[..end].to_vec()));
        match message {
            None => Err(wrong(format!("{function} with {why}: the error's message does not end in 0"))),
            Some(Err(_)) => Err(wrong(format!("{function} with {why}: the error's message is not UTF-8"))),
            Some(Ok(message)) => {
                ensure(!message.trim().is_empty(), || {
                    format!("{function} with {why}: the error has no message")
                })?;
                Ok(message)
            }
        }
    }
}
