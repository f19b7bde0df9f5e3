//! The simulated CANN from outside: opened with dlopen, called through its C symbols.

mod numbers;
mod routing;
mod rules;
mod runtime;
mod support;
