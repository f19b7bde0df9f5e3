//! A simulated installation, and operators run on it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use mxhal_ascend::{Ascend, Options};
use mxhal_core::op::Role;
use mxhal_core::{
    Backend, Buffer, Device, HostBuffer, HostTensor, Layout, Op, Result, Stream, Tensor, Weights,
    WeightsDesc, buffer,
};
use mxhal_simulated_cann_install::{Libraries, Variant, install};
use tempfile::TempDir;

/// A simulated CANN, which has a file and so a state of its own.
pub(crate) struct Rig {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) stream: Box<dyn Stream>,
    _folder: Option<TempDir>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Variant::All, Libraries::Split, |_| {})
    }

    pub(crate) fn with(variant: Variant, libraries: Libraries, change: impl FnOnce(&mut Options)) -> Self {
        let (backend, folder) = backend(variant, libraries, change);
        let rig = Self::of(&backend).unwrap();
        Self { _folder: Some(folder), ..rig }
    }

    /// The first device of a backend.
    pub(crate) fn of(backend: &Ascend) -> Result<Self> {
        let device = backend.open_device(0)?;
        let stream = device.create_stream()?;
        Ok(Self { device, stream, _folder: None })
    }

    /// Runs an operator with tensors in its order; outputs hold what was given, as they are afterwards.
    pub(crate) fn run(
        &self,
        op: impl Into<Op>,
        rows: usize,
        tensors: &mut [Option<HostBuffer>],
        weights: &[&dyn Weights],
    ) {
        self.try_run(op.into(), rows, tensors, weights).unwrap();
    }

    pub(crate) fn try_run(
        &self,
        op: Op,
        rows: usize,
        tensors: &mut [Option<HostBuffer>],
        weights: &[&dyn Weights],
    ) -> Result<()> {
        run_on(&self.device, &*self.stream, op, rows, tensors, weights)
    }

    pub(crate) fn weights(&self, desc: WeightsDesc, values: &HostBuffer) -> Arc<dyn Weights> {
        let (n, k) = (desc.n, desc.k);
        let layout = Layout::contiguous(desc.format, &[n, k]).unwrap();
        let (data, scales) = (layout.data_bytes(), layout.scales_bytes());
        let parts: Vec<_> = (0..desc.groups)
            .map(|group| {
                let part = |bytes: &'_ [u8], each: usize| -> std::ops::Range<usize> {
                    assert_eq!(bytes.len(), each * desc.groups);
                    group * each..(group + 1) * each
                };
                let elements = &values.data[part(&values.data, data)];
                HostTensor::new(layout, elements, &values.scales[part(&values.scales, scales)], &[]).unwrap()
            })
            .collect();
        self.device.prepare_weights(&desc, &parts).unwrap()
    }
}

/// Runs an operator on a device with tensors in its order; outputs hold what was given, as they are afterwards.
pub(crate) fn run_on(
    device: &Arc<dyn Device>,
    stream: &dyn Stream,
    op: Op,
    rows: usize,
    tensors: &mut [Option<HostBuffer>],
    weights: &[&dyn Weights],
) -> Result<()> {
    let plan = device.prepare(&op)?;
    let mut held = Vec::new();
    let mut views: Vec<Option<Tensor>> = Vec::new();
    for (argument, tensor) in op.arguments().iter().zip(&*tensors) {
        let Some(tensor) = tensor else {
            views.push(None);
            continue;
        };
        assert_eq!(tensor.layout, argument.layout(rows)?, "{}", argument.name);
        let (buffer, view) = Buffer::tensor(device, tensor.layout)?;
        buffer::write(stream, view.data(), &tensor.data)?;
        buffer::write(stream, view.scales(), &tensor.scales)?;
        held.push(buffer);
        views.push(Some(view));
    }
    let workspace = Buffer::new(device, plan.info().workspace_bytes)?;
    plan.run(stream, &views, weights, workspace.span())?;
    stream.synchronize(None)?;
    for ((argument, tensor), view) in op.arguments().iter().zip(tensors).zip(views) {
        if let (Role::Output, Some(tensor), Some(view)) = (argument.role, tensor, view) {
            buffer::read(stream, view.data(), &mut tensor.data)?;
            buffer::read(stream, view.scales(), &mut tensor.scales)?;
        }
    }
    Ok(())
}

/// A backend whose CANN is simulated.
pub(crate) fn backend(
    variant: Variant,
    libraries: Libraries,
    change: impl FnOnce(&mut Options),
) -> (Ascend, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &LIBRARY, variant, libraries).unwrap();
    let mut options = Options::default();
    options.cann_path = Some(folder.path().to_owned());
    options.ids_are_never_skipped = true;
    change(&mut options);
    (Ascend::new(options), folder)
}

/// Runs a test of this name in a process of its own, with these variables for the simulator. The test calls this first;
/// in the child it goes on.
pub(crate) fn in_a_child(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os("MXHAL_TEST_CHILD").is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("MXHAL_TEST_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// Numbers without a pattern, from 0 to 2^32.
pub(crate) fn noise(seed: u32) -> impl Iterator<Item = u32> {
    let mut state = u64::from(seed) << 32 | 0x9e37_79b9;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    })
}

/// The simulator's library, built once in the folder that this test was built in.
pub(crate) static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} is not in a profile's folder", test.display()),
    };
    let status = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--package", "mxhal-simulated-cann", "--profile", profile, "--target-dir"])
        .arg(folder.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    folder.join("libmxhal_simulated_cann.so")
});
