//! The kernels of a test's source.

use std::path::Path;
use std::sync::OnceLock;

use mxhal_cuda_emulation::{Checks, Kernels, compile};

/// Those of this file of `tests/`, with checks; a test has one file.
pub(crate) fn kernels(source: &str) -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
        let library = compile(&[source], &[], Checks::On, Path::new(env!("CARGO_TARGET_TMPDIR")))
            .unwrap_or_else(|error| panic!("{error}"));
        Kernels::open(&library).unwrap_or_else(|error| panic!("{error}"))
    })
}
