//! One Rust API over MXFP4 tensor and Mixture-of-Experts operators; the backend is a plugin chosen in `config.toml`.

pub mod checkpoint;
pub mod config;
pub mod moe;
mod tensor_file;
mod tensor_writer;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use config::{Config, ConfigError};
pub use moe::{MoeLayer, MoeOptions};
pub use tensor_file::{NewTensor, TensorFile};
pub use tensor_writer::{TensorSpec, TensorWriter};
