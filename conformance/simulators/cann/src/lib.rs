//! CANN's C API without CANN: the AscendCL runtime, the tensor descriptions and the operators that a backend for
//! MX formats uses, with the same symbols and ABI, computed on the CPU by plain scalar code.
//!
//! It is a validator first. Every documented constraint is in the table of `rules`; breaking one gives the documented
//! code, and `aclGetRecentErrMsg` gives `[rule] function: argument, what was seen; the rule: text (source)`. Handles
//! are never addresses and never used twice; device memory cannot be touched by the host; streams are threads that wait
//! a random moment before each piece of work; what is created and not destroyed is reported by `aclrtResetDevice`
//! and `aclFinalize`, which then give 500000. It shares no code with any backend, nor with the bindings that it is
//! called through: signatures and numbers are read anew from what is documented.
//!
//! It holds the kernels of `kernels-ascend`, compiled for the host, for whoever lays it out as an installation; it does not
//! call them but as a user's, by `aclrtBinaryLoadFromFile` and `aclrtLaunchKernelWithHostArgs`.
//!
//! # Environment
//!
//! Read at `aclInit`:
//!
//! | variable | means | default |
//! | --- | --- | --- |
//! | `MXHAL_SIM_SOC` | the SoC by name; on an Ascend910B the MX operators answer 361001 | `Ascend950PR_9599` |
//! | `MXHAL_SIM_DEVICES` | how many | 1 |
//! | `MXHAL_SIM_MEMORY` | bytes of each device | the product's |
//! | `MXHAL_SIM_DELAY_US` | the longest delay before each piece of work | 50 |
//! | `MXHAL_SIM_SEED` | of the delays | 1 |
//! | `MXHAL_SIM_FAIL` | failures on demand, `function:nth:code,…`; see `demand` | none |
//! | `MXHAL_SIM_REPORT` | a file to which each broken rule is appended, one a line, after its code | none |
//!
//! # What only hardware answers
//!
//! Where the documents are unclear the simulator chooses, strictly where it can: rules whose source is `chosen`, and
//! the sections "Chosen" of `op`'s modules.

mod demand;
mod element;
mod executor;
mod memory;
mod op;
mod product;
mod refusal;
mod registry;
mod rules;
mod runtime;
mod tensor;
mod view;
