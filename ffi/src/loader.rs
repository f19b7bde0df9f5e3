//! The gate.
use crate::host::Source;
use crate::identity::IdentityError;
use mxhal_core::Error;
/// Refusals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The identity is none.
    #[error("{plugin}: {error}")]
    Identity {
        /// Which.
        plugin: Source,
        /// Why.
        error: IdentityError,
    },
    /// `mxhal_plugin_open` failed.
    #[error("{plugin} does not open: {error}")]
    Open {
        /// Which.
        plugin: Source,
        /// The plugin's own error.
        error: Error,
    },
    /// Its table of functions cannot be used.
    #[error("{plugin}: {why}")]
    Table {
        /// Which.
        plugin: Source,
        /// Which function, and why.
        why: String,
    },
}
