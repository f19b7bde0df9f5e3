//! The oracle against the golden files, which share no code with the project.

use std::path::{Path, PathBuf};

use mxhal_conformance::oracle::interval::Intermediates;
use mxhal_conformance::oracle::{
    Encoded, Expert, Format, Matrix, Moe, Quantization, Route, ScaleRule, Score, Shared, SwiGlu, Variant,
    check_quantized, combine, combine_in_slot_order, decode, format, matmul, permute, quantize_dequantize,
    quantize_reference, swiglu,
};
use safetensors::{Dtype, SafeTensors};

#[test]
fn quantize_mxfp4_gives_the_golden_bytes_and_accepts_them() {
    let golden = Golden::open("quantize_mxfp4.safetensors");
    for (name, rule) in [("floor", ScaleRule::Floor), ("ceil", ScaleRule::Ceil), ("even", ScaleRule::Even)] {
        golden.compare_quantized(name, "packed", Quantization::new(Format::Mxfp4).with_rule(rule));
    }
}

#[test]
fn quantize_mxfp8_gives_the_golden_bytes_and_accepts_them() {
    let golden = Golden::open("quantize_mxfp8.safetensors");
    for (group, format) in [("g32", Format::Mxfp8), ("g128", Format::Mxfp8G128)] {
        for (name, rule) in [("floor", ScaleRule::Floor), ("ceil", ScaleRule::Ceil)] {
            let to = Quantization::new(format).with_rule(rule);
            golden.compare_quantized(&format!("{group}.{name}"), "codes", to);
            let to = to.with_amax_floor(1e-4);
            golden.compare_quantized(&format!("{group}.{name}.amax1e-4"), "codes", to);
        }
    }
}

#[test]
fn quantize_mxint8_gives_the_golden_bytes_and_accepts_them() {
    let golden = Golden::open("quantize_mxint8.safetensors");
    for (name, rule) in [("floor", ScaleRule::Floor), ("ceil", ScaleRule::Ceil)] {
        golden.compare_quantized(name, "codes", Quantization::new(Format::Mxint8).with_rule(rule));
    }
}

#[test]
fn every_code_under_every_scale_decodes_to_the_golden_value() {
    let golden = Golden::open("dequantize.safetensors");
    let mxfp4 = golden.encoded(Format::Mxfp4, "mxfp4.packed", "mxfp4.scale", 32);
    assert_same_values(&decode(&mxfp4).unwrap(), &golden.matrix("mxfp4.value"));
    let factors: Vec<f32> =
        golden.matrix("nvfp4.global").values.iter().map(|&factor| factor as f32).collect();
    let nvfp4 =
        Encoded { factors: &factors, ..golden.encoded(Format::Nvfp4, "nvfp4.packed", "nvfp4.scale", 64) };
    assert_same_values(&decode(&nvfp4).unwrap(), &golden.matrix("nvfp4.value"));
}

#[test]
fn products_of_the_exact_tier_are_the_golden_bits() {
    let golden = Golden::open("matmul_exact.safetensors");
    let names = golden.names_ending_in(".y_f32");
    assert_eq!(names.len(), 14);
    for name in names {
        let w = golden.weights(&name);
        let a = match &name[..name.find('_').unwrap()] {
            "w4a4" => golden.decoded(
                Format::Mxfp4,
                &format!("{name}.a_packed"),
                &format!("{name}.a_scale"),
                w.columns,
            ),
            "w4a8" => golden.decoded(
                Format::Mxfp8,
                &format!("{name}.a_codes"),
                &format!("{name}.a_scale"),
                w.columns,
            ),
            "w4a8i" => golden.decoded(
                Format::Mxint8,
                &format!("{name}.a_codes"),
                &format!("{name}.a_scale"),
                w.columns,
            ),
            _ => golden.matrix(&format!("{name}.a_bf16")),
        };
        let product = matmul(&a, &w, None).unwrap();
        assert!(product.is_exact(), "{name}");
        for (suffix, output) in [("y_f32", Format::F32), ("y_bf16", Format::Bf16)] {
            let expected = golden.matrix(&format!("{name}.{suffix}"));
            product.check_exact(&expected, output).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_same_values(&product.rounded(output).unwrap(), &expected);
            // Rounding in the exact tier is all of the error, and the bounded tier allows it.
            product.check_bounded(&expected, output, false).unwrap();
        }
    }
}

#[test]
fn products_of_the_bounded_tier_and_their_magnitudes_are_the_golden_ones() {
    let golden = Golden::open("matmul_bounded.safetensors");
    let names = golden.names_ending_in(".y");
    assert_eq!(names.len(), 12);
    for name in names {
        let (case, scheme) = name.rsplit_once('.').unwrap();
        let w = golden.weights(case);
        let x = golden.matrix(&format!("{case}.x_bf16"));
        let (codes, scale) = (format!("{name}.a_codes"), format!("{name}.a_scale"));
        let a = match scheme {
            "w4a16" => x,
            _ => {
                let format = scheme_of(scheme).format;
                // These files keep one E2M1 code a byte.
                let packed: Vec<u8> = match format {
                    Format::Mxfp4 => {
                        golden.bytes(&codes).chunks(2).map(|pair| pair[0] | pair[1] << 4).collect()
                    }
                    _ => golden.bytes(&codes).to_vec(),
                };
                let encoded = Encoded {
                    format,
                    rows: x.rows,
                    columns: x.columns,
                    data: &packed,
                    scales: golden.bytes(&scale),
                    factors: &[],
                };
                let to = Quantization::new(format);
                check_quantized(&x, to, &encoded).unwrap_or_else(|error| panic!("{name}: {error}"));
                let a = decode(&encoded).unwrap();
                assert_same_values(&quantize_dequantize(&x, to).unwrap(), &a);
                a
            }
        };
        let product = matmul(&a, &w, None).unwrap();
        let magnitude = golden.matrix(&format!("{name}.magnitude"));
        let expected = golden.matrix(&format!("{name}.y"));
        for (index, &magnitude) in magnitude.values.iter().enumerate() {
            // What numpy's own float64 sum may lose is relative to the magnitude.
            let off = (product.sums[index].value() - expected.values[index]).abs();
            assert!(off <= 1e-12 * magnitude, "{name} {index}: off by {off:e} of {magnitude:e}");
            assert!((product.magnitudes[index] / magnitude - 1.0).abs() <= 1e-12, "{name} {index}");
        }
    }
}

#[test]
fn swiglu_gives_the_golden_values() {
    let golden = Golden::open("moe_pieces.safetensors");
    let (gate, up) = (golden.matrix("swiglu.gate"), golden.matrix("swiglu.up"));
    let concatenated: Vec<f64> =
        (0..gate.rows).flat_map(|row| [gate.row(row), up.row(row)].concat()).collect();
    let interleaved: Vec<f64> =
        gate.values.iter().zip(&up.values).flat_map(|(&gate, &up)| [gate, up]).collect();
    let columns = 2 * gate.columns;
    for (name, variant, limit) in [
        ("swiglu.plain", Variant::Plain, 0.0),
        ("swiglu.limit10", Variant::Plain, 10.0),
        ("swiglu.oai7", Variant::GptOss { alpha: 1.702 }, 7.0),
    ] {
        let expected = golden.matrix(name);
        for (interleaved, values) in [(false, &concatenated), (true, &interleaved)] {
            let gate_up = Matrix::new(gate.rows, columns, values.clone()).unwrap();
            let h = SwiGlu { variant, limit, interleaved }.apply(&gate_up, None).unwrap();
            for (&h, &expected) in h.values.iter().zip(&expected.values) {
                assert!((h - expected).abs() <= 1e-14 * expected.abs(), "{name}: {h:e} is not {expected:e}");
                assert!(swiglu::bound(expected, format::Float::F32) > 1e-14 * expected.abs());
            }
        }
    }
}

#[test]
fn routing_gives_the_golden_ids_and_weights() {
    let golden = Golden::open("moe_pieces.safetensors");
    let logits = golden.matrix("route.logits");
    let bias = golden.matrix("route.bias").values;
    let fixed = golden.integers("route.fixed_ids");
    for (name, score) in
        [("softmax", Score::Softmax), ("sigmoid", Score::Sigmoid), ("sqrtsoftplus", Score::SqrtSoftplus)]
    {
        let route = Route { score, top_k: 6, renormalize: true, scale: 2.5 };
        for (kind, bias, given) in
            [("plain", None, None), ("bias", Some(&bias[..]), None), ("fixed", None, Some(&fixed[..]))]
        {
            let name = format!("route.{name}.{kind}");
            let ids = golden.integers(&format!("{name}.ids"));
            let weights = golden.matrix(&format!("{name}.weights")).values;
            let routing = route.apply(&logits, bias, given).unwrap();
            assert_eq!(routing.ids, ids, "{name}");
            for (&weight, &expected) in routing.weights.iter().zip(&weights) {
                assert!((weight / expected - 1.0).abs() < 1e-13, "{name}: {weight:e} is not {expected:e}");
            }
            assert!(routing.margins.iter().all(|&margin| margin > 1.0), "{name}: {:?}", routing.margins);
            route
                .check(&logits, bias, given, &ids, &weights)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut wrong = ids;
            wrong.swap(0, 1);
            assert!(route.check(&logits, bias, given, &wrong, &weights).is_err(), "{name}");
        }
    }
}

#[test]
fn permute_and_combine_give_the_golden_rows() {
    let golden = Golden::open("moe_pieces.safetensors");
    let ids = golden.integers("permute.ids");
    let permutation = permute(&ids, 6, 64).unwrap();
    let counts: Vec<i32> = permutation.counts.iter().map(|&count| count as i32).collect();
    assert_eq!(counts, golden.integers("permute.counts"));
    assert_eq!(permutation.source, golden.integers("permute.source"));
    let (x, rows) = (golden.matrix("permute.x_bf16"), golden.matrix("permute.rows_bf16"));
    for (row, &route) in permutation.source.iter().enumerate() {
        assert_eq!(rows.row(row), x.row(route as usize / 6));
    }

    let rows = golden.matrix("combine.rows_bf16");
    let weights = golden.matrix("combine.weights").values;
    let expected = golden.matrix("combine.y");
    let product = combine(&rows, &weights, &permutation.positions, 6, None).unwrap();
    for (&y, &expected) in product.values().values.iter().zip(&expected.values) {
        assert!((y - expected).abs() <= 1e-14, "{y:e} is not {expected:e}");
    }
    for output in [Format::F32, Format::Bf16, Format::F16] {
        let bits = combine_in_slot_order(&rows, &weights, &permutation.positions, 6, None, output).unwrap();
        product.check_bounded(&bits, output, false).unwrap();
    }
}

/// The limits are on how far the oracle lies from numpy, whose sums are taken in another order: 1e-6 leaves no room for
/// a single intermediate on the wrong side of a rounding edge.
#[test]
fn the_deepseek_layers_give_the_golden_outputs_in_every_scheme() {
    let model = Golden::open("deepseek_v4_tiny/model-00001-of-00001.safetensors");
    let expected = Golden::open("deepseek_v4_tiny/expected.safetensors");
    let x = expected.matrix("x");
    for layer in 0..2 {
        let (ids, weights) = deepseek_routing(&model, &expected, &x, layer);
        let (experts, shared) = deepseek_experts(&model, layer);
        let mut moe = Moe {
            experts,
            shared: None,
            activation: Quantization::none(),
            swiglu: SwiGlu { variant: Variant::Plain, limit: 10.0, interleaved: false },
            weight_before_down: true,
        };
        for scheme in ["w4a16", "w4a8_g128", "w4a8_g32", "w4a8i", "w4a4"] {
            moe.activation = scheme_of(scheme);
            for (key, shared) in [
                ("routed", None),
                ("y", Some(Shared { expert: shared.clone(), clamped: true })),
                ("y_shared_unclamped", Some(Shared { expert: shared.clone(), clamped: false })),
            ] {
                moe.shared = shared;
                let name = format!("layers.{layer}.{scheme}.{key}");
                let golden = expected.matrix(&name);
                let y = moe.apply(&x, &ids, &weights).unwrap();
                let off = relative_l2(&y, &golden);
                println!("{name}: {off:.2e}");
                assert!(off < 1e-6, "{name}: {off:e}");
                assert_inside_its_ranges(&moe, &x, &ids, &weights, &golden, &name);
            }
        }
    }
}

#[test]
fn the_gpt_oss_layer_gives_the_golden_output() {
    let model = Golden::open("gpt_oss_tiny/model.safetensors");
    let expected = Golden::open("gpt_oss_tiny/expected.safetensors");
    let base = "model.layers.0.mlp";
    let x = expected.matrix("x");
    let router_bias = model.matrix(&format!("{base}.router.bias")).values;
    let logits =
        matmul(&x, &model.matrix(&format!("{base}.router.weight")), Some(&router_bias)).unwrap().values();
    let route = Route { score: Score::SoftmaxOfChosen, top_k: 4, renormalize: false, scale: 1.0 };
    let routing = route.apply(&logits, None, None).unwrap();
    assert_eq!(routing.ids, expected.integers("ids"));
    let weights = expected.matrix("weights").values;
    route.check(&logits, None, None, &routing.ids, &weights).unwrap();

    let part = |name: &str, expert: usize| {
        let (blocks, scales) =
            (format!("{base}.experts.{name}_blocks"), format!("{base}.experts.{name}_scales"));
        let rows = model.shape(&blocks)[1];
        let w = model.decoded(Format::Mxfp4, &blocks, &scales, 96);
        let bias = model.matrix(&format!("{base}.experts.{name}_bias"));
        let w = Matrix::new(rows, 96, w.values[expert * rows * 96..][..rows * 96].to_vec()).unwrap();
        (w, Some(bias.row(expert).to_vec()))
    };
    let experts = (0..8).map(|expert| {
        let ((gate_up, gate_up_bias), (down, down_bias)) =
            (part("gate_up_proj", expert), part("down_proj", expert));
        Expert { gate_up, gate_up_bias, down, down_bias }
    });
    let moe = Moe {
        experts: experts.collect(),
        shared: None,
        activation: Quantization::none(),
        swiglu: SwiGlu { variant: Variant::GptOss { alpha: 1.702 }, limit: 7.0, interleaved: true },
        weight_before_down: false,
    };
    let golden = expected.matrix("w4a16.y");
    let y = moe.apply(&x, &routing.ids, &weights).unwrap();
    let off = relative_l2(&y, &golden);
    println!("gpt_oss: {off:.2e}");
    assert!(off < 1e-6, "{off:e}");
    assert_inside_its_ranges(&moe, &x, &routing.ids, &weights, &golden, "gpt_oss");
}

// ---- reading the files -----------------------------------------------------------------------------------------

struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn names_ending_in(&self, suffix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut names: Vec<String> =
            tensors.names().iter().filter_map(|name| Some(name.strip_suffix(suffix)?.to_owned())).collect();
        names.sort();
        names
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.tensors().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap().shape().to_vec()
    }

    /// A tensor of floats; all dimensions but the last are rows.
    fn matrix(&self, name: &str) -> Matrix {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let columns = *tensor.shape().last().unwrap();
        let rows = tensor.shape().iter().product::<usize>() / columns;
        let format = match tensor.dtype() {
            Dtype::F32 => Format::F32,
            Dtype::BF16 => Format::Bf16,
            Dtype::F64 => {
                let values =
                    tensor.data().chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
                return Matrix::new(rows, columns, values.collect()).unwrap();
            }
            other => panic!("{name} is {other:?}"),
        };
        decode(&Encoded { format, rows, columns, data: tensor.data(), scales: &[], factors: &[] }).unwrap()
    }

    fn integers(&self, name: &str) -> Vec<i32> {
        match self.tensors().tensor(name).unwrap().dtype() {
            Dtype::I32 => {
                let words = self.bytes(name).chunks(4);
                words.map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect()
            }
            Dtype::I64 => {
                let words = self.bytes(name).chunks(8);
                words.map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as i32).collect()
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    fn encoded(&self, format: Format, data: &str, scales: &str, columns: usize) -> Encoded<'_> {
        let (data, scales) = (self.bytes(data), self.bytes(scales));
        let rows = data.len() * 8 / format.bits() / columns;
        Encoded { format, rows, columns, data, scales, factors: &[] }
    }

    fn decoded(&self, format: Format, data: &str, scales: &str, columns: usize) -> Matrix {
        decode(&self.encoded(format, data, scales, columns)).unwrap_or_else(|error| panic!("{data}: {error}"))
    }

    fn weights(&self, case: &str) -> Matrix {
        let (packed, scale) = (format!("{case}.w_packed"), format!("{case}.w_scale"));
        self.decoded(Format::Mxfp4, &packed, &scale, 2 * self.shape(&packed)[1])
    }

    fn compare_quantized(&self, name: &str, codes: &str, to: Quantization) {
        let (x, kind) = (self.matrix("x"), self.bytes("kind"));
        let (data, scales) = (self.bytes(&format!("{name}.{codes}")), self.bytes(&format!("{name}.scale")));
        let got = Encoded { format: to.format, rows: x.rows, columns: x.columns, data, scales, factors: &[] };
        check_quantized(&x, to, &got).unwrap_or_else(|error| panic!("{name}: {error}"));
        let reference = quantize_reference(&x, to).unwrap();
        assert_eq!(reference.scales, scales, "{name}");
        assert_eq!(reference.data, data, "{name}");
        let decoded = decode(&got).unwrap();
        assert_same_values(&decoded, &self.matrix(&format!("{name}.dequant")));
        assert_same_values(&quantize_dequantize(&x, to).unwrap(), &decoded);
        // The codes of an ordinary block are right under no other scale.
        let per_row = scales.len() / x.rows;
        for index in (0..scales.len()).filter(|index| kind[index / per_row] == 0) {
            let mut other = scales.to_vec();
            other[index] ^= 1;
            assert!(
                check_quantized(&x, to, &Encoded { scales: &other, ..got }).is_err(),
                "{name}: block {index}"
            );
        }
    }
}

fn scheme_of(name: &str) -> Quantization {
    match name {
        "w4a16" => Quantization::none(),
        "w4a8_g128" => Quantization::deepseek(),
        "w4a8_g32" => Quantization::new(Format::Mxfp8).with_amax_floor(1e-4),
        "w4a8" => Quantization::new(Format::Mxfp8),
        "w4a8i" => Quantization::new(Format::Mxint8),
        "w4a4" => Quantization::new(Format::Mxfp4),
        _ => panic!("{name} is no scheme"),
    }
}

/// The ids and weights of a layer, compared with the expected ones.
fn deepseek_routing(model: &Golden, expected: &Golden, x: &Matrix, layer: usize) -> (Vec<i32>, Vec<f64>) {
    let base = format!("layers.{layer}.ffn.gate");
    let logits = matmul(x, &model.matrix(&format!("{base}.weight")), None).unwrap().values();
    let golden = expected.matrix(&format!("layers.{layer}.logits"));
    assert!(relative_l2(&logits, &golden) < 1e-13);
    let route = Route { score: Score::SqrtSoftplus, top_k: 4, renormalize: true, scale: 1.5 };
    let (bias, given) = if layer == 0 {
        let (table, tokens) = (model.integers(&format!("{base}.tid2eid")), expected.integers("token_ids"));
        let given = tokens.iter().flat_map(|&token| table[4 * token as usize..][..4].to_vec());
        (None, Some(given.collect::<Vec<_>>()))
    } else {
        (Some(model.matrix(&format!("{base}.bias")).values), None)
    };
    let routing = route.apply(&logits, bias.as_deref(), given.as_deref()).unwrap();
    assert_eq!(routing.ids, expected.integers(&format!("layers.{layer}.ids")));
    let weights = expected.matrix(&format!("layers.{layer}.weights")).values;
    route.check(&logits, bias.as_deref(), given.as_deref(), &routing.ids, &weights).unwrap();
    (routing.ids, weights)
}

fn deepseek_experts(model: &Golden, layer: usize) -> (Vec<Expert>, Expert) {
    let expert = |name: &str, format: Format| {
        let base = format!("layers.{layer}.ffn.{name}");
        let part = |part: &str, columns| {
            model.decoded(format, &format!("{base}.{part}.weight"), &format!("{base}.{part}.scale"), columns)
        };
        let gate_up = part("w1", 256).stack(&part("w3", 256)).unwrap();
        Expert { gate_up, gate_up_bias: None, down: part("w2", 128), down_bias: None }
    };
    let routed = (0..16).map(|index| expert(&format!("experts.{index}"), Format::Mxfp4)).collect();
    (routed, expert("shared_experts", Format::Fp8Tile128))
}

/// Also tells how wide the ranges are, against the root mean square of y.
fn assert_inside_its_ranges(
    moe: &Moe,
    x: &Matrix,
    ids: &[i32],
    weights: &[f64],
    golden: &Matrix,
    name: &str,
) {
    for intermediates in [Intermediates::Bf16, Intermediates::Bf16OrBetter] {
        let ranges = moe.ranges(x, ids, weights, intermediates).unwrap();
        ranges
            .check(&golden.map(|y| format::Float::F32.round(y)), Format::F32)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let width = ranges.values.iter().map(|range| range.high - range.low).sum::<f64>()
            / ranges.values.len() as f64;
        let size = (golden.values.iter().map(|y| y * y).sum::<f64>() / golden.values.len() as f64).sqrt();
        println!("{name}: {intermediates:?}: mean width {:.2e} of the rms", width / size);
        // Far from anything goes: a result of zeros is not in them.
        assert!(ranges.check(&Matrix::zeros(golden.rows, golden.columns), Format::F32).is_err(), "{name}");
    }
}

fn relative_l2(got: &Matrix, expected: &Matrix) -> f64 {
    assert_eq!((got.rows, got.columns), (expected.rows, expected.columns));
    let off: f64 =
        got.values.iter().zip(&expected.values).map(|(got, expected)| (got - expected).powi(2)).sum();
    (off / expected.values.iter().map(|value| value * value).sum::<f64>()).sqrt()
}

/// Equal bits, and NaN where NaN is due.
fn assert_same_values(got: &Matrix, expected: &Matrix) {
    assert_eq!((got.rows, got.columns), (expected.rows, expected.columns));
    for (index, (got, expected)) in got.values.iter().zip(&expected.values).enumerate() {
        let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(same, "element {index}: expected {expected:e}, got {got:e}");
    }
}
