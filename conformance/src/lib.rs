//! The mxhal conformance suite: whether a backend computes what it must, judged from outside.

#![forbid(unsafe_code)]

pub mod oracle;
