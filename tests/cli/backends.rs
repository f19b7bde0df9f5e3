//! Which backend is used, what is said when it cannot be, and `devices`.

use std::fs;

use serde_json::Value;

use super::{Folder, cargo_build, golden};

#[test]
fn without_a_configuration_there_is_the_embedded_backend() {
    let ran = Folder::new().run(["devices"]).with_code(0);
    assert!(ran.out.contains(" cpu ") && ran.out.contains("embedded"), "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[test]
fn a_backend_that_cannot_be_loaded_has_its_own_row() {
    let folder = Folder::new();
    folder.write("config.toml", "[backend]\nname = \"cuda\"\nlibrary = \"lib/libmxhal_cuda.so\"\n");
    let library = folder.path("lib/libmxhal_cuda.so");
    let ran = folder.run(["devices"]).with_code(0);
    assert!(ran.out.contains(" cuda ") && ran.out.contains(" cpu "), "{}", ran.out);
    let whole = ran.out.split_whitespace().collect::<String>();
    assert!(
        whole.contains(&library.display().to_string()) && ran.out.contains("no such file"),
        "{}",
        ran.out
    );

    let ran = folder.run(["devices", "--json"]).with_code(0);
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["backend"], "cuda");
    assert_eq!(rows[0]["library"], library.to_str().unwrap());
    assert_eq!(rows[0]["devices"], Value::Array(Vec::new()));
    assert!(rows[0]["error"].as_str().unwrap().contains("no such file"), "{rows}");
    assert_eq!((&rows[1]["backend"], &rows[1]["error"]), (&Value::from("cpu"), &Value::Null));
    assert!(rows[1]["devices"][0]["units"].as_u64().unwrap() > 0);

    let only = folder.run(["devices", "--json", "--backend", "cpu"]).with_code(0);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&only.out).unwrap().len(), 1);
}

#[test]
fn the_cuda_backend_loads_where_there_is_no_driver_lists_no_device_and_explains() {
    let plugin = cargo_build::library("mxhal-cuda-plugin", "mxhal_cuda");
    let folder = Folder::new();
    folder.write("config.toml", &format!("[backend]\nname = \"cuda\"\nlibrary = {plugin:?}\n"));
    let ran = folder.run(["devices", "--json", "--backend", "cuda"]).with_code(0);
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["backend"], "cuda", "{rows}");
    // A machine with the driver has nothing to explain.
    if std::path::Path::new("/proc/driver/nvidia/version").exists() {
        return;
    }
    assert_eq!(rows[0]["devices"], Value::Array(Vec::new()));
    let error = rows[0]["error"].as_str().unwrap();
    for part in ["no NVIDIA driver", "release 580", "LD_LIBRARY_PATH", "libcuda.so.1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let conform = ["conform", "--plugin", plugin.to_str().unwrap()];
    folder.run(conform).with_code(4).saying(&["no NVIDIA driver", "release 580"]);
}

#[test]
fn options_of_the_configuration_reach_the_backend() {
    let folder = Folder::new();
    let file = folder.write("one.toml", "[backend.options]\nthreads = 1\n");
    let ran = folder.run(["devices", "--json", "--config", file.to_str().unwrap()]).with_code(0);
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["devices"][0]["units"], 1);
    folder.write("config.toml", "[backend.options]\nthread = 1\n");
    let ran = folder.run(["devices"]).with_code(0);
    assert!(ran.out.contains("`thread` is not an option"), "{}", ran.out);
}

#[test]
fn a_wrong_configuration_is_shown_with_its_lines() {
    let folder = Folder::new();
    folder.write("config.toml", "[backend]\nname = \"cuda\"\nlibary = \"x.so\"\n");
    let ran = folder.run(["devices"]).with_code(2);
    let ran =
        ran.saying(&["unknown key `libary` in [backend]", "config.toml:3:1", "did you mean `library`?"]);
    assert_eq!(ran.out, "");
    let absent = folder.run(["devices", "--config", "absent.toml"]).with_code(2);
    absent.saying(&["absent.toml: cannot read the configuration: No such file"]);
    folder.run(["config", "check"]).with_code(2);
    let good = folder.write("good.toml", "[backend]\nname = \"cuda\"\nfallback = [\"cpu\"]\n");
    let ran = folder.run(["config", "check", good.to_str().unwrap()]).with_code(0);
    assert!(ran.out.contains("good.toml: good") && ran.out.contains("fallback  cpu"), "{}", ran.out);
}

/// Arguments of a command that needs a device, and what it writes.
fn quantize(folder: &Folder, more: &[&str]) -> Vec<String> {
    let input = golden("quantize_mxfp4.safetensors").display().to_string();
    let output = folder.path("q.safetensors").display().to_string();
    let arguments =
        ["quantize", "--format", "mxfp4", "--filter", "^x$", "--input", &input, "--output", &output];
    arguments.iter().chain(more).map(ToString::to_string).collect()
}

#[test]
fn a_backend_that_is_absent_is_never_replaced_silently() {
    let folder = Folder::new();
    folder.write("config.toml", "[backend]\nname = \"cuda\"\nlibrary = \"absent.so\"\n");
    let ran = folder.run(quantize(&folder, &[])).with_code(3);
    ran.saying(&["backend `cuda`", "absent.so", "cannot be used", "no such file"]);
    assert_eq!(folder.names(), ["config.toml"]);

    folder.write(
        "config.toml",
        "[backend]\nname = \"cuda\"\nlibrary = \"absent.so\"\nfallback = [\"npu\", \"cpu\"]\n",
    );
    let ran = folder.run(quantize(&folder, &[])).with_code(0);
    ran.saying(&[
        "WARN",
        "backend `cuda`",
        "backend `npu`",
        "libmxhal_npu.so",
        "fallback: backend `cpu` is used",
    ]);
    assert_eq!(folder.names(), ["config.toml", "q.safetensors"]);

    // Who names a backend gets it or an error.
    folder.run(quantize(&folder, &["--backend", "npu"])).with_code(3).saying(&["libmxhal_npu.so"]);
    folder.write("config.toml", "[backend]\nname = \"a\"\nfallback = [\"b\"]\n");
    let ran = folder.run(quantize(&folder, &[])).with_code(3);
    ran.saying(&["no backend can be used; tried, in this order:", "1. backend `a`", "2. backend `b`"]);
}

#[test]
fn exit_codes_tell_names_files_and_devices_apart() {
    let folder = Folder::new();
    folder
        .run(quantize(&folder, &["--backend", "a/b"]))
        .with_code(2)
        .saying(&["`a/b` cannot be a backend's name"]);
    folder.run(quantize(&folder, &["--backend", "absent"])).with_code(3).saying(&["libmxhal_absent.so"]);
    folder
        .run(quantize(&folder, &["--device", "7"]))
        .with_code(4)
        .saying(&["it has no device 7; it has one"]);
    folder.write("text.so", "no library");
    let file = folder.write("config.toml", "[backend]\nname = \"x\"\nlibrary = \"text.so\"\n");
    folder
        .run(quantize(&folder, &["--config", file.to_str().unwrap()]))
        .with_code(3)
        .saying(&["text.so", "ELF"]);
}

#[test]
fn a_plugin_is_found_in_the_plugin_folder_and_held_to_its_digest() {
    let folder = Folder::new();
    fs::create_dir(folder.path("plugins")).unwrap();
    let built = cargo_build::library("mxhal-cpu-plugin", "mxhal_cpu");
    fs::copy(built, folder.path("plugins/libmxhal_mine.so")).unwrap();
    folder.write("config.toml", "[backend]\nname = \"mine\"\n[plugins]\nfolder = \"plugins\"\n");
    let ran = folder.run(quantize(&folder, &["-v"])).with_code(0);
    ran.saying(&["backend `mine`", "plugins/libmxhal_mine.so"]);

    let pinned = format!(
        "[backend]\nname = \"mine\"\nsha256 = \"{}\"\n[plugins]\nfolder = \"plugins\"\n",
        "0".repeat(64)
    );
    folder.write("config.toml", &pinned);
    folder.run(quantize(&folder, &[])).with_code(3).saying(&["libmxhal_mine.so", "sha256"]);
}
