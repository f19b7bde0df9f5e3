//! The Ascend backend as `devices` and `doctor` show it: which versions of CANN's operators are taken, and what is said
//! where it does not work. CANN is simulated.

use std::path::PathBuf;

use mxhal_simulated_cann_install::{Libraries, Variant, install};

use super::{Folder, Ran, cargo_build};

/// A folder with a configuration that leads to an installation in it.
fn configured(variant: Variant, libraries: Libraries) -> Folder {
    let folder = Folder::new();
    let simulator = cargo_build::library("mxhal-simulated-cann", "mxhal_simulated_cann");
    install(&folder.path("cann"), &simulator, variant, libraries).unwrap();
    configure(&folder, &folder.path("cann"));
    folder
}

fn configure(folder: &Folder, cann: &PathBuf) {
    let library = cargo_build::library("mxhal-ascend-plugin", "mxhal_ascend");
    let options = format!("[backend.options]\ncann_path = {cann:?}\n");
    folder.write("config.toml", &format!("[backend]\nname = \"ascend\"\nlibrary = {library:?}\n{options}"));
}

fn run(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let output = folder.command().args(arguments).envs(variables.iter().copied()).output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_version_of_each_operator_is_shown_with_its_library() {
    for (variant, libraries, quantize, library) in [
        (Variant::NewestOnly, Libraries::Split, "aclnnDynamicMxQuantV3", "libopapi_"),
        (Variant::V2Only, Libraries::Split, "aclnnDynamicMxQuantV2", "libopapi_"),
        (Variant::V1Only, Libraries::Legacy, "aclnnDynamicMxQuant", "libopapi.so"),
        (Variant::All, Libraries::Legacy, "aclnnDynamicMxQuantV3", "libopapi.so"),
    ] {
        let folder = configured(variant, libraries);
        let doctor = run(&folder, &["doctor", "--backend", "ascend", "--all"], &[]).with_code(0).out;
        let devices = run(&folder, &["devices", "--backend", "ascend", "-vv"], &[]).with_code(0).err;
        let shown =
            format!("DynamicMxQuant: {quantize}, in {}/{library}", folder.path("cann/lib64").display());
        for text in [doctor, devices] {
            assert!(text.contains(&shown), "{variant:?}: {shown} is not in\n{text}");
        }
    }
}

#[test]
fn without_cann_every_path_that_was_tried_is_named() {
    let folder = Folder::new();
    configure(&folder, &folder.path("cann"));
    let ran = run(&folder, &["doctor", "--backend", "ascend"], &[]).with_code(4);
    let machine = format!("{}-linux", std::env::consts::ARCH);
    for place in ["lib64".to_owned(), format!("{machine}/lib64")] {
        for library in ["libacl_rt.so", "libascendcl.so"] {
            let tried = folder.path("cann").join(&place).join(library);
            assert!(ran.out.contains(&format!("{}: no such file", tried.display())), "{}", ran.out);
        }
    }
    assert!(
        ran.out.contains("install CANN, or say where it is by cann_path or ASCEND_HOME_PATH"),
        "{}",
        ran.out
    );
}

#[test]
fn what_keeps_a_device_from_being_used_is_said_with_what_to_do() {
    let folder = configured(Variant::All, Libraries::Split);
    for (variable, value, words) in [
        ("MXHAL_SIM_DEVICES", "0", &["it has no device", "whether the device is plugged in"][..]),
        ("MXHAL_SIM_SOC", "Ascend910B1", &["Ascend910B1", "this backend needs Ascend 950"]),
        // A driver that does not match, one that is broken, a stub, a device that somebody else has.
        (
            "MXHAL_SIM_FAIL",
            "aclInit:1:507899",
            &["507899", "compare the versions of driver and CANN", "npu-smi"],
        ),
        (
            "MXHAL_SIM_FAIL",
            "aclrtGetDeviceCount:1:500004",
            &["500004", "driver, firmware and CANN belong together"],
        ),
        ("MXHAL_SIM_FAIL", "aclInit:1:100039", &["100039", "a stub to link against"]),
        (
            "MXHAL_SIM_FAIL",
            "aclrtSetDevice:1:107001",
            &["107001", "not taken by another container", "/dev/davinci"],
        ),
        ("MXHAL_SIM_FAIL", "aclrtSetDevice:1:507008", &["507008", "the SoC is not the one"]),
    ] {
        let ran = run(&folder, &["doctor", "--backend", "ascend"], &[(variable, value)]).with_code(4);
        for word in words {
            assert!(ran.out.contains(word), "{value}: {word:?} is not in\n{}", ran.out);
        }
        let ran = run(&folder, &["devices", "--backend", "ascend"], &[(variable, value)]).with_code(0);
        assert!(
            value == "0" || words[1..].iter().any(|word| ran.out.contains(word)),
            "{value}:\n{}",
            ran.out
        );
    }
}
