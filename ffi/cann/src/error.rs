//! What can go wrong.

use core::fmt;

use crate::library::LoadError;
use crate::result::codes;

/// The result of every call.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The libraries of CANN were not found, or could not be opened.
    #[error(transparent)]
    Load(#[from] LoadError),

    /// A function of CANN answered with an error.
    #[error(transparent)]
    Acl(#[from] AclError),

    /// A function that makes something answered with a null pointer.
    #[error("{function} answered with a null pointer{}", Said(recent_message))]
    Null {
        /// The function that was called.
        function: &'static str,
        /// What `aclGetRecentErrMsg` had to say.
        recent_message: Option<String>,
    },

    /// The installed CANN does not have this function.
    #[error(
        "{function} is not in the installed CANN at {root}; install a newer one, for the Ascend 950 9.0 or later"
    )]
    MissingFunction {
        /// The function that was wanted.
        function: &'static str,
        /// Where that CANN is installed.
        root: String,
    },

    /// An operator, or this version of it, is not available.
    #[error("{function} is not available: {reason} (CANN at {root})")]
    MissingOperator {
        /// The function that runs it.
        function: &'static str,
        /// Where it was looked for.
        reason: String,
        /// Where that CANN is installed.
        root: String,
    },

    /// An argument that was refused before CANN saw it.
    #[error("{0}")]
    InvalidArgument(String),
}

impl Error {
    /// The number that CANN answered with, where it is CANN that answered.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Acl(error) => Some(error.code),
            _ => None,
        }
    }
}

/// A function of CANN answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AclError {
    /// The number, as the function answered it.
    pub code: i32,
    /// The name of the number in CANN's headers; `unknown` where the table of this crate has none.
    pub name: &'static str,
    /// What the number means, and what can be done.
    pub meaning: &'static str,
    /// The function that answered.
    pub function: &'static str,
    /// What `aclGetRecentErrMsg` had to say about it on the calling thread.
    pub recent_message: Option<String>,
}

impl AclError {
    /// The error of this function with this number, with what the number means.
    pub fn new(function: &'static str, code: i32, recent_message: Option<String>) -> Self {
        let (name, meaning) = codes::describe(code);
        Self { code, name, meaning, function, recent_message }
    }
}

impl fmt::Display for AclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, name, meaning, function, recent_message } = self;
        write!(f, "{function} answered {name} ({code}): {meaning}{}", Said(recent_message))
    }
}

impl core::error::Error for AclError {}

/// CANN's own message, where there is one, at the end of ours.
struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(message) => write!(f, "; CANN says: {}", message.trim()),
            None => Ok(()),
        }
    }
}
