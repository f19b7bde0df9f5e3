//! Modules: the kernels of an image, compared with those that are emulated.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::{current, expect_current};
use crate::image::{self, Function, Image};
use crate::kernels;
use crate::product::{RESERVED_SHARED_BYTES, SHARED_BYTES};
use crate::refusal::{Answer, Refusal, code, cu, give};
use crate::registry::Registry;
use crate::settings::settings;

pub(crate) static MODULES: Registry<Module> = Registry::new("a module", 4);
pub(crate) static KERNELS: Registry<Kernel> = Registry::new("a function", 8);

/// Attributes of `CUfunction_attribute`.
const MAX_THREADS: c_int = 0;
const SHARED: c_int = 1;
const CONSTANT: c_int = 2;
const LOCAL: c_int = 3;
const REGISTERS: c_int = 4;
const BINARY_VERSION: c_int = 6;
const DYNAMIC_SHARED: c_int = 8;
const NON_PORTABLE_CLUSTER: c_int = 14;

/// A loaded image.
pub(crate) struct Module {
    pub(crate) context: usize,
    image: Image,
}

/// A kernel of a module.
pub(crate) struct Kernel {
    pub(crate) context: usize,
    module: usize,
    pub(crate) function: Function,
    chosen: Mutex<Chosen>,
}

/// What the host set.
#[derive(Clone, Copy)]
pub(crate) struct Chosen {
    /// Bytes of dynamic shared memory that a launch may have.
    pub(crate) dynamic_shared_bytes: u32,
    pub(crate) non_portable_cluster: bool,
}

impl Kernel {
    pub(crate) fn chosen(&self) -> MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel of a handle, whose module is still loaded.
pub(crate) fn kernel_of(handle: *mut c_void) -> Answer<Arc<Kernel>> {
    let kernel = KERNELS.get(handle);
    let kernel = kernel.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("f is {what}")))?;
    expect_current(kernel.context, "f")?;
    if let Err(what) = MODULES.get(kernel.module as *const c_void) {
        let what = format!("f is {}, and {what}", kernel.function.name);
        return Err(Refusal::new(code::INVALID_HANDLE, what));
    }
    Ok(kernel)
}

fn load(module: *mut *mut c_void, image: *const c_void) -> Answer {
    let context = current()?;
    if image.is_null() {
        return Err(Refusal::invalid("image is null"));
    }
    // SAFETY: an image says itself how long it is; the caller has all of it there.
    let image = unsafe { image::read(image.cast(), settings()?.product) }?;
    give(module, "module", MODULES.insert(Module { context: context.handle, image }))
}

/// A kernel by name: in the image, and emulated with the same parameters and clusters.
fn find(module: *mut c_void, name: &str) -> Answer<Function> {
    let found =
        MODULES.get(module).map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hmod is {what}")))?;
    expect_current(found.context, "hmod")?;
    let emulated = kernels::parameters(name)
        .ok_or_else(|| Refusal::new(code::NOT_FOUND, format!("no kernel `{name}` is emulated")))?;
    let cluster = kernels::cluster(name).unwrap_or(1);
    let functions = match &found.image {
        Image::Compiled(functions) => functions,
        Image::StandIn => return Ok(Function::emulated(name, &emulated, cluster)),
    };
    let function = functions.iter().find(|function| function.name == name);
    let function =
        function.ok_or_else(|| Refusal::new(code::NOT_FOUND, format!("the image has no kernel `{name}`")))?;
    let compiled: Vec<u32> = function.parameters.iter().map(|(_, bytes)| *bytes).collect();
    if compiled != emulated {
        let what = format!(
            "`{name}` takes parameters of {compiled:?} bytes in the image and of {emulated:?} emulated: they were made from different sources"
        );
        return Err(Refusal::new(code::INVALID_IMAGE, what));
    }
    let compiled = function.cluster.unwrap_or([1; 3]);
    if compiled != [cluster, 1, 1] {
        let what = format!(
            "`{name}` has clusters of {compiled:?} blocks in the image and of {cluster} along x emulated: __cluster_dims__ and MXHAL_CLUSTER_KERNEL differ"
        );
        return Err(Refusal::new(code::INVALID_IMAGE, what));
    }
    Ok(function.clone())
}

fn set(kernel: &Kernel, attribute: c_int, value: c_int) -> Answer {
    let most = settings()?.product.most_shared_bytes;
    match attribute {
        DYNAMIC_SHARED => {
            let bytes =
                u32::try_from(value).ok().filter(|bytes| bytes + kernel.function.shared_bytes <= most);
            kernel.chosen().dynamic_shared_bytes = bytes.ok_or_else(|| {
                Refusal::invalid(format!(
                    "{value} bytes of dynamic shared memory for {}, which has {} of its own; a block has at most {most}",
                    kernel.function.name, kernel.function.shared_bytes
                ))
            })?;
        }
        NON_PORTABLE_CLUSTER => kernel.chosen().non_portable_cluster = value != 0,
        // Preferences about the L1 cache.
        9 => {}
        _ => return Err(Refusal::invalid(format!("attribute {attribute} is not simulated"))),
    }
    Ok(())
}

fn attribute_of(kernel: &Kernel, attribute: c_int) -> Answer<c_int> {
    let product = settings()?.product;
    let function = &kernel.function;
    let value = match attribute {
        MAX_THREADS => function.most_threads.unwrap_or(1024),
        SHARED => function.shared_bytes,
        CONSTANT | LOCAL => 0,
        REGISTERS => function.registers,
        BINARY_VERSION => product.major * 10 + product.minor,
        DYNAMIC_SHARED => kernel.chosen().dynamic_shared_bytes,
        _ => return Err(Refusal::invalid(format!("attribute {attribute} is not simulated"))),
    };
    Ok(c_int::try_from(value).expect("a small number"))
}

/// Blocks of so many threads and so much shared memory that a multiprocessor has room for.
fn blocks_at_once(kernel: &Kernel, threads: c_int, dynamic: usize) -> Answer<c_int> {
    let product = settings()?.product;
    let threads = u32::try_from(threads).ok().filter(|threads| (1..=1024).contains(threads));
    let threads = threads.ok_or_else(|| Refusal::invalid("blockSize is not between 1 and 1024"))?;
    let number = |attribute| product.attribute(attribute).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let shared = u32::try_from(dynamic).unwrap_or(u32::MAX).saturating_add(kernel.function.shared_bytes);
    if shared > product.most_shared_bytes {
        return Ok(0);
    }
    let by_threads = number(39) / threads.next_multiple_of(32);
    let by_shared = product.shared_bytes / (shared + RESERVED_SHARED_BYTES);
    let by_registers = number(82) / (kernel.function.registers.max(16) * threads.next_multiple_of(32));
    let blocks = by_threads.min(by_shared).min(by_registers).min(number(106));
    Ok(c_int::try_from(blocks).expect("at most 32"))
}

cu! {
    fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) {
        load(module, image)
    }

    /// Options are about compiling PTX, which there is none of.
    fn cuModuleLoadDataEx(module: *mut *mut c_void, image: *const c_void, _count: c_uint, _options: *mut c_int, _values: *mut *mut c_void) {
        load(module, image)
    }

    fn cuModuleLoadFatBinary(module: *mut *mut c_void, image: *const c_void) {
        load(module, image)
    }

    fn cuModuleUnload(module: *mut c_void) {
        let found = MODULES.get(module);
        let found = found.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hmod is {what}")))?;
        expect_current(found.context, "hmod")?;
        for (handle, kernel) in KERNELS.all() {
            if kernel.module == module as usize {
                let _ = KERNELS.remove(handle as *const c_void);
            }
        }
        let _ = MODULES.remove(module);
        Ok(())
    }

    fn cuModuleGetFunction(kernel: *mut *mut c_void, module: *mut c_void, name: *const c_char) {
        if name.is_null() {
            return Err(Refusal::invalid("name is null"));
        }
        // SAFETY: not null; a C string, as the declaration asks.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let function = find(module, &name)?;
        let dynamic_shared_bytes = SHARED_BYTES.saturating_sub(function.shared_bytes);
        let chosen = Mutex::new(Chosen { dynamic_shared_bytes, non_portable_cluster: false });
        let made = Kernel { context: current()?.handle, module: module as usize, function, chosen };
        give(kernel, "hfunc", KERNELS.insert(made))
    }

    fn cuFuncSetAttribute(kernel: *mut c_void, attribute: c_int, value: c_int) {
        set(&*kernel_of(kernel)?, attribute, value)
    }

    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, kernel: *mut c_void) {
        give(value, "pi", attribute_of(&*kernel_of(kernel)?, attribute)?)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut c_int, kernel: *mut c_void, threads: c_int, dynamic: usize) {
        give(blocks, "numBlocks", blocks_at_once(&*kernel_of(kernel)?, threads, dynamic)?)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: *mut c_int, kernel: *mut c_void, threads: c_int, dynamic: usize, _flags: c_uint) {
        give(blocks, "numBlocks", blocks_at_once(&*kernel_of(kernel)?, threads, dynamic)?)
    }
}
