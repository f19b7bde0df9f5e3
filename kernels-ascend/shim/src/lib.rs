//! The AscendC kernels of `kernels-ascend/kernels`, compiled for the CPU against the small part of AscendC that this crate
//! models, so that the simulated CANN can load and launch them. The folder's `README.md` says what is modelled, what is
//! checked and what that leaves open.

/// A shared library with an entry `NAME_on_host` for each kernel `NAME`: what the simulated `aclrtBinaryLoadFromFile`
/// takes in place of a binary for the device.
pub const KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.so"));

/// The same of the kernels in `tests`, each with one fault.
#[doc(hidden)]
pub const FAULTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faults.so"));
