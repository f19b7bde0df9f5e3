//! The plugin's side: a Rust backend behind the C table.
//!
//! A backend implements core's traits and [`PluginBackend`]; [`export_backend!`](crate::export_backend) makes a `cdylib`
//! of it into a plugin. Between the two lies a shim that is the same for all: it catches panics, checks handles and
//! pointers, reads operators and tensors by the rules of [`convert`](crate::convert), and has core validate them. A
//! backend sees only what is valid.
//!
//! # Panics
//!
//! A panic becomes [`Status::Internal`](mxhal_core::Status::Internal) with its message; the handle may be used again as
//! far as the backend's own invariants allow. A `cdylib` carries its own standard library, and so its own panic hook:
//! the exported `mxhal_plugin_open` sets one that sends the report, with file and line, to the host's log and writes
//! nothing to stderr. An [`embedded`](crate::embedded) backend shares its program's hook, which is left as it is.

mod graph;
mod handle;
mod logger;
mod shim;

pub use graph::graph_table;
pub use logger::Logger;

use std::any::Any;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, PoisonError, RwLock};

use mxhal_core::{Backend, Error, Result};

use crate::convert::{give, null, read, write};
use crate::host::LogLevel;
use crate::identity;
use crate::sys::{self, mxhal_error, mxhal_host, mxhal_plugin, mxhal_plugin_identity};

/// A backend written in Rust that can be a plugin, or be [`embedded`](crate::embedded).
///
/// ```
/// use std::sync::Arc;
///
/// use mxhal_core::{Backend, Device, Error, Identity, Result};
/// use mxhal_ffi::export::{Host, PluginBackend};
///
/// /// A chip that is not there.
/// struct MyChip {
///     identity: Identity,
/// }
///
/// impl PluginBackend for MyChip {
///     const NAME: &'static str = "my-chip";
///     const VENDOR: &'static str = "My Company";
///     const VERSION: &'static str = "1.0.0";
///
///     fn open(_host: &Host<'_>) -> Result<Self> {
///         let [name, vendor, version] = [Self::NAME, Self::VENDOR, Self::VERSION].map(str::to_owned);
///         Ok(Self { identity: Identity { name, vendor, version } })
///     }
/// }
///
/// impl Backend for MyChip {
///     fn identity(&self) -> &Identity {
///         &self.identity
///     }
///
///     fn device_count(&self) -> Result<u32> {
///         Ok(0)
///     }
///
///     fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
///         Err(Error::invalid(format!("device {index} was asked for, and there is none")))
///     }
/// }
///
/// // In a crate whose crate-type is ["cdylib"], this makes it a plugin.
/// mxhal_ffi::export_backend!(MyChip);
///
/// // And this is how a program uses it that has it linked in.
/// let plugin = mxhal_ffi::embedded::<MyChip>(&Default::default())?;
/// assert_eq!(plugin.device_count()?, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait PluginBackend: Backend + Sized + 'static {
    /// As in `config.toml`: lower-case letters, digits, `-` and `_`; at most 31 bytes.
    const NAME: &'static str;

    /// Who made it; at most 63 bytes.
    const VENDOR: &'static str;

    /// Its own version, mostly `env!("CARGO_PKG_VERSION")`; at most 31 bytes.
    const VERSION: &'static str;

    /// Whether the library may be unmapped after shutdown. Few survive that: no thread of it may run any more, and no
    /// thread-local destructor of it may be pending.
    const MAY_UNLOAD: bool = false;

    /// Opens the backend; called once for each time that it is loaded.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an option that is not known or has a value
    /// that does not fit, and [`Status::Unavailable`](mxhal_core::Status::Unavailable) where nothing could ever work
    /// here; but prefer to open and to have no device.
    fn open(host: &Host<'_>) -> Result<Self>;
}

/// What the host offers to a backend that it opens.
pub struct Host<'a> {
    options: &'a [(String, String)],
    logger: &'a Logger,
}

impl Host<'_> {
    /// `[backend.options]` of `config.toml`, in its order.
    pub fn options(&self) -> &[(String, String)] {
        self.options
    }

    /// Where messages go.
    pub fn logger(&self) -> Logger {
        self.logger.clone()
    }
}

/// Makes a `cdylib` into a plugin: exports the identity of a [`PluginBackend`] and the function that opens it.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        /// Who this plugin is; see `mxhal.h`.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "the name is that of the header")]
        pub static mxhal_identity: $crate::sys::mxhal_plugin_identity =
            $crate::export::identity::<$backend>();

        /// Opens this plugin; see `mxhal.h`.
        ///
        /// # Safety
        ///
        /// The arguments keep the contract of the header.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn mxhal_plugin_open(
            host: *const $crate::sys::mxhal_host,
            plugin: *mut $crate::sys::mxhal_plugin,
            error: *mut $crate::sys::mxhal_error,
        ) -> i32 {
            // SAFETY: the caller keeps the contract, and this is a library of its own.
            unsafe { $crate::export::open_exported::<$backend>(host, plugin, error) }
        }
    };
}

/// The identity of a backend, as a constant. A name that does not fit stops the compiler.
pub const fn identity<B: PluginBackend>() -> mxhal_plugin_identity {
    identity::of(B::NAME, B::VENDOR, B::VERSION, B::MAY_UNLOAD)
}

/// `mxhal_plugin_open` of a backend.
///
/// # Safety
///
/// `host`, `plugin` and `error` are null, or structs of the header that have as many bytes as they say; the host's log
/// function may be called with its context, from any thread, until the backend was shut down.
pub unsafe extern "C" fn open<B: PluginBackend>(
    host: *const mxhal_host,
    plugin: *mut mxhal_plugin,
    error: *mut mxhal_error,
) -> i32 {
    // SAFETY: the same promise.
    unsafe { open_with::<B>(host, plugin, error, |_| {}) }
}

/// The same for a library of its own, whose panics are kept from stderr.
///
/// # Safety
///
/// As [`open`].
#[doc(hidden)]
pub unsafe fn open_exported<B: PluginBackend>(
    host: *const mxhal_host,
    plugin: *mut mxhal_plugin,
    error: *mut mxhal_error,
) -> i32 {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|report| {
            if let Ok(Some(logger)) = PANIC_LOGGER.try_read().as_deref() {
                logger.log(LogLevel::Error, "panic", &report.to_string());
            }
        }));
    });
    let announce = |logger: &Logger| {
        *PANIC_LOGGER.write().unwrap_or_else(PoisonError::into_inner) = Some(logger.clone());
    };
    // SAFETY: the same promise.
    unsafe { open_with::<B>(host, plugin, error, announce) }
}

/// `announce` is told where messages go, before the backend opens.
///
/// # Safety
///
/// As [`open`].
unsafe fn open_with<B: PluginBackend>(
    host: *const mxhal_host,
    plugin: *mut mxhal_plugin,
    error: *mut mxhal_error,
    announce: impl FnOnce(&Logger),
) -> i32 {
    guard(error, || {
        if plugin.is_null() {
            return Err(null("plugin"));
        }
        // SAFETY: the same promise.
        let (logger, options) = unsafe { read_host(host) }?;
        // What does not open, for whatever reason, has no shutdown that would end its messages.
        let unopened = Unopened(Some(logger.clone()));
        announce(&logger);
        let backend = B::open(&Host { options: &options, logger: &logger })?;
        let table = shim::table(shim::Instance { backend: Box::new(backend), logger });
        // SAFETY: the same promise; nothing is written beyond what the host has.
        let written = unsafe { write("plugin", plugin, &table) };
        if let Err(error) = written {
            // SAFETY: the instance was made above, and nobody else has seen it.
            unsafe { shim::shutdown(table.self_, std::ptr::null_mut()) };
            return Err(error);
        }
        // SAFETY: `write` has found the size there.
        unsafe {
            let size = plugin.cast::<u32>();
            size.write_unaligned(size.read_unaligned().min(size_of::<mxhal_plugin>() as u32));
        }
        unopened.opened();
        Ok(())
    })
}

/// Closes the logger of a backend that does not open.
struct Unopened(Option<Logger>);

impl Unopened {
    fn opened(mut self) {
        self.0 = None;
    }
}

impl Drop for Unopened {
    fn drop(&mut self) {
        if let Some(logger) = &self.0 {
            logger.close();
        }
    }
}

/// Where the reports of panics go, while the backend is open.
static PANIC_LOGGER: RwLock<Option<Logger>> = RwLock::new(None);

/// # Safety
///
/// As [`open`], for `host`.
unsafe fn read_host(host: *const mxhal_host) -> Result<(Logger, Vec<(String, String)>)> {
    // SAFETY: the same promise.
    let host = unsafe { read("host", host) }?;
    // Not `<`, of which nothing is left while the minor version is 0.
    if host.abi_minor.checked_sub(sys::MXHAL_ABI_MINOR).is_none() {
        return Err(Error::unsupported(format!(
            "the host speaks version {}.{} of the ABI, and this backend needs {}.{}",
            sys::MXHAL_ABI_MAJOR,
            host.abi_minor,
            sys::MXHAL_ABI_MAJOR,
            sys::MXHAL_ABI_MINOR
        )));
    }
    let mut options = Vec::new();
    if !host.option_keys.is_null() {
        for index in 0.. {
            // SAFETY: the keys end in null, which ends the loop, and there are as many values.
            let (key, value) = unsafe {
                let key = *host.option_keys.add(index);
                if key.is_null() {
                    break;
                }
                if host.option_values.is_null() || (*host.option_values.add(index)).is_null() {
                    return Err(Error::invalid(format!("option {index} of the host has a key and no value")));
                }
                (CStr::from_ptr(key), CStr::from_ptr(*host.option_values.add(index)))
            };
            let text = |of: &CStr| {
                of.to_str().map(str::to_owned).map_err(|_| {
                    Error::invalid(format!(
                        "option {index} of the host is not UTF-8: {}",
                        of.to_string_lossy()
                    ))
                })
            };
            options.push((text(key)?, text(value)?));
        }
    }
    // SAFETY: the caller promises it of the host's log.
    Ok((unsafe { Logger::new(&host) }, options))
}

/// Runs what a function of the table does. A panic ends here.
fn guard(error: *mut mxhal_error, body: impl FnOnce() -> Result<()>) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let failure = Error::internal(format!("the backend panicked: {}", words(&*payload)));
        // What is thrown may panic once more when it is dropped.
        std::mem::forget(payload);
        Err(failure)
    });
    // SAFETY: `error` is a caller's, by the contract null or as large as it says.
    unsafe { give(result, error) }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "with something that is no text",
    }
}
