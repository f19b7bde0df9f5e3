//! Help, versions, completions, colours.

use super::Folder;

#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let ran = Folder::new().run(["--help"]).with_code(0);
    for word in [
        "devices",
        "doctor",
        "conform",
        "moe",
        "quantize",
        "dequantize",
        "synth",
        "bench",
        "completions",
        "--config",
        "4 no",
    ] {
        assert!(ran.out.contains(word), "{word} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains("conform-worker") && !ran.out.contains("doctor-worker"), "{}", ran.out);
}

#[test]
fn help_of_a_command_has_examples() {
    let ran = Folder::new().run(["moe", "--help"]).with_code(0);
    assert!(ran.out.contains("Examples:\n  mxhal moe --checkpoint"), "{}", ran.out);
}

#[test]
fn wrong_arguments_are_a_matter_of_usage() {
    let folder = Folder::new();
    folder.run(["device"]).with_code(2).saying(&["devices"]);
    folder.run(["moe"]).with_code(2).saying(&["--checkpoint"]);
    let formats = folder.run(["quantize", "--input", "a", "--output", "b", "--format", "fp4"]).with_code(2);
    formats.saying(&["mxfp4, mxfp8, mxfp8-g128, mxint8, nvfp4"]);
}

#[test]
fn completions_are_a_script_of_the_shell() {
    let ran = Folder::new().run(["completions", "bash"]).with_code(0);
    assert!(ran.out.contains("complete -F _mxhal") && ran.out.contains("dequantize"), "{}", ran.out);
}

#[test]
fn colours_are_on_a_terminal_only_unless_they_are_asked_for() {
    let folder = Folder::new();
    folder.write("config.toml", "[backend]\nname = \"cuda\"\n");
    let plain = folder.run(["devices"]).with_code(0);
    assert!(!plain.out.contains('\x1b'), "{:?}", plain.out);
    let asked = folder.run(["devices", "--color", "always"]).with_code(0);
    assert!(asked.out.contains('\x1b'), "{:?}", asked.out);
    let error = folder.run([
        "moe",
        "--color",
        "always",
        "--checkpoint",
        "x",
        "--layer",
        "0",
        "--input",
        "x",
        "--output",
        "y",
    ]);
    error.with_code(1).saying(&["\x1b[1;31merror:"]);
}

/// Through `script`, which gives the program a terminal; where there is none, the environment variable has no case to
/// decide and the test has nothing to see.
#[test]
fn no_color_is_respected_on_a_terminal() {
    let folder = Folder::new();
    folder.write("config.toml", "[backend]\nname = \"cuda\"\n");
    let on_terminal = |no_color: Option<&str>| {
        let mut command = std::process::Command::new("script");
        command.current_dir(folder.0.path()).env_remove("NO_COLOR").env("TERM", "xterm");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let program = format!("'{}' devices", env!("CARGO_BIN_EXE_mxhal"));
        let output = command.args(["-qec", &program, "/dev/null"]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(coloured) = on_terminal(None) else {
        eprintln!("`script` is not installed: nothing was tested");
        return;
    };
    assert!(coloured.contains("\x1b["), "{coloured:?}");
    let plain = on_terminal(Some("1")).unwrap();
    assert!(plain.contains("cuda") && !plain.contains("\x1b[3"), "{plain:?}");
}
