//! The simulator as a program meets it: opened by name, called through its C symbols. Each [`Cuda`] opens a file of its own,
//! so that each test has a driver of its own.

use std::env;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;
use std::sync::LazyLock;

use libloading::Library;
use mxhal_kernels_cuda::parameters::CombineParameters;
use mxhal_simulated_cuda_install::{LIBRARY, STAND_IN, install};
use tempfile::TempDir;

pub(crate) type Pointer = *mut c_void;

/// Calls a function of the driver: each argument with its type.
macro_rules! call {
    ($cuda:expr, $name:literal $(, $value:expr => $type:ty)* $(,)?) => {{
        // SAFETY: the types are those of the C declaration; pointers live for the call.
        unsafe {
            let function = $cuda.library.get::<unsafe extern "C" fn($($type),*) -> i32>($name.as_bytes());
            function.expect("exported")($($value),*)
        }
    }};
}
pub(crate) use call;

/// An opened driver whose context is current on the thread.
pub(crate) struct Cuda {
    pub(crate) library: Library,
    folder: TempDir,
}

impl Cuda {
    /// Opened, not initialised, as the architecture that the environment names.
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("driver.so");
        fs::copy(&*DRIVER, &copy).expect("the driver was just built");
        let product = env::var("MXHAL_SIM_ARCH").unwrap_or_else(|_| "sm_120".to_owned());
        install(folder.path(), &copy, &product).expect("an empty folder");
        // SAFETY: our own library, whose initialisers do nothing.
        let library =
            unsafe { Library::new(folder.path().join("libcuda.so.1")) }.expect("the link leads there");
        Self { library, folder }
    }

    /// Initialised, with the context of device 0 current.
    pub(crate) fn start() -> Self {
        let cuda = Self::open();
        assert_eq!(call!(cuda, "cuInit", 0 => u32), 0);
        cuda.make_current();
        cuda
    }

    pub(crate) fn make_current(&self) -> Pointer {
        let mut context = ptr::null_mut();
        assert_eq!(call!(self, "cuDevicePrimaryCtxRetain", &mut context => *mut Pointer, 0 => i32), 0);
        assert_eq!(call!(self, "cuCtxSetCurrent", context => Pointer), 0);
        context
    }

    pub(crate) fn alloc(&self, bytes: usize) -> u64 {
        let mut address = 0;
        assert_eq!(call!(self, "cuMemAlloc_v2", &mut address => *mut u64, bytes => usize), 0);
        address
    }

    pub(crate) fn copy<T: Copy>(&self, values: &[T]) -> u64 {
        let bytes = size_of_val(values);
        let address = self.alloc(bytes);
        let from = values.as_ptr().cast();
        assert_eq!(call!(self, "cuMemcpyHtoD_v2", address => u64, from => *const c_void, bytes => usize), 0);
        address
    }

    pub(crate) fn read<T: Copy + Default>(&self, address: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        let bytes = size_of_val(&values[..]);
        let to = values.as_mut_ptr().cast();
        assert_eq!(call!(self, "cuMemcpyDtoH_v2", to => Pointer, address => u64, bytes => usize), 0);
        values
    }

    /// A stream that does not wait for the legacy one.
    pub(crate) fn stream(&self) -> Pointer {
        let mut stream = ptr::null_mut();
        assert_eq!(call!(self, "cuStreamCreate", &mut stream => *mut Pointer, 1 => u32), 0);
        stream
    }

    pub(crate) fn event(&self) -> Pointer {
        let mut event = ptr::null_mut();
        assert_eq!(call!(self, "cuEventCreate", &mut event => *mut Pointer, 0 => u32), 0);
        event
    }

    /// The stand-in image's bytes.
    pub(crate) fn image(&self) -> Vec<u8> {
        fs::read(self.folder.path().join(STAND_IN)).expect("the installation has one")
    }

    pub(crate) fn load(&self, image: &[u8]) -> Result<Pointer, i32> {
        let mut module = ptr::null_mut();
        let image = image.as_ptr().cast();
        match call!(self, "cuModuleLoadData", &mut module => *mut Pointer, image => *const c_void) {
            0 => Ok(module),
            code => Err(code),
        }
    }

    pub(crate) fn function(&self, name: &str) -> Pointer {
        let module = self.load(&self.image()).expect("made for this architecture");
        let (mut function, name) = (ptr::null_mut(), CString::new(name).expect("no zero"));
        let status = call!(
            self, "cuModuleGetFunction", &mut function => *mut Pointer, module => Pointer,
            name.as_ptr() => *const c_char
        );
        assert_eq!(status, 0);
        function
    }

    pub(crate) fn launch<P>(
        &self,
        function: Pointer,
        grid: u32,
        threads: u32,
        stream: Pointer,
        parameters: &mut P,
    ) -> i32 {
        let mut addresses = [ptr::from_mut(parameters).cast::<c_void>()];
        call!(
            self, "cuLaunchKernel", function => Pointer, grid => u32, 1 => u32, 1 => u32, threads => u32, 1 => u32,
            1 => u32, 0 => u32, stream => Pointer, addresses.as_mut_ptr() => *mut Pointer, ptr::null_mut() => *mut Pointer
        )
    }

    pub(crate) fn synchronise(&self, stream: Pointer) -> i32 {
        call!(self, "cuStreamSynchronize", stream => Pointer)
    }

    pub(crate) fn name_of(&self, code: i32) -> String {
        let mut text = ptr::null();
        assert_eq!(call!(self, "cuGetErrorName", code => i32, &mut text => *mut *const c_char), 0);
        // SAFETY: the driver's own text.
        unsafe { CStr::from_ptr(text) }.to_str().expect("ASCII").to_owned()
    }
}

/// `combine` of one row a token, all of F32: `y[i] = x[i]`, by eight threads for 64 values.
pub(crate) fn copying(x: u64, positions: u64, y: u64, tokens: u32) -> CombineParameters {
    CombineParameters {
        rows: x,
        positions,
        y,
        tokens,
        columns: 64,
        top_k: 1,
        input: 1,
        addend_format: 1,
        output: 1,
        ..CombineParameters::default()
    }
}

/// Runs a test of this name in a process of its own, with these variables. The test calls this first; in the child it goes
/// on, and in the parent it gets what the child said.
pub(crate) fn in_a_child(test: &str, variables: &[(&str, &str)]) -> Option<Output> {
    if env::var_os("MXHAL_TEST_CHILD").is_some() {
        return None;
    }
    let output = Command::new(env::current_exe().expect("a test"))
        .args([test, "--exact", "--nocapture"])
        .env("MXHAL_TEST_CHILD", "1")
        .envs(variables.iter().copied())
        .output();
    Some(output.expect("it runs"))
}

/// What a child that passed said.
pub(crate) fn passed(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    text
}

/// The driver, built once in the folder that this test was built in.
static DRIVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().expect("a test");
    let folder = test.ancestors().nth(2).expect("in deps");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} is not in a profile's folder", test.display()),
    };
    let status = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--package", "mxhal-simulated-cuda", "--profile", profile, "--target-dir"])
        .arg(folder.parent().expect("in the target folder"))
        .status();
    assert!(status.expect("cargo runs").success());
    folder.join(LIBRARY)
});
