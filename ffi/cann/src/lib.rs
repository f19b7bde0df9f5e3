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
//! # Quantise on a device
//!
//! ```no_run
//! use mxhal_cann::library::Search;
//! use mxhal_cann::safe::op::DynamicMxQuant;
//! use mxhal_cann::safe::{Context, DataType, DeviceBuffer, Runtime, Stream, TensorSpec, TensorView};
//!
//! # fn main() -> mxhal_cann::Result<()> {
//! let runtime = Runtime::open(&Search::from_environment(None))?;
//! println!("{} with {} devices", runtime.soc_name()?, runtime.device_count()?);
//! for operator in runtime.library().operators() {
//!     println!("{operator}");
//! }
//!
//! let context = Context::new(&runtime, 0)?;
//! let stream = Stream::new(&context)?;
//!
//! // 16 rows of 128 bfloat16 ones become FP4 elements and a pair of scales per 64.
//! let (rows, k) = (16, 128);
//! let ones = 0x3f80_u16.to_le_bytes().repeat(16 * 128);
//! let x = DeviceBuffer::from_host(&context, &ones)?;
//! let x = TensorView::new(TensorSpec::contiguous(DataType::Bf16, &[rows, k]), &x, 0)?;
//!
//! let y_spec = TensorSpec::contiguous(DataType::Float4E2m1, &[rows, k]);
//! let y_memory = DeviceBuffer::new(&context, y_spec.bytes()?)?;
//! let y = TensorView::new(y_spec, &y_memory, 0)?;
//! let scale_spec = TensorSpec::contiguous(DataType::Float8E8m0, &[rows, k / 64, 2]);
//! let scale_memory = DeviceBuffer::new(&context, scale_spec.bytes()?)?;
//! let scale = TensorView::new(scale_spec, &scale_memory, 0)?;
//!
//! DynamicMxQuant::new(&x, &y, &scale).prepare(&context)?.run_and_wait(&stream)?;
//! println!("{:x?} {:x?}", &y_memory.to_host()?[..16], &scale_memory.to_host()?[..4]);
//! # Ok(())
//! # }
//! ```
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
