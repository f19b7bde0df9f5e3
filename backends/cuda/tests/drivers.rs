//! Drivers that cannot be used, each a library of a few lines: what the backend says of them.
//!
//! A driver is looked for once in a process, so that each test runs in one of its own.

use std::env;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use mxhal_core::{Backend, Error, Status};
use mxhal_cuda::{Cuda, Options};

/// Functions of the driver that are called before anything works.
const FIRST: &str = "
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuInit(unsigned flags) { (void)flags; return INIT; }
int cuGetErrorName(int error, const char **text) { (void)error; *text = \"CUDA_ERROR_SOME\"; return 0; }
int cuGetErrorString(int error, const char **text) { (void)error; *text = \"some error\"; return 0; }
";

/// A device of some architecture, as far as it is asked for that.
const DEVICE: &str = "
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
  (void)device; if (size > 4) { name[0] = 'L'; name[1] = '4'; name[2] = 0; } return 0;
}
int cuDeviceGetAttribute(int *value, int which, int device) {
  (void)device; *value = which == 75 ? MAJOR : which == 76 ? MINOR : 0; return 0;
}
";

/// What else the backend wants to be there.
const REST: &[&str] = &[
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuLaunchKernel",
    "cuMemAllocFromPoolAsync",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemcpy2DAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamQuery",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuTensorMapEncodeTiled",
];

/// Runs a test of this name in a process that finds this driver. The test calls this first; in the child it goes on.
fn under(test: &str, driver: &str) -> bool {
    if env::var_os("MXHAL_TEST_CHILD").is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), driver);
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("MXHAL_TEST_CHILD", "1")
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn compile(folder: &Path, driver: &str) {
    let (source, library) = (folder.join("driver.c"), folder.join("libcuda.so"));
    std::fs::write(&source, driver).unwrap();
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let answer =
        Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
}

fn driver(version: u32, init: u32) -> String {
    FIRST.replace("VERSION", &version.to_string()).replace("INIT", &init.to_string())
}

/// A driver that is whole and starts with this answer, with a device of this compute capability.
fn whole(init: u32, (major, minor): (u32, u32)) -> String {
    let device = DEVICE.replace("MAJOR", &major.to_string()).replace("MINOR", &minor.to_string());
    let mut text = driver(13_000, init) + &device;
    for name in REST {
        writeln!(text, "int {name}(void) {{ return 0; }}").unwrap();
    }
    text
}

fn cuda() -> Cuda {
    Cuda::new(Options::default())
}

fn assert_unavailable(error: &Error, parts: &[&str]) {
    assert_eq!(error.status(), Status::Unavailable, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

#[test]
fn an_older_driver_is_told_by_its_version_though_it_lacks_functions() {
    if under("an_older_driver_is_told_by_its_version_though_it_lacks_functions", &driver(12_040, 0)) {
        let error = cuda().device_count().unwrap_err();
        assert_unavailable(&error, &["CUDA 12.4", "CUDA 13.0", "release 580"]);
    }
}

#[test]
fn a_driver_that_lacks_functions_is_told_their_names() {
    if under("a_driver_that_lacks_functions_is_told_their_names", &driver(13_000, 0)) {
        let error = cuda().device_count().unwrap_err();
        assert_unavailable(&error, &["cuCtxPopCurrent_v2", "cuDeviceGet", "580"]);
    }
}

#[test]
fn a_driver_that_does_not_start_is_told_with_its_number() {
    let test = "a_driver_that_does_not_start_is_told_with_its_number";
    if under(test, &whole(803, (9, 0))) {
        let error = cuda().device_count().unwrap_err();
        assert_unavailable(&error, &["cuInit", "(803)", "kernel module"]);
        assert_eq!(error.vendor_code(), 803);
    }
}

#[test]
fn a_number_that_cuda_13_0_does_not_know_is_told_as_it_is() {
    let test = "a_number_that_cuda_13_0_does_not_know_is_told_as_it_is";
    // As a driver names what it does not know either.
    let text = whole(4321, (9, 0))
        .replace("*text = \"CUDA_ERROR_SOME\"; return 0;", "*text = 0; return 1;")
        .replace("*text = \"some error\"; return 0;", "*text = 0; return 1;");
    if under(test, &text) {
        let error = cuda().device_count().unwrap_err();
        assert_unavailable(&error, &["cuInit", "an error without a name (4321)"]);
        assert_eq!(error.vendor_code(), 4321);
    }
}

#[test]
fn a_driver_without_devices_has_none() {
    let test = "a_driver_without_devices_has_none";
    if under(test, &whole(100, (9, 0))) {
        assert_eq!(cuda().device_count(), Ok(0));
        let error = cuda().open_device(0).err().unwrap();
        assert!(error.message().contains("has 0 devices"), "{error}");
    }
}

#[test]
fn another_architecture_is_told_with_those_that_there_are_kernels_for() {
    if under("another_architecture_is_told_with_those_that_there_are_kernels_for", &whole(0, (8, 9))) {
        assert_eq!(cuda().device_count(), Ok(1));
        let error = cuda().open_device(0).err().unwrap();
        assert_unavailable(&error, &["L4", "8.9", "9.0 (Hopper)", "12.1"]);
    }
}

#[test]
fn device_code_that_is_not_there_is_told() {
    if under("device_code_that_is_not_there_is_told", &whole(0, (12, 0))) {
        let mut options = Options::default();
        options.device_code = Some("/nowhere/kernels.fatbin".into());
        let error = Cuda::new(options).open_device(0).err().unwrap();
        assert_unavailable(&error, &["device_code", "/nowhere/kernels.fatbin"]);
    }
}
