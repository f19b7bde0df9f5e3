//! A backend for mxhal: @NAME@.
//!
//! It is complete in all but its operators: it dequantizes MXFP4 to F32, and says of everything else that it cannot, and
//! why. Its device is the host's memory and the caller's thread. `README.md` says in which order to go on.
//!
//! | module | holds |
//! | --- | --- |
//! | `device` | what a device can be asked for |
//! | `memory` | allocations, copies |
//! | `stream` | streams and events |
//! | `support` | what is offered, and why the rest is not |
//! | `op` | plans: a file for each operator |

mod device;
mod memory;
mod op;
mod stream;
mod support;

use std::sync::Arc;

use mxhal_core::{Backend, Device, Error, Identity, Result};
use mxhal_ffi::export::{Host, PluginBackend};

use crate::device::HostDevice;

mxhal_ffi::export_backend!(Plugin);

/// What is loaded.
struct Plugin {
    identity: Identity,
}

impl PluginBackend for Plugin {
    const NAME: &'static str = "@NAME@";
    const VENDOR: &'static str = "@NAME@";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn open(host: &Host<'_>) -> Result<Self> {
        // An option that is passed over in silence is one whose user wonders for a day why nothing changes.
        if let Some((key, _)) = host.options().first() {
            return Err(Error::invalid(format!(
                "unknown option `{key}`: this backend has none; remove it from [backend.options]"
            )));
        }
        let [name, vendor, version] = [Self::NAME, Self::VENDOR, Self::VERSION].map(str::to_owned);
        Ok(Self { identity: Identity { name, vendor, version } })
    }
}

impl Backend for Plugin {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        Ok(1)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        if index != 0 {
            return Err(Error::invalid(format!("there is no device {index}, only 0")));
        }
        Ok(Arc::new(HostDevice::new()))
    }
}
