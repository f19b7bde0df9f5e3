//! `on-device.sh` on a machine that has nothing that it needs, where it names what is missing, and that is no success; and
//! what it asks of which device, on one that pretends to have it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

/// The programs that the script is made of, without those that look at a device or build for one.
const PROGRAMS: [&str; 11] =
    ["bash", "cat", "chmod", "date", "dirname", "head", "mkdir", "printf", "sed", "tee", "timeout"];

/// Runs the script in a folder, whose `bin` is all that it finds programs in.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let bin = folder.join("bin");
    if !bin.join("bash").exists() {
        fs::create_dir_all(&bin).unwrap();
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

/// A script in the folder, which may be run.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("it is below the folder")).unwrap();
    fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder with a device of this compute capability, and an nvcc whose programs end with this status.
fn with_device(capability: &str, status: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "bin/nvidia-smi", &format!("echo {capability}"));
    let nvcc = format!(
        r#"
        if [ "$1" = --version ]; then echo release 13.0; exit; fi
        echo "$@" >>compiled
        if [[ "$*" == *-lcublas* && -e no-cublas ]]; then exit 1; fi
        while [ "$1" != -o ]; do shift; done
        printf '#!/usr/bin/env bash\nexit {status}\n' >"$2"
        chmod +x "$2"
        "#
    );
    program(folder.path(), "bin/nvcc", &nvcc);
    program(folder.path(), "built/mxhal", "exit 0");
    program(folder.path(), "built/libmxhal_cuda.so", "");
    folder
}

#[test]
fn every_device_is_asked_for_tiles_and_hopper_for_its_fragments() {
    for (capability, target, has_fragments) in
        [("9.0", "90a", true), ("10.0", "100f", false), ("10.3", "100f", false), ("12.0", "120f", false)]
    {
        let folder = with_device(capability, 0);
        let output = run(folder.path(), &["--built", "built", "results"]);
        let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
        // Of what is not pretended the results are missing.
        assert_eq!(output.status.code(), Some(3), "{capability}: {summary}");
        for name in ["tiles", "ceilings", "devices", "conform"] {
            assert!(summary.contains(&format!("ok: {name}")), "{capability}, {name}: {summary}");
        }
        assert_eq!(summary.contains("ok: fragments"), has_fragments, "{capability}: {summary}");
        assert_eq!(!summary.contains("MISSING: the fragment maps"), has_fragments, "{capability}: {summary}");
        let compiled = fs::read_to_string(folder.path().join("compiled")).unwrap();
        for line in compiled.lines() {
            assert!(line.contains(&format!("arch=compute_{target},code=sm_{target}")), "{line}");
        }
        assert_eq!(compiled.lines().count(), if has_fragments { 3 } else { 2 }, "{compiled}");
    }
}

#[test]
fn without_cublas_a_copy_is_measured_all_the_same() {
    let folder = with_device("9.0", 0);
    fs::write(folder.path().join("no-cublas"), "").unwrap();
    let output = run(folder.path(), &["--built", "built", "results"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
    for part in ["MISSING: ceilings with -lcublas", "ok: ceilings", "ok: tiles"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let compiled = fs::read_to_string(folder.path().join("compiled")).unwrap();
    assert!(compiled.lines().last().unwrap().contains("ceilings.cu -DWITHOUT_CUBLAS"), "{compiled}");
}

#[test]
fn a_device_that_answers_otherwise_is_wrong() {
    let folder = with_device("9.0", 1);
    let output = run(folder.path(), &["--built", "built", "results"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let summary = fs::read_to_string(folder.path().join("results/summary.txt")).unwrap();
    for name in ["fragments", "tiles", "ceilings"] {
        assert!(summary.contains(&format!("WRONG: {name} ended with status 1; see {name}.log")), "{summary}");
    }
    assert!(summary.contains("ok: conform"), "{summary}");
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
