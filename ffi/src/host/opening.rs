//! A plugin that is mapped, and what it takes to open it.

use std::ffi::{CString, c_char};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mxhal_core::{Error, Result};

use super::{HostOptions, LogSink, Plugin, Source, log};
use crate::identity::Identity;
use crate::loader::LoadError;
use crate::sys::{self, mxhal_error, mxhal_host, mxhal_plugin, mxhal_plugin_identity};

/// `mxhal_plugin_open`.
pub type OpenFunction = unsafe extern "C" fn(*const mxhal_host, *mut mxhal_plugin, *mut mxhal_error) -> i32;

/// What it takes to open a plugin: its function, the options of its host, and its library, which stays mapped as long as
/// this lives. Clones are the same.
///
/// [`Plugin::close`] gives it, so that a suite can open the plugin as a host of another version would. By the header a
/// plugin is opened again only after it was shut down.
#[derive(Clone)]
pub struct Opening {
    parts: Arc<Parts>,
}

struct Parts {
    source: Source,
    identity_data: mxhal_plugin_identity,
    identity: Identity,
    function: OpenFunction,
    options: HostOptions,
    /// Whether it is known by now that it had better not be unmapped.
    stays: AtomicBool,
    library: ManuallyDrop<Option<libloading::os::unix::Library>>,
}

impl Opening {
    /// A plugin whose identity was found good.
    ///
    /// # Safety
    ///
    /// `function` is a `mxhal_plugin_open` that keeps the contract of the header, and lies in `library` if there is one.
    pub(crate) unsafe fn new(
        source: Source,
        library: Option<libloading::os::unix::Library>,
        identity_data: mxhal_plugin_identity,
        identity: Identity,
        function: OpenFunction,
        options: &HostOptions,
    ) -> Self {
        let (options, stays) = (options.clone(), AtomicBool::new(!identity.may_unload()));
        let library = ManuallyDrop::new(library);
        Self { parts: Arc::new(Parts { source, identity_data, identity, function, options, stays, library }) }
    }

    /// Opens it as it was opened before.
    ///
    /// # Errors
    ///
    /// [`LoadError::Open`] with the plugin's own error, and [`LoadError::Table`].
    pub fn open(&self) -> Result<Plugin, LoadError> {
        Plugin::open(self)
    }

    /// The plugin's function.
    pub fn function(&self) -> OpenFunction {
        self.parts.function
    }

    /// The table that this host hands to it, with the options that it was opened with.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an option with a zero byte in it.
    pub fn host_table(&self) -> Result<HostTable> {
        HostTable::new(&self.parts.options)
    }

    /// The identity as it lies in the plugin's memory.
    pub fn identity_data(&self) -> &mxhal_plugin_identity {
        &self.parts.identity_data
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.parts.source
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.parts.identity
    }

    pub(super) fn stay_mapped(&self) {
        self.parts.stays.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("source", self.source()).finish_non_exhaustive()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // A library stays mapped, unless it may be unmapped: few survive that.
        if !self.stays.load(Ordering::Relaxed) {
            // SAFETY: it is dropped here only, and never used again.
            unsafe { ManuallyDrop::drop(&mut self.library) };
        }
    }
}

/// A host's table, with the texts and the log that it points to.
pub struct HostTable {
    raw: mxhal_host,
    /// The context of the table's `log`.
    _log: Box<LogSink>,
    /// The lists of keys and values, which end in null, and what they point into.
    _options: ([Vec<*const c_char>; 2], Vec<CString>),
}

impl HostTable {
    fn new(options: &HostOptions) -> Result<Self> {
        let mut texts = Vec::with_capacity(2 * options.options.len());
        for (key, value) in &options.options {
            for text in [key, value] {
                texts.push(CString::new(text.as_str()).map_err(|_| {
                    Error::invalid(format!("option {key:?} = {value:?} holds a zero byte, which no text may"))
                })?);
            }
        }
        let every_other = |first: usize| -> Vec<*const c_char> {
            let pointers = texts.iter().skip(first).step_by(2).map(|text| text.as_ptr());
            pointers.chain([std::ptr::null()]).collect()
        };
        let lists = [every_other(0), every_other(1)];
        let log: Box<LogSink> = Box::new(options.log.clone().unwrap_or_else(|| Arc::new(log::to_tracing)));
        let raw = mxhal_host {
            struct_size: size_of::<mxhal_host>() as u32,
            abi_minor: sys::MXHAL_ABI_MINOR,
            context: std::ptr::from_ref(&*log).cast_mut().cast(),
            log: Some(log::log),
            option_keys: lists[0].as_ptr(),
            option_values: lists[1].as_ptr(),
        };
        Ok(Self { raw, _log: log, _options: (lists, texts) })
    }

    /// The table. What it points to lives as long as this.
    pub const fn raw(&self) -> &mxhal_host {
        &self.raw
    }
}
