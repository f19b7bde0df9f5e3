//! `doctor`: each thing that can be wrong with a plugin is a finding, and none of them harms whoever looks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Folder, Ran};

/// Compiles a plugin in C, with these further arguments.
fn compile(folder: &Folder, source: &Path, arguments: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.path("libmxhal_tiny.so");
    let answer = Command::new("cc")
        .args(["-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .args([&library, source])
        .arg("-I")
        .arg(root.join("ffi/include"))
        .arg("-I")
        .arg(root.join("ffi/tests/plugins"))
        .args(arguments)
        .output()
        .expect("a C compiler is there");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    library
}

fn tiny(folder: &Folder, arguments: &[&str]) -> PathBuf {
    compile(folder, &Path::new(env!("CARGO_MANIFEST_DIR")).join("ffi/tests/plugins/tiny.c"), arguments)
}

fn misbehaving(folder: &Folder, arguments: &[&str]) -> PathBuf {
    compile(folder, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/plugins/misbehaves.c"), arguments)
}

fn doctor(folder: &Folder, more: &[&str]) -> Ran {
    folder.run(["doctor", "./libmxhal_tiny.so"].iter().chain(more))
}

/// The findings of a layer and severity about the plugin, with the advice.
fn findings(ran: &Ran, layer: &str, severity: &str) -> Vec<String> {
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap();
    let all = diagnosis["subjects"][0]["findings"].as_array().unwrap().iter();
    let wanted = all.filter(|finding| finding["layer"] == layer && finding["severity"] == severity);
    wanted.map(|finding| format!("{} → {}", finding["seen"].as_str().unwrap(), finding["advice"])).collect()
}

/// That one finding of this layer and severity has all of these words, and the exit code is this.
#[track_caller]
fn finds(folder: &Folder, code: i32, layer: &str, severity: &str, words: &[&str]) {
    let ran = doctor(folder, &["--json", "--time-limit", "20"]).with_code(code);
    let found = findings(&ran, layer, severity);
    let has_all = |text: &String| words.iter().all(|word| text.contains(word));
    assert!(found.iter().any(has_all), "{words:?} is no {severity} of {layer} in\n{}", ran.out);
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(diagnosis["exit_code"], code);
}

#[test]
fn nothing_is_wrong_with_the_c_example() {
    let folder = Folder::new();
    compile(&folder, &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c-plugin/mxhal_c.c"), &["-lm"]);
    let ran = doctor(&folder, &[]).with_code(0);
    for word in ["nothing else", "layout hash", "device 0: host memory", "Nothing is wrong."] {
        assert!(ran.out.contains(word), "{word:?} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains('\x1b') && ran.err.is_empty(), "{}{}", ran.out, ran.err);
    let coloured = doctor(&folder, &["--color", "always"]).with_code(0);
    assert!(coloured.out.contains("\x1b[32mok"), "{}", coloured.out);
}

#[test]
fn what_a_bug_report_needs_is_in_one_block() {
    let folder = Folder::new();
    tiny(&folder, &[]);
    let ran = doctor(&folder, &["--report"]).with_code(4);
    assert!(ran.out.starts_with("```text\n") && ran.out.ends_with("```\n"), "{}", ran.out);
    for word in
        ["mxhal  ", "kernel  ", "glibc  ", "cpu  ", "plugin ABI", "identity   tiny 1.2.3", "tried libtiny"]
    {
        assert!(ran.out.contains(word), "{word:?} is not in\n{}", ran.out);
    }
    let digest = ran.out.lines().find_map(|line| line.strip_prefix("sha256")).unwrap().trim();
    let digest = digest.split(' ').next().unwrap().to_owned();
    let pinned = format!("[backend]\nname = \"t\"\nlibrary = \"libmxhal_tiny.so\"\nsha256 = \"{digest}\"\n");
    folder.write("config.toml", &pinned);
    let ran = folder.run(["doctor"]).with_code(4);
    assert!(!ran.out.contains("sha256"), "the digest is the file's: {}", ran.out);
}

#[test]
fn a_file_that_is_no_plugin_is_described() {
    let folder = Folder::new();
    finds(&folder, 3, "file", "error", &["there is no such file"]);
    folder.write("libmxhal_tiny.so", "no library");
    finds(&folder, 3, "file", "error", &["it is text that begins with", "name the plugin's shared library"]);
    let library = tiny(&folder, &[]);
    fs::set_permissions(&library, Permissions::from_mode(0o757)).unwrap();
    finds(&folder, 3, "file", "error", &["is writable by everybody (mode 0757)", "chmod go-w"]);
    let config = folder.write("warn.toml", "[security]\npolicy = \"warn\"\n");
    let ran = doctor(&folder, &["--json", "--config", config.to_str().unwrap()]).with_code(4);
    assert!(findings(&ran, "file", "warning")[0].contains("is writable by everybody"), "{}", ran.out);
    let mut bytes = fs::read(&library).unwrap();
    fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    bytes[18] = 22;
    fs::write(&library, bytes).unwrap();
    finds(&folder, 3, "file", "error", &["it is built for s390x", "a build for this machine is needed"]);
}

#[test]
fn symbols_that_are_missing_or_too_many_are_all_named() {
    let folder = Folder::new();
    tiny(&folder, &["-DNO_OPEN", "-Wno-unused-function"]);
    finds(&folder, 3, "symbols", "error", &["it exports no mxhal_plugin_open", "MXHAL_BUILDING_PLUGIN"]);
    tiny(&folder, &["-DNO_IDENTITY"]);
    finds(&folder, 3, "symbols", "error", &["it exports no mxhal_identity"]);
    tiny(&folder, &["-fvisibility=default", "-DNEEDS=defined_nowhere"]);
    finds(
        &folder,
        3,
        "symbols",
        "warning",
        &["exports 1 symbol", "uses_another_library", "-fvisibility=hidden"],
    );
    finds(&folder, 3, "symbols", "error", &["wants 1 symbol that nothing defines: defined_nowhere"]);
}

#[test]
fn libraries_are_named_with_who_needs_them_and_where_they_were_looked_for() {
    let folder = Folder::new();
    let source = folder.write("dep.c", "int dep(void) { return 1; }\n");
    let library = folder.path("libdep.so");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(made.success());
    let here = format!("-L{}", folder.path("").display());
    let needs = ["-fvisibility=default", "-DNEEDS=dep", &here, "-ldep"];
    tiny(&folder, &[&needs[..], &["-Wl,-rpath,$ORIGIN"]].concat());
    finds(&folder, 4, "libraries", "ok", &["libdep.so is ", "1 symbol taken"]);
    finds(&folder, 4, "libraries", "ok", &["needs glibc"]);
    tiny(&folder, &needs);
    finds(
        &folder,
        3,
        "libraries",
        "error",
        &[
            "libdep.so, needed by ",
            "libmxhal_tiny.so, is not there; tried",
            "/usr/lib/libdep.so",
            "LD_LIBRARY_PATH",
        ],
    );
    let elsewhere = folder.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&library, elsewhere.join("libdep.so")).unwrap();
    fs::copy(elsewhere.join("libdep.so"), &library).unwrap();
    let rpath = format!("-Wl,-rpath,{}", elsewhere.display());
    let output = tiny(&folder, &[&needs[..], &[&rpath]].concat());
    let moved = folder.path("plugin");
    fs::create_dir(&moved).unwrap();
    fs::rename(output, moved.join("libmxhal_tiny.so")).unwrap();
    let ran = folder.run(["doctor", "--json", "plugin/libmxhal_tiny.so"]).with_code(4);
    let notes = findings(&ran, "libraries", "note");
    assert!(notes[0].contains("elsewhere/libdep.so") && notes[0].contains("beside the plugin"), "{notes:?}");
}

#[test]
fn an_identity_that_does_not_fit_is_told_in_full_and_nothing_runs() {
    let folder = Folder::new();
    let trace = folder.path("trace");
    let mark = format!("-DMARK=\"{}\"", trace.display());
    for (define, words) in [
        ("-DMAGIC=1", ["it begins with 0x0000000000000001", "MXHAL_IDENTITY_MAGIC"]),
        ("-DMAJOR=7", ["built for major version 7", "build it with this host's mxhal.h"]),
        ("-DMINOR_LEAST=99", ["needs a host of version 1.99", "update mxhal"]),
        ("-DLAYOUT=5", ["layout hash 0x0000000000000005", "its mxhal.h was changed"]),
        ("-DSANITIZER=1", ["AddressSanitizer", "build it without"]),
    ] {
        tiny(&folder, &[&mark, define]);
        finds(&folder, 3, "identity", "error", &words);
    }
    tiny(&folder, &[&mark, "-DLAYOUT=5", "-DSANITIZER=1"]);
    let ran = doctor(&folder, &["--json"]).with_code(3);
    assert_eq!(findings(&ran, "identity", "error").len(), 2, "{}", ran.out);
    assert!(!trace.exists(), "no code of the plugin ran");
    tiny(&folder, &[&mark]);
    doctor(&folder, &[]).with_code(4);
    assert!(trace.exists(), "then it did");
}

#[test]
fn what_a_plugin_does_to_its_process_is_a_finding() {
    let folder = Folder::new();
    let open = "loaded and opened (its constructors, mxhal_plugin_open)";
    misbehaving(&folder, &["-DIN_OPEN=*(volatile int *)0 = 1"]);
    finds(&folder, 3, "run", "error", &["was killed by signal 11 (SIGSEGV) while it was", open, "debugger"]);
    misbehaving(&folder, &["-DIN_OPEN=exit(0)"]);
    finds(&folder, 3, "run", "error", &["exited with code 0 while it was", open]);
    misbehaving(&folder, &["-DIN_OPEN=abort()"]);
    finds(&folder, 3, "run", "error", &["signal 6 (SIGABRT)"]);
    misbehaving(&folder, &["-DIN_DEVICE_COUNT=abort()"]);
    finds(&folder, 1, "run", "error", &["SIGABRT", "device_count"]);
    misbehaving(&folder, &["-DIN_OPEN=write(1, \"noise\", 5)"]);
    finds(
        &folder,
        4,
        "run",
        "warning",
        &["it writes to standard output: noise", "standard output is the host's"],
    );
    misbehaving(&folder, &["-DIN_DEVICE_COUNT=(void)0", "-DIN_SHUTDOWN=*(volatile int *)0 = 1"]);
    finds(&folder, 4, "devices", "error", &["it has no device"]);
    finds(&folder, 4, "run", "error", &["SIGSEGV", "while it was shut down"]);
    tiny(&folder, &["-DFAILS"]);
    finds(
        &folder,
        3,
        "run",
        "error",
        &["libtiny-driver.so is not installed", "do what the message asks for"],
    );
    tiny(&folder, &["-DUNKNOWN_STATUS"]);
    finds(&folder, 4, "devices", "error", &["device_count fails", "something new"]);
}

#[test]
fn a_plugin_that_hangs_is_ended_with_what_it_started() {
    let folder = Folder::new();
    // A process of its own keeps the socket open, and goes with it.
    misbehaving(&folder, &["-DIN_OPEN=fork(); for (;;) pause()"]);
    let start = Instant::now();
    let ran = doctor(&folder, &["--json", "--time-limit", "0.5"]).with_code(3);
    assert!(start.elapsed() < Duration::from_secs(30));
    let found = findings(&ran, "run", "error");
    assert!(found[0].contains("did not come back within 0.5 seconds"), "{found:?}");
    assert!(found[0].contains("--time-limit"), "{found:?}");
}

#[test]
fn a_process_that_a_plugin_leaves_behind_does_not_keep_the_doctor() {
    let folder = Folder::new();
    misbehaving(&folder, &["-DIN_OPEN=if (fork() == 0) { sleep(20); _exit(0); } else abort()"]);
    let start = Instant::now();
    finds(&folder, 3, "run", "error", &["SIGABRT"]);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn without_a_plugin_the_configuration_its_backends_and_the_drivers_are_looked_at() {
    let folder = Folder::new();
    let ran = folder.run(["doctor", "--json"]).with_code(0);
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap();
    let names: Vec<_> =
        diagnosis["subjects"].as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["configuration", "backend cpu", "drivers"]);
    assert!(ran.out.contains("libcuda.so.1") && ran.out.contains("Ascend"), "{}", ran.out);

    tiny(&folder, &[]);
    folder.write("config.toml", "[backend]\nname = \"cuda\"\nlibrary = \"absent.so\"\nfallback = [\"t\"]\n\n[[backends]]\nname = \"t\"\nlibrary = \"libmxhal_tiny.so\"\n");
    let ran = folder.run(["doctor"]).with_code(3);
    for word in [
        "config.toml is read, and good",
        "backend cuda\n",
        "absent.so",
        "backend t\n",
        "device 0 cannot be used",
    ] {
        assert!(ran.out.contains(word), "{word:?} is not in\n{}", ran.out);
    }

    folder.write("config.toml", "[backend]\nlibary = \"x.so\"\n");
    let ran = folder.run(["doctor"]).with_code(2);
    for word in ["config.toml:2:1", "did you mean `library`?", "backend cpu\n"] {
        assert!(ran.out.contains(word), "{word:?} is not in\n{}", ran.out);
    }
    let folder = Folder::new();
    folder.run(["doctor", "--backend", "a/b"]).with_code(2).saying(&["cannot be a backend's name"]);
    folder.run(["doctor", "--time-limit", "0"]).with_code(2).saying(&["more than 0 seconds"]);
}
