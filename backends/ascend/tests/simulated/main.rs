//! The backend over the simulation of CANN: what its calls do, with every documented rule of CANN's checked. Nothing here
//! has run on an NPU.

mod agreement;
mod failures;
mod misuses;
mod numbers;
mod programs;
mod rig;
mod versions;
