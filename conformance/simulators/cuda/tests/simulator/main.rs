//! The simulated driver, called as a program calls `libcuda.so.1`.

mod faults;
mod graphs;
mod order;
mod rules;
mod support;
