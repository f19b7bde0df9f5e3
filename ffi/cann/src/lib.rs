//! CANN.
pub mod error;
pub mod library;
pub mod result;
pub mod sys;
pub use error::{AclError, Error, Result};
