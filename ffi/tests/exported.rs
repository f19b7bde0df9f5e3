//! A Rust backend as a library of its own: what `export_backend!` exports, and where its panics go.

#[allow(dead_code, reason = "shared by several tests")]
mod backend;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use backend::{PANICS, Small, WORKSPACE};
use mxhal_core::op::{Operators, Quantize, QuantizeTensors};
use mxhal_core::{Backend, Buffer, Device, Format, Layout, Quantization, Status};
use mxhal_ffi::loader::{self, Policy, WritablePolicy};
use mxhal_ffi::{HostOptions, LogLevel, Plugin, convert, embedded, inspect, layout};

/// Cargo builds it as an example, beside the folder of this test.
fn path() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples/libsmall_plugin.so");
    assert!(built.exists(), "{} is missing; `cargo build --examples` makes it", built.display());
    built
}

fn load(options: &HostOptions) -> Plugin {
    // Whoever built it may be in a group that may write.
    let policy = Policy { writable: WritablePolicy::Warn, sha256: None };
    loader::load(&path(), &policy, options).unwrap()
}

fn quantize(device: &Arc<dyn Device>, rows: usize) -> mxhal_core::Result<()> {
    let op = Quantize { rows, k: 32, input: Format::F32, to: Quantization::new(Format::Mxfp4) };
    let (_input, x) = Buffer::tensor(device, Layout::contiguous(Format::F32, &[rows, 32])?)?;
    let (_output, y) = Buffer::tensor(device, Layout::contiguous(Format::Mxfp4, &[rows, 32])?)?;
    let workspace = Buffer::new(device, WORKSPACE)?;
    let stream = device.create_stream()?;
    device.quantize(op)?.run(&*stream, QuantizeTensors { x, y }, [], workspace.span())
}

#[test]
fn it_exports_what_the_header_asks_for_and_nothing_else() {
    let inspection = inspect::inspect(&path()).unwrap();
    assert_eq!(inspection.exported, ["mxhal_identity", "mxhal_plugin_open"]);
    let identity = inspection.identity.unwrap();
    assert_eq!((&*identity.name, identity.layout_hash), ("small", layout::HASH));
}

#[test]
fn it_works_like_the_embedded_one_and_shares_no_handles_with_it() {
    let (file, linked) = (load(&HostOptions::default()), embedded::<Small>(&HostOptions::default()).unwrap());
    assert_eq!(file.identity(), linked.identity());
    let (one, other) = (file.open_device(0).unwrap(), linked.open_device(0).unwrap());
    assert_eq!(quantize(&one, 3), Ok(()));
    assert_eq!(quantize(&other, 3), Ok(()));
    let mut count = 0_u64;
    let mut total = 0_u64;
    let mut error = convert::empty();
    let function = file.table().memory_info.unwrap();
    // SAFETY: the handle is alive; that it is refused is what this is about.
    let status =
        unsafe { function(Plugin::native_device(&*other).unwrap(), &mut count, &mut total, &mut error) };
    assert_eq!(Status::from_number(status), Some(Status::InvalidArgument));
    assert!(convert::text(&error.message).ends_with("was made by another backend"));
}

#[test]
fn its_panics_go_to_the_log_and_not_to_stderr() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_child_it_panics", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert_eq!(stderr, "");
}

#[test]
#[ignore = "run by the test above, in a process whose stderr can be read"]
fn in_a_child_it_panics() {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&messages);
    let log = move |level: LogLevel, target: &str, message: &str| {
        sink.lock().unwrap().push((level, target.to_owned(), message.to_owned()));
    };
    let plugin = load(&HostOptions { options: Vec::new(), log: Some(Arc::new(log)) });
    let device = plugin.open_device(0).unwrap();
    let error = quantize(&device, PANICS).unwrap_err();
    assert_eq!(error.status(), Status::Internal);
    assert_eq!(error.message(), "the backend panicked: asked to panic with 13 rows");
    let messages = messages.lock().unwrap();
    let [(level, target, message)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((level, &**target), (&LogLevel::Error, "panic"));
    let place = Path::new("backend/mod.rs").display().to_string();
    assert!(message.contains(&place) && message.contains("asked to panic with 13 rows"), "{message}");
}
