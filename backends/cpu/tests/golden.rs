//! The golden files, through the public traits.

mod harness;

use std::fs;
use std::path::PathBuf;

use harness::{Host, Permuted, Rows, half_ulp, sum_bound};
use mxhal_core::format::bf16;
use mxhal_core::op::{
    Combine, CombineTensors, Dequantize, DequantizeTensors, Matmul, MatmulTensors, MoeFfn, MoeFfnTensors,
    MoeFfnWeights, Operators, Permute, Quantize, QuantizeTensors, Route, RouteTensors, Score, SharedExpert,
    SwiGlu, SwiGluForm, SwiGluTensors, WeightPosition,
};
use mxhal_core::{Format, HostTensor, Layout, Quantization, ScaleRule, Weights, WeightsDesc};
use safetensors::SafeTensors;

struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/golden").join(name);
        Self(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.file().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).shape().to_vec()
    }

    fn plain(&self, format: Format, name: &str) -> Rows {
        let rows = Rows::plain(format, &self.shape(name), self.bytes(name));
        assert_eq!(rows.data.len() * 8, rows.shape.iter().product::<usize>() * format.bits(), "{name}");
        rows
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    /// The names before a suffix.
    fn cases(&self, suffix: &str) -> Vec<String> {
        let file = self.file();
        let names = file.names().into_iter();
        let mut cases: Vec<String> =
            names.filter_map(|name| name.strip_suffix(suffix)).map(str::to_owned).collect();
        cases.sort();
        assert!(!cases.is_empty(), "no tensor ends in {suffix}");
        cases
    }
}

fn blocks(format: Format, shape: &[usize], data: Vec<u8>, scales: Vec<u8>) -> Rows {
    Rows { scales, ..Rows::plain(format, shape, data) }
}

fn quantize(host: &Host, x: &Rows, to: Quantization) -> Rows {
    let (rows, k) = (x.shape[0], x.shape[1]);
    let plan = host.device.quantize(Quantize { rows, k, input: x.format, to }).unwrap();
    let workspace = host.workspace(plan.info());
    let (x, y) = (host.upload(x), host.poisoned(to.format, &[rows, k]));
    let tensors = QuantizeTensors { x: x.view, y: y.view };
    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
    host.download(&y)
}

fn dequantize(host: &Host, x: &Rows, output: Format) -> Rows {
    let (rows, k) = (x.shape[0], x.shape[1]);
    let plan = host.device.dequantize(Dequantize { rows, k, from: x.format, output }).unwrap();
    let workspace = host.workspace(plan.info());
    let (x, y) = (host.upload(x), host.poisoned(output, &[rows, k]));
    let tensors = DequantizeTensors { x: x.view, y: y.view };
    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
    host.download(&y)
}

/// Compares a quantized file block by block, as its README says; `key` is the prefix of what is expected.
fn check_quantized(golden: &Golden, to: Quantization, key: &str, codes: &str, boundary: Option<&str>) {
    let host = Host::new(2);
    let got = quantize(&host, &golden.plain(Format::F32, "x"), to);
    let kinds = golden.bytes("kind");
    let (scales, codes) = (golden.bytes(&format!("{key}.scale")), golden.bytes(&format!("{key}.{codes}")));
    let boundary = boundary.map(|name| golden.bytes(name));
    let blocks_of_row = scales.len() / kinds.len();
    let mut compared = 0;
    for (block, (got_codes, codes)) in got
        .data
        .chunks(got.data.len() / scales.len())
        .zip(codes.chunks(codes.len() / scales.len()))
        .enumerate()
    {
        let (got_scale, scale) = (got.scales[block], scales[block]);
        let at = format!("{key} block {block}");
        if boundary.as_ref().is_some_and(|at_boundary| at_boundary[block] != 0) && got_scale + 1 == scale {
            continue;
        }
        assert_eq!(got_scale, scale, "{at}");
        match kinds[block / blocks_of_row] {
            // A NaN or an infinity in this block: its codes are free. In the row's other blocks they are not.
            1 if scale == 255 => continue,
            // The scale is clamped: codes may be flushed to zero.
            2 => assert!(got_codes == codes || got_codes.iter().all(|code| code & 0x77 == 0), "{at}"),
            _ => assert_eq!(got_codes, codes, "{at}"),
        }
        compared += 1;
    }
    assert!(compared > scales.len() / 2, "{key}: {compared} of {} blocks were compared", scales.len());
}

#[test]
fn quantized_rows_are_those_of_the_files() {
    let rules = [("floor", ScaleRule::Floor), ("ceil", ScaleRule::Ceil), ("even", ScaleRule::Even)];
    let boundary = |rule: ScaleRule, name: &'static str| (rule == ScaleRule::Ceil).then_some(name);
    let mxfp4 = Golden::open("quantize_mxfp4.safetensors");
    for (key, rule) in rules {
        let to = Quantization::new(Format::Mxfp4).with_rule(rule);
        check_quantized(&mxfp4, to, key, "packed", boundary(rule, "ceil.boundary"));
    }
    let mxfp8 = Golden::open("quantize_mxfp8.safetensors");
    for (key, rule) in &rules[..2] {
        for (group, format) in [("g32", Format::Mxfp8), ("g128", Format::Mxfp8G128)] {
            for (floor, name) in [(0.0, ""), (1e-4, ".amax1e-4")] {
                let to = Quantization::new(format).with_rule(*rule).with_amax_floor(floor);
                let at = if group == "g32" { "g32.ceil.boundary" } else { "g128.ceil.boundary" };
                check_quantized(&mxfp8, to, &format!("{group}.{key}{name}"), "codes", boundary(*rule, at));
            }
        }
    }
    let mxint8 = Golden::open("quantize_mxint8.safetensors");
    for (key, rule) in &rules[..2] {
        let to = Quantization::new(Format::Mxint8).with_rule(*rule);
        check_quantized(&mxint8, to, key, "codes", boundary(*rule, "ceil.boundary"));
    }
}

#[test]
fn every_code_has_its_value_under_every_scale() {
    let host = Host::new(2);
    let golden = Golden::open("dequantize.safetensors");
    let mxfp4 = blocks(Format::Mxfp4, &[256, 32], golden.bytes("mxfp4.packed"), golden.bytes("mxfp4.scale"));
    let mut nvfp4 =
        blocks(Format::Nvfp4, &[64, 64], golden.bytes("nvfp4.packed"), golden.bytes("nvfp4.scale"));
    nvfp4.factors = golden.bytes("nvfp4.global");
    for (rows, name) in [(mxfp4, "mxfp4.value"), (nvfp4, "nvfp4.value")] {
        let got = dequantize(&host, &rows, Format::F32).values();
        let expected = golden.plain(Format::F32, name).values();
        assert_eq!(got.len(), expected.len());
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{name}[{i}]: {got} and not {expected}");
        }
    }
}

fn matmul(host: &Host, op: Matmul, a: &Rows, w: &Rows) -> Rows {
    let plan = host.device.matmul(op).unwrap();
    let workspace = host.workspace(plan.info());
    let weights = host.weights(std::slice::from_ref(w), op.activation.format);
    let (a, y) = (host.upload(a), host.poisoned(op.output, &[op.m, op.n]));
    let tensors = MatmulTensors { a: a.view, bias: None, y: y.view };
    plan.run(&*host.stream, tensors, [&*weights], workspace.span()).unwrap();
    host.download(&y)
}

#[test]
fn exact_products_have_the_bits_of_the_file() {
    let host = Host::new(2);
    let golden = Golden::open("matmul_exact.safetensors");
    let cases = golden.cases(".y_f32");
    assert_eq!(cases.len(), 14);
    for case in cases {
        let tensor = |name: &str| format!("{case}.{name}");
        let [m, n] = golden.shape(&tensor("y_f32"))[..] else { panic!("{case}") };
        let k = 2 * golden.shape(&tensor("w_packed"))[1];
        let w = blocks(
            Format::Mxfp4,
            &[n, k],
            golden.bytes(&tensor("w_packed")),
            golden.bytes(&tensor("w_scale")),
        );
        let (format, codes) = match case.split('_').next().unwrap() {
            "w4a4" => (Format::Mxfp4, "a_packed"),
            "w4a8" => (Format::Mxfp8, "a_codes"),
            "w4a8i" => (Format::Mxint8, "a_codes"),
            "w4a16" => (Format::Bf16, "a_bf16"),
            other => panic!("scheme {other}"),
        };
        let mut a = Rows::plain(format, &[m, k], golden.bytes(&tensor(codes)));
        if format != Format::Bf16 {
            a.scales = golden.bytes(&tensor("a_scale"));
        }
        for (output, expected) in [(Format::F32, "y_f32"), (Format::Bf16, "y_bf16")] {
            let op = Matmul { input: format, output, ..Matmul::mxfp4(m, n, k, Quantization::new(format)) };
            assert_eq!(matmul(&host, op, &a, &w), golden.plain(output, &tensor(expected)), "{case} {output}");
        }
    }
}

#[test]
fn ordinary_products_keep_their_bound() {
    let host = Host::new(2);
    let golden = Golden::open("matmul_bounded.safetensors");
    for case in golden.cases(".x_bf16") {
        let x = golden.plain(Format::Bf16, &format!("{case}.x_bf16"));
        let [m, k] = x.shape[..] else { panic!("{case}") };
        let w_scale = golden.bytes(&format!("{case}.w_scale"));
        let n = w_scale.len() / (k / 32);
        let w = blocks(Format::Mxfp4, &[n, k], golden.bytes(&format!("{case}.w_packed")), w_scale);
        for (scheme, format) in [
            ("w4a16", Format::Bf16),
            ("w4a8", Format::Mxfp8),
            ("w4a8i", Format::Mxint8),
            ("w4a4", Format::Mxfp4),
        ] {
            let y = golden.doubles(&format!("{case}.{scheme}.y"));
            let magnitude = golden.doubles(&format!("{case}.{scheme}.magnitude"));
            for output in [Format::F32, Format::Bf16, Format::F16] {
                let op = Matmul { output, ..Matmul::mxfp4(m, n, k, Quantization::new(format)) };
                let got = matmul(&host, op, &x, &w).values();
                assert_eq!(got.len(), y.len());
                for (i, got) in got.iter().enumerate() {
                    let error = (f64::from(*got) - y[i]).abs();
                    let bound = sum_bound(output, k, y[i], magnitude[i]);
                    assert!(error <= bound, "{case} {scheme} {output} {i}: {got}, {} ± {bound}", y[i]);
                }
            }
        }
    }
}

#[test]
fn swiglu_keeps_its_bound() {
    let host = Host::new(2);
    let golden = Golden::open("moe_pieces.safetensors");
    let (gate, up) =
        (golden.plain(Format::F32, "swiglu.gate").values(), golden.plain(Format::F32, "swiglu.up").values());
    let (rows, n) = (32, 64);
    let interleaved = |interleaved: bool| -> Vec<f32> {
        let rows = gate.chunks(n).zip(up.chunks(n));
        rows.flat_map(|(gate, up)| match interleaved {
            true => gate.iter().zip(up).flat_map(|(gate, up)| [*gate, *up]).collect(),
            false => [gate, up].concat(),
        })
        .collect()
    };
    for (name, form) in [
        ("plain", SwiGluForm::silu(0.0)),
        ("limit10", SwiGluForm::silu(10.0)),
        ("oai7", SwiGluForm::gpt_oss(7.0)),
        ("oai7", SwiGluForm { interleaved: false, ..SwiGluForm::gpt_oss(7.0) }),
        ("limit10", SwiGluForm { interleaved: true, ..SwiGluForm::silu(10.0) }),
    ] {
        let to = Quantization::new(Format::F32);
        let op = SwiGlu { rows, n, form, input: Format::F32, row_weights: false, to };
        let plan = host.device.swiglu(op).unwrap();
        let workspace = host.workspace(plan.info());
        let x = host.upload(&Rows::floats(&[rows, 2 * n], &interleaved(form.interleaved)));
        let y = host.poisoned(Format::F32, &[rows, n]);
        let tensors = SwiGluTensors { x: x.view, row_weights: None, y: y.view };
        plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
        let expected = golden.doubles(&format!("swiglu.{name}"));
        for (got, expected) in host.download(&y).values().iter().zip(expected) {
            let bound = (expected.abs() * 2f64.powi(-20)).max(2f64.powi(-126));
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= bound + half_ulp(Format::F32, expected), "{name}: {got}, {expected}");
        }
    }
}

#[test]
fn routing_chooses_the_experts_of_the_file_and_weighs_them() {
    let host = Host::new(2);
    let golden = Golden::open("moe_pieces.safetensors");
    let logits = host.upload(&golden.plain(Format::F32, "route.logits"));
    let bias = host.upload(&golden.plain(Format::F32, "route.bias"));
    let fixed = host.upload(&golden.plain(Format::I32, "route.fixed_ids"));
    let (tokens, experts, top_k) = (24, 64, 6);
    for (function, score) in
        [("softmax", Score::Softmax), ("sigmoid", Score::Sigmoid), ("sqrtsoftplus", Score::SqrtSoftplus)]
    {
        for kind in ["plain", "bias", "fixed"] {
            let (with_bias, given) = (kind == "bias", kind == "fixed");
            let op = Route {
                tokens,
                experts,
                top_k,
                score,
                bias: with_bias,
                ids_given: given,
                renormalize: true,
                scale: 2.5,
            };
            let plan = host.device.route(op).unwrap();
            let workspace = host.workspace(plan.info());
            let (ids, weights) =
                (host.poisoned(Format::I32, &[tokens, top_k]), host.poisoned(Format::F32, &[tokens, top_k]));
            let tensors = RouteTensors {
                logits: logits.view,
                bias: with_bias.then_some(bias.view),
                ids_given: given.then_some(fixed.view),
                ids: ids.view,
                weights: weights.view,
            };
            plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
            let name = format!("route.{function}.{kind}");
            assert_eq!(host.download(&ids), golden.plain(Format::I32, &format!("{name}.ids")), "{name}");
            let expected = golden.doubles(&format!("{name}.weights"));
            for (got, expected) in host.download(&weights).values().iter().zip(expected) {
                let error = (f64::from(*got) - expected).abs();
                assert!(error <= expected * 2f64.powi(-18), "{name}: {got}, {expected}");
            }
        }
    }
}

#[test]
fn rows_are_permuted_and_combined_as_in_the_file() {
    let host = Host::new(2);
    let golden = Golden::open("moe_pieces.safetensors");
    let (tokens, columns, experts, top_k) = (24, 32, 64, 6);
    let op = Permute { tokens, columns, experts, top_k, format: Format::Bf16, weights: false, mapped: None };
    let x = host.upload(&golden.plain(Format::Bf16, "permute.x_bf16"));
    let ids = host.upload(&golden.plain(Format::I32, "permute.ids"));
    let Permuted { rows, counts, source, positions, .. } = host.permute(op, [&x, &ids], [None, None]);
    assert_eq!(host.download(&rows), golden.plain(Format::Bf16, "permute.rows_bf16"));
    assert_eq!(host.download(&counts), golden.plain(Format::I32, "permute.counts"));
    assert_eq!(host.download(&source), golden.plain(Format::I32, "permute.source"));

    let op = Combine {
        tokens,
        columns,
        top_k,
        input: Format::Bf16,
        output: Format::F32,
        weighted: true,
        addend: None,
    };
    let plan = host.device.combine(op).unwrap();
    let workspace = host.workspace(plan.info());
    let rows = golden.plain(Format::Bf16, "combine.rows_bf16");
    let weights = golden.plain(Format::F32, "combine.weights");
    let (rows_there, weights_there) = (host.upload(&rows), host.upload(&weights));
    let y = host.poisoned(Format::F32, &[tokens, columns]);
    let tensors = CombineTensors {
        rows: rows_there.view,
        positions: positions.view,
        weights: Some(weights_there.view),
        addend: None,
        y: y.view,
    };
    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
    let (rows, weights) = (rows.values(), weights.values());
    let positions = host.download(&positions).to_integers();
    let expected = golden.doubles("combine.y");
    for (i, got) in host.download(&y).values().iter().enumerate() {
        let (token, column) = (i / columns, i % columns);
        let magnitude: f64 = (token * top_k..(token + 1) * top_k)
            .map(|slot| f64::from(weights[slot] * rows[positions[slot] as usize * columns + column]).abs())
            .sum();
        let bound = sum_bound(Format::F32, top_k, expected[i], magnitude);
        assert!((f64::from(*got) - expected[i]).abs() <= bound, "{i}: {got}, {}", expected[i]);
    }
}

/// Relative L2 of everything, and of the worst token.
fn distances(got: &[f32], expected: &[f64], columns: usize) -> (f64, f64) {
    assert_eq!(got.len(), expected.len());
    let l2 = |got: &[f32], expected: &[f64]| {
        let error: f64 = got.iter().zip(expected).map(|(got, e)| (f64::from(*got) - e).powi(2)).sum();
        (error / expected.iter().map(|e| e * e).sum::<f64>()).sqrt()
    };
    let tokens = got.chunks(columns).zip(expected.chunks(columns));
    (l2(got, expected), tokens.map(|(got, expected)| l2(got, expected)).fold(0.0, f64::max))
}

fn run_moe(host: &Host, op: MoeFfn, tensors: [Option<&Rows>; 5], weights: MoeFfnWeights<'_>) -> Vec<f32> {
    let plan = host.device.moe_ffn(op).unwrap();
    let workspace = host.workspace(plan.info());
    let tensors = tensors.map(|rows| rows.map(|rows| host.upload(rows)));
    let view = |place: usize| tensors[place].as_ref().map(|resident| resident.view);
    let y = host.poisoned(op.output, &[op.tokens, op.hidden]);
    let tensors = MoeFfnTensors {
        x: view(0).unwrap(),
        ids: view(1).unwrap(),
        weights: view(2).unwrap(),
        expert_map: None,
        gate_up_bias: view(3),
        down_bias: view(4),
        y: y.view,
    };
    plan.run(&*host.stream, tensors, weights, workspace.span()).unwrap();
    host.download(&y).values()
}

#[test]
fn deepseek_v4_layers_come_as_near_as_the_readme_asks() {
    let host = Host::new(2);
    let model = Golden::open("deepseek_v4_tiny/model-00001-of-00001.safetensors");
    let expected = Golden::open("deepseek_v4_tiny/expected.safetensors");
    let x = expected.plain(Format::Bf16, "x");
    let (hidden, inner, experts, top_k, tokens) = (256, 128, 16, 4, 24);
    let prepared = |format, activation, groups: usize, names: &[String], n, k| {
        let bytes: Vec<[Vec<u8>; 2]> = names
            .iter()
            .map(|name| [model.bytes(&format!("{name}.weight")), model.bytes(&format!("{name}.scale"))])
            .collect();
        let rows = n * groups / names.len();
        let layout = Layout::contiguous(format, &[rows, k]).unwrap();
        let parts: Vec<HostTensor<'_>> =
            bytes.iter().map(|[data, scales]| HostTensor::new(layout, data, scales, &[]).unwrap()).collect();
        host.device.prepare_weights(&WeightsDesc { format, groups, n, k, activation }, &parts).unwrap()
    };
    for layer in 0..2 {
        let base = format!("layers.{layer}.ffn");
        let ids = expected.plain(Format::I32, &format!("layers.{layer}.ids"));
        let weights: Vec<f32> =
            expected.doubles(&format!("layers.{layer}.weights")).iter().map(|w| *w as f32).collect();
        let weights = Rows::floats(&[tokens, top_k], &weights);
        for (scheme, activation, [all, worst]) in [
            ("w4a16", Quantization::none(), [0.002, 0.005]),
            ("w4a8i", Quantization::new(Format::Mxint8), [0.006, 0.02]),
            ("w4a8_g32", Quantization::new(Format::Mxfp8).with_amax_floor(1e-4), [0.008, 0.04]),
            ("w4a8_g128", Quantization::deepseek(), [0.008, 0.04]),
            ("w4a4", Quantization::new(Format::Mxfp4), [0.03, 0.12]),
        ] {
            let pair =
                |format, groups, of: &dyn Fn(usize, &str) -> String| -> [std::sync::Arc<dyn Weights>; 2] {
                    let names = |parts: &[&str]| -> Vec<String> {
                        (0..groups).flat_map(|e| parts.iter().map(move |part| of(e, part))).collect()
                    };
                    let act = activation.format;
                    [
                        prepared(format, act, groups, &names(&["w1", "w3"]), 2 * inner, hidden),
                        prepared(format, act, groups, &names(&["w2"]), hidden, inner),
                    ]
                };
            let [gate_up, down] =
                pair(Format::Mxfp4, experts, &|e, part| format!("{base}.experts.{e}.{part}"));
            let [shared_gate_up, shared_down] =
                pair(Format::Fp8Tile128, 1, &|_, part| format!("{base}.shared_experts.{part}"));
            for (key, clamped) in [("routed", None), ("y", Some(true)), ("y_shared_unclamped", Some(false))] {
                let op = MoeFfn {
                    tokens,
                    hidden,
                    inner,
                    experts,
                    top_k,
                    weight: Format::Mxfp4,
                    activation,
                    form: SwiGluForm::silu(10.0),
                    weight_position: WeightPosition::BeforeDown,
                    bias: false,
                    output: Format::F32,
                    mapped: None,
                    shared: clamped.map(|clamped| SharedExpert {
                        inner,
                        weight: Format::Fp8Tile128,
                        clamped,
                    }),
                };
                let shared = clamped.map(|_| (&*shared_gate_up, &*shared_down));
                let got = run_moe(
                    &host,
                    op,
                    [Some(&x), Some(&ids), Some(&weights), None, None],
                    MoeFfnWeights { gate_up: &*gate_up, down: &*down, shared },
                );
                let name = format!("layers.{layer}.{scheme}.{key}");
                let values: Vec<f64> =
                    expected.plain(Format::F32, &name).values().iter().map(|v| f64::from(*v)).collect();
                let (l2, token) = distances(&got, &values, hidden);
                println!("{name}: {l2:.2e}, worst token {token:.2e}");
                assert!(l2 <= all && token <= worst, "{name}: {l2} and {token}");
            }
        }
    }
}

#[test]
fn the_gpt_oss_layer_comes_as_near_as_the_readme_asks() {
    let host = Host::new(2);
    let model = Golden::open("gpt_oss_tiny/model.safetensors");
    let expected = Golden::open("gpt_oss_tiny/expected.safetensors");
    let (hidden, inner, experts, top_k, tokens) = (96, 96, 8, 4, 16);
    let base = "model.layers.0.mlp.experts";
    let prepared = |name: &str, n: usize, k: usize| {
        let (data, scales) =
            (model.bytes(&format!("{base}.{name}_blocks")), model.bytes(&format!("{base}.{name}_scales")));
        let part = |e: usize| {
            let of = |whole: &[u8]| whole[whole.len() / experts * e..][..whole.len() / experts].to_vec();
            blocks(Format::Mxfp4, &[n, k], of(&data), of(&scales))
        };
        host.weights(&(0..experts).map(part).collect::<Vec<_>>(), Format::Bf16)
    };
    let bias = |name: &str, n: usize| {
        let bits = model.bytes(&format!("{base}.{name}_bias"));
        let values = bits.as_chunks().0.iter().map(|bytes| bf16::to_f32(u16::from_le_bytes(*bytes)));
        Rows::floats(&[experts, n], &values.collect::<Vec<_>>())
    };
    let (gate_up, down) = (prepared("gate_up_proj", 2 * inner, hidden), prepared("down_proj", hidden, inner));
    let weights: Vec<f32> = expected.doubles("weights").iter().map(|weight| *weight as f32).collect();
    let op = MoeFfn {
        tokens,
        hidden,
        inner,
        experts,
        top_k,
        weight: Format::Mxfp4,
        activation: Quantization::none(),
        form: SwiGluForm::gpt_oss(7.0),
        weight_position: WeightPosition::AfterDown,
        bias: true,
        output: Format::F32,
        mapped: None,
        shared: None,
    };
    let got = run_moe(
        &host,
        op,
        [
            Some(&expected.plain(Format::Bf16, "x")),
            Some(&expected.plain(Format::I32, "ids")),
            Some(&Rows::floats(&[tokens, top_k], &weights)),
            Some(&bias("gate_up_proj", 2 * inner)),
            Some(&bias("down_proj", hidden)),
        ],
        MoeFfnWeights { gate_up: &*gate_up, down: &*down, shared: None },
    );
    let (l2, token) = distances(&got, &expected.doubles("w4a16.y"), hidden);
    println!("{l2:.2e}, worst token {token:.2e}");
    assert!(l2 <= 0.002 && token <= 0.005, "{l2} and {token}");
}
