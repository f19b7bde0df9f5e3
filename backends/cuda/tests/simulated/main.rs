//! The backend over a simulated driver, under which the kernels run on the CPU.
//!
//! The loader finds a driver only where a process has it from its start, so that each test runs in one of its own.

mod failures;
mod graphs;
mod memory;
mod rig;
mod work;
