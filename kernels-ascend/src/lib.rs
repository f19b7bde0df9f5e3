//! mxhal's AscendC kernels: for what the operators of CANN lack, and how each is launched.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Kernel`] | every kernel, by its name in the binary |
//! | [`parameters`] | what each takes, in order |
//! | [`Launch`] | a kernel with its arguments, and how many cores have work |
//! | [`ScaleCoding`] | a quantization as the quantizing kernel wants it |
//!
//! The sources are in `kernels/`. bisheng makes a binary of them for NpuArch 3510, by `CMakeLists.txt`, where a CANN is
//! installed; the host's compiler makes one for the simulated CANN, by the crate in `shim/`. `README.md` says what each
//! proves. No kernel has run on an NPU yet.

mod coding;
mod kernel;
pub mod parameters;

pub use coding::ScaleCoding;
pub use kernel::{Kernel, Launch, Parameters};

/// The binary's file, as `CMakeLists.txt` makes it.
pub const FILE_NAME: &str = "mxhal_kernels.o";

/// Where it is installed within the folder of CANN: beside the operators of other vendors.
pub const VENDOR_FOLDER: &str = "opp/vendors/mxhal";
