//! `config.toml`: whatever the text, an answer or an error that says where.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mxhal::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("config.toml")) {
        assert!(!error.to_string().is_empty());
    }
});
