//! `synth`, and `moe` on what it makes.

use std::fs;

use mxhal::TensorFile;
use mxhal::checkpoint::{Checkpoint, Family};
use serde_json::Value;

use super::Folder;
use super::moe::floats;

fn run_layer(folder: &Folder, layer: &str) -> (Value, Vec<f64>) {
    let input = folder.path("model/example.safetensors");
    let arguments =
        ["moe", "--checkpoint", "model", "--layer", layer, "--output", "y.safetensors", "--json", "--input"];
    let ran = folder.run(arguments.iter().copied().chain([input.to_str().unwrap()])).with_code(0);
    let y = TensorFile::open(folder.path("y.safetensors")).unwrap();
    (serde_json::from_str(&ran.out).unwrap(), floats(&y, "y"))
}

#[test]
fn a_layer_of_flash_is_read_and_run() {
    let folder = Folder::new();
    let synth = |seed, layers| {
        let model = ["synth", "--model", "deepseek-v4-flash", "--experts", "6", "model"];
        let ran = folder.run(model.into_iter().chain(["--layers", layers, "--seed", seed])).with_code(0);
        assert!(ran.out.contains("mxhal moe --checkpoint model"), "{}", ran.out);
        assert_eq!(folder.names().iter().filter(|name| name.contains("partial")).count(), 0);
    };
    synth("5", "2..4");
    let checkpoint = Checkpoint::open(folder.path("model")).unwrap();
    assert_eq!((checkpoint.model().family, checkpoint.model().experts), (Family::DeepSeekV4, 6));
    assert_eq!(checkpoint.moe_layer(3).unwrap().expert_bytes(), 13_369_344);
    assert!(checkpoint.moe_layer(2).unwrap().router.by_token.is_some());
    assert!(checkpoint.moe_layer(4).unwrap_err().to_string().contains("layers.4.ffn.gate.weight"));

    let (summary, y) = run_layer(&folder, "3");
    assert_eq!((&summary["tokens"], &summary["hidden"]), (&Value::from(16), &Value::from(4096)));
    let square = y.iter().map(|value| value * value).sum::<f64>() / y.len() as f64;
    assert!((1e-3..1e3).contains(&square), "{square}");
    assert!(run_layer(&folder, "2").1.iter().all(|value| value.is_finite()));

    // A tensor depends on seed and name alone, and so does what the layer gives.
    for (seed, same) in [("5", true), ("6", false)] {
        fs::remove_dir_all(folder.path("model")).unwrap();
        synth(seed, "3");
        assert_eq!(run_layer(&folder, "3").1 == y, same);
    }
}

#[test]
fn gpt_oss_is_written_as_its_reader_wants_it() {
    let folder = Folder::new();
    folder
        .run(["synth", "--model", "gpt-oss-120b", "--layers", "35", "--experts", "4", "model"])
        .with_code(0);
    let (summary, y) = run_layer(&folder, "35");
    assert_eq!(summary["hidden"], 2880);
    assert!(y.iter().all(|value| value.is_finite()) && y.iter().any(|value| *value != 0.0));
}

#[test]
fn what_is_there_and_what_the_model_lacks_is_refused() {
    let folder = Folder::new();
    let synth = |model, layers, experts, dir| {
        folder.run(["synth", "--model", model, "--layers", layers, "--experts", experts, dir]).with_code(2)
    };
    fs::create_dir(folder.path("full")).unwrap();
    folder.write("full/mine", "mine");
    synth("gpt-oss-120b", "0", "4", "full").saying(&["full is not empty"]);
    synth("gpt-oss-120b", "0..37", "4", "new").saying(&["--layers 0..37", "layers 0 to 35"]);
    synth("deepseek-v4-pro", "0", "5", "new").saying(&["--experts 5", "from 6 to 384"]);
    synth("deepseek-v4-pro", "3..3", "6", "new").saying(&["3..5 is layers 3 and 4"]);
    fs::create_dir(folder.path("new.partial")).unwrap();
    synth("gpt-oss-120b", "0", "4", "new").saying(&["new.partial is there", "delete it"]);
    assert_eq!(folder.names(), ["full", "new.partial"]);
}
