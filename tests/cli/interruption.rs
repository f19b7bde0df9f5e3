//! What Ctrl-C leaves behind.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Folder, cargo_build};

#[test]
fn an_interrupted_command_leaves_no_partial_file() {
    let folder = Folder::new();
    // 8 GiB of zeros that take no room on the disk: long enough to be interrupted.
    let rows: u64 = 1 << 19;
    let bytes = rows * 4096 * 4;
    let header = format!(r#"{{"t":{{"dtype":"F32","shape":[{rows},4096],"data_offsets":[0,{bytes}]}}}}"#);
    let mut input = File::create(folder.path("in.safetensors")).unwrap();
    input.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    input.write_all(header.as_bytes()).unwrap();
    input.set_len(8 + header.len() as u64 + bytes).unwrap();
    fs::write(folder.path("q.safetensors"), "what was there").unwrap();

    let mut child = Command::new(env!("CARGO_BIN_EXE_mxhal"))
        .current_dir(folder.0.path())
        .args(["quantize", "--format", "mxfp4", "--input", "in.safetensors", "--output", "q.safetensors"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    wait_until_it_writes(pid);
    let signal = interruption();
    kill_process(pid, signal).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
    assert_eq!(folder.names(), ["in.safetensors", "q.safetensors"]);
    let mut start = [0; 14];
    File::open(folder.path("q.safetensors")).unwrap().read_exact_at(&mut start, 0).unwrap();
    assert_eq!(&start, b"what was there");
}

#[test]
fn an_interrupted_simulation_leaves_no_folder() {
    cargo_build::library("mxhal-simulated-cann", "mxhal_simulated_cann");
    let plugin = cargo_build::library("mxhal-ascend-plugin", "mxhal_ascend");
    for signal in [interruption(), Signal::KILL] {
        let folder = Folder::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mxhal"))
            .current_dir(folder.0.path())
            .env("TMPDIR", folder.0.path())
            .args(["conform", "--simulate", "Ascend950PR_9599", "--plugin", plugin.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let laid_out = || folder.names().iter().any(|name| folder.path(name).join("lib64").is_dir());
        assert!(comes_true(laid_out), "{:?}", folder.names());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
        assert!(comes_true(|| folder.names().is_empty()), "{signal:?} left {:?}", folder.names());
    }
}

/// Ctrl-C; where it is ignored, as shells have it for what they start in the background, what else asks a process to end.
fn interruption() -> Signal {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let is_ignored = u64::from_str_radix(ignored, 16).unwrap() >> (Signal::INT.as_raw() - 1) & 1 == 1;
    if is_ignored { Signal::TERM } else { Signal::INT }
}

/// Waits until the process has a file open that has bytes and no name.
fn wait_until_it_writes(pid: Pid) {
    let descriptors = format!("/proc/{pid}/fd");
    let nameless = |entry: fs::DirEntry| {
        let is_deleted =
            fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)"));
        is_deleted && fs::metadata(entry.path()).is_ok_and(|data| data.is_file() && data.len() > 1 << 20)
    };
    let writes = || fs::read_dir(&descriptors).is_ok_and(|entries| entries.flatten().any(nameless));
    assert!(comes_true(writes), "the command has not begun to write");
}

/// Waits for something, a minute at most.
fn comes_true(holds: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}
