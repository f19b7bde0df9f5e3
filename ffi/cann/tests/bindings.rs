//! The checked-in bindings are what bindgen makes of the header today.

#[path = "../../tests/generated/mod.rs"]
mod generated;

use generated::Bindings;

/// What stands above the generated lines.
const PREAMBLE: &str = "\
//! CANN's types, constants and tables of functions, as bindgen reads them from `include/mxhal_cann.h`.
//!
//! Generated. To change it, change the header and run `MXHAL_BLESS=1 cargo test -p mxhal-cann --test bindings`.
//! Enums are integer constants, because their values come from strangers. A member of a table that is `None` is a
//! function that the installed CANN does not have.

#![allow(missing_docs, reason = \"a group of constants is documented once\")]
#![allow(non_camel_case_types, non_snake_case, reason = \"the names are CANN's\")]
#![allow(unreachable_pub, reason = \"bindgen writes `pub` everywhere\")]
#![allow(clippy::use_self, clippy::pub_underscore_fields, reason = \"bindgen's output\")]
#![allow(clippy::type_complexity, reason = \"a C prototype is as long as it is\")]
#![allow(clippy::unnecessary_operation, clippy::identity_op, reason = \"bindgen's assertions about layouts\")]
#![allow(clippy::undocumented_unsafe_blocks, reason = \"bindgen zeroes plain numbers\")]
";

#[test]
fn bindings_are_those_of_the_header() {
    let choose = |builder: bindgen::Builder| {
        builder
            .allowlist_item("(acl|ACL|mxhal_acl).*")
            .derive_default(true)
            .generate_comments(true)
            .layout_tests(true)
    };
    let (root, header, rustfmt) = (env!("CARGO_MANIFEST_DIR"), "include/mxhal_cann.h", "../../rustfmt.toml");
    Bindings { root, header, rustfmt, preamble: PREAMBLE, choose }.check();
}
