//! A simulated driver, and operators run on it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use mxhal_core::op::Role;
use mxhal_core::{
    Backend, Buffer, Device, HostBuffer, HostTensor, Layout, Op, Plan, Stream, Tensor, Weights, WeightsDesc,
    buffer,
};
use mxhal_cuda::{Cuda, Options};
use mxhal_simulated_cuda_install::{LIBRARY, STAND_IN, install};

/// Where the child finds the file that stands in for device code.
const CODE: &str = "MXHAL_TEST_DEVICE_CODE";

/// Runs a test of this name in a process that finds a driver of this product, with these variables for it. The test calls
/// this first; in the child it goes on.
pub(crate) fn under(product: &str, test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(CODE).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    let environment = install(folder.path(), &DRIVER, product).unwrap();
    let report = folder.path().join("report");
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .envs(environment)
        .env("MXHAL_SIM_REPORT", &report)
        .env(CODE, folder.path().join(STAND_IN))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr, std::fs::read(&report).unwrap_or_default()].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// The backend as a test is to have it, with the stand-in for device code.
pub(crate) fn cuda(change: impl FnOnce(&mut Options)) -> Cuda {
    let mut options = Options::default();
    options.device_code = env::var_os(CODE).map(PathBuf::from);
    change(&mut options);
    Cuda::new(options)
}

/// A device and a stream.
pub(crate) struct Rig {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) stream: Box<dyn Stream>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let device = cuda(change).open_device(0).unwrap();
        let stream = device.create_stream().unwrap();
        Self { device, stream }
    }

    /// Tensors in device memory, in the operator's order, each with a copy of what was given.
    pub(crate) fn bind(&self, op: impl Into<Op>, tensors: &[Option<HostBuffer>]) -> Bound {
        let op = op.into();
        let plan = self.device.prepare(&op).unwrap();
        let mut bound = Bound {
            workspace: Buffer::new(&self.device, plan.info().workspace_bytes).unwrap(),
            plan,
            buffers: Vec::new(),
            views: Vec::new(),
        };
        assert_eq!(op.arguments().len(), tensors.len());
        for tensor in tensors {
            let Some(tensor) = tensor else {
                bound.views.push(None);
                continue;
            };
            let (memory, view) = Buffer::tensor(&self.device, tensor.layout).unwrap();
            buffer::write(&*self.stream, view.data(), &tensor.data).unwrap();
            buffer::write(&*self.stream, view.scales(), &tensor.scales).unwrap();
            buffer::write(&*self.stream, view.factors(), &tensor.factors).unwrap();
            bound.buffers.push(memory);
            bound.views.push(Some(view));
        }
        bound
    }

    /// Runs an operator with tensors in its order; outputs hold what was given, as they are afterwards.
    pub(crate) fn run(
        &self,
        op: impl Into<Op>,
        tensors: &mut [Option<HostBuffer>],
        weights: &[&dyn Weights],
    ) {
        let op = op.into();
        let bound = self.bind(op, tensors);
        bound.run(&*self.stream, weights).unwrap();
        self.stream.synchronize(None).unwrap();
        for (place, argument) in op.arguments().iter().enumerate() {
            if let (Role::Output, Some(tensor)) = (argument.role, &mut tensors[place]) {
                *tensor = self.read(&bound, place);
            }
        }
    }

    /// The tensor at a place, as it is now.
    pub(crate) fn read(&self, bound: &Bound, place: usize) -> HostBuffer {
        let view = bound.views[place].unwrap();
        let mut tensor = HostBuffer::zeroed(*view.layout());
        buffer::read(&*self.stream, view.data(), &mut tensor.data).unwrap();
        buffer::read(&*self.stream, view.scales(), &mut tensor.scales).unwrap();
        buffer::read(&*self.stream, view.factors(), &mut tensor.factors).unwrap();
        tensor
    }

    pub(crate) fn weights(&self, desc: WeightsDesc, values: &HostBuffer) -> Arc<dyn Weights> {
        let layout = Layout::contiguous(desc.format, &[desc.n, desc.k]).unwrap();
        let part = |bytes: &'_ [u8], each: usize, group: usize| bytes[group * each..][..each].to_vec();
        let groups: Vec<[Vec<u8>; 3]> = (0..desc.groups)
            .map(|group| {
                [
                    part(&values.data, layout.data_bytes(), group),
                    part(&values.scales, layout.scales_bytes(), group),
                    part(&values.factors, layout.factors_bytes(), group),
                ]
            })
            .collect();
        let parts: Vec<_> = groups
            .iter()
            .map(|[data, scales, factors]| HostTensor::new(layout, data, scales, factors).unwrap())
            .collect();
        self.device.prepare_weights(&desc, &parts).unwrap()
    }
}

/// A plan with its tensors.
pub(crate) struct Bound {
    plan: Box<dyn Plan>,
    pub(crate) views: Vec<Option<Tensor>>,
    workspace: Buffer,
    /// What the views are of.
    buffers: Vec<Buffer>,
}

impl Bound {
    pub(crate) fn run(&self, stream: &dyn Stream, weights: &[&dyn Weights]) -> mxhal_core::Result<()> {
        assert_eq!(self.buffers.len(), self.views.iter().flatten().count());
        self.plan.run(stream, &self.views, weights, self.workspace.span())
    }
}

/// Numbers without a pattern, from 0 to 2^32.
pub(crate) fn noise(seed: u32) -> impl Iterator<Item = u32> {
    let mut state = u64::from(seed) << 32 | 0x9e37_79b9;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    })
}

/// The driver's library, built once in the folder that this test was built in.
static DRIVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} is not in a profile's folder", test.display()),
    };
    let status = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--package", "mxhal-simulated-cuda", "--profile", profile, "--target-dir"])
        .arg(folder.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    folder.join(LIBRARY)
});
