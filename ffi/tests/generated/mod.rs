//! Checked-in bindings, compared with what bindgen makes of a header today.
//!
//! It needs libclang; where there is none the comparison is skipped, and says so. `MXHAL_BLESS=1` writes the file
//! anew.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// Bindings of a package.
pub(crate) struct Bindings {
    /// The package's folder.
    pub(crate) root: &'static str,
    /// The header, in it.
    pub(crate) header: &'static str,
    /// `rustfmt.toml`, from it.
    pub(crate) rustfmt: &'static str,
    /// What stands above the generated lines of `src/sys.rs`.
    pub(crate) preamble: &'static str,
    /// What of the header is wanted, and how.
    pub(crate) choose: fn(bindgen::Builder) -> bindgen::Builder,
}

impl Bindings {
    /// That `src/sys.rs` is what the header gives.
    pub(crate) fn check(&self) {
        let Some(libclang) = libclang() else {
            // Past the test harness, which would keep it to itself.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: the bindings were not compared with the header, because libclang was not found; set \
                 LIBCLANG_PATH to the folder of libclang.so"
            );
            return;
        };
        println!("libclang: {libclang}");
        let Self { root, header, rustfmt, preamble, choose } = *self;
        let root = Path::new(root);
        let header = root.join(header);
        let builder = bindgen::Builder::default()
            .header(header.to_str().expect("the path of the header is UTF-8"))
            .clang_args(["-std=c11"])
            .clang_args(own_headers())
            .default_enum_style(bindgen::EnumVariation::Consts)
            .prepend_enum_name(false)
            .translate_enum_integer_types(true)
            .derive_copy(true)
            .derive_debug(true)
            .rust_target(bindgen::RustTarget::stable(85, 0).expect("bindgen knows Rust 1.85"))
            .rust_edition(bindgen::RustEdition::Edition2024)
            .disable_header_comment()
            .formatter(bindgen::Formatter::Rustfmt)
            .rustfmt_configuration_file(Some(root.join(rustfmt)));
        let generated = choose(builder).generate().expect("bindgen reads the header");
        let generated = format!("{preamble}\n{generated}");

        let checked_in = root.join("src/sys.rs");
        if env::var_os("MXHAL_BLESS").is_some() {
            fs::write(&checked_in, &generated).unwrap();
        }
        let found = fs::read_to_string(&checked_in).unwrap();
        assert!(
            found == generated,
            "src/sys.rs is not what the header gives; write it anew with MXHAL_BLESS=1"
        );
    }
}

/// Where libclang is loaded from; `None` where it is not.
fn libclang() -> Option<String> {
    let version = std::panic::catch_unwind(bindgen::clang_version).ok()?;
    Some(version.full)
}

/// A libclang without its compiler has no `stddef.h` of its own; the C compiler's will do.
fn own_headers() -> Option<String> {
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let answer = Command::new(cc).arg("-print-file-name=include").output().ok()?;
    let folder = String::from_utf8(answer.stdout).ok()?;
    Some(format!("-I{}", folder.trim()))
}
