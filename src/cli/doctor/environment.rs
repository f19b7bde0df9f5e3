//! The machine: what a bug report has to name, and the drivers that vendors' backends would need.

use std::fs;
use std::path::Path;

use mxhal::config::BackendConfig;
use mxhal_cann::Search;
use mxhal_ffi::{inspect, layout, sys};
use serde::Serialize;

use super::finding::{Layer, Severity, Subject, tried};

/// What a bug report has to name.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    mxhal: &'static str,
    abi: String,
    layout_hash: String,
    os: String,
    kernel: String,
    glibc: String,
    cpu: String,
    threads: usize,
}

impl Environment {
    /// What can be read of it; `unknown` for the rest.
    pub(super) fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let glibc = inspect::glibc_here().map(|(major, minor)| format!("{major}.{minor}"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned());
        Self {
            mxhal: env!("CARGO_PKG_VERSION"),
            abi: format!("{}.{}", sys::MXHAL_ABI_MAJOR, sys::MXHAL_ABI_MINOR),
            layout_hash: format!("{:#018x}", layout::HASH),
            os: value("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(unknown),
            kernel: kernel.unwrap_or_else(|_| unknown()),
            glibc: glibc.unwrap_or_else(|| "another C library".to_owned()),
            cpu: format!(
                "{} ({})",
                value("/proc/cpuinfo", "model name", ':').unwrap_or_else(unknown),
                std::env::consts::ARCH
            ),
            threads: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }

    /// Names and values, in the order in which they are shown.
    pub(super) fn lines(&self) -> [(&'static str, String); 8] {
        [
            ("mxhal", self.mxhal.to_owned()),
            ("plugin ABI", self.abi.clone()),
            ("layout hash", self.layout_hash.clone()),
            ("system", self.os.clone()),
            ("kernel", self.kernel.clone()),
            ("glibc", self.glibc.clone()),
            ("cpu", self.cpu.clone()),
            ("threads", self.threads.to_string()),
        ]
    }
}

/// The first value of a key in a file of lines `key SEPARATOR value`.
fn value(file: &str, key: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(separator)?;
        (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The drivers of the vendors for whom there are backends: which library is there, or where it was looked for. Absence
/// is a warning if one of the backends would need it.
pub(super) fn drivers(backends: &[BackendConfig]) -> Subject {
    let mut subject = Subject::new("drivers".to_owned());
    let named = |name: &str| backends.iter().find(|backend| backend.name == name);
    let severity = |name: &str| if named(name).is_some() { Severity::Warning } else { Severity::Note };
    match inspect::find_library("libcuda.so.1") {
        Ok(path) => {
            let version = value("/proc/driver/nvidia/version", "NVRM version", ':');
            let version = version.unwrap_or_else(|| "its kernel module is not loaded".to_owned());
            subject.ok(Layer::Drivers, format!("NVIDIA: {}; {version}", path.display()));
        }
        Err(places) => subject.add(
            Layer::Drivers,
            severity("cuda"),
            format!("NVIDIA: no libcuda.so.1; {}", tried(&places)),
            Some("for the backend `cuda`, install NVIDIA's driver; in a container, start it with the GPUs (--gpus all)"),
        ),
    }
    let options = named("ascend").map_or(&[][..], |backend| &backend.options);
    let cann_path = options.iter().find(|(key, _)| key == "cann_path").map(|(_, path)| Path::new(path));
    let candidates = Search::from_environment(cann_path).runtime_candidates();
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => {
            let device = if Path::new("/dev/davinci_manager").exists() { "is there" } else { "is absent" };
            subject.ok(Layer::Drivers, format!("Ascend: {}; /dev/davinci_manager {device}", path.display()));
        }
        None => subject.add(
            Layer::Drivers,
            severity("ascend"),
            format!("Ascend: no CANN runtime; {}", tried(&candidates)),
            Some("for the backend `ascend`, install CANN and source its set_env.sh, or set ASCEND_HOME_PATH"),
        ),
    }
    subject
}
