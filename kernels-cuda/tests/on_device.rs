//! `on-device.sh` on a machine that has nothing that it needs: it names what is missing, and that is no success.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// The programs that the script is made of, without those that look at a device or build for one.
const PROGRAMS: [&str; 10] =
    ["bash", "cat", "date", "dirname", "head", "mkdir", "printf", "sed", "tee", "timeout"];

/// Runs the script in a folder, whose `bin` is all that it finds programs in.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let bin = folder.join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        for name in PROGRAMS {
            let place = ["/bin", "/usr/bin"].map(|place| Path::new(place).join(name));
            let program = place.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {name}"));
            symlink(program, bin.join(name)).unwrap();
        }
    }
    Command::new(bin.join("bash"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("on-device.sh"))
        .args(arguments)
        .current_dir(folder)
        .env("PATH", &bin)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("MXHAL_NVCC")
        .env_remove("CUDA_HOME")
        .output()
        .unwrap()
}

#[test]
fn what_is_missing_is_named_and_the_script_says_that_not_everything_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["results"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
    assert!(summary.contains("MISSING: nvcc") && summary.contains("toolchain.sh"), "{summary}");

    let built = folder.path().join("built");
    fs::create_dir(&built).unwrap();
    let output = run(folder.path(), &["--built", "built", "results"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
    for part in ["programs of bench/ are not compiled", "MISSING: a GPU", "built/mxhal", "not everything"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    for program in ["mxhal", "libmxhal_cuda.so"] {
        fs::write(built.join(program), "").unwrap();
    }
    // Without a GPU nothing of them is run.
    let output = run(folder.path(), &["--built", "built", "results"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
    assert!(!summary.contains("built/mxhal") && !summary.contains("WRONG"), "{summary}");
}

#[test]
fn arguments_that_it_does_not_know_are_answered_with_how_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["--built"], &["--fast"], &["one", "two"]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("on-device.sh [--built BUILT] [FOLDER]"), "{said}");
        assert!(said.contains("Ends with status 0") && !said.contains("pipefail"), "{said}");
    }
}
