//! mxhal's CUDA kernels: their sources, the device code that nvcc makes of them, and how each is launched.

mod device_code;

pub use device_code::{DEVICE_CODE, MISSING};
