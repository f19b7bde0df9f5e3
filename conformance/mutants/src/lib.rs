//! Deliberately wrong backends, each of which the conformance suite must catch: one plugin with a switch.
//!
//! ```toml
//! [backend]
//! name = "mutants"
//! library = "libmxhal_mutants.so"
//!
//! [backend.options]
//! fault = "nibbles-swapped"
//! ```
//!
//! The CPU backend does the work, and what it is told or what it gives is tampered with on the way, so that all is right
//! but the fault. With `fault = "none"` nothing is wrong: the twin that must pass. Other options are the CPU backend's.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fault`] | the table of faults, and below it a file for each family of them |
//! | [`abi`] | the exported function, and the table that it gives, tampered with |
//! | [`device`] | the CPU backend's device and plans, decorated |
//! | [`memory`], [`numbers`] | the bytes behind an address, and the numbers in them |

mod abi;
mod device;
mod fault;
mod memory;
mod numbers;

use std::sync::Arc;

use mxhal_core::{Backend, Device, Error, Identity, Result};
use mxhal_cpu::Cpu;
use mxhal_ffi::export::{Host, PluginBackend};

use crate::device::Tampered;
use crate::fault::{FAULTS, Fault, Wrong};

/// The CPU backend with one fault.
struct Mutants {
    identity: Identity,
    cpu: Cpu,
    fault: &'static Fault,
}

impl Mutants {
    fn new(options: &[(String, String)]) -> Result<Self> {
        let (ours, cpu): (Vec<_>, Vec<_>) = options.iter().cloned().partition(|(key, _)| key == "fault");
        let [(_, name)] = ours.as_slice() else {
            return Err(Error::invalid(format!(
                "option `fault` is missing; it is one of {}, and `none` is the twin without a fault",
                fault_names()
            )));
        };
        let fault = Fault::named(name).ok_or_else(|| {
            Error::invalid(format!("`{name}` is not a fault; the faults are {}", fault_names()))
        })?;
        if let Wrong::Loading(tamper) = fault.wrong {
            tamper();
        }
        Ok(Self {
            identity: Identity {
                name: Self::NAME.to_owned(),
                vendor: Self::VENDOR.to_owned(),
                version: Self::VERSION.to_owned(),
            },
            cpu: Cpu::new(&cpu)?,
            fault,
        })
    }
}

impl Backend for Mutants {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        self.cpu.device_count()
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        if let Wrong::Opening(tamper) = self.fault.wrong {
            tamper();
        }
        Ok(Arc::new(Tampered::new(self.cpu.open_device(index)?, self.fault)))
    }
}

impl Drop for Mutants {
    fn drop(&mut self) {
        if let Wrong::Shutdown(tamper) = self.fault.wrong {
            tamper();
        }
    }
}

impl PluginBackend for Mutants {
    const NAME: &'static str = "mutants";
    const VENDOR: &'static str = "mxhal";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn open(host: &Host<'_>) -> Result<Self> {
        Self::new(host.options())
    }
}

fn fault_names() -> String {
    FAULTS.iter().map(|fault| format!("`{}`", fault.name)).collect::<Vec<_>>().join(", ")
}
