//! The CANN C API, AscendCL and aclnn, from Rust: the runtime, tensors and executors, and the operators that MX
//! formats and Mixture of Experts need on Huawei's Ascend 950.
//!
//! Nothing of CANN is needed to build this crate: its libraries are looked for when the program runs, and what is not
//! there is an error that lists every path that was tried. The declarations were written from names, parameter orders,
//! types and values; no text of CANN's is in them. It knows nothing of the rest of mxhal, and is usable alone.
//!
//! # Three layers
//!
//! | layer | has | a call |
//! | --- | --- | --- |
//! | [`sys`] | types, constants and tables of functions, as C has them | `table.aclrtMalloc` is `None`, or a function pointer |
//! | [`mod@result`] | each function as a method of [`Library`], under the same name in Rust's spelling | `library.aclrt_malloc(bytes, policy)?` |
//! | [`safe`] | ownership, current contexts, typed operators | `DeviceBuffer::new(&context, bytes)?` |
//!
//! Below them all lies [`library`], which finds and opens CANN. [`signatures`] tabulates the operators and where each
//! signature comes from.
//!
//! # Memory of a device
//!
//! ```no_run
//! use mxhal_cann::library::Search;
//! use mxhal_cann::safe::{Context, DeviceBuffer, Runtime};
//!
//! # fn main() -> mxhal_cann::Result<()> {
//! let runtime = Runtime::open(&Search::from_environment(None))?;
//! let context = Context::new(&runtime, 0)?;
//! let bytes = DeviceBuffer::from_host(&context, &[1, 2, 3, 4])?;
//! assert_eq!(bytes.to_host()?, [1, 2, 3, 4]);
//! # Ok(())
//! # }
//! ```
//!
//! An operator is in the example `quantize`, rows of BF16 to MXFP4, which runs on its own:
//! `cargo run -p mxhal-cann --example quantize`.
//!
//! # When it does not work
//!
//! - *CANN's runtime was not found*: the error lists the paths. Say where CANN is with `cann_path` or `ASCEND_HOME_PATH`.
//! - *a library that it needs is not found*: the driver's libraries are not known to the loader; source CANN's
//!   `set_env.sh`.
//! - *an operator is not available*: [`Library::operators`] says which version is there, from which library, or why not.
//! - *an aclnn function answers 161002*: an argument breaks a rule of the operator; CANN's own message, which the error
//!   carries, says which.
//!
//! # What has been verified
//!
//! `verify.sh` compares the runtime's functions, the enumerations, constants and structures with the ACL headers in the
//! torch-npu package. The operators' declarations have their sources in [`signatures`]. No call of this crate has run on
//! an NPU yet.

pub mod error;
pub mod library;
pub mod result;
pub mod safe;
pub mod sys;

/// Tabulated: the operators' signatures and where each comes from.
pub mod signatures {
    #![doc = include_str!("signatures.md")]
}

pub use error::{AclError, Error, Result};
pub use library::{Library, Search};
