//! The kernels of our own: where their binary is found, and their functions once it is loaded.
//!
//! They are AscendC (`kernels-ascend`), made by bisheng where a CANN is installed. Without them the backend offers what
//! CANN's operators offer, and refuses the rest with the way to build them.

use std::fs;
use std::path::{Path, PathBuf};

use mxhal_cann::safe::{Binary, Context, Function, Stream};
use mxhal_cann::sys;
use mxhal_core::Result;
use mxhal_kernels_ascend::{FILE_NAME, Kernel, Launch, VENDOR_FOLDER};

use crate::error::from_cann;
use crate::options::Options;

/// Loaded kernels of a device.
pub(crate) struct Kernels {
    /// By their place in [`Kernel::ALL`].
    functions: Vec<Function>,
    /// Vector cores of the device.
    cores: u64,
}

impl Kernels {
    /// Loads the binary; what is said to whoever asks for an operator that needs it where there is none.
    pub(crate) fn load(context: &Context, options: &Options) -> Result<Self, String> {
        let missing = |why: &str| {
            format!(
                "it takes mxhal's own kernels, and {why}; build them with `cmake -S kernels-ascend -B build && cmake --build \
                 build && cmake --install build` where CANN's bisheng is, or name their file in option `kernels`"
            )
        };
        let candidates = candidates(context, options);
        let Some(path) = candidates.iter().find(|path| path.is_file()) else {
            let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            return Err(missing(&format!("there is no file {}", tried.join(" or "))));
        };
        let failed =
            |error: mxhal_cann::Error| missing(&format!("{} cannot be loaded: {error}", path.display()));
        // SAFETY: the file is the one that the options, this library or CANN's folder name, and trusted as they are.
        let binary = unsafe { Binary::from_file(context, path) }.map_err(failed)?;
        let functions = Kernel::ALL.iter().map(|kernel| binary.function(kernel.name()));
        let functions = functions.collect::<mxhal_cann::Result<Vec<_>>>().map_err(failed)?;
        let cores = context
            .runtime()
            .device_attribute(context.device(), sys::ACL_DEV_ATTR_VECTOR_CORE_NUM)
            .unwrap_or(1);
        Ok(Self { functions, cores: u64::try_from(cores).unwrap_or(1).max(1) })
    }

    /// Enqueues a kernel on as many cores as have work.
    ///
    /// # Safety
    ///
    /// The launch's addresses are memory of the device of the sizes that its parameters say, which lives until the stream
    /// has done it.
    pub(crate) unsafe fn launch(&self, stream: &Stream, launch: &Launch) -> Result<()> {
        let place = Kernel::ALL.iter().position(|kernel| *kernel == launch.kernel);
        let function = &self.functions[place.expect("the list has every kernel")];
        let cores = launch.items.clamp(1, self.cores) as u32;
        // SAFETY: the arguments are those of this kernel by their type; the rest is the caller's promise.
        unsafe { function.launch(stream, cores, &launch.arguments) }.map_err(from_cann)
    }
}

/// Where the binary may be: what the options name, and nothing else then; beside this library; in CANN's folder.
fn candidates(context: &Context, options: &Options) -> Vec<PathBuf> {
    if let Some(named) = &options.kernels {
        return vec![named.clone()];
    }
    let beside = own_file().map(|file| file.with_file_name(FILE_NAME));
    let vendors = context.library().root().join(VENDOR_FOLDER).join(FILE_NAME);
    beside.into_iter().chain([vendors]).collect()
}

/// The file that this code was loaded from, by the system's list of mappings.
fn own_file() -> Option<PathBuf> {
    let here = own_file as fn() -> Option<PathBuf> as usize;
    mapped_file(&fs::read_to_string("/proc/self/maps").ok()?, here)
}

/// Of lines `start-end rights offset device inode path`, the path of the one that the address lies in.
fn mapped_file(mappings: &str, address: usize) -> Option<PathBuf> {
    mappings.lines().find_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let (end, _) = rest.split_once(' ')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let path = Path::new(line.get(line.find('/')?..)?);
        range.contains(&address).then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_address_is_found() {
        let mappings = "1000-2000 r--p 00000000 08:01 7 /lib/one.so\n2000-3000 r-xp 00001000 08:01 8 /lib/a b.so\n\
                        3000-4000 rw-p 00000000 00:00 0\n";
        assert_eq!(mapped_file(mappings, 0x2fff), Some("/lib/a b.so".into()));
        assert_eq!(mapped_file(mappings, 0x1000), Some("/lib/one.so".into()));
        assert_eq!(mapped_file(mappings, 0x3000), None);
        assert_eq!(own_file(), std::env::current_exe().ok());
    }
}
