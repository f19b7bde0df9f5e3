//! CUDA's driver without a GPU: the functions of `libcuda.so.1` that a backend uses, with the same symbols and ABI, under
//! which mxhal's own kernels, compiled for the CPU, do the work.
//!
//! It is a validator first. What a launch asks for is compared with the image that the host loaded and with what the
//! pretended device has; device memory cannot be touched by the host, and a kernel that leaves its allocations faults;
//! handles are never addresses and never used twice; streams are threads that wait a random moment before each piece of
//! work, and graphs do theirs in any order that the captured dependencies leave open. A fault of the device loses the
//! context, and every later call gives its code. What is created and not destroyed is reported when the context is
//! released. As the API passes numbers alone, each refusal is written down with its reason.
//!
//! It shares no code with the backend; of mxhal it has only the kernels, which the build script compiles with
//! [`mxhal_cuda_emulation`].
//!
//! # Environment
//!
//! Read at `cuInit`:
//!
//! | variable | means | default |
//! | --- | --- | --- |
//! | `MXHAL_SIM_ARCH` | the device: `sm_90`, `sm_100`, `sm_103`, `sm_120`, `sm_121` | `sm_120` |
//! | `MXHAL_SIM_DEVICES` | how many | 1 |
//! | `MXHAL_SIM_MEMORY` | bytes of each device | the product's |
//! | `MXHAL_SIM_DRIVER` | what `cuDriverGetVersion` gives | 13000 |
//! | `MXHAL_SIM_DELAY_US` | the longest delay before each piece of work | 50 |
//! | `MXHAL_SIM_SEED` | of delays and of the order of threads; 0 runs the threads of a block in order | 1 |
//! | `MXHAL_SIM_CHECKS` | `on` looks at every access to memory, at some ten times the time | `off` |
//! | `MXHAL_SIM_KERNELS` | a library of emulated kernels instead of its own | none |
//! | `MXHAL_SIM_FAIL` | failures on demand, `function:nth:code,…`; see `demand` | none |
//! | `MXHAL_SIM_REPORT` | a file to which each refusal is appended, one a line | standard error |
//!
//! # What only hardware answers
//!
//! How fast anything is; what memory that is weakly ordered shows; whether device code does what its source says. Where
//! the documents are unclear the simulator chooses, strictly where it can: after a fault every call of a context is
//! refused, and memory of a pool is never given out again at the same address.

mod demand;
mod driver;
mod image;
mod kernels;
mod memory;
mod product;
mod refusal;
mod registry;
mod settings;
