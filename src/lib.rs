//! One Rust API over MXFP4 tensor and Mixture-of-Experts operators; the backend is a plugin chosen in `config.toml`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | `config.toml`, parsed, with errors that point into the file |
//! | [`runtime`] | from a configuration to a loaded backend and its device: [`Runtime`] |
//! | [`core`] | formats, tensors, operators and the traits: the crate `mxhal-core` |
//! | [`checkpoint`] | the experts of published models, memory-mapped: [`Checkpoint`] |
//! | [`moe`] | a layer of experts on a device: [`MoeLayer`] |
//!
//! # Choosing a backend
//!
//! An engine names a file, and the file names the backend:
//!
//! ```toml
//! [backend]
//! name = "cuda"
//! library = "lib/libmxhal_cuda.so"    # relative to this file
//! fallback = ["cpu"]                  # explicit, and reported when it is taken
//! ```
//!
//! ```
//! use mxhal::Runtime;
//! use mxhal::core::op::{Operators, Quantize};
//! use mxhal::core::{Format, Quantization};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("config.toml");
//! # std::fs::write(&path, "[backend.options]\nthreads = 1\n")?;
//! let runtime = Runtime::from_config(&path)?;
//! println!("{}", runtime.report());
//! let plan = runtime.device().quantize(Quantize {
//!     rows: 16,
//!     k: 4096,
//!     input: Format::Bf16,
//!     to: Quantization::new(Format::Mxfp4),
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! No environment variable chooses a backend, and none is chosen silently: what cannot be used is an error
//! ([`RuntimeError::NoBackend`]) that lists what was tried and why each was refused. Without a file,
//! [`Runtime::embedded_cpu`] is always there. `docs/config.md` has every key.

pub mod checkpoint;
pub mod config;
pub mod moe;
pub mod runtime;
mod tensor_file;
mod tensor_writer;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use config::{Config, ConfigError};
pub use moe::{MoeLayer, MoeOptions};
pub use mxhal_core as core;
pub use runtime::{Runtime, RuntimeError};
pub use tensor_file::{NewTensor, TensorFile};
pub use tensor_writer::{TensorSpec, TensorWriter};
