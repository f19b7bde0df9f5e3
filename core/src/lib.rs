//! The core of mxhal: MX number formats, tensors and Mixture-of-Experts operators as values, and the traits that a
//! backend implements. It knows no file, no library and no vendor.
//!
//! | module | holds |
//! | --- | --- |
//! | [`mod@format`] | E2M1, E4M3, E8M0, MXFP4, MXFP8, MXINT8, NVFP4, BF16, F16, FP8 tiles: encode and decode |
//! | [`tensor`] | layouts with checked sizes, views of memory |
//! | [`op`] | the operators, their shape rules and costs, and the typed way to call them |
//! | [`hal`] | [`Backend`], [`Device`], [`Stream`], [`Event`], [`Graph`], [`Plan`], [`Weights`] |
//! | [`buffer`] | device memory that frees itself, copies that wait |
//! | [`error`] | what can go wrong |
//!
//! # The way of one call
//!
//! A loader gives a [`Backend`], that opens a [`Device`]. Weights in canonical layout, as they lie in a checkpoint,
//! become [`Weights`] in the backend's own layout; an [`Op`] becomes a [`Plan`]. A plan is run on a [`Stream`] with
//! tensors, which are views of device memory:
//!
//! ```
//! use mxhal_core::op::{Operators, Quantize, QuantizeTensors};
//! use mxhal_core::{Backend, Buffer, Format, Layout, Quantization, Result};
//!
//! /// BF16 rows to MXFP4, on whatever backend this is.
//! fn quantize(backend: &dyn Backend, rows: usize, k: usize, x: &[u8]) -> Result<Vec<u8>> {
//!     let device = backend.open_device(0)?;
//!     let stream = device.create_stream()?;
//!     let plan = device.quantize(Quantize {
//!         rows,
//!         k,
//!         input: Format::Bf16,
//!         to: Quantization::new(Format::Mxfp4),
//!     })?;
//!
//!     let (input, x_view) = Buffer::tensor(&device, Layout::contiguous(Format::Bf16, &[rows, k])?)?;
//!     let (_output, y) = Buffer::tensor(&device, Layout::contiguous(Format::Mxfp4, &[rows, k])?)?;
//!     let workspace = Buffer::new(&device, plan.info().workspace_bytes)?;
//!     input.write(&*stream, x)?;
//!     plan.run(&*stream, QuantizeTensors { x: x_view, y }, [], workspace.span())?;
//!
//!     let mut packed = vec![0; y.data().bytes as usize];
//!     mxhal_core::buffer::read(&*stream, y.data(), &mut packed)?;
//!     Ok(packed)
//! }
//! ```
//!
//! # Where things are decided
//!
//! What each operator must compute, exactly or within which bound, is written at its struct in [`op`]. Shapes and
//! attributes are validated here, once, before any backend sees them. Whether a backend computes what is written is
//! judged by `mxhal-conformance`, which shares no arithmetic with this crate.

#![forbid(unsafe_code)]

pub mod buffer;
pub mod error;
pub mod format;
pub mod hal;
pub mod op;
pub mod tensor;

pub use buffer::Buffer;
pub use error::{Error, Result, Status};
pub use format::{Format, Quantization, ScaleRule};
pub use hal::{
    Backend, Device, DeviceInfo, Event, Graph, Identity, MemoryInfo, Plan, PlanInfo, Properties, Reason,
    Refusal, Stream, Support, Weights,
};
pub use op::{Op, OpKind, WeightsDesc};
pub use tensor::{HostBuffer, HostTensor, Layout, MAX_RANK, Span, Tensor};
