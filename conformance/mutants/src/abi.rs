//! What the plugin exports: the CPU backend's table, and on the way to the host whatever a fault makes of it.

#![allow(unsafe_code, reason = "is called by a host over the C ABI")]

use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::atomic::{AtomicPtr, Ordering};

use mxhal_ffi::export::{identity, open_exported};
use mxhal_ffi::sys::{mxhal_error, mxhal_host, mxhal_plugin, mxhal_plugin_identity};

use crate::Mutants;
use crate::fault::{Fault, Wrong};

/// Who this plugin is; see `mxhal.h`.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is that of the header")]
pub(crate) static mxhal_identity: mxhal_plugin_identity = identity::<Mutants>();

/// Opens this plugin; see `mxhal.h`.
///
/// # Safety
///
/// The arguments keep the contract of the header.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mxhal_plugin_open(
    host: *const mxhal_host,
    plugin: *mut mxhal_plugin,
    error: *mut mxhal_error,
) -> i32 {
    let opening = Opening { host, plugin, error };
    match opening.fault().map(|fault| fault.wrong) {
        Some(Wrong::Open(tamper)) => tamper(&opening),
        Some(Wrong::Table(tamper)) => {
            let status = opening.go();
            // SAFETY: the host's, and as long as it says.
            if status == 0 && unsafe { (*plugin).struct_size } as usize == size_of::<mxhal_plugin>() {
                // SAFETY: as above, and filled just now.
                tamper(&mut Opened { table: unsafe { &mut *plugin } });
            }
            status
        }
        _ => opening.go(),
    }
}

/// The arguments of `mxhal_plugin_open`.
pub(crate) struct Opening {
    /// The host's table.
    pub(crate) host: *const mxhal_host,
    /// Room for the plugin's.
    pub(crate) plugin: *mut mxhal_plugin,
    /// Room for an error.
    pub(crate) error: *mut mxhal_error,
}

impl Opening {
    /// Does what should be done.
    pub(crate) fn go(&self) -> i32 {
        // SAFETY: the arguments are the host's, which keeps the contract.
        unsafe { open_exported::<Mutants>(self.host, self.plugin, self.error) }
    }

    /// The same with room for the whole of the plugin's table, wherever that is.
    pub(crate) fn go_into(&self, plugin: *mut mxhal_plugin) -> i32 {
        // SAFETY: as above; a fault passes a table of its own.
        unsafe { open_exported::<Mutants>(self.host, plugin, self.error) }
    }

    /// The fault that is asked for; that of the last time, where the host's table ends before its options.
    fn fault(&self) -> Option<&'static Fault> {
        static LAST: AtomicPtr<Fault> = AtomicPtr::new(std::ptr::null_mut());
        if let Some(fault) = self.option("fault").and_then(|name| Fault::named(&name)) {
            LAST.store(std::ptr::from_ref(fault).cast_mut(), Ordering::Relaxed);
            return Some(fault);
        }
        // SAFETY: null, or a reference to a static, which nobody writes to.
        unsafe { LAST.load(Ordering::Relaxed).cast_const().as_ref() }
    }

    fn option(&self, wanted: &str) -> Option<String> {
        let end = offset_of!(mxhal_host, option_values) + size_of::<usize>();
        // SAFETY: the host's table has as many bytes as it says; its lists are null, or of texts and end in null.
        unsafe {
            if self.host.is_null()
                || ((*self.host).struct_size as usize) < end
                || (*self.host).option_keys.is_null()
            {
                return None;
            }
            let (keys, values) = ((*self.host).option_keys, (*self.host).option_values);
            let place = (0..).take_while(|place| !(*keys.add(*place)).is_null());
            let mut found =
                place.filter(|place| CStr::from_ptr(*keys.add(*place)).to_bytes() == wanted.as_bytes());
            found.next().map(|place| CStr::from_ptr(*values.add(place)).to_string_lossy().into_owned())
        }
    }
}

/// A table that the CPU backend filled.
pub(crate) struct Opened<'a> {
    /// Whose functions a fault replaces.
    pub(crate) table: &'a mut mxhal_plugin,
}
