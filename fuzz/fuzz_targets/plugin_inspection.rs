//! A plugin's file: whatever the bytes, they are read without trust.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mxhal_ffi::inspect;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = inspect::inspect_bytes(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
