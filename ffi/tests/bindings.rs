//! The checked-in bindings are what bindgen makes of the header today.
//!
//! It needs libclang; where there is none the comparison is skipped, and says so. `MXHAL_BLESS=1` writes the file
//! anew.

use std::io::Write;
use std::path::Path;
use std::process::Command;

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
    let Some(libclang) = libclang() else {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the bindings were not compared with the header, because libclang was not found; \
             set LIBCLANG_PATH to the folder of libclang.so"
        );
        return;
    };
    println!("libclang: {libclang}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = root.join("include/mxhal.h");
    let generated = bindgen::Builder::default()
        .header(header.to_str().expect("the path of the header is UTF-8"))
        .clang_args(["-std=c11", "-DMXHAL_BUILDING_PLUGIN"])
        .clang_args(own_headers())
        .allowlist_item("(mxhal|MXHAL)_.*")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .translate_enum_integer_types(true)
        .derive_copy(true)
        .derive_debug(true)
        .derive_default(false)
        .generate_comments(false)
        .layout_tests(false)
        .blocklist_item("mxhal_identity")
        .blocklist_function("mxhal_plugin_open")
        .rust_target(bindgen::RustTarget::stable(85, 0).expect("bindgen knows Rust 1.85"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .disable_header_comment()
        .formatter(bindgen::Formatter::Rustfmt)
        .rustfmt_configuration_file(Some(root.join("../rustfmt.toml")))
        .generate()
        .expect("bindgen reads the header")
        .to_string();
    let generated = format!("{PREAMBLE}\n{generated}");

    let checked_in = root.join("src/sys.rs");
    if std::env::var_os("MXHAL_BLESS").is_some() {
        std::fs::write(&checked_in, &generated).unwrap();
    }
    let found = std::fs::read_to_string(&checked_in).unwrap();
    assert!(found == generated, "src/sys.rs is not what the header gives; write it anew with MXHAL_BLESS=1");
}

/// Where libclang is loaded from; `None` where it is not.
fn libclang() -> Option<String> {
    let version = std::panic::catch_unwind(bindgen::clang_version).ok()?;
    Some(version.full)
}

/// A libclang without its compiler has no `stddef.h` of its own; the C compiler's will do.
fn own_headers() -> Option<String> {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let answer = Command::new(cc).arg("-print-file-name=include").output().ok()?;
    let folder = String::from_utf8(answer.stdout).ok()?;
    Some(format!("-I{}", folder.trim()))
}
