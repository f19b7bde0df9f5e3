//! The judge on outputs that are right, by the oracle, and on the same tampered with.

use mxhal_core::op::{
    Combine, Dequantize, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert, SwiGlu, SwiGluForm,
    WeightPosition,
};
use mxhal_core::{Format, Quantization, ScaleRule};

use super::gates::oracle_swiglu;
use super::weights::expect_same_weights;
use super::*;
use crate::opcase::recipe::{DataRecipe, Values};
use crate::opcase::tensor::{floats, integers, layout, read, read_rows};
use crate::oracle::format::Float;
use crate::oracle::{self, Matrix};
use crate::report::{State, text};

/// A run whose outputs are right, by the oracle.
struct Right {
    op: Op,
    tier: Tier,
    inputs: Inputs,
    outputs: Vec<Option<HostBuffer>>,
}

impl Right {
    fn new(op: impl Into<Op>, values: Values, tier: Tier) -> Self {
        let op = op.into();
        let inputs = DataRecipe::new(values).inputs(&op, op.max_rows(), 3);
        Self { outputs: vec![None; op.arguments().len()], op, tier, inputs }
    }

    fn with(mut self, name: &str, output: HostBuffer) -> Self {
        let place = self.place(name);
        self.outputs[place] = Some(output);
        self
    }

    fn with_input(mut self, name: &str, input: HostBuffer) -> Self {
        let place = self.place(name);
        self.inputs.tensors[place] = Some(input);
        self
    }

    fn input(&self, name: &str) -> Matrix {
        read(self.inputs.get(&self.op, name).unwrap())
    }

    fn place(&self, name: &str) -> usize {
        self.op.arguments().iter().position(|argument| argument.name == name).unwrap()
    }

    fn judge(&self) -> Result<Verdict, Failure> {
        judge(&Evidence {
            op: &self.op,
            tier: self.tier,
            inputs: &self.inputs,
            outputs: &self.outputs,
            properties: &Properties { slot_order: true, ..Properties::default() },
            columns: None,
        })
    }

    /// What the judge says once this output was tampered with.
    fn tampered(&self, name: &str, tamper: impl Fn(&mut HostBuffer)) -> Failure {
        let mut outputs = self.outputs.clone();
        tamper(outputs[self.place(name)].as_mut().unwrap());
        Self { outputs, op: self.op, inputs: self.inputs.clone(), ..*self }.judge().unwrap_err()
    }
}

fn quantized(x: &Matrix, to: Quantization) -> HostBuffer {
    let quantized = oracle::quantize_reference(x, to).unwrap();
    HostBuffer {
        layout: layout(to.format, &[x.rows, x.columns]),
        data: quantized.data,
        scales: quantized.scales,
        factors: quantized.factors.iter().flat_map(|factor| factor.to_le_bytes()).collect(),
    }
}

#[test]
fn one_bit_of_a_code_or_a_scale_is_seen() {
    for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4] {
        let to = Quantization::new(format);
        let op = Quantize { rows: 4, k: 160, input: Format::F32, to };
        let right = Right::new(op, Values::Ties, Tier::Exact);
        let y = quantized(&right.input("x"), to);
        let right = right.with("y", y);
        assert_eq!(right.judge().unwrap().elements, 640);
        assert_eq!(right.tampered("y", |y| y.data[7] ^= 1).tensor.as_deref(), Some("y"));
        assert_eq!(right.tampered("y", |y| y.scales[1] ^= 1).index[0], 0);
    }
    let (to, mut row) = (Quantization::new(Format::Mxfp4), vec![0.0; 64]);
    (row[32], row[40]) = (6.0, -3.0);
    let right = Right::new(Quantize { rows: 1, k: 64, input: Format::F32, to }, Values::Ties, Tier::Exact);
    let x = Matrix::new(1, 64, row).unwrap();
    let right = right.with_input("x", floats(Format::F32, &[1, 64], x.values.iter().copied()));
    let right = right.with("y", quantized(&x, to));
    let code = right.tampered("y", |y| y.data[20] ^= 1);
    let said = |failure: &Failure| text::details(&State::Fail(failure.clone()));
    assert_eq!(
        said(&code),
        "at y[0, 40], block 1, expected 0x0d (-3) under the scale byte 0x7f (1), got 0x0c (-2)"
    );
    assert_eq!(code.message, "not an allowed answer");
    let scale = right.tampered("y", |y| y.scales[1] = 126);
    assert_eq!(said(&scale), "at y[0], block 1, expected the scale byte 0x7f (1), got 0x7e (0.5)");
    let floor = Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Floor);
    let op = Quantize { rows: 4, k: 160, input: Format::F32, to: Quantization::new(Format::Mxfp4) };
    let right = Right::new(op, Values::Ties, Tier::Exact);
    let y = quantized(&right.input("x"), floor);
    assert!(right.with("y", y).judge().is_err());
}

#[test]
fn the_sign_of_a_zero_is_seen_where_elements_have_one() {
    let op = Dequantize { rows: 64, k: 128, from: Format::Mxfp4, output: Format::Bf16 };
    let right = Right::new(op, Values::EveryCode, Tier::Exact);
    let y = floats(Format::Bf16, &[64, 128], right.input("x").values);
    let zero = y.data.chunks(2).position(|bytes| bytes == [0, 0]).unwrap();
    let right = right.with("y", y);
    right.judge().unwrap();
    let failure = right.tampered("y", |y| y.data[2 * zero + 1] = 0x80);
    assert_eq!((failure.got.as_deref(), failure.wrong_elements), (Some("-0"), Some(1)));
}

#[test]
fn the_last_bit_of_an_exact_product_is_seen() {
    let op = Matmul { output: Format::Bf16, ..Matmul::mxfp4(3, 5, 96, Quantization::none()) };
    let right = Right::new(op, Values::Exact { spread: 4 }, Tier::Exact);
    let w = read_rows(&right.inputs.weights[0], 0, &[0, 1, 2, 3, 4]);
    let product = oracle::matmul(&right.input("a"), &w, None).unwrap();
    assert!(product.is_exact());
    let y = floats(Format::Bf16, &[3, 5], product.rounded(Format::Bf16).unwrap().values);
    let right = right.with("y", y);
    right.judge().unwrap();
    let failure = right.tampered("y", |y| y.data[2 * 7] ^= 1);
    assert_eq!((failure.index, failure.wrong_elements), (vec![1, 2], Some(1)));
}

#[test]
fn what_lies_beyond_a_bound_is_seen_with_its_place_and_its_bound() {
    let op = Matmul::mxfp4(3, 5, 96, Quantization::none());
    let right = Right::new(op, Values::Ordinary, Tier::Bounded);
    let w = read_rows(&right.inputs.weights[0], 0, &[0, 1, 2, 3, 4]);
    let product = oracle::matmul(&right.input("a"), &w, None).unwrap();
    let values = product.values().values;
    let off = |times: f64| {
        let mut values = values.clone();
        values[7] += times * product.bound(7, Float::F32, true);
        floats(Format::F32, &[3, 5], values)
    };
    let near = right.with("y", off(0.9));
    assert!((0.8..1.0).contains(&near.judge().unwrap().error_over_bound));
    let failure = near.with("y", off(1.1)).judge().unwrap_err();
    assert_eq!((failure.index, failure.wrong_elements), (vec![1, 2], Some(1)));
    assert_eq!(failure.bound, Some(product.bound(7, Float::F32, true)));
}

#[test]
fn a_nan_is_never_within_a_bound() {
    let (form, to) = (SwiGluForm::silu(10.0), Quantization::new(Format::F32));
    let op = SwiGlu { rows: 2, n: 8, form, input: Format::F32, row_weights: true, to };
    let right = Right::new(op, Values::Ordinary, Tier::Bounded);
    let h = oracle_swiglu(&form).apply(&right.input("x"), Some(&right.input("row_weights").values)).unwrap();
    let right = right.with("y", floats(Format::F32, &[2, 8], h.values));
    right.judge().unwrap();
    let failure = right.tampered("y", |y| y.data[4 * 9..][..4].fill(0xff));
    assert_eq!((failure.index, failure.got.as_deref()), (vec![1, 1], Some("NaN")));
}

#[test]
fn a_swiglu_that_is_quantized_may_fall_to_either_side_of_an_edge_and_no_further() {
    for format in [Format::Mxfp4, Format::Mxfp8, Format::Nvfp4] {
        let (form, to) = (SwiGluForm::silu(10.0), Quantization::new(format));
        let op = SwiGlu { rows: 2, n: 64, form, input: Format::Bf16, row_weights: false, to };
        let right = Right::new(op, Values::Ordinary, Tier::Bounded);
        let h = oracle_swiglu(&form).apply(&right.input("x"), None).unwrap();
        let y = quantized(&h.map(|value| Float::BF16.round(value)), to);
        let right = right.with("y", y);
        right.judge().unwrap();
        assert_eq!(right.tampered("y", |y| y.scales[1] += 8).tensor.as_deref(), Some("y"));
    }
}

#[test]
fn a_token_sent_elsewhere_and_a_weight_that_is_off_are_seen() {
    let op = Route {
        tokens: 3,
        experts: 8,
        top_k: 2,
        score: Score::Sigmoid,
        bias: false,
        ids_given: false,
        renormalize: true,
        scale: 1.0,
    };
    let right = Right::new(op, Values::Ordinary, Tier::Bounded);
    let routing = oracle_route(&op).apply(&right.input("logits"), None, None).unwrap();
    let weights = floats(Format::F32, &[3, 2], routing.weights.iter().copied());
    let right = right.with("ids", integers(&[3, 2], &routing.ids)).with("weights", weights);
    right.judge().unwrap();
    right.tampered("ids", |ids| ids.data[8] ^= 1);
    right.tampered("ids", |ids| ids.data[..8].rotate_left(4));
    right.tampered("weights", |weights| weights.data[5] ^= 1);
}

#[test]
fn a_permutation_has_one_answer_and_its_rows_are_whole() {
    let op = Permute {
        tokens: 5,
        columns: 32,
        experts: 4,
        top_k: 2,
        format: Format::Mxfp8,
        weights: true,
        mapped: None,
    };
    let right = Right::new(op, Values::Ordinary, Tier::Exact);
    let permutation = oracle::permute(&local_ids(&right.op, &right.inputs), 2, 4).unwrap();
    let (x, weights) = (right.inputs.get(&right.op, "x").unwrap().clone(), right.input("weights").values);
    let routes = || permutation.source.iter().map(|&route| route as usize);
    let rows = HostBuffer {
        layout: layout(Format::Mxfp8, &[10, 32]),
        data: routes().flat_map(|route| x.data[route / 2 * 32..][..32].to_vec()).collect(),
        scales: routes().map(|route| x.scales[route / 2]).collect(),
        factors: Vec::new(),
    };
    let counts: Vec<i32> = permutation.counts.iter().map(|&count| count as i32).collect();
    let right = right
        .with("rows", rows)
        .with("row_weights", floats(Format::F32, &[10], routes().map(|route| weights[route])))
        .with("counts", integers(&[4], &counts))
        .with("source", integers(&[10], &permutation.source))
        .with("positions", integers(&[5, 2], &permutation.positions));
    right.judge().unwrap();
    for (name, byte) in [("rows", 33), ("row_weights", 5), ("counts", 4), ("source", 8), ("positions", 0)] {
        assert_eq!(right.tampered(name, |y| y.data[byte] ^= 1).tensor.as_deref(), Some(name));
    }
    assert_eq!(right.tampered("rows", |rows| rows.scales[9] ^= 1).index, [9]);
}

#[test]
fn a_backend_that_declares_slot_order_is_held_to_its_bits() {
    let op = Combine {
        tokens: 4,
        columns: 16,
        top_k: 6,
        input: Format::F32,
        output: Format::F32,
        weighted: true,
        addend: None,
    };
    let right = Right::new(op, Values::Ordinary, Tier::Bounded);
    let positions = read_integers(right.inputs.get(&right.op, "positions").unwrap());
    let (rows, weights) = (right.input("rows"), right.input("weights").values);
    let bits = oracle::combine_in_slot_order(&rows, &weights, &positions, 6, None, Format::F32).unwrap();
    let right = right.with("y", floats(Format::F32, &[4, 16], bits.values));
    right.judge().unwrap();
    let failure = right.tampered("y", |y| y.data[12] ^= 1);
    assert_eq!(failure.message, "y is not the sum in order of slot that was declared");
}

#[test]
fn weights_that_came_back_otherwise_are_seen() {
    let op = Op::from(Matmul::mxfp4(1, 4, 64, Quantization::none()));
    let given = DataRecipe::new(Values::Ordinary).inputs(&op, 1, 1).weights.remove(0);
    expect_same_weights(&given, &given).unwrap();
    let mut exported = given.clone();
    exported.scales[3] ^= 1;
    let failure = expect_same_weights(&given, &exported).unwrap_err();
    assert_eq!((failure.tensor.as_deref(), failure.index), (Some("weights (scales)"), vec![3]));
    exported.layout = layout(Format::Mxfp4, &[1, 2, 128]);
    assert!(expect_same_weights(&given, &exported).is_err());
}

/// A layer in which every attribute matters: inputs large enough to be clamped, biases, a shared expert.
fn moe(activation: Quantization) -> MoeFfn {
    MoeFfn {
        tokens: 16,
        hidden: 256,
        inner: 128,
        experts: 4,
        top_k: 2,
        weight: Format::Mxfp4,
        activation,
        form: SwiGluForm::silu(2.0),
        weight_position: WeightPosition::AfterDown,
        bias: true,
        output: Format::F32,
        mapped: None,
        shared: Some(SharedExpert { inner: 128, weight: Format::Fp8Tile128, clamped: true }),
    }
}

/// What the judge says of `asked` when `done` was computed.
fn judge_other_layer(asked: MoeFfn, done: MoeFfn) -> Result<Verdict, Failure> {
    let right = Right::new(asked, Values::Ordinary, Tier::Bounded);
    let op = Op::from(done);
    let properties = Properties::default();
    let evidence = Evidence {
        op: &op,
        tier: Tier::Bounded,
        inputs: &right.inputs,
        outputs: &[],
        properties: &properties,
        columns: None,
    };
    let ids = local_ids(&op, &right.inputs);
    let (x, weights) = (right.input("x"), right.input("weights").values);
    let y = layer::oracle_layer(&evidence, &done, &ids).apply(&x, &ids, &weights).unwrap();
    right.with("y", floats(Format::F32, &[16, 256], y.values)).judge()
}

#[test]
fn another_layer_than_the_one_asked_for_is_seen() {
    for scheme in [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4] {
        let asked = moe(Quantization::new(scheme));
        judge_other_layer(asked, asked).unwrap();
        let unclamped = SharedExpert { clamped: false, ..asked.shared.unwrap() };
        let others = [
            ("limit", MoeFfn { form: SwiGluForm::silu(0.0), ..asked }),
            ("order", MoeFfn { form: SwiGluForm { interleaved: true, ..asked.form }, ..asked }),
            ("position", MoeFfn { weight_position: WeightPosition::BeforeDown, ..asked }),
            ("clamp", MoeFfn { shared: Some(unclamped), ..asked }),
            ("shared", MoeFfn { shared: None, ..asked }),
        ];
        for (what, done) in others {
            assert!(judge_other_layer(asked, done).is_err(), "{scheme}: {what}");
        }
    }
}

#[test]
fn another_scheme_than_the_one_asked_for_is_seen() {
    let schemes = [Format::Bf16, Format::Mxint8, Format::Mxfp8, Format::Mxfp4].map(Quantization::new);
    for asked in schemes {
        for done in schemes.into_iter().filter(|done| *done != asked) {
            assert!(
                judge_other_layer(moe(asked), moe(done)).is_err(),
                "{} for {}",
                done.format,
                asked.format
            );
        }
    }
}
