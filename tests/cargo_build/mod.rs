//! Building a plugin of this workspace as the tests were built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a package with cargo, in the profile and target folder of the running test, and gives the path of its library
/// of this name.
pub(crate) fn library(package: &str, name: &str) -> PathBuf {
    // target/PROFILE/mxhal: the same profile in the same folder shares what is compiled already.
    let profile_folder = Path::new(env!("CARGO_BIN_EXE_mxhal")).parent().expect("a binary lies in a folder");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()).expect("cargo names it") {
        "debug" => "dev",
        other => other,
    };
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", package, "--profile", profile, "--message-format", "json"])
        .arg("--target-dir")
        .arg(profile_folder.parent().expect("a profile's folder lies in the target folder"))
        .output()
        .expect("cargo runs this test, so it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Cargo says where it put it, one JSON object a line.
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        // The library of another kind that is linked into it may have the same name.
        .filter(|message| {
            message["target"]["name"] == name && message["target"]["crate_types"][0] == "cdylib"
        })
        .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .expect("cargo built the library")
}
