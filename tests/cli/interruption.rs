//! What Ctrl-C leaves behind.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Folder;

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
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert_eq!(folder.names(), ["in.safetensors", "q.safetensors"]);
    let mut start = [0; 14];
    File::open(folder.path("q.safetensors")).unwrap().read_exact_at(&mut start, 0).unwrap();
    assert_eq!(&start, b"what was there");
}

/// Waits until the process has a file open that has bytes and no name.
fn wait_until_it_writes(pid: Pid) {
    let begin = Instant::now();
    let descriptors = format!("/proc/{pid}/fd");
    while begin.elapsed() < Duration::from_secs(60) {
        let nameless = |entry: fs::DirEntry| {
            let is_deleted =
                fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)"));
            is_deleted && fs::metadata(entry.path()).is_ok_and(|data| data.is_file() && data.len() > 1 << 20)
        };
        if fs::read_dir(&descriptors).is_ok_and(|entries| entries.flatten().any(nameless)) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("the command has not begun to write");
}
