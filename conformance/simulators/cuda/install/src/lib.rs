//! Lays the simulated CUDA driver out so that a process finds it: the library under the names of the driver's, first on
//! the path of libraries.
//!
//! A backend that was built without nvcc holds no device code. For those there is a stand-in, an ELF file for the
//! pretended architecture with nothing in it, which the simulated driver takes for code that holds every kernel that is
//! emulated. What a report then lacks is the comparison of each kernel's parameters with compiled code.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The library that `mxhal-simulated-cuda` is built as.
pub const LIBRARY: &str = "libmxhal_simulated_cuda.so";

/// The architectures that the driver can pretend to have.
pub const PRODUCTS: &[&str] = &["sm_90", "sm_100", "sm_103", "sm_120", "sm_121"];

/// The variable that says which.
pub const PRODUCT_VARIABLE: &str = "MXHAL_SIM_ARCH";

/// The variable that names the file for what the driver refuses and why.
pub const REPORT_VARIABLE: &str = "MXHAL_SIM_REPORT";

/// The stand-in for device code, within the installation.
pub const STAND_IN: &str = "stand-in.cubin";

/// The names under which the driver is looked for.
const NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// The path on which the system's loader looks for libraries first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The first bytes of every fatbin: magic, version, bytes of the header.
const FATBIN: [u8; 8] = [0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0];

/// What a process that is to find the driver has in its environment.
pub type Environment = BTreeMap<String, String>;

/// Why there is no installation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read, written or linked.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such device.
    #[error("`{0}` is not simulated; there are {products}", products = PRODUCTS.join(", "))]
    Product(String),
}

/// Makes `directory` hold the driver that `library`, the built [`LIBRARY`], simulates, as this architecture.
///
/// The directory is created, and should be empty. What is returned belongs into the environment of the process from its
/// start: the loader reads the path of libraries only then.
///
/// # Errors
///
/// When there is no such product, the library is not there or the directory cannot be written.
pub fn install(directory: &Path, library: &Path, product: &str) -> Result<Environment, InstallError> {
    let image = stand_in(product)?;
    let library = fs::canonicalize(library).map_err(at(library))?;
    fs::create_dir_all(directory).map_err(at(directory))?;
    for name in NAMES {
        let link = directory.join(name);
        symlink(&library, &link).map_err(at(&link))?;
    }
    let file = directory.join(STAND_IN);
    fs::write(&file, image).map_err(at(&file))?;
    let mut paths = directory.display().to_string();
    if let Ok(others) = std::env::var(LIBRARY_PATH)
        && !others.is_empty()
    {
        paths.push_str(&format!(":{others}"));
    }
    // Not to standard error, which is the host's.
    let report = std::env::var(REPORT_VARIABLE)
        .unwrap_or_else(|_| directory.join("refusals.txt").display().to_string());
    Ok(Environment::from([
        (LIBRARY_PATH.to_owned(), paths),
        (PRODUCT_VARIABLE.to_owned(), product.to_owned()),
        (REPORT_VARIABLE.to_owned(), report),
    ]))
}

/// Whether a file, the plugin's, has a fatbin in it.
///
/// # Errors
///
/// When it cannot be read.
pub fn holds_device_code(plugin: &Path) -> Result<bool, InstallError> {
    let bytes = fs::read(plugin).map_err(at(plugin))?;
    Ok(bytes.windows(FATBIN.len()).any(|window| window == FATBIN))
}

/// An ELF file for this architecture that has a header and nothing else.
fn stand_in(product: &str) -> Result<[u8; 64], InstallError> {
    let known = PRODUCTS.contains(&product);
    let number = product.strip_prefix("sm_").filter(|_| known).and_then(|number| number.parse::<u8>().ok());
    let number = number.ok_or_else(|| InstallError::Product(product.to_owned()))?;
    let mut image = [0; 64];
    // 64 bits, little-endian, version 1, the ABI of CUDA in its version 8, and what the simulator knows it by.
    image[..9].copy_from_slice(b"\x7fELF\x02\x01\x01\x41\x08");
    image[9..16].copy_from_slice(b"standin");
    // Executable, for CUDA (190), version 1.
    image[16..24].copy_from_slice(&[2, 0, 190, 0, 1, 0, 0, 0]);
    // The architecture is the second byte of the flags; the header has 64 bytes.
    image[49] = number;
    image[52] = 64;
    Ok(image)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    |source| InstallError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_simulated_is_named_with_what_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = install(folder.path(), Path::new("/nowhere"), "sm_80").unwrap_err();
        assert!(error.to_string().contains("sm_80") && error.to_string().contains("sm_120"), "{error}");
        let error = install(folder.path(), Path::new("/nowhere"), "sm_90").unwrap_err();
        assert!(matches!(error, InstallError::File { path, .. } if path == Path::new("/nowhere")));
    }

    #[test]
    fn device_code_is_known_by_the_first_bytes_of_a_fatbin() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugin = folder.path().join("plugin.so");
        fs::write(&plugin, [&[7; 100], &FATBIN[..], &[0; 9]].concat()).expect("writable");
        assert!(holds_device_code(&plugin).expect("readable"));
        fs::write(&plugin, [7; 100]).expect("writable");
        assert!(!holds_device_code(&plugin).expect("readable"));
    }
}
