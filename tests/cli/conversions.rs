//! `quantize` and `dequantize`, against the golden files.

use std::fs;
use std::path::Path;

use mxhal::checkpoint::Dtype;
use mxhal::core::Format;
use mxhal::{NewTensor, TensorFile};

use super::{Folder, Ran, golden};

fn quantize(folder: &Folder, format: &str, input: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["quantize", "--format", format, "--output", "q.safetensors", "--input"];
    arguments.push(input.to_str().unwrap());
    arguments.extend(more);
    folder.run(arguments)
}

fn dequantize(folder: &Folder, more: &[&str]) -> Ran {
    let arguments = ["dequantize", "--input", "q.safetensors", "--output", "d.safetensors"];
    folder.run(arguments.iter().chain(more))
}

fn floats(file: &TensorFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor_of(name, Dtype::F32).unwrap();
    tensor.bytes().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn bytes<'a>(file: &'a TensorFile, name: &str) -> &'a [u8] {
    file.tensor_of(name, Dtype::U8).unwrap().bytes()
}

#[test]
fn there_and_back_gives_the_golden_values() {
    let folder = Folder::new();
    let path = golden("quantize_mxfp4.safetensors");
    quantize(&folder, "mxfp4", &path, &["--filter", "^x$"]).with_code(0).saying(&["quantized to mxfp4: 1"]);
    dequantize(&folder, &[]).with_code(0);

    let expected = TensorFile::open(&path).unwrap();
    let packed = TensorFile::open(folder.path("q.safetensors")).unwrap();
    let back = TensorFile::open(folder.path("d.safetensors")).unwrap();
    assert_eq!(packed.metadata()["mxhal.format"], "mxfp4");
    assert!(back.metadata().is_empty());
    assert_eq!(packed.tensor("x").unwrap().shape(), [207, 16]);
    assert_eq!(packed.tensor("x_scale").unwrap().shape(), [207, 1]);
    let (kind, boundary) = (bytes(&expected, "kind"), bytes(&expected, "ceil.boundary"));
    let mut ordinary = 0;
    for block in 0..207 {
        let scale = bytes(&packed, "x_scale")[block];
        match kind[block] {
            // A NaN or an infinity in the block.
            1 => assert_eq!(scale, 255, "block {block}"),
            0 | 3 if boundary[block] == 0 => {
                ordinary += 1;
                assert_eq!(scale, bytes(&expected, "ceil.scale")[block], "block {block}");
                let codes = 16 * block..16 * (block + 1);
                assert_eq!(
                    bytes(&packed, "x")[codes.clone()],
                    bytes(&expected, "ceil.packed")[codes],
                    "block {block}"
                );
                let values = 32 * block..32 * (block + 1);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                let got = floats(&back, "x");
                assert_eq!(
                    bits(&got[values.clone()]),
                    bits(&floats(&expected, "ceil.dequant")[values]),
                    "block {block}"
                );
            }
            _ => {}
        }
    }
    assert!(ordinary > 150, "only {ordinary} blocks were compared");
    // What was not chosen is the same file to file.
    assert_eq!(bytes(&packed, "floor.packed"), bytes(&expected, "floor.packed"));
    assert_eq!(floats(&back, "even.dequant").len(), 207 * 32);
}

/// A file of a tensor of each float type, with two outer dimensions and odd numbers of rows and of blocks.
fn floats_of_each_type(folder: &Folder) -> std::path::PathBuf {
    let values: Vec<f32> = (0..2 * 3 * 160).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
    let f32s: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let half = |convert: fn(f32) -> u16| -> Vec<u8> {
        values.iter().flat_map(|value| convert(*value).to_le_bytes()).collect()
    };
    let (bf16s, f16s) = (half(mxhal::core::format::bf16::from_f32), half(mxhal::core::format::f16::from_f32));
    let shape = &[2, 3, 160][..];
    let path = folder.path("in.safetensors");
    TensorFile::write(
        &path,
        &[
            NewTensor { name: "a", dtype: Dtype::F32, shape, bytes: &f32s },
            NewTensor { name: "b", dtype: Dtype::BF16, shape, bytes: &bf16s },
            NewTensor { name: "c", dtype: Dtype::F16, shape, bytes: &f16s },
            NewTensor { name: "d", dtype: Dtype::I64, shape: &[1], bytes: &[7; 8] },
            NewTensor { name: "empty", dtype: Dtype::F32, shape: &[0, 32], bytes: &[] },
        ],
    )
    .unwrap();
    path
}

#[test]
fn every_format_goes_there_and_back_for_every_float_type() {
    for (format, columns, scales, error) in [
        (Format::Mxfp4, 80, 5, 0.25),
        (Format::Mxfp8, 160, 5, 0.0625),
        (Format::Mxfp8G128, 160, 2, 0.0625),
        (Format::Mxint8, 160, 5, 0.016),
        (Format::Nvfp4, 80, 10, 0.26),
    ] {
        let folder = Folder::new();
        let input = floats_of_each_type(&folder);
        quantize(&folder, format.name(), &input, &[]).with_code(0);
        dequantize(&folder, &[]).with_code(0);
        let file = TensorFile::open(folder.path("q.safetensors")).unwrap();
        let back = TensorFile::open(folder.path("d.safetensors")).unwrap();
        let original = TensorFile::open(&input).unwrap();
        let expected = floats(&original, "a");
        for name in ["a", "b", "c"] {
            assert_eq!(file.tensor(name).unwrap().shape(), [2, 3, columns], "{format}");
            assert_eq!(file.tensor(&format!("{name}_scale")).unwrap().shape(), [2, 3, scales], "{format}");
            assert_eq!(back.tensor(name).unwrap().shape(), [2, 3, 160], "{format}");
            let amax = 50.0 / 16.0;
            for (got, wanted) in floats(&back, name).iter().zip(&expected) {
                assert!((got - wanted).abs() <= error * amax, "{format} {name}: {got} for {wanted}");
            }
        }
        let has_factors = file.names().any(|name| name == "a_factor");
        assert_eq!(has_factors, format == Format::Nvfp4);
        assert_eq!(file.tensor("empty").unwrap().shape()[0], 0);
        assert_eq!(back.tensor("empty").unwrap().shape(), [0, 32]);
        assert_eq!(back.tensor_of("d", Dtype::I64).unwrap().bytes(), [7; 8]);
        dequantize(&folder, &["--to", "bf16"]).with_code(0);
        let halves = TensorFile::open(folder.path("d.safetensors")).unwrap();
        assert_eq!(halves.tensor("a").unwrap().dtype(), Dtype::BF16);
    }
}

#[test]
fn columns_that_do_not_fit_are_an_error_or_copied() {
    let folder = Folder::new();
    let path = folder.path("in.safetensors");
    let fits = NewTensor { name: "fits", dtype: Dtype::F32, shape: &[1, 32], bytes: &[0; 128] };
    let odd = NewTensor { name: "odd", dtype: Dtype::F32, shape: &[2, 3], bytes: &[1; 24] };
    TensorFile::write(&path, &[fits, odd]).unwrap();
    let ran = quantize(&folder, "mxfp4", &path, &[]).with_code(1);
    ran.saying(&["in.safetensors: tensor `odd` is F32 [2, 3]", "a multiple of 32", "--keep-unfit"]);
    assert_eq!(folder.names(), ["in.safetensors"]);
    quantize(&folder, "mxfp4", &path, &["--keep-unfit"]).with_code(0);
    let packed = TensorFile::open(folder.path("q.safetensors")).unwrap();
    assert_eq!(packed.tensor_of("odd", Dtype::F32).unwrap().bytes(), [1; 24]);
    quantize(&folder, "mxfp4", &path, &["--filter", "nothing"])
        .with_code(1)
        .saying(&["whose name matches `nothing`"]);
}

#[test]
fn what_does_not_go_together_is_said() {
    let folder = Folder::new();
    let path = golden("quantize_mxfp4.safetensors");
    let ran = quantize(&folder, "nvfp4", &path, &["--scale-rule", "ceil"]).with_code(2);
    ran.saying(&["nvfp4 with scale rule `ceil`"]);
    quantize(&folder, "mxfp4", &path, &["--amax-floor=-1"]).with_code(2).saying(&["a floor on amax of -1"]);

    fs::copy(&path, folder.path("q.safetensors")).unwrap();
    dequantize(&folder, &[]).with_code(2).saying(&["do not say `mxhal.format`", "--format"]);
    dequantize(&folder, &["--format", "mxfp4"])
        .with_code(1)
        .saying(&["no tensor of bytes with a `…_scale` beside it"]);

    quantize(&folder, "mxfp8", &path, &["--filter", "^x$"]).with_code(0);
    dequantize(&folder, &["--format", "mxfp4"]).with_code(2).saying(&["is mxfp8 by its metadata"]);
    let packed = folder.path("q.safetensors");
    quantize(&folder, "mxfp4", &packed, &[]).with_code(1).saying(&["its tensors are mxfp8 already"]);

    fs::write(&packed, b"nothing of the kind").unwrap();
    dequantize(&folder, &[]).with_code(1).saying(&["q.safetensors"]);
}
