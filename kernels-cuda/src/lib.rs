//! mxhal's CUDA kernels: their sources, the device code that nvcc makes of them, and how each is launched.
//!
//! | module | holds |
//! | --- | --- |
//! | [`DEVICE_CODE`] | the fatbin that the build script made, or why there is none |
//! | [`KERNELS`] | every kernel: its name, the size of its parameter, threads, targets |
//! | [`parameters`] | what each kernel takes |
//! | [`Launch`] | which kernel does an operator's work, with what grid and shared memory |
//! | [`tensor_map`] | what the driver is told to encode tensor maps from |
//! | [`NibbleOrder`], [`code_row_multiple`] | the layout of prepared weights |
//!
//! The sources are in `kernels/`, and in `ptx/` one function for each instruction that C++ has no word for, with its
//! model beside it. `README.md` says how they are tested without a GPU.

mod device_code;
mod kernel;
mod launch;
pub mod parameters;
pub mod tensor_map;

pub use device_code::{DEVICE_CODE, MISSING};
pub use kernel::{KERNELS, Kernel, Target};
pub use launch::{Launch, NibbleOrder, Product, code_row_multiple, format};
