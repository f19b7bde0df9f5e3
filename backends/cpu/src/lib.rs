//! The CPU backend of mxhal: the embedded default, and the reference of how a backend is written.
//!
//! It offers every operator with every activation scheme and every weight format that the core validates, on every
//! shape, so that whatever else is missing, a result can be had.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Cpu`] | the backend and its options |
//! | `device` | the one device: information, memory, what makes plans, weights and streams |
//! | `memory` | allocations, and how much there is |
//! | `view` | tensors as rows of bytes: the place where addresses become slices |
//! | `workspace` | what a run needs besides its tensors |
//! | `stream` | streams and events |
//! | `support` | what runs here, and with which properties |
//! | `weights` | weights as they lie in memory |
//! | `pool` | how work is divided among threads |
//! | `workers` | the threads |
//! | `panel` | weights as kernels read them |
//! | `packed` | activations as kernels read them |
//! | `isa` | which instruction sets there are |
//! | `gate` | the function of a SwiGLU |
//! | `score` | what routing does with logits |
//! | `carry` | how scales follow from magnitudes |
//! | `vectors` | rows converted in operations that vectorise |
//! | `kernel` | the inner loops, behind a table for each instruction set |
//! | `x86` | those of them that are not plain Rust |
//! | `op` | a file for each operator |
//! | [`ceilings`] | what the machine can do at most, for benchmarks |
//! | `export` | the backend behind the C table |
//!
//! # Time
//!
//! Work is done when the call that enqueues it returns: the calling thread does it, together with threads that are the
//! backend's own. So streams have nothing to wait for, events are points of time, and a failure is reported by the call
//! itself.
//!
//! # Memory
//!
//! Device memory is host memory, and an address is one of this process. What an engine allocated itself may be passed
//! as it is, if it is aligned to the size of its elements. A run allocates nothing: what it needs besides its tensors
//! comes from the workspace.
//!
//! # Numbers
//!
//! Products are sums in float32, in an order that depends on K alone (and on the instruction set). Hence the same bits
//! from run to run, in whatever batch a row appears, and for any number of threads; all three are declared and tested. A
//! sum and its bias are rounded to the output together, once. Routing is computed in
//! float64, and so is SwiGLU where there is nothing faster that is near enough.

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only machines with vectors use"))]
mod carry;
pub mod ceilings;
mod device;
mod export;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only machines with vectors use"))]
mod gate;
mod isa;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only kernels for panels use"))]
mod kernel;
mod memory;
mod op;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only kernels for panels use"))]
mod packed;
mod panel;
mod pool;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only machines with vectors use"))]
mod score;
mod stream;
mod support;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only machines with vectors use"))]
mod vectors;
mod view;
mod weights;
mod workers;
mod workspace;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use mxhal_core::{Backend, Device, Error, Identity, Result};

use crate::device::{CpuDevice, Shared};
use crate::isa::Isa;
use crate::pool::Pool;

/// The options that [`Cpu::new`] takes.
pub const OPTIONS: [&str; 2] = ["threads", "isa"];

/// The most threads that may be asked for.
const MAX_THREADS: usize = 4096;

/// The CPU backend: one device, the machine's processors together.
///
/// ```
/// use mxhal_core::Backend;
///
/// let cpu = mxhal_cpu::Cpu::new(&[("threads".to_owned(), "2".to_owned())])?;
/// assert_eq!(cpu.open_device(0)?.info()?.units, 2);
/// # Ok::<_, mxhal_core::Error>(())
/// ```
pub struct Cpu {
    identity: Identity,
    shared: Arc<Shared>,
}

impl Cpu {
    /// Starts the backend, and its threads.
    ///
    /// `options` are keys and values, as `config.toml` has them:
    ///
    /// | key | value | default |
    /// | --- | --- | --- |
    /// | `threads` | threads that compute, 1 to 4096 | as many as this process may run in parallel |
    /// | `isa` | the instruction set of the kernels: `portable`, `avx2` or `avx512` | the last of them that runs here |
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a key or a value that is none of these,
    /// [`Status::Unavailable`](mxhal_core::Status::Unavailable) when the threads could not be started.
    pub fn new(options: &[(String, String)]) -> Result<Self> {
        let mut threads = thread::available_parallelism().map_or(1, NonZero::get);
        let mut isa = None;
        for (key, value) in options {
            match key.as_str() {
                "isa" => isa = Some(value.as_str()),
                "threads" => threads = parse_threads(value)?,
                _ => {
                    return Err(Error::invalid(format!(
                        "`{key}` is not an option of the CPU backend; its options are `{}`",
                        OPTIONS.join("`, `")
                    )));
                }
            }
        }
        let kernels = Isa::choose(isa)?;
        Ok(Self {
            identity: Identity {
                name: "cpu".to_owned(),
                vendor: "mxhal".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            shared: Arc::new(Shared::new(Pool::new(threads)?, kernels)),
        })
    }
}

impl Backend for Cpu {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        Ok(1)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        if index != 0 {
            return Err(Error::invalid(format!(
                "device {index} was asked for; the CPU backend has one device, number 0"
            )));
        }
        Ok(Arc::new(CpuDevice::new(Arc::clone(&self.shared))))
    }
}

fn parse_threads(value: &str) -> Result<usize> {
    match value.trim().parse() {
        Ok(threads) if (1..=MAX_THREADS).contains(&threads) => Ok(threads),
        _ => Err(Error::invalid(format!(
            "option `threads` is `{value}`; it is a number from 1 to {MAX_THREADS}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::Status;

    fn refused(key: &str, value: &str) -> String {
        let error = Cpu::new(&[(key.to_owned(), value.to_owned())]).err().unwrap();
        assert_eq!(error.status(), Status::InvalidArgument);
        error.message().to_owned()
    }

    #[test]
    fn options_that_are_none_are_named_with_those_that_are() {
        assert!(refused("treads", "2").contains("`treads`"));
        assert!(refused("treads", "2").contains("`threads`"));
        for value in ["0", "-1", "many", "", "4097"] {
            assert!(refused("threads", value).contains(&format!("`{value}`")));
        }
    }

    #[test]
    fn there_is_one_device() {
        let cpu = Cpu::new(&[]).unwrap();
        assert_eq!(cpu.device_count(), Ok(1));
        assert!(cpu.open_device(0).is_ok());
        let error = cpu.open_device(1).err().unwrap();
        assert_eq!(error.status(), Status::InvalidArgument);
    }
}
