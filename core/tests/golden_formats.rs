//! The formats against the golden files of the conformance suite, which share no code with this crate.
//!
//! `conformance/golden/README.md` leaves an implementation some freedom: the codes of a block that holds a NaN,
//! flushing where a scale byte clamps to 0, the byte below where `ceil` meets a boundary. The codecs here use none of
//! it, so everything is compared bit for bit.

use std::path::PathBuf;

use mxhal_core::format::{Format, Quantization, ScaleRule, bf16, dequantize_row, quantize_row};
use safetensors::{Dtype, SafeTensors};

struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Golden {
    fn open(name: &'static str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../conformance/golden/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name, bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn raw(&self, tensor: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let tensors = self.tensors();
        let view = tensors.tensor(tensor).unwrap_or_else(|error| panic!("{} {tensor}: {error}", self.name));
        assert_eq!(view.dtype(), dtype, "{} {tensor}", self.name);
        (view.shape().to_vec(), view.data().to_vec())
    }

    /// A tensor of two dimensions as its rows.
    fn byte_rows(&self, tensor: &str) -> Vec<Vec<u8>> {
        let (shape, bytes) = self.raw(tensor, Dtype::U8);
        bytes.chunks(shape[1]).map(<[u8]>::to_vec).collect()
    }

    fn float_rows(&self, tensor: &str) -> Vec<Vec<f32>> {
        let (shape, bytes) = self.raw(tensor, Dtype::F32);
        floats(&bytes).chunks(shape[1]).map(<[f32]>::to_vec).collect()
    }

    fn bf16_rows(&self, tensor: &str) -> Vec<Vec<u16>> {
        let (shape, bytes) = self.raw(tensor, Dtype::BF16);
        let values: Vec<u16> = bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
        values.chunks(shape[1]).map(<[u16]>::to_vec).collect()
    }

    fn names(&self) -> Vec<String> {
        self.tensors().names().into_iter().map(str::to_owned).collect()
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// NaNs are alike, zeros of different sign are not.
fn assert_same(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (column, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
        assert!(same, "{what}, column {column}: {got:e} where {expected:e} is due");
    }
}

/// Quantizes the rows of `x` and takes them back; `key` names the tensors that hold what is due.
fn check_quantize(golden: &Golden, to: Quantization, key: &str, codes: &str) {
    let x = golden.float_rows("x");
    let codes = golden.byte_rows(&format!("{key}.{codes}"));
    let scales = golden.byte_rows(&format!("{key}.scale"));
    let values = golden.float_rows(&format!("{key}.dequant"));
    assert_eq!([codes.len(), scales.len(), values.len()], [x.len(); 3]);
    assert!(x.len() > 200);
    for (row, x) in x.iter().enumerate() {
        let what = format!("{} {key}, row {row}", golden.name);
        let (mut data, mut scale) = (vec![0xaa; codes[row].len()], vec![0xaa; scales[row].len()]);
        let factor = quantize_row(&to, x, &mut data, &mut scale);
        assert_eq!(factor, 1.0);
        assert_eq!(scale, scales[row], "{what}");
        assert_eq!(data, codes[row], "{what}");
        let mut back = vec![0.0; x.len()];
        dequantize_row(to.format, &data, &scale, factor, &mut back);
        assert_same(&back, &values[row], &what);
    }
}

#[test]
fn mxfp4_is_quantized_by_every_rule() {
    let golden = Golden::open("quantize_mxfp4");
    for rule in [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even] {
        check_quantize(&golden, Quantization::new(Format::Mxfp4).with_rule(rule), rule.name(), "packed");
    }
}

#[test]
fn mxfp8_is_quantized_in_both_groups_with_and_without_a_floor() {
    let golden = Golden::open("quantize_mxfp8");
    for (format, group) in [(Format::Mxfp8, "g32"), (Format::Mxfp8G128, "g128")] {
        for rule in [ScaleRule::Floor, ScaleRule::Ceil] {
            for (floor, name) in [(0.0, ""), (1e-4, ".amax1e-4")] {
                let to = Quantization::new(format).with_rule(rule).with_amax_floor(floor);
                check_quantize(&golden, to, &format!("{group}.{rule}{name}"), "codes");
            }
        }
    }
}

#[test]
fn mxint8_is_quantized_by_both_rules() {
    let golden = Golden::open("quantize_mxint8");
    for rule in [ScaleRule::Floor, ScaleRule::Ceil] {
        check_quantize(&golden, Quantization::new(Format::Mxint8).with_rule(rule), rule.name(), "codes");
    }
}

#[test]
fn every_code_under_every_scale_has_its_value() {
    let golden = Golden::open("dequantize");
    let scales = golden.byte_rows("mxfp4.scale");
    let values = golden.float_rows("mxfp4.value");
    let rows = golden.byte_rows("mxfp4.packed");
    assert_eq!(rows.len(), 256);
    for (row, data) in rows.iter().enumerate() {
        let mut out = vec![0.0; data.len() * 2];
        dequantize_row(Format::Mxfp4, data, &scales[row], 1.0, &mut out);
        assert_same(&out, &values[row], &format!("mxfp4, row {row}"));
    }
}

#[test]
fn nvfp4_is_rounded_twice() {
    let golden = Golden::open("dequantize");
    let scales = golden.byte_rows("nvfp4.scale");
    let factors = floats(&golden.raw("nvfp4.global", Dtype::F32).1);
    let values = golden.float_rows("nvfp4.value");
    let rows = golden.byte_rows("nvfp4.packed");
    assert_eq!(rows.len(), 64);
    for (row, data) in rows.iter().enumerate() {
        let mut out = vec![0.0; data.len() * 2];
        dequantize_row(Format::Nvfp4, data, &scales[row], factors[row], &mut out);
        assert_same(&out, &values[row], &format!("nvfp4, row {row}"));
    }
}

/// Rows of up to 4096 columns, where the files above have one block or four.
#[test]
fn long_rows_of_activations_are_quantized_block_by_block() {
    let golden = Golden::open("matmul_bounded");
    for case in ["1x64x4096", "8x48x2880", "70x96x1024"] {
        for (scheme, format) in [("w4a8", Format::Mxfp8), ("w4a8i", Format::Mxint8), ("w4a4", Format::Mxfp4)]
        {
            let codes = golden.byte_rows(&format!("{case}.{scheme}.a_codes"));
            let scales = golden.byte_rows(&format!("{case}.{scheme}.a_scale"));
            for (row, x) in golden.bf16_rows(&format!("{case}.x_bf16")).iter().enumerate() {
                let x: Vec<f32> = x.iter().copied().map(bf16::to_f32).collect();
                let (mut data, mut scale) =
                    (vec![0; format.row_bytes(x.len())], vec![0; format.row_scales(x.len())]);
                quantize_row(&Quantization::new(format), &x, &mut data, &mut scale);
                // The file keeps E2M1 codes one a byte here.
                let due: Vec<u8> = match format {
                    Format::Mxfp4 => {
                        codes[row].as_chunks::<2>().0.iter().map(|[low, high]| low | high << 4).collect()
                    }
                    _ => codes[row].clone(),
                };
                assert_eq!(scale, scales[row], "{case} {scheme}, row {row}");
                assert_eq!(data, due, "{case} {scheme}, row {row}");
            }
        }
    }
}

#[test]
fn bf16_results_are_the_float32_ones_rounded() {
    let golden = Golden::open("matmul_exact");
    let names: Vec<String> = golden.names().into_iter().filter(|name| name.ends_with(".y_f32")).collect();
    assert!(names.len() >= 10);
    for name in names {
        let expected = golden.bf16_rows(&name.replace("y_f32", "y_bf16"));
        for (row, y) in golden.float_rows(&name).iter().enumerate() {
            let got: Vec<u16> = y.iter().copied().map(bf16::from_f32).collect();
            assert_eq!(got, expected[row], "{name}, row {row}");
            let once: Vec<u16> = y.iter().copied().map(f64::from).map(bf16::from_f64).collect();
            assert_eq!(once, got, "{name}, row {row}");
        }
    }
}
