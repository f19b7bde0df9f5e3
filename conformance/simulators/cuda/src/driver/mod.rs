//! The functions of the driver, by what they are about.

mod capture;
mod context;
mod copy;
mod device;
mod event;
mod launch;
mod leaks;
mod memory;
mod module;
mod pool;
mod stream;
mod tensor_map;
