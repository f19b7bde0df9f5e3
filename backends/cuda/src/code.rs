//! The kernels of a device: its device code, loaded.

use std::sync::Arc;

use mxhal_core::{Error, Result, Status};
use mxhal_kernels_cuda::{DEVICE_CODE, KERNELS, Kernel, Target};

use crate::context::Context;
use crate::driver::unavailable;
use crate::options::Options;
use crate::sys::{self, CUdevice_attribute, CUfunction, CUfunction_attribute, CUmodule};

/// The kernels of a device.
pub(crate) struct Code {
    context: Arc<Context>,
    module: CUmodule,
    /// In the order of [`KERNELS`]; null for those of other targets.
    functions: Vec<CUfunction>,
    source: String,
    /// Bytes of shared memory that a block may have.
    pub(crate) most_shared_bytes: u32,
}

// SAFETY: functions may be launched from any thread.
unsafe impl Send for Code {}
// SAFETY: as above; what is in here does not change.
unsafe impl Sync for Code {}

impl Code {
    /// Loads what the options name, or what the build holds.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`]: there is no device code, or it is not for this device, or of another version.
    pub(crate) fn load(context: &Arc<Context>, target: Target, options: &Options) -> Result<Self> {
        let image = Image::of(options)?;
        let mut module = std::ptr::null_mut();
        context
            .call("cuModuleLoadData", || {
                // SAFETY: zero bytes stand behind the image, so that it ends where the driver looks for its end.
                unsafe { sys::cuModuleLoadData(&raw mut module, image.as_ptr().cast()) }
            })
            .map_err(|error| {
                unavailable(
                    &format!("the device code {} cannot be loaded for {target}", image.source),
                    &error,
                )
            })?;
        let most_shared_bytes =
            context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let mut code = Self {
            context: Arc::clone(context),
            module,
            functions: Vec::with_capacity(KERNELS.len()),
            source: image.source,
            most_shared_bytes,
        };
        for kernel in KERNELS {
            let function = match kernel.targets.contains(&target) {
                true => code.find(kernel)?,
                false => std::ptr::null_mut(),
            };
            code.functions.push(function);
        }
        Ok(code)
    }

    /// Where it is from, in words.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// A kernel of this device's target.
    pub(crate) fn function(&self, kernel: &Kernel) -> Result<CUfunction> {
        let place = KERNELS.binary_search_by(|other| other.name.cmp(kernel.name));
        match place.ok().and_then(|place| self.functions.get(place)) {
            Some(function) if !function.is_null() => Ok(*function),
            _ => Err(Error::internal(format!(
                "kernel `{}` was chosen, and is not for this device",
                kernel.name
            ))),
        }
    }

    fn find(&self, kernel: &Kernel) -> Result<CUfunction> {
        let name: Vec<u8> = kernel.name.bytes().chain([0]).collect();
        let mut function = std::ptr::null_mut();
        self.context
            .call("cuModuleGetFunction", || {
                // SAFETY: the module lives, and the name ends in a zero byte.
                unsafe { sys::cuModuleGetFunction(&raw mut function, self.module, name.as_ptr().cast()) }
            })
            .map_err(|error| {
                let what = format!(
                    "the device code {} has no kernel `{}`: it was made of another version of mxhal",
                    self.source, kernel.name
                );
                unavailable(&what, &error)
            })?;
        self.allow_shared_memory(function)?;
        Ok(function)
    }

    /// Allows all the shared memory that a block may have and the kernel does not have already: what a launch asks for is
    /// known only then.
    fn allow_shared_memory(&self, function: CUfunction) -> Result<()> {
        let mut own = 0;
        self.context.call("cuFuncGetAttribute", || {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
            // SAFETY: the function lives as long as its module, and the number is ours.
            unsafe { sys::cuFuncGetAttribute(&raw mut own, attribute, function) }
        })?;
        let rest = i32::try_from(self.most_shared_bytes).unwrap_or(i32::MAX) - own;
        self.context.call("cuFuncSetAttribute", || {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: as above.
            unsafe { sys::cuFuncSetAttribute(function, attribute, rest.max(0)) }
        })
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _ = self.context.call("cuModuleUnload", || {
            // SAFETY: loaded once, and unloaded once; plans and streams hold what holds this.
            unsafe { sys::cuModuleUnload(self.module) }
        });
    }
}

/// Device code in memory, at an address that the driver may read as an ELF file's.
struct Image {
    bytes: Bytes,
    source: String,
}

enum Bytes {
    Embedded(&'static [u8]),
    Read(Vec<Line>),
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Image {
    fn of(options: &Options) -> Result<Self> {
        let Some(file) = &options.device_code else {
            let bytes = DEVICE_CODE.map_err(|missing| {
                let text = format!("{missing}; or name a file with the kernels in option `device_code`");
                Error::new(Status::Unavailable, text)
            })?;
            return Ok(Self { bytes: Bytes::Embedded(bytes), source: "of this build".to_owned() });
        };
        let source = format!("of {}", file.display());
        let bytes = std::fs::read(file).map_err(|error| {
            Error::new(Status::Unavailable, format!("option `device_code`: {}: {error}", file.display()))
        })?;
        if bytes.is_empty() {
            let text = format!(
                "option `device_code`: {} is empty, and should be a fatbin or a cubin",
                file.display()
            );
            return Err(Error::new(Status::Unavailable, text));
        }
        Ok(Self { bytes: Bytes::Read(lines(&bytes)), source })
    }

    fn as_ptr(&self) -> *const u8 {
        match &self.bytes {
            Bytes::Embedded(bytes) => bytes.as_ptr(),
            Bytes::Read(lines) => lines.as_ptr().cast(),
        }
    }
}

/// The bytes and at least one zero behind them: the driver is not told how many there are.
fn lines(bytes: &[u8]) -> Vec<Line> {
    let mut lines = vec![Line([0; 64]); bytes.len() / 64 + 1];
    for (line, bytes) in lines.iter_mut().zip(bytes.chunks(64)) {
        line.0[..bytes.len()].copy_from_slice(bytes);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_aligned_memory_with_zeros_behind() {
        let bytes: Vec<u8> = (0..128).collect();
        let lines = lines(&bytes);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().zip(bytes.chunks(64)).all(|(line, bytes)| line.0 == bytes));
        assert_eq!((lines[2].0, lines.as_ptr().addr() % 64), ([0; 64], 0));
    }

    #[test]
    fn a_file_that_is_no_device_code_is_named() {
        let options = Options { device_code: Some("/nowhere/kernels.fatbin".into()), ..Options::default() };
        let error = Image::of(&options).err().unwrap();
        assert_eq!(error.status(), Status::Unavailable);
        assert!(error.message().contains("/nowhere/kernels.fatbin"), "{error}");
    }

    #[test]
    fn a_build_without_device_code_says_how_to_get_it() {
        match (DEVICE_CODE, Image::of(&Options::default())) {
            (Ok(_), found) => assert!(found.is_ok()),
            (Err(_), found) => {
                let error = found.err().unwrap();
                assert!(error.message().contains("toolchain.sh"), "{error}");
                assert!(error.message().contains("`device_code`"), "{error}");
            }
        }
    }
}
