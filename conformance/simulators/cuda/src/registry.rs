//! Handles of this driver.

/// Objects of one kind and their handles, which are no other driver's.
pub(crate) type Registry<T> = mxhal_simulated_handles::Registry<T, 0x0CDA>;
