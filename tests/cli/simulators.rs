//! `conform --simulate`: a plugin judged on a simulator of its driver.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Folder, cargo_build};

const FEW: [&str; 2] = ["--filter", "^exact/dequantize/"];

/// The Ascend backend, with the simulator of CANN built beside it.
fn ascend() -> PathBuf {
    cargo_build::library("mxhal-simulated-cann", "mxhal_simulated_cann");
    cargo_build::library("mxhal-ascend-plugin", "mxhal_ascend")
}

#[test]
fn a_configured_backend_runs_on_a_simulated_product_and_every_report_says_so() {
    let folder = Folder::new();
    // The simulator takes the place of the driver that is configured.
    let options = "[backend.options]\ncann_path = \"/nowhere/cann\"\n";
    let backend = format!("[backend]\nname = \"ascend\"\nlibrary = {:?}\n{options}", ascend());
    folder.write("config.toml", &backend);
    for (product, name) in [("Ascend950PR_9599", "Ascend 950PR"), ("Ascend950DT_9591", "Ascend 950DT")] {
        let conform =
            ["conform", "--simulate", product, "--json", "r.json", "--junit", "r.xml", "--html", "r.html"];
        let ran = folder.run(conform.iter().chain(&FEW)).with_code(0);
        let said = format!("mxhal-simulated-cann, as {product}");
        assert!(ran.out.contains(&format!("SIMULATED by {said}")), "{}", ran.out);
        assert!(
            ran.out.lines().last().is_some_and(|verdict| verdict.starts_with("PASSED (simulated), ")),
            "{}",
            ran.out
        );
        let report: Value = serde_json::from_slice(&fs::read(folder.path("r.json")).unwrap()).unwrap();
        assert_eq!(report["run"]["simulated"], said);
        assert_eq!(report["device"]["name"], format!("{name} (simulated)"));
        for file in ["r.xml", "r.html"] {
            assert!(fs::read_to_string(folder.path(file)).unwrap().contains(&said), "{file}");
        }
    }
}

#[test]
fn the_cuda_backend_runs_on_a_simulated_architecture_and_is_told_from_a_plugin_with_device_code() {
    cargo_build::library("mxhal-simulated-cuda", "mxhal_simulated_cuda");
    let plugin = cargo_build::library("mxhal-cuda-plugin", "mxhal_cuda");
    let has_code = mxhal_simulated_cuda_install::holds_device_code(&plugin).unwrap();
    for (product, name) in
        [("sm_90", "NVIDIA H200"), ("sm_103", "NVIDIA B300"), ("sm_120", "NVIDIA RTX PRO 6000 Blackwell")]
    {
        let conform = ["conform", "--simulate", product, "--plugin", plugin.to_str().unwrap()];
        let ran = Folder::new().run(conform.iter().chain(&FEW)).with_code(0);
        assert!(ran.out.contains(&format!("{name} (simulated)")), "{}", ran.out);
        let not_compared = ran.out.contains("parameters of kernels were not compared");
        assert_eq!(not_compared, !has_code, "{}", ran.out);
        assert!(
            ran.out.lines().last().is_some_and(|verdict| verdict.starts_with("PASSED (simulated), ")),
            "{}",
            ran.out
        );
    }
}

#[test]
fn a_product_that_the_backend_is_not_for_is_refused_by_the_backend() {
    let plugin = ascend();
    let conform = ["conform", "--simulate", "Ascend910B1", "--plugin", plugin.to_str().unwrap()];
    let ran = Folder::new().run(conform.iter().chain(&FEW)).with_code(4);
    ran.saying(&["Ascend910B1", "needs Ascend 950"]);
}

#[test]
fn what_is_no_product_is_told_those_that_are() {
    let folder = Folder::new();
    let ran = folder.run(["conform", "--backend", "ascend", "--simulate", "Ascend950"]).with_code(2);
    ran.saying(&["Ascend950PR_9599", "Ascend950DT_9591"]);
}

#[test]
fn a_backend_without_a_driver_is_not_simulated() {
    let ran = Folder::new().run(["conform", "--simulate", "Ascend950PR_9599"]).with_code(2);
    ran.saying(&["embedded", "--plugin"]);
}

#[test]
fn a_simulator_that_is_not_built_is_named_with_the_command_and_where_it_was_looked_for() {
    let folder = Folder::new();
    let (plugin, program) = (folder.path("libmxhal_ascend.so"), folder.path("mxhal"));
    fs::copy(ascend(), &plugin).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_mxhal"), &program).unwrap();
    let output = assert_cmd::Command::new(&program)
        .current_dir(folder.path(""))
        .args(["conform", "--plugin", "libmxhal_ascend.so", "--simulate", "Ascend950PR_9599"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let looked_for = folder.path("libmxhal_simulated_cann.so");
    for word in ["-p mxhal-simulated-cann", looked_for.to_str().unwrap()] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
}
