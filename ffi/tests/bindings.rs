//! The checked-in bindings are what bindgen makes of the header today.

mod generated;

use generated::Bindings;

/// What stands above the generated lines.
const PREAMBLE: &str = "\
//! The C ABI as bindgen reads it from `include/mxhal.h`: names, sizes and offsets are those of the header.
//!
//! Generated. To change it, change the header and run `MXHAL_BLESS=1 cargo test -p mxhal-ffi --test bindings`.
//! Enums are integer constants, because their values come from strangers.

#![allow(missing_docs, reason = \"each name is documented in the header\")]
#![allow(non_camel_case_types, reason = \"the names are those of the header\")]
#![allow(unreachable_pub, reason = \"bindgen writes `pub` everywhere\")]
#![allow(clippy::use_self, clippy::pub_underscore_fields, reason = \"bindgen's output\")]
";

#[test]
fn bindings_are_those_of_the_header() {
    let choose = |builder: bindgen::Builder| {
        builder
            .clang_args(["-DMXHAL_BUILDING_PLUGIN"])
            .allowlist_item("(mxhal|MXHAL)_.*")
            .derive_default(false)
            .generate_comments(false)
            .layout_tests(false)
            .blocklist_item("mxhal_identity")
            .blocklist_function("mxhal_plugin_open")
    };
    let (root, header, rustfmt) = (env!("CARGO_MANIFEST_DIR"), "include/mxhal.h", "../rustfmt.toml");
    Bindings { root, header, rustfmt, preamble: PREAMBLE, choose }.check();
}
