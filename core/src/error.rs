//! What can go wrong, as it crosses the plugin ABI.

use core::fmt;

/// The result of every fallible call.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// The kind of an [`Error`]; the numbers are those of `mxhal_status` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum Status {
    /// An argument breaks the contract; nothing was done. A fault of the caller.
    InvalidArgument = 1,
    /// The operator, format, attribute or shape is not offered here; the message says which, and why.
    Unsupported = 2,
    /// There was not enough memory; everything that was live still is.
    OutOfMemory = 3,
    /// A query of work that is under way.
    NotReady = 4,
    /// The time given was not enough; the work goes on.
    Timeout = 5,
    /// The device failed: nothing on it works until it is opened anew.
    DeviceLost = 6,
    /// A driver, library or device is absent.
    Unavailable = 7,
    /// A fault of the backend itself.
    Internal = 8,
}

impl Status {
    /// The status with this number in the C header; 0 (success) and unknown numbers have none.
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::InvalidArgument,
            2 => Self::Unsupported,
            3 => Self::OutOfMemory,
            4 => Self::NotReady,
            5 => Self::Timeout,
            6 => Self::DeviceLost,
            7 => Self::Unavailable,
            8 => Self::Internal,
            _ => return None,
        })
    }

    /// In words, as messages begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid argument",
            Self::Unsupported => "unsupported",
            Self::OutOfMemory => "out of memory",
            Self::NotReady => "not ready",
            Self::Timeout => "timeout",
            Self::DeviceLost => "device lost",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal error",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An error of the core or of a backend.
///
/// It is a plain value, because it crosses the C ABI unchanged: a status, the vendor's own code and a sentence that
/// says what was seen, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    vendor_code: i64,
    message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, vendor_code: 0, message: message.into() }
    }

    /// [`Status::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// [`Status::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Status::Unsupported, message)
    }

    /// [`Status::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Status::Internal, message)
    }

    /// The same error with the vendor's own code: a `CUresult`, an `aclError`, an `errno`.
    #[must_use]
    pub fn with_vendor_code(mut self, code: i64) -> Self {
        self.vendor_code = code;
        self
    }

    /// The same error with words put before its message: `in: message`.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Its kind.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The vendor's own code; 0 where there is none.
    pub const fn vendor_code(&self) -> i64 {
        self.vendor_code
    }

    /// What was seen, what was expected, what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)?;
        if self.vendor_code != 0 {
            write!(f, " (vendor code {})", self.vendor_code)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_a_sentence() {
        let error = Error::invalid("k is 33, not a multiple of 32").within("matmul").with_vendor_code(719);
        assert_eq!(
            error.to_string(),
            "invalid argument: matmul: k is 33, not a multiple of 32 (vendor code 719)"
        );
    }

    #[test]
    fn every_status_has_its_number() {
        for number in 1..=8 {
            assert_eq!(Status::from_number(number).map(|status| status as i32), Some(number));
        }
        assert_eq!(Status::from_number(0), None);
        assert_eq!(Status::from_number(9), None);
    }
}
