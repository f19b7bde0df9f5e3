//! A shard's beginning: whatever it claims, sizes are checked before they are believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mxhal::checkpoint::header;

fuzz_target!(|input: (u64, &[u8])| {
    // The header against a file that is longer, shorter or as long as the bytes at hand.
    let (file_bytes, bytes) = input;
    for file_bytes in [bytes.len() as u64, file_bytes] {
        match header::parse(bytes, file_bytes) {
            Ok(header) => assert!(header.tensors().iter().all(|tensor| tensor.end as u64 <= file_bytes)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
