//! Finding and opening CANN's libraries, at run time.
//!
//! | what | libraries, first choice first | where |
//! | --- | --- | --- |
//! | runtime | `libacl_rt.so`, `libascendcl.so` | `lib64` and `<arch>-linux/lib64` of the installation |
//! | tensors and executors | `libnnopbase.so` | the same |
//! | operators | `libcust_opapi.so` | `vendors/*/op_api/lib` of `ASCEND_OPP_PATH`, then of `opp` in the installation |
//! | | `libopapi_*.so`, in alphabetical order | `lib64` and `<arch>-linux/lib64` of the installation |
//! | | `libopapi.so` | the same |
//!
//! Libraries are opened by their full path, never by name alone. The two names of the runtime's library have been
//! its names in turn (hicann/runtime, the overview of its API); the order among the operators' is torch-npu's
//! (Ascend/op-plugin, `op_api_common`).

mod operators;
mod search;
mod tables;

pub use operators::{Availability, Operator, Version};
pub use search::{Search, USUAL_PLACES};

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix::{Library as Handle, RTLD_LAZY, RTLD_LOCAL};

use crate::sys;

/// CANN's libraries, opened, and the functions found in them.
///
/// They stay open until the process ends: CANN starts threads of its own, which would lose their code.
pub struct Library {
    root: PathBuf,
    opened: Vec<PathBuf>,
    runtime: sys::mxhal_acl_runtime,
    meta: sys::mxhal_acl_meta,
    table: sys::mxhal_aclnn_operators,
    operators: Vec<Availability>,
}

impl Library {
    /// Opens CANN's libraries where `search` says.
    ///
    /// Operators that are absent are no error here; see [`operators`](Self::operators).
    ///
    /// # Errors
    ///
    /// No installation has the runtime and the library of tensors and executors: every path that was tried, and why it
    /// was not taken.
    pub fn open(search: &Search) -> Result<Arc<Self>, LoadError> {
        let mut tried = Vec::new();
        let runtime = search.roots.iter().find_map(|root| {
            let found = open_first(root, &RUNTIME_LIBRARIES, &mut tried, |handle| {
                let table = tables::runtime(handle);
                lacking_of_runtime(&table).map_or(Ok(table), Err)
            })?;
            Some((root, found))
        });
        let Some((root, (runtime_path, runtime))) = runtime else {
            return Err(LoadError { what: "CANN's runtime, libacl_rt.so or libascendcl.so,", tried });
        };
        let meta = open_first(root, META_LIBRARIES, &mut tried, |handle| {
            let table = tables::meta(handle);
            lacking_of_meta(&table).map_or(Ok(table), Err)
        });
        let Some((meta_path, meta)) = meta else {
            return Err(LoadError {
                what: "CANN's library of tensors and executors, libnnopbase.so,",
                tried,
            });
        };

        let opened_for_operators = open_operators(root, search.opp.as_deref());
        let (table, operators) = operators::resolve(&opened_for_operators);
        let mut opened = vec![runtime_path, meta_path];
        for (path, handle) in opened_for_operators.libraries {
            opened.push(path);
            // Left open; see the type.
            let _ = handle.into_raw();
        }
        tracing::debug!(root = %root.display(), libraries = opened.len(), "opened CANN");
        Ok(Arc::new(Self { root: root.clone(), opened, runtime, meta, table, operators }))
    }

    /// The folder of the installation.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The libraries that were opened, in that order.
    pub fn opened(&self) -> &[PathBuf] {
        &self.opened
    }

    /// Each operator, with the versions that are there and those that are not.
    pub fn operators(&self) -> &[Availability] {
        &self.operators
    }

    /// One operator, with the versions that are there and those that are not.
    pub fn operator(&self, operator: Operator) -> &Availability {
        self.operators
            .iter()
            .find(|availability| availability.operator == operator)
            .expect("each operator was looked for")
    }

    /// The functions of AscendCL.
    pub fn runtime_table(&self) -> &sys::mxhal_acl_runtime {
        &self.runtime
    }

    /// The functions about tensors and executors.
    pub fn meta_table(&self) -> &sys::mxhal_acl_meta {
        &self.meta
    }

    /// The functions of the operators.
    pub fn operator_table(&self) -> &sys::mxhal_aclnn_operators {
        &self.table
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("root", &self.root)
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

/// A library of CANN was not found, or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadError {
    /// What was looked for, in words.
    pub what: &'static str,
    /// Every path that was tried, and why it was not taken.
    pub tried: Vec<Tried>,
}

/// A path that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The path.
    pub path: PathBuf,
    /// Why it was not taken.
    pub reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was not found; install CANN, or say where it is by cann_path or ASCEND_HOME_PATH. Tried:",
            self.what
        )?;
        if self.tried.is_empty() {
            return write!(f, " nothing, because no folder was named");
        }
        for Tried { path, reason } in &self.tried {
            write!(f, "\n  {}: {reason}", path.display())?;
        }
        Ok(())
    }
}

impl core::error::Error for LoadError {}

const RUNTIME_LIBRARIES: [&str; 2] = ["libacl_rt.so", "libascendcl.so"];
const META_LIBRARIES: &[&str] = &["libnnopbase.so"];

/// Opens the first of these libraries that the installation has and that `accept` takes; it stays open.
fn open_first<T>(
    root: &Path,
    names: &[&str],
    tried: &mut Vec<Tried>,
    accept: impl Fn(&Handle) -> Result<T, String>,
) -> Option<(PathBuf, T)> {
    for folder in search::library_folders(root) {
        for name in names {
            let path = folder.join(name);
            let outcome = open(&path).and_then(|handle| {
                let table = accept(&handle)?;
                // Left open; see `Library`.
                let _ = handle.into_raw();
                Ok(table)
            });
            match outcome {
                Ok(table) => return Some((path, table)),
                Err(reason) => tried.push(Tried { path, reason }),
            }
        }
    }
    None
}

fn open_operators(root: &Path, opp: Option<&Path>) -> operators::Opened {
    let mut libraries = Vec::new();
    let mut failures = String::new();
    for path in search::operator_libraries(root, opp) {
        match open(&path) {
            Ok(handle) => libraries.push((path, handle)),
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "a library of operators could not be opened");
                failures += &format!("; {} could not be opened: {reason}", path.display());
            }
        }
    }
    let nowhere = match libraries.len() {
        0 => format!("no library of operators was found under {}{failures}", root.display()),
        1 => format!("not in {}{failures}", libraries[0].0.display()),
        many => format!("in none of the {many} libraries of operators{failures}"),
    };
    operators::Opened { libraries, nowhere }
}

fn open(path: &Path) -> Result<Handle, String> {
    if !path.is_file() {
        return Err("no such file".into());
    }
    // SAFETY: a library that whoever installed CANN put there; its initialisers run, as those of any library do.
    unsafe { Handle::open(Some(path), RTLD_LAZY | RTLD_LOCAL) }.map_err(|error| {
        let mut text = error.to_string();
        if let Some(source) = core::error::Error::source(&error) {
            text = source.to_string();
        }
        // What most often fails is the driver's library, which set_env.sh makes known.
        if text.contains("cannot open shared object file") {
            text += " (a library that it needs is not found; source CANN's set_env.sh)";
        }
        text
    })
}

macro_rules! lacking {
    ($(#[$doc:meta])* $check:ident: $table:ty, $($name:ident)+) => {
        $(#[$doc])*
        fn $check(table: &$table) -> Option<String> {
            let found = [$((stringify!($name), table.$name.is_some())),+];
            let absent: Vec<&str> = found.iter().filter(|entry| !entry.1).map(|entry| entry.0).collect();
            (!absent.is_empty()).then(|| format!("lacks {}", absent.join(", ")))
        }
    };
}

lacking! {
    /// What the runtime lacks of that without which nothing goes.
    lacking_of_runtime: sys::mxhal_acl_runtime,
    aclInit aclrtGetDeviceCount aclrtSetDevice aclrtResetDevice aclrtGetSocName
    aclrtSetCurrentContext aclrtGetCurrentContext
    aclrtCreateStream aclrtDestroyStream aclrtSynchronizeStream aclrtStreamWaitEvent
    aclrtCreateEvent aclrtDestroyEvent aclrtRecordEvent aclrtSynchronizeEvent
    aclrtMalloc aclrtFree aclrtMallocHost aclrtFreeHost aclrtMemcpy aclrtMemcpyAsync
}

lacking! {
    /// What the library of tensors and executors lacks of that without which nothing goes.
    lacking_of_meta: sys::mxhal_acl_meta,
    aclCreateTensor aclDestroyTensor aclCreateTensorList aclDestroyTensorList
    aclCreateIntArray aclDestroyIntArray aclSetAclOpExecutorRepeatable aclDestroyAclOpExecutor
}
