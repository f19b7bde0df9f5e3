//! `moe`, on the golden checkpoints.

use std::fs;
use std::path::Path;

use mxhal::checkpoint::Dtype;
use mxhal::{NewTensor, TensorFile};
use serde_json::Value;

use super::{Folder, Ran, golden};

/// Relative L2 to the golden values of a fused chain, by `conformance/golden/README.md`.
const LIMITS: [(&str, &str, f64); 3] =
    [("bf16", "w4a16", 0.006), ("mxint8", "w4a8i", 0.015), ("mxfp8-g128", "w4a8_g128", 0.025)];

fn moe(folder: &Folder, checkpoint: &Path, layer: &str, more: &[&str]) -> Ran {
    let input = golden("deepseek_v4_tiny/expected.safetensors");
    let checkpoint = checkpoint.to_str().unwrap();
    let mut arguments =
        vec!["moe", "--checkpoint", checkpoint, "--layer", layer, "--output", "y.safetensors"];
    if !more.contains(&"--input") {
        arguments.extend(["--input", input.to_str().unwrap()]);
    }
    arguments.extend(more);
    folder.run(arguments)
}

pub(super) fn floats(file: &TensorFile, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let bytes = tensor.bytes();
    match tensor.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect(),
        other => panic!("{name} is {other}"),
    }
}

fn relative_l2(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

#[test]
fn layers_of_the_golden_checkpoint_give_the_golden_values() {
    let folder = Folder::new();
    let expected = TensorFile::open(golden("deepseek_v4_tiny/expected.safetensors")).unwrap();
    for layer in ["0", "1"] {
        for (activation, scheme, limit) in LIMITS {
            let ran =
                moe(&folder, &golden("deepseek_v4_tiny"), layer, &["--activation", activation, "--json"]);
            let ran = ran.with_code(0).saying(&["tokens/s", "GB/s"]);
            let summary: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!((&summary["tokens"], &summary["backend"]), (&Value::from(24), &Value::from("cpu")));
            assert!(summary["tokens_per_second"].as_f64().unwrap() > 0.0);

            let output = TensorFile::open(folder.path("y.safetensors")).unwrap();
            let y = floats(&expected, &format!("layers.{layer}.{scheme}.y"));
            let error = relative_l2(&floats(&output, "y"), &y);
            assert!(error < limit, "layer {layer}, {activation}: {error}");
            let weights = floats(&expected, &format!("layers.{layer}.weights"));
            assert!(relative_l2(&floats(&output, "expert_weights"), &weights) < 1e-5);
            let ids = expected.tensor(&format!("layers.{layer}.ids")).unwrap();
            assert_eq!(output.tensor_of("expert_ids", Dtype::I32).unwrap().bytes(), ids.bytes());
        }
    }
    let ran = moe(&folder, &golden("deepseek_v4_tiny"), "1", &["--shared-clamp", "off", "--fused", "never"]);
    ran.with_code(0).saying(&["composed"]);
    let output = TensorFile::open(folder.path("y.safetensors")).unwrap();
    let unclamped = floats(&expected, "layers.1.w4a16.y_shared_unclamped");
    assert!(relative_l2(&floats(&output, "y"), &unclamped) < 0.006);
    assert_eq!(folder.names(), ["y.safetensors"]);
}

#[test]
fn gpt_oss_and_float32_inputs_are_taken_too() {
    let folder = Folder::new();
    let expected = TensorFile::open(golden("gpt_oss_tiny/expected.safetensors")).unwrap();
    let x = expected.tensor_of("x", Dtype::BF16).unwrap();
    // A BF16 number is the upper half of a float32.
    let widened: Vec<u8> =
        x.bytes().as_chunks::<2>().0.iter().flat_map(|[low, high]| [0, 0, *low, *high]).collect();
    let input = folder.path("x.safetensors");
    let x = NewTensor { name: "x", dtype: Dtype::F32, shape: x.shape(), bytes: &widened };
    TensorFile::write(&input, &[x]).unwrap();
    moe(&folder, &golden("gpt_oss_tiny"), "0", &["--input", input.to_str().unwrap()]).with_code(0);
    let output = TensorFile::open(folder.path("y.safetensors")).unwrap();
    assert!(relative_l2(&floats(&output, "y"), &floats(&expected, "w4a16.y")) < 0.006);
}

#[test]
fn a_truncated_checkpoint_is_named_and_nothing_is_written() {
    let folder = Folder::new();
    let checkpoint = folder.path("checkpoint");
    fs::create_dir(&checkpoint).unwrap();
    for entry in fs::read_dir(golden("deepseek_v4_tiny")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), checkpoint.join(entry.file_name())).unwrap();
    }
    let shard = checkpoint.join("model-00001-of-00001.safetensors");
    let bytes = fs::metadata(&shard).unwrap().len();
    fs::OpenOptions::new().write(true).open(&shard).unwrap().set_len(bytes - 1).unwrap();
    let ran = moe(&folder, &checkpoint, "0", &[]).with_code(1);
    ran.saying(&["error: ", "model-00001-of-00001.safetensors"]);
    assert_eq!(folder.names(), ["checkpoint"]);
}

#[test]
fn what_is_wrong_with_the_arguments_and_the_input_is_said() {
    let folder = Folder::new();
    let v4 = golden("deepseek_v4_tiny");
    moe(&folder, &v4, "9", &[]).with_code(1).saying(&["there is no layer 9"]);
    moe(&folder, &folder.path("absent"), "0", &[]).with_code(1).saying(&["absent", "no checkpoint"]);
    moe(&folder, &v4, "0", &["--activation", "fp8"]).with_code(2).saying(&["the schemes are bf16, mxfp8"]);
    moe(&folder, &v4, "0", &["--max-tokens", "0"]).with_code(2).saying(&["an integer from 1"]);

    let input = folder.path("x.safetensors");
    let with = |tensor: NewTensor<'_>| {
        TensorFile::write(&input, &[tensor]).unwrap();
        moe(&folder, &v4, "0", &["--input", input.to_str().unwrap()]).with_code(1)
    };
    with(NewTensor { name: "y", dtype: Dtype::F32, shape: &[1], bytes: &[0; 4] }).saying(&["`x`", "y"]);
    with(NewTensor { name: "x", dtype: Dtype::F32, shape: &[1], bytes: &[0; 4] })
        .saying(&["[tokens, hidden]"]);
    with(NewTensor { name: "x", dtype: Dtype::I32, shape: &[1, 1], bytes: &[0; 4] })
        .saying(&["`x` is I32", "BF16"]);
    with(NewTensor { name: "x", dtype: Dtype::F32, shape: &[1, 256], bytes: &[0; 1024] })
        .saying(&["token_ids"]);
    assert_eq!(folder.names(), ["x.safetensors"]);
}
