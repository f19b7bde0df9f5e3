//! The simulator as a program meets it: opened by name, called through its C symbols. Each [`Cann`] opens a file of its
//! own, so that each test has a runtime of its own.

use std::env;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use std::sync::{LazyLock, Mutex};

use libloading::Library;
use mxhal_simulated_cann_install::{Libraries, Variant, install};
use tempfile::TempDir;

pub(crate) type Pointer = *mut c_void;

pub(crate) const F32: i32 = 0;
pub(crate) const F16: i32 = 1;
pub(crate) const I32: i32 = 3;
pub(crate) const I64: i32 = 9;
pub(crate) const BF16: i32 = 27;
pub(crate) const E4M3: i32 = 36;
pub(crate) const E8M0: i32 = 37;
pub(crate) const E2M1: i32 = 40;
pub(crate) const ND: i32 = 2;
pub(crate) const NZ: i32 = 29;

/// An opened simulator. Its symbols are called with [`call!`].
pub(crate) struct Cann {
    pub(crate) library: Library,
    pub(crate) folder: TempDir,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    memory: Vec<usize>,
    tensors: Vec<usize>,
    lists: Vec<usize>,
}

/// Calls a C function that gives an `aclError`: each argument with its type.
macro_rules! call {
    ($cann:expr, $name:expr $(, $value:expr => $type:ty)* $(,)?) => {{
        // SAFETY: the types are those of the C declaration; pointers live for the call.
        unsafe {
            let function = $cann.library.get::<unsafe extern "C" fn($($type),*) -> i32>($name.as_bytes());
            function.expect("exported")($($value),*)
        }
    }};
}
pub(crate) use call;

/// The first phase: the status, the workspace that it asks for and the executor.
macro_rules! phase_one {
    ($cann:expr, $name:literal $(, $value:expr => $type:ty)* $(,)?) => {{
        let (mut workspace, mut executor) = (0_u64, std::ptr::null_mut::<std::ffi::c_void>());
        let status = call!(
            $cann, concat!($name, "GetWorkspaceSize") $(, $value => $type)*,
            &mut workspace => *mut u64, &mut executor => *mut $crate::support::Pointer
        );
        (status, workspace, executor)
    }};
}
pub(crate) use phase_one;

/// Both phases on the default stream, and the synchronisation.
macro_rules! run {
    ($cann:expr, $name:literal $(, $value:expr => $type:ty)* $(,)?) => {{
        let (status, size, executor) = phase_one!($cann, $name $(, $value => $type)*);
        assert_eq!(status, 0, "{:?}", $cann.message());
        let workspace = $cann.malloc(size as usize);
        let status = call!(
            $cann, $name, workspace => $crate::support::Pointer, size => u64, executor => $crate::support::Pointer,
            std::ptr::null_mut() => $crate::support::Pointer
        );
        assert_eq!(status, 0, "{:?}", $cann.message());
        call!($cann, "aclrtSynchronizeStream", std::ptr::null_mut() => $crate::support::Pointer)
    }};
}
pub(crate) use run;

impl Cann {
    /// Opened, not initialised.
    pub(crate) fn open(variant: Variant, libraries: Libraries) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        install(folder.path(), &LIBRARY, variant, libraries).expect("the library was just built");
        let name = folder.path().join("lib64").join(libraries.names()[0]);
        // SAFETY: our own library, whose initialisers do nothing.
        let library = unsafe { Library::new(&name) }.expect("the link leads to the library");
        Self { library, folder, live: Mutex::default() }
    }

    /// Initialised, with device 0 set.
    pub(crate) fn start() -> Self {
        let cann = Self::open(Variant::All, Libraries::Split);
        assert_eq!(call!(cann, "aclInit", ptr::null() => *const c_char), 0, "{:?}", cann.message());
        assert_eq!(call!(cann, "aclrtSetDevice", 0 => i32), 0, "{:?}", cann.message());
        cann
    }

    /// Destroys what was made through this and ends; nothing may be left over.
    pub(crate) fn finish(self) {
        let live = std::mem::take(&mut *self.live.lock().expect("no test panics with it held"));
        for list in live.lists {
            assert_eq!(
                call!(self, "aclDestroyTensorList", list as Pointer => Pointer),
                0,
                "{:?}",
                self.message()
            );
        }
        for tensor in live.tensors {
            assert_eq!(
                call!(self, "aclDestroyTensor", tensor as Pointer => Pointer),
                0,
                "{:?}",
                self.message()
            );
        }
        for memory in live.memory {
            assert_eq!(call!(self, "aclrtFree", memory as Pointer => Pointer), 0, "{:?}", self.message());
        }
        assert_eq!(call!(self, "aclrtResetDevice", 0 => i32), 0, "{:?}", self.message());
        assert_eq!(call!(self, "aclFinalize"), 0, "{:?}", self.message());
    }

    pub(crate) fn has(&self, symbol: &str) -> bool {
        // SAFETY: the symbol is not used.
        unsafe { self.library.get::<Pointer>(symbol.as_bytes()) }.is_ok()
    }

    /// What `aclGetRecentErrMsg` gives.
    pub(crate) fn message(&self) -> Option<String> {
        // SAFETY: declared so; the text is valid until the next message is asked for on this thread.
        unsafe {
            let get = self.library.get::<unsafe extern "C" fn() -> *const c_char>("aclGetRecentErrMsg");
            let text = get.expect("exported")();
            (!text.is_null()).then(|| CStr::from_ptr(text).to_str().expect("UTF-8").to_owned())
        }
    }

    /// That a call was refused with the code, under the rule, naming the argument.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, code: i32, rule: &str, names: &str) {
        let message = self.message().unwrap_or_default();
        assert_eq!(status, code, "{message}");
        assert!(message.starts_with(&format!("[{rule}] ")), "{message}, expected [{rule}]");
        assert!(message.contains(names), "{message}, expected {names}");
    }

    pub(crate) fn malloc(&self, size: usize) -> Pointer {
        let mut pointer = ptr::null_mut();
        if size > 0 {
            let status = call!(self, "aclrtMalloc", &mut pointer => *mut Pointer, size => usize, 0 => i32);
            assert_eq!(status, 0, "{:?}", self.message());
            self.live.lock().expect("no test panics with it held").memory.push(pointer as usize);
        }
        pointer
    }

    /// One that was not run, or may be run again.
    pub(crate) fn destroy_executor(&self, executor: Pointer) {
        for function in ["aclSetAclOpExecutorRepeatable", "aclDestroyAclOpExecutor"] {
            assert_eq!(call!(self, function, executor => Pointer), 0, "{:?}", self.message());
        }
    }

    /// Leaves the destruction of an object, or the free of memory, to the test.
    pub(crate) fn forget(&self, object: Pointer) {
        let mut live = self.live.lock().expect("no test panics with it held");
        let Live { memory, tensors, lists } = &mut *live;
        for objects in [memory, tensors, lists] {
            objects.retain(|one| *one != object as usize);
        }
    }

    pub(crate) fn upload(&self, bytes: &[u8]) -> Pointer {
        let pointer = self.malloc(bytes.len());
        let (to, from) = ((pointer, bytes.len()), bytes.as_ptr());
        let status = call!(
            self, "aclrtMemcpy", to.0 => Pointer, to.1 => usize, from.cast() => *const c_void, bytes.len() => usize, 1 => i32
        );
        assert_eq!(status, 0, "{:?}", self.message());
        pointer
    }

    pub(crate) fn download(&self, pointer: Pointer, len: usize) -> Vec<u8> {
        let mut bytes = vec![0_u8; len];
        let to: Pointer = bytes.as_mut_ptr().cast();
        let status = call!(
            self, "aclrtMemcpy", to => Pointer, len => usize, pointer.cast_const() => *const c_void, len => usize, 2 => i32
        );
        assert_eq!(status, 0, "{:?}", self.message());
        bytes
    }

    pub(crate) fn download_f32(&self, pointer: Pointer, len: usize) -> Vec<f32> {
        let bytes = self.download(pointer, 4 * len);
        bytes.chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().expect("4 bytes"))).collect()
    }

    pub(crate) fn download_i32(&self, pointer: Pointer, len: usize) -> Vec<i32> {
        let bytes = self.download(pointer, 4 * len);
        bytes.chunks(4).map(|chunk| i32::from_le_bytes(chunk.try_into().expect("4 bytes"))).collect()
    }

    pub(crate) fn download_i64(&self, pointer: Pointer, len: usize) -> Vec<i64> {
        let bytes = self.download(pointer, 8 * len);
        bytes.chunks(8).map(|chunk| i64::from_le_bytes(chunk.try_into().expect("8 bytes"))).collect()
    }

    /// A contiguous tensor.
    pub(crate) fn tensor(&self, shape: &[i64], element: i32, data: Pointer) -> Pointer {
        self.view(shape, None, element, ND, shape, data)
    }

    /// A tensor of bytes that are uploaded.
    pub(crate) fn tensor_of(&self, shape: &[i64], element: i32, bytes: &[u8]) -> Pointer {
        self.tensor(shape, element, self.upload(bytes))
    }

    pub(crate) fn view(
        &self,
        shape: &[i64],
        strides: Option<&[i64]>,
        element: i32,
        format: i32,
        storage: &[i64],
        data: Pointer,
    ) -> Pointer {
        let tensor = self.try_view(shape, strides, element, format, storage, data);
        assert!(!tensor.is_null(), "{:?}", self.message());
        self.live.lock().expect("no test panics with it held").tensors.push(tensor as usize);
        tensor
    }

    /// Null where `aclCreateTensor` refuses.
    pub(crate) fn try_view(
        &self,
        shape: &[i64],
        strides: Option<&[i64]>,
        element: i32,
        format: i32,
        storage: &[i64],
        data: Pointer,
    ) -> Pointer {
        type Create = unsafe extern "C" fn(
            *const i64,
            u64,
            i32,
            *const i64,
            i64,
            i32,
            *const i64,
            u64,
            Pointer,
        ) -> Pointer;
        let strides = strides.map_or(ptr::null(), <[i64]>::as_ptr);
        let (rank, stored) = (shape.len() as u64, storage.len() as u64);
        // SAFETY: declared so; the arrays live for the call.
        unsafe {
            let create = self.library.get::<Create>("aclCreateTensor").expect("exported");
            create(shape.as_ptr(), rank, element, strides, 0, format, storage.as_ptr(), stored, data)
        }
    }

    /// A list that owns the tensors.
    pub(crate) fn list(&self, tensors: &[Pointer]) -> Pointer {
        // SAFETY: declared so; the array lives for the call.
        let list = unsafe {
            let create = self
                .library
                .get::<unsafe extern "C" fn(*const Pointer, u64) -> Pointer>("aclCreateTensorList");
            create.expect("exported")(tensors.as_ptr(), tensors.len() as u64)
        };
        assert!(!list.is_null(), "{:?}", self.message());
        let mut live = self.live.lock().expect("no test panics with it held");
        live.tensors.retain(|tensor| !tensors.contains(&(*tensor as Pointer)));
        live.lists.push(list as usize);
        list
    }

    pub(crate) fn stream(&self) -> Pointer {
        let mut stream = ptr::null_mut();
        assert_eq!(call!(self, "aclrtCreateStream", &mut stream => *mut Pointer), 0, "{:?}", self.message());
        stream
    }
}

pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn i32_bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn i64_bytes(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Values that are repeated from run to run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }

    /// Scale bytes near that of 1.
    pub(crate) fn scales(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| 124 + (self.next() >> 30) as u8 % 7).collect()
    }
}

/// Whether this process is the child of [`in_child`]; then the test does its work.
pub(crate) fn is_child() -> bool {
    env::var_os("MXHAL_SIM_CHILD").is_some()
}

/// Runs the named test of this file again in a process with this environment.
pub(crate) fn in_child(test: &str, environment: &[(&str, &str)]) -> std::process::Output {
    let mut command = Command::new(env::current_exe().expect("a test runs from a file"));
    command.args(["--exact", test, "--nocapture"]).env("MXHAL_SIM_CHILD", "1");
    command.envs(environment.iter().copied());
    command.output().expect("the test's own file can be run")
}

/// As [`in_child`]; the test must pass there.
#[track_caller]
pub(crate) fn passes_in_child(test: &str, environment: &[(&str, &str)]) {
    let output = in_child(test, environment);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{test} is not a test of this file"
    );
}

/// The simulator's library, built once, as this test was.
pub(crate) static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    // target/PROFILE/deps/test: the same profile in the same folder shares what is compiled already.
    let test = env::current_exe().expect("a test runs from a file");
    let profile_folder = test.ancestors().nth(2).expect("a test lies in a profile's folder");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()).expect("cargo names it") {
        "debug" => "dev",
        other => other,
    };
    let output = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args([
            "build",
            "--package",
            "mxhal-simulated-cann",
            "--profile",
            profile,
            "--message-format",
            "json",
        ])
        .arg("--target-dir")
        .arg(profile_folder.parent().expect("a profile's folder lies in the target folder"))
        .output()
        .expect("cargo runs this test, so it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "mxhal_simulated_cann")
        .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .expect("cargo built the library")
});
