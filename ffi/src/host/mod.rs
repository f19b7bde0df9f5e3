//! The host's side: core's traits over a plugin's table.
//!
//! Operators and tensors are checked by core's rules before the table is called, so that a plugin sees none that break
//! them. What comes back is checked too: a status that the header does not have, and success without a handle, are
//! faults of the plugin and are called so.
//!
//! Every handle keeps alive what it needs: a stream its device, a device its plugin. When the last of them is dropped
//! the plugin is shut down. Its library stays mapped, unless its identity says that it may be unmapped.

mod device;
mod graph;
mod log;
mod opening;
mod plan;
mod stream;
mod table;

pub use log::{LogLevel, LogSink};
pub use opening::{HostTable, OpenFunction, Opening};

use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mxhal_core::{Backend, Device, Error, Result};

use crate::convert::{address, empty, taken};
use crate::export::{self, PluginBackend};
use crate::identity::{self, Identity};
use crate::loader::LoadError;
use crate::sys::{self, mxhal_error, mxhal_plugin, mxhal_plugin_identity};
use device::PluginDevice;
use table::Table;
pub(crate) use table::TableError;

/// What the host hands to a plugin that it opens.
#[derive(Clone, Default)]
pub struct HostOptions {
    /// `[backend.options]` of `config.toml`.
    pub options: Vec<(String, String)>,
    /// Where the plugin's messages go; by default events of [`tracing`] with target `mxhal::plugin`.
    pub log: Option<LogSink>,
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostOptions").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Where a backend comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A shared library, by its canonical path.
    File(PathBuf),
    /// Linked into this program.
    Embedded,
}

impl Source {
    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Embedded => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Embedded => f.write_str("embedded"),
        }
    }
}

/// The versions of the ABI that meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbiVersions {
    /// The major version, which both share.
    pub major: u32,
    /// The least minor version of a host that the plugin runs on.
    pub minor_least: u32,
    /// The minor version that the plugin was built with.
    pub minor_built: u32,
    /// The minor version in use: the lesser of the plugin's and the host's.
    pub minor_used: u32,
}

/// A loaded backend: a file's, or one linked into this program. Clones are the same plugin.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<Loaded>,
}

impl Plugin {
    /// Opens a plugin that is mapped.
    fn open(opening: &Opening) -> Result<Self, LoadError> {
        let refused = |error: Error| LoadError::Open { plugin: opening.source().clone(), error };
        let host = opening.host_table().map_err(refused)?;
        let mut raw: mxhal_plugin = empty();
        let mut error: mxhal_error = empty();
        // SAFETY: the host's table and its texts live during the call, its log until the plugin was shut down, and both
        // structs know their sizes.
        let status = unsafe { opening.function()(host.raw(), &raw mut raw, &raw mut error) };
        if let Err(error) = taken(identity::OPEN_SYMBOL, status, &error) {
            // What failed to open has nothing left that runs; but threads of a driver may still, so it stays mapped.
            opening.stay_mapped();
            return Err(refused(error));
        }
        let table = match Table::new(&raw) {
            Ok(table) => table,
            Err(why) => {
                // It was opened, so it is shut down, if it can be.
                if let Some(shutdown) = raw.shutdown.filter(|_| raw.struct_size as usize >= SHUTDOWN_END) {
                    // SAFETY: the function exists and takes what the plugin said is its own.
                    unsafe { shutdown(raw.self_, std::ptr::null_mut()) };
                }
                return Err(LoadError::Table { plugin: opening.source().clone(), why: why.to_string() });
            }
        };
        let identity = opening.identity();
        let who = mxhal_core::Identity {
            name: identity.name.clone(),
            vendor: identity.vendor.clone(),
            version: identity.version.clone(),
        };
        let loaded = Loaded { table, raw, who, host, opening: opening.clone() };
        Ok(Self { loaded: Arc::new(loaded) })
    }

    /// Shuts the plugin down, and gives what it takes to open it again: for suites that test the ABI itself.
    ///
    /// # Errors
    ///
    /// The plugin as it was, where a device or another handle of it is still alive.
    pub fn close(self) -> Result<Opening, Self> {
        let opening = self.loaded.opening.clone();
        match Arc::try_unwrap(self.loaded) {
            Ok(loaded) => {
                drop(loaded);
                Ok(opening)
            }
            Err(loaded) => Err(Self { loaded }),
        }
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        self.loaded.opening.source()
    }

    /// The identity as it lies in the plugin's memory.
    pub fn identity_data(&self) -> &mxhal_plugin_identity {
        self.loaded.opening.identity_data()
    }

    /// The raw table, for suites that test the ABI itself.
    pub fn table(&self) -> &mxhal_plugin {
        &self.loaded.raw
    }

    /// The versions of the ABI that meet here.
    #[expect(clippy::unnecessary_min_or_max, reason = "it is so only while this minor version is 0")]
    pub fn abi(&self) -> AbiVersions {
        let Identity { abi_major, abi_minor_least, abi_minor_built, .. } = *self.loaded.opening.identity();
        AbiVersions {
            major: abi_major,
            minor_least: abi_minor_least,
            minor_built: abi_minor_built,
            minor_used: abi_minor_built.min(sys::MXHAL_ABI_MINOR),
        }
    }

    /// The raw handle of a device that a plugin made; `None` for other devices. It is valid as long as the device.
    pub fn native_device(device: &dyn Device) -> Option<*mut sys::mxhal_device> {
        (device as &dyn Any).downcast_ref::<PluginDevice>().map(PluginDevice::handle)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("source", self.source()).field("identity", &self.loaded.who).finish()
    }
}

impl Backend for Plugin {
    fn identity(&self) -> &mxhal_core::Identity {
        &self.loaded.who
    }

    fn device_count(&self) -> Result<u32> {
        let mut count = 0;
        self.loaded.call("device_count", |f, error| {
            // SAFETY: `self` is the plugin's own, and the count ours.
            unsafe { (f.device_count)(self.loaded.raw.self_, &raw mut count, error) }
        })?;
        Ok(count)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        Ok(Arc::new(PluginDevice::open(&self.loaded, index)?))
    }

    fn extension(&self, name: &str) -> Option<u64> {
        self.loaded.extension(name)
    }
}

/// Opens a backend that is linked into this program: the same table, only without a file.
///
/// # Errors
///
/// [`LoadError::Open`] with the backend's own error.
pub fn embedded<B: PluginBackend>(options: &HostOptions) -> Result<Plugin, LoadError> {
    let data = const { export::identity::<B>() };
    let identity =
        Identity::of_data(&data).map_err(|error| LoadError::Identity { plugin: Source::Embedded, error })?;
    // SAFETY: the generic shim keeps the contract, and there is no library.
    unsafe { Opening::new(Source::Embedded, None, data, identity, export::open::<B>, options) }.open()
}

const SHUTDOWN_END: usize = std::mem::offset_of!(mxhal_plugin, shutdown) + size_of::<usize>();

/// What is opened once and shared by every handle.
pub(crate) struct Loaded {
    table: Table,
    raw: mxhal_plugin,
    who: mxhal_core::Identity,
    #[allow(dead_code, reason = "the plugin may log through it until it was shut down")]
    host: HostTable,
    /// The last field: the library is unmapped, if at all, after everything else is gone.
    opening: Opening,
}

// SAFETY: by R7 of the header the functions of a plugin may be called from any thread at any time; what else is in here
// is immutable.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Calls a function of the table with an error of ours, and gives its failure in Rust's types.
    fn call(&self, function: &str, call: impl FnOnce(&Table, *mut mxhal_error) -> i32) -> Result<()> {
        let mut error: mxhal_error = empty();
        let status = call(&self.table, &raw mut error);
        taken(function, status, &error)
    }

    /// The same for a function that gives a handle.
    fn create<T>(
        &self,
        function: &str,
        call: impl FnOnce(&Table, *mut *mut T, *mut mxhal_error) -> i32,
    ) -> Result<std::ptr::NonNull<T>> {
        let mut handle = std::ptr::null_mut();
        self.call(function, |table, error| call(table, &raw mut handle, error))?;
        std::ptr::NonNull::new(handle)
            .ok_or_else(|| Error::internal(format!("{function} returned success and a null handle")))
    }

    /// The address of the table of an extension.
    fn extension(&self, name: &str) -> Option<u64> {
        let function = self.table.extension?;
        let name = CString::new(name).ok()?;
        // SAFETY: `self` is the plugin's own, and the name lives during the call.
        let table = unsafe { function(self.raw.self_, name.as_ptr()) };
        (!table.is_null()).then(|| address(table))
    }

    /// Calls a destructor. Its failure has nobody to go to but the log.
    fn destroy(&self, function: &str, call: impl FnOnce(&Table, *mut mxhal_error) -> i32) {
        if let Err(error) = self.call(function, call) {
            tracing::warn!(target: "mxhal::plugin", source = %self.who.name, "{function}: {error}");
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: every handle holds an `Arc` of this, so all of them are gone, and this is the last call.
        self.destroy("shutdown", |f, error| unsafe { (f.shutdown)(self.raw.self_, error) });
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(function) => write!(f, "its function {function} is null, and it is required"),
            Self::Beyond { function, wanted, got } => write!(
                f,
                "its table has {got} bytes, and the required function {function} ends at byte {wanted}; \
                 struct_size is to be set to the smaller of both sides' sizes"
            ),
        }
    }
}

/// Where a handle of the host's traits was expected to come from the same plugin.
fn foreign(what: &str) -> Error {
    Error::invalid(format!("the {what} is of another device, and devices do not share them"))
}
