//! Installations of CANN with nothing behind them: `runtime.c`, and operators that log what they are passed, generated
//! from the header.

use std::ffi::{CStr, c_char};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::os::unix::Library as Handle;

use crate::header;

/// A folder that looks like an installation, removed with this.
pub(crate) struct Installation {
    pub(crate) folder: tempfile::TempDir,
    /// The library that stands under all names, once one was made.
    library: Option<Handle>,
}

impl Installation {
    /// One with an empty `lib64`.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib64")).unwrap();
        Self { folder, library: None }
    }

    /// One with all operators whose name `has`, in `libopapi.so`.
    pub(crate) fn with_operators(has: impl Fn(&str) -> bool) -> Self {
        let mut installation = Self::empty();
        let source = operators(&has);
        let built = installation.folder.path().join("libfake.so");
        compile(&built, &source, &[]);
        for name in ["libacl_rt.so", "libnnopbase.so", "libopapi.so"] {
            std::os::unix::fs::symlink(&built, installation.lib64(name)).unwrap();
        }
        // SAFETY: the library was just made; it has no initialisers.
        installation.library = Some(unsafe { Handle::new(&built) }.unwrap());
        installation
    }

    /// One with every operator.
    pub(crate) fn complete() -> Self {
        Self::with_operators(|_| true)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn lib64(&self, name: &str) -> PathBuf {
        self.root().join("lib64").join(name)
    }

    /// What happened since the last call.
    pub(crate) fn log(&self) -> String {
        let library = self.library.as_ref().unwrap();
        // SAFETY: both functions are defined in `runtime.c` with these signatures.
        unsafe {
            let text = library.get::<unsafe extern "C" fn() -> *const c_char>(b"fake_text\0").unwrap();
            let clear = library.get::<unsafe extern "C" fn()>(b"fake_clear\0").unwrap();
            let log = CStr::from_ptr(text()).to_str().unwrap().to_owned();
            clear();
            log
        }
    }
}

/// The operators whose name `has`, which log their arguments by name.
pub(crate) fn operators(has: &impl Fn(&str) -> bool) -> String {
    let mut source = String::from(DECLARATIONS);
    for header::Declaration { function, parameters, .. } in header::operators() {
        let prepare = format!("{function}GetWorkspaceSize");
        if has(&prepare) {
            let list = parameters.join(", ");
            writeln!(
                source,
                "aclnnStatus {prepare}({list}, uint64_t *workspaceSize, aclOpExecutor **executor) {{"
            )
            .unwrap();
            writeln!(source, "    fake_log(\"{function}\");").unwrap();
            for parameter in &parameters {
                source += &logged(parameter);
            }
            source += "    return fake_prepared(workspaceSize, executor);\n}\n";
        }
        if has(&function) {
            writeln!(
                source,
                "aclnnStatus {function}(void *w, uint64_t n, aclOpExecutor *e, aclrtStream s) {{"
            )
            .unwrap();
            writeln!(source, "    return fake_run(\"{function}\", w, n, e, s);\n}}").unwrap();
        }
    }
    source
}

/// Compiles `runtime.c` and this source into a library.
pub(crate) fn compile(library: &Path, source: &str, arguments: &[&str]) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = library.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let outcome = Command::new(cc)
        .args(["-std=c11", "-shared", "-fPIC", "-Wl,-Bsymbolic"])
        .arg("-I")
        .arg(here.join("include"))
        .args(arguments)
        .arg(here.join("tests/fake/runtime.c"))
        .arg(&file)
        .arg("-o")
        .arg(library)
        .output()
        .unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

const DECLARATIONS: &str = "\
#include \"mxhal_cann.h\"
void fake_log(const char *format, ...);
void fake_tensor(const char *name, const aclTensor *tensor);
void fake_list(const char *name, const aclTensorList *list);
void fake_ints(const char *name, const aclIntArray *array);
aclnnStatus fake_prepared(uint64_t *workspace, aclOpExecutor **executor);
aclnnStatus fake_run(const char *name, void *w, uint64_t n, aclOpExecutor *e, aclrtStream s);
";

/// The statement that logs a parameter.
fn logged(parameter: &str) -> String {
    let (kind, name) = parameter.rsplit_once([' ', '*']).unwrap();
    match kind.trim_start_matches("const ").trim() {
        "aclTensor" => format!("    fake_tensor(\"{name}\", {name});\n"),
        "aclTensorList" => format!("    fake_list(\"{name}\", {name});\n"),
        "aclIntArray" => format!("    fake_ints(\"{name}\", {name});\n"),
        "int64_t" | "int" | "bool" => format!("    fake_log(\" {name}=%lld\", (long long){name});\n"),
        "double" => format!("    fake_log(\" {name}=%g\", {name});\n"),
        "char" => format!("    fake_log(\" {name}=%s\", {name});\n"),
        other => panic!("a parameter of type {other}"),
    }
}
