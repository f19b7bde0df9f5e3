//! The simulator is held to its own purpose: each fault that is put between the backend and CANN is named, first and by
//! the rule that it breaks. The faults are those of `conformance/simulators/cann/misuse`.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use mxhal_ascend::{Ascend, Options};
use mxhal_core::op::{GroupedMatmul, Matmul, Quantize};
use mxhal_core::{Buffer, Format, HostBuffer, HostTensor, Layout, Op, Quantization, Result, Weights};
use mxhal_simulated_cann_install::{LIBRARY, Libraries, Variant, install};

use crate::rig::{self, Rig};

/// The library that commits the faults; its name says that it is simulated.
const MISUSED: &str = "libmxhal_simulated_cann_misused.so";

const TABLE: &str = include_str!("../../../../conformance/simulators/cann/misuse/README.md");
const SOURCE: &str = include_str!("../../../../conformance/simulators/cann/misuse/misuse.c");

/// A fault, and how it is named.
struct Misuse {
    fault: &'static str,
    code: &'static str,
    rule: &'static str,
    /// The function that refuses.
    function: &'static str,
}

fn misuses() -> Vec<Misuse> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, fault, _, code, rule, function, _] = cells[..] else {
            panic!("{row} is no row of the table")
        };
        Misuse { fault, code, rule, function }
    })
    .collect()
}

#[test]
fn the_table_has_every_fault_that_can_be_committed() {
    let mut committed: Vec<&str> =
        SOURCE.split("fault(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut tabulated: Vec<&str> = misuses().iter().map(|misuse| misuse.fault).collect();
    committed.sort_unstable();
    tabulated.sort_unstable();
    assert_eq!(committed, tabulated);
    assert!(tabulated.len() >= 20);
}

#[test]
fn each_misuse_is_named_by_the_rule_that_it_breaks() {
    if env::var_os("MXHAL_MISUSE").is_some() {
        tour();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    misused_installation(folder.path());
    let (at, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let misuses = misuses();
    let all: Vec<Option<&Misuse>> = std::iter::once(None).chain(misuses.iter().map(Some)).collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(misuse) = all.get(at.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(asked(folder.path(), *misuse));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the report of a tour with this fault, or with none.
fn asked(installation: &Path, misuse: Option<&Misuse>) -> Option<String> {
    let fault = misuse.map_or("none", |misuse| misuse.fault);
    let report = installation.join(fault);
    let output = Command::new(env::current_exe().unwrap())
        .args(["misuses::each_misuse_is_named_by_the_rule_that_it_breaks", "--exact", "--nocapture"])
        .env("MXHAL_MISUSE", fault)
        .env("MXHAL_SIM_REPORT", &report)
        .env("ASCEND_HOME_PATH", installation)
        .output()
        .unwrap();
    // Whether a thread has a context is asked, and the answer that it has none is no rule broken.
    let report = fs::read_to_string(&report).unwrap_or_default();
    let broken: Vec<&str> = report.lines().filter(|line| !line.contains("aclrtGetCurrentContext")).collect();
    let named = match misuse {
        None => broken.is_empty(),
        Some(Misuse { code, rule, function, .. }) => {
            let wanted = format!("{code} [{rule}] {function}: ");
            broken.first().is_some_and(|line| line.starts_with(&wanted))
        }
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // What a fault does to the process beside that is its own affair.
    let ended_well = misuse.is_some() || output.status.success();
    (!named || !ended_well).then(|| format!("{fault}: {:?}\n{text}", broken.first()))
}

/// An installation whose libraries are those of the simulator, with the faults before them.
fn misused_installation(folder: &Path) {
    install(folder, &rig::LIBRARY, Variant::All, Libraries::Split).unwrap();
    let lib = folder.join("lib64");
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/simulators/cann/misuse/misuse.c");
    let output = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .args([lib.join(MISUSED), source])
        // Cargo's LD_LIBRARY_PATH leads to another copy, and only the old kind of path is looked at before that.
        .args(["-Wl,--no-as-needed", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN", "-L"])
        .arg(&lib)
        .arg(format!("-l:{LIBRARY}"))
        .arg("-ldl")
        .output()
        .expect("a C compiler is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in Libraries::Split.names() {
        fs::remove_file(lib.join(name)).unwrap();
        symlink(MISUSED, lib.join(name)).unwrap();
    }
}

/// Uses much of the backend. What fails is said and passed over, as an engine might.
fn tour() {
    let rig = match Rig::of(&Ascend::new(Options::default())) {
        Ok(rig) => rig,
        Err(error) => return println!("the device is not opened: {error}"),
    };
    let steps = [copies, threads, quantize, product, grouped_product];
    for error in steps.iter().filter_map(|step| step(&rig).err()) {
        println!("{error}");
    }
}

fn copies(rig: &Rig) -> Result<()> {
    let event = rig.device.create_event()?;
    let (from, to) = (Buffer::new(&rig.device, 256)?, Buffer::new(&rig.device, 256)?);
    from.write(&*rig.stream, &[7; 256])?;
    rig.stream.copy_on_device(to.span().address, from.span())?;
    rig.stream.record(&*event)?;
    rig.stream.wait(&*event)?;
    rig.stream.synchronize(None)
}

fn threads(rig: &Rig) -> Result<()> {
    let device = Arc::clone(&rig.device);
    let fill = move || {
        let (buffer, stream) = (Buffer::new(&device, 64)?, device.create_stream()?);
        stream.fill(buffer.span(), 1)?;
        stream.synchronize(None)
    };
    thread::spawn(fill).join().expect("it does not panic")
}

fn zeros(format: Format, shape: &[usize]) -> HostBuffer {
    HostBuffer::zeroed(Layout::contiguous(format, shape).expect("rows of whole blocks"))
}

fn quantize(rig: &Rig) -> Result<()> {
    let op = Quantize { rows: 2, k: 64, input: Format::Bf16, to: ACTIVATION };
    let mut tensors = [Format::Bf16, Format::Mxfp4].map(|format| Some(zeros(format, &[2, 64])));
    rig.try_run(op.into(), 2, &mut tensors, &[])
}

/// W4A4: from BF16 rows to F32, and MXFP4 weights.
fn each() -> Matmul {
    Matmul::mxfp4(4, 6, 128, ACTIVATION)
}

/// By the rule ceil, which CANN carries out.
const ACTIVATION: Quantization = Quantization::new(Format::Mxfp4);

fn weights(rig: &Rig, op: impl Into<Op>) -> Result<Arc<dyn Weights>> {
    let desc = op.into().weights()[0];
    let values = zeros(Format::Mxfp4, &[6, 128]);
    let part = HostTensor::new(values.layout, &values.data, &values.scales, &[])?;
    rig.device.prepare_weights(&desc, &vec![part; desc.groups])
}

fn product(rig: &Rig) -> Result<()> {
    let weights = weights(rig, each())?;
    let mut tensors = [Some(zeros(Format::Bf16, &[4, 128])), None, Some(zeros(Format::F32, &[4, 6]))];
    rig.try_run(each().into(), 4, &mut tensors, &[&*weights])
}

fn grouped_product(rig: &Rig) -> Result<()> {
    let op = GroupedMatmul { each: each(), groups: 2 };
    let weights = weights(rig, op)?;
    let mut counts = zeros(Format::I32, &[2]);
    counts.data[0] = 3;
    counts.data[4] = 1;
    let mut tensors =
        [Some(zeros(Format::Bf16, &[4, 128])), Some(counts), None, Some(zeros(Format::F32, &[4, 6]))];
    rig.try_run(op.into(), 4, &mut tensors, &[&*weights])
}
