//! Lays the simulated CANN out as an installation of CANN: the library under the names of CANN's, with the operators
//! of newer or older versions.
//!
//! `DIR/lib64` gets one file and symbolic links to it: a process that opens it under several names has one library, with
//! one state. What an older CANN lacks is taken out of a copy, by changing the names of these symbols in its dynamic
//! string table: the hash tables still know the old names and no longer find them, so `dlsym` fails as it would there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};

/// Which versions of the operators are there, where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// All of them, as the newest CANN has.
    #[default]
    All,
    /// Of each operator the newest version only.
    NewestOnly,
    /// Version 2 of each operator, or its oldest if there is no such version.
    V2Only,
    /// Of each operator the oldest version only.
    V1Only,
}

/// Under which names the libraries lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Libraries {
    /// `libacl_rt.so`, `libnnopbase.so` and the operators in `libopapi_{math,nn,transformer}.so`.
    #[default]
    Split,
    /// `libascendcl.so`, `libnnopbase.so` and the operators in `libopapi.so`.
    Legacy,
}

/// Why there is no installation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read, copied or linked.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The library is no ELF file with dynamic symbols.
    #[error("{path} is no shared library: {reason}; build it with `cargo build -p mxhal-simulated-cann`")]
    NoLibrary {
        /// Which.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A symbol that is to be left out is not in the library.
    #[error(
        "{path} has no symbol `{symbol}` that could be left out; is it of this version of the simulator?"
    )]
    NoSymbol {
        /// Which library.
        path: PathBuf,
        /// Which symbol.
        symbol: String,
    },
}

/// What a process that is to find the installation has in its environment.
pub type Environment = BTreeMap<String, String>;

/// The library's file, within `DIR/lib64`.
pub const LIBRARY: &str = "libmxhal_simulated_cann.so";

/// Kernels of mxhal's own, compiled for the host, where a backend looks for its binary within `DIR`.
pub const KERNELS: &str = "opp/vendors/mxhal/mxhal_kernels.o";

/// The variable that says which of [`PRODUCTS`] is simulated.
pub const PRODUCT_VARIABLE: &str = "MXHAL_SIM_SOC";

/// What can be simulated, by the names that `aclrtGetSocName` gives. The last two are of the generation before, and are
/// there to be refused.
pub const PRODUCTS: &[&str] = &[
    "Ascend950PR_9599",
    "Ascend950PR_9589",
    "Ascend950PR_9579",
    "Ascend950PR_958b",
    "Ascend950PR_957b",
    "Ascend950PR_957c",
    "Ascend950PR_957d",
    "Ascend950PR_950z",
    "Ascend950DT_9591",
    "Ascend950DT_95A1",
    "Ascend950DT_9581",
    "Ascend950DT_9582",
    "Ascend950DT_9592",
    "Ascend950DT_950x",
    "Ascend910B1",
    "Ascend910_9391",
];

/// Versions of operators, the oldest first, each with its number.
const FAMILIES: [&[(u32, &str)]; 6] = [
    &[(1, "aclnnDynamicMxQuant"), (2, "aclnnDynamicMxQuantV2"), (3, "aclnnDynamicMxQuantV3")],
    &[(2, "aclnnWeightQuantBatchMatmulV2"), (3, "aclnnWeightQuantBatchMatmulV3")],
    &[(4, "aclnnGroupedMatmulV4"), (5, "aclnnGroupedMatmulV5")],
    &[(1, "aclnnMoeGatingTopK"), (2, "aclnnMoeGatingTopKV2")],
    &[(1, "aclnnMoeGatingTopKSoftmax"), (2, "aclnnMoeGatingTopKSoftmaxV2")],
    &[(2, "aclnnMoeInitRoutingV2"), (3, "aclnnMoeInitRoutingV3")],
];

impl Variant {
    /// The operators that are left out; each has two symbols, itself and `…GetWorkspaceSize`.
    pub fn hidden_operators(self) -> Vec<&'static str> {
        let mut hidden = Vec::new();
        for family in FAMILIES {
            let kept = match self {
                Self::All => continue,
                Self::NewestOnly => family.len() - 1,
                Self::V2Only => family.iter().position(|(version, _)| *version == 2).unwrap_or(0),
                Self::V1Only => 0,
            };
            hidden
                .extend(family.iter().enumerate().filter(|(at, _)| *at != kept).map(|(_, (_, name))| *name));
        }
        hidden
    }
}

impl Libraries {
    /// The names under which the library is found.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Split => &[
                "libacl_rt.so",
                "libnnopbase.so",
                "libopapi_math.so",
                "libopapi_nn.so",
                "libopapi_transformer.so",
            ],
            Self::Legacy => &["libascendcl.so", "libnnopbase.so", "libopapi.so"],
        }
    }
}

/// Makes `directory` an installation of CANN that is simulated by `library`, the built `libmxhal_simulated_cann.so`.
///
/// The directory is created, and should be empty. What is returned belongs into the environment of the process that
/// is to find it: `ASCEND_HOME_PATH` is the directory, and `ASCEND_OPP_PATH` is empty, so that no real operators get in.
///
/// # Errors
///
/// When the library cannot be read, has no dynamic symbols or lacks one that is to be left out, and when the directory
/// cannot be written.
pub fn install(
    directory: &Path,
    library: &Path,
    variant: Variant,
    libraries: Libraries,
) -> Result<Environment, InstallError> {
    let operators = variant.hidden_operators();
    let symbols = operators.iter().flat_map(|name| [(*name).to_owned(), format!("{name}GetWorkspaceSize")]);
    install_without(directory, library, &symbols.collect::<Vec<_>>(), libraries)
}

/// As [`install`], leaving out the symbols that are named.
///
/// # Errors
///
/// Those of [`install`].
pub fn install_without(
    directory: &Path,
    library: &Path,
    symbols: &[String],
    libraries: Libraries,
) -> Result<Environment, InstallError> {
    let folder = directory.join("lib64");
    let copy = folder.join(LIBRARY);
    let mut bytes = fs::read(library).map_err(at(library))?;
    hide(&mut bytes, symbols, library)?;
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    fs::write(&copy, bytes).map_err(at(&copy))?;
    name(directory, libraries)
}

/// As [`install`] with everything that the library has, which is linked and not copied: processes that open it by several
/// installations, or as itself, have one library with one state.
///
/// # Errors
///
/// When the directory cannot be written.
pub fn link(directory: &Path, library: &Path, libraries: Libraries) -> Result<Environment, InstallError> {
    let folder = directory.join("lib64");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let link = folder.join(LIBRARY);
    symlink(library, &link).map_err(at(&link))?;
    name(directory, libraries)
}

/// Gives the library that lies in the directory CANN's names, and lays the kernels that it holds beside the operators of
/// other vendors.
fn name(directory: &Path, libraries: Libraries) -> Result<Environment, InstallError> {
    let library = directory.join("lib64").join(LIBRARY);
    let bytes = fs::read(&library).map_err(at(&library))?;
    let kernels = directory.join(KERNELS);
    let folder = kernels.parent().expect("it lies in a folder");
    fs::create_dir_all(folder).map_err(at(folder))?;
    fs::write(&kernels, kernels_in(&bytes, &library)?).map_err(at(&kernels))?;
    for name in libraries.names() {
        let link = directory.join("lib64").join(name);
        symlink(LIBRARY, &link).map_err(at(&link))?;
    }
    let home = directory.display().to_string();
    Ok([("ASCEND_HOME_PATH", home), ("ASCEND_OPP_PATH", String::new())]
        .map(|(variable, value)| (variable.to_owned(), value))
        .into())
}

/// The kernels' library, which the simulator's holds under a symbol of its own.
fn kernels_in<'a>(bytes: &'a [u8], library: &Path) -> Result<&'a [u8], InstallError> {
    const SYMBOL: &str = "MXHAL_SIMULATED_CANN_KERNELS";
    let no_library = |reason: String| InstallError::NoLibrary { path: library.to_owned(), reason };
    let file = object::File::parse(bytes).map_err(|error| no_library(error.to_string()))?;
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(SYMBOL));
    let symbol = symbol.ok_or_else(|| no_library(format!("it has no symbol `{SYMBOL}`")))?;
    let (address, size) = (symbol.address(), symbol.size());
    let content = file.sections().find_map(|section| section.data_range(address, size).ok().flatten());
    content.ok_or_else(|| no_library(format!("`{SYMBOL}` lies outside of its sections")))
}

/// Changes the first letter of each symbol in the dynamic string table.
fn hide(bytes: &mut [u8], symbols: &[String], library: &Path) -> Result<(), InstallError> {
    let no_library = |reason: String| InstallError::NoLibrary { path: library.to_owned(), reason };
    let file = object::File::parse(&*bytes).map_err(|error| no_library(error.to_string()))?;
    let strings = file.section_by_name(".dynstr").and_then(|section| section.file_range());
    let (start, len) = strings.ok_or_else(|| no_library("no dynamic string table".into()))?;
    let range =
        usize::try_from(start).ok().zip(usize::try_from(len).ok()).map(|(start, len)| start..start + len);
    let table = range.and_then(|range| bytes.get_mut(range));
    let table = table.ok_or_else(|| no_library("its string table lies outside of the file".into()))?;
    for symbol in symbols {
        let entry = [b"\0", symbol.as_bytes(), b"\0"].concat();
        let place = table.windows(entry.len()).position(|window| window == entry);
        let place = place
            .ok_or_else(|| InstallError::NoSymbol { path: library.to_owned(), symbol: symbol.clone() })?;
        // No symbol of CANN begins so.
        table[place + 1] = b'-';
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    |source| InstallError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{InstallError, Libraries, Variant, hide, install};

    #[test]
    fn each_family_keeps_one_version() {
        for variant in [Variant::NewestOnly, Variant::V2Only, Variant::V1Only] {
            assert_eq!(variant.hidden_operators().len(), 13 - super::FAMILIES.len(), "{variant:?}");
        }
        assert!(Variant::All.hidden_operators().is_empty());
        assert!(Variant::V2Only.hidden_operators().contains(&"aclnnDynamicMxQuantV3"));
        assert!(!Variant::V2Only.hidden_operators().contains(&"aclnnDynamicMxQuantV2"));
    }

    #[test]
    fn what_is_no_library_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = install(folder.path(), Path::new("/nowhere/lib.so"), Variant::All, Libraries::Split);
        assert!(
            matches!(missing, Err(InstallError::File { path, .. }) if path == Path::new("/nowhere/lib.so"))
        );
        let text = hide(&mut b"not an ELF file".to_vec(), &[], Path::new("text"));
        assert!(matches!(text, Err(InstallError::NoLibrary { .. })));
    }
}
