//! Each function of CANN as a method that returns a [`Result`].
//!
//! The names are CANN's in Rust's spelling: `aclrtCreateStream` is [`Library::aclrt_create_stream`]. What a function
//! hands back through a pointer is returned, several values as a tuple; everything else is passed as it is. An error has
//! the number, its name and meaning, and the message that CANN left for the thread. A function that the installed CANN
//! does not have is an error too.
//!
//! Nothing is owned here; [`crate::safe`] does that.

pub mod codes;
mod device;
mod kernel;
mod memory;
mod meta;
mod stream;

use core::ffi::CStr;

use crate::error::{AclError, Error, Result};
use crate::library::Library;
use crate::sys;

/// Defines methods of [`Library`] that call one function each.
///
/// `safe` or `unsafe`, the method's name and arguments, the function of the table with what it is passed, and what comes
/// back through pointers.
macro_rules! calls {
    ($table:ident; $(
        $(#[$doc:meta])*
        $safety:ident $name:ident($($argument:ident: $type:ty),*) = $function:ident($($passed:expr),*)
        $(-> $out:ident: $out_type:ty $(, $more:ident: $more_type:ty)*)?;
    )+) => {
        impl Library {
            $(calls! { @$safety $table [$(#[$doc])*] $name [$($argument: $type),*] $function [$($passed),*]
                [$($out: $out_type $(, $more: $more_type)*)?] })+
        }
    };
    (@safe $table:ident [$(#[$doc:meta])*] $name:ident [$($argument:ident: $type:ty),*] $function:ident
        [$($passed:expr),*] [$($out:ident: $out_type:ty),*]) => {
        $(#[$doc])*
        #[doc = concat!("\n\n# Errors\n\nWhat `", stringify!($function), "` answers.")]
        pub fn $name(&self, $($argument: $type),*) -> Result<calls!(@type $($out_type)*)> {
            calls!(@body self $table $function [$($passed),*] [$($out: $out_type),*])
        }
    };
    (@unsafe $table:ident [$(#[$doc:meta])*] $name:ident [$($argument:ident: $type:ty),*] $function:ident
        [$($passed:expr),*] [$($out:ident: $out_type:ty),*]) => {
        $(#[$doc])*
        #[doc = concat!("\n\n# Errors\n\nWhat `", stringify!($function), "` answers.")]
        ///
        /// # Safety
        ///
        /// Handles are alive; pointers point to as much of that kind of memory as the call reads or writes, for as long
        /// as it does, which for work that is enqueued is until the stream has done it.
        #[allow(clippy::too_many_arguments, reason = "they are those of the C function")]
        pub unsafe fn $name(&self, $($argument: $type),*) -> Result<calls!(@type $($out_type)*)> {
            calls!(@body self $table $function [$($passed),*] [$($out: $out_type),*])
        }
    };
    (@type) => { () };
    (@type $one:ty) => { $one };
    (@type $($several:ty)+) => { ($($several),+) };
    (@body $self:ident $table:ident $function:ident [$($passed:expr),*] [$($out:ident: $out_type:ty),*]) => {{
        let function = $self.$table().$function.ok_or_else(|| $self.missing(stringify!($function)))?;
        // SAFETY: numbers, handles and null pointers are what is returned here; zero is one of each.
        $(let mut $out: $out_type = unsafe { core::mem::zeroed() };)*
        // SAFETY: the function has this signature; what it is passed is as the caller has promised, or a number.
        let code = unsafe { function($($passed),*) };
        $self.check(stringify!($function), code)?;
        Ok(calls!(@value $($out)*))
    }};
    (@value) => { () };
    (@value $one:ident) => { $one };
    (@value $($several:ident)+) => { ($($several),+) };
}
use calls;

impl Library {
    /// The newest error message of the calling thread, which this clears.
    pub fn acl_get_recent_err_msg(&self) -> Option<String> {
        let function = self.runtime_table().aclGetRecentErrMsg?;
        // SAFETY: it takes nothing; the text is copied before anything else is called on this thread.
        unsafe { text(function()) }
    }

    /// `Ok` for 0, else the error with its meaning and CANN's message.
    pub fn check(&self, function: &'static str, code: i32) -> Result<()> {
        if code == sys::ACL_SUCCESS as i32 {
            return Ok(());
        }
        Err(AclError::new(function, code, self.acl_get_recent_err_msg()).into())
    }

    /// The error of a function that is not there.
    pub(crate) fn missing(&self, function: &'static str) -> Error {
        Error::MissingFunction { function, root: self.root().display().to_string() }
    }

    /// The error of an operator that is not there.
    pub(crate) fn missing_operator(&self, function: &'static str) -> Error {
        let version =
            self.operators().iter().flat_map(|operator| &operator.versions).find(|v| v.symbol == function);
        let reason = version.and_then(|version| version.found.as_ref().err());
        let reason = reason.map_or("it was not looked for", String::as_str).to_owned();
        Error::MissingOperator { function, reason, root: self.root().display().to_string() }
    }

    /// A pointer that a function answered with, unless it is null.
    fn non_null<T>(&self, function: &'static str, pointer: *mut T) -> Result<*mut T> {
        if pointer.is_null() {
            return Err(Error::Null { function, recent_message: self.acl_get_recent_err_msg() });
        }
        Ok(pointer)
    }
}

/// A copy of a text of CANN's.
///
/// # Safety
///
/// Null, or a text that ends with a zero byte.
unsafe fn text(pointer: *const core::ffi::c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}
