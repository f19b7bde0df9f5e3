//! One operator on the inputs of a golden file, compared with the oracle and with the file.

use mxhal_core::op::{Combine, Dequantize, Matmul, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm};
use mxhal_core::{Format, HostBuffer, Op, Quantization, ScaleRule};

use super::golden::{Golden, GoldenFile};
use crate::opcase::listing::profile_of;
use crate::opcase::rig::Stop;
use crate::opcase::tensor::{floats, layout, read, read_integers};
use crate::opcase::{Inputs, OpCase, Tier, Values, supported};
use crate::oracle::format::Float;
use crate::oracle::{self, Matrix, swiglu};
use crate::outcome::{Failure, Measures};
use crate::profile::Profile;
use crate::subject::Subject;

/// An operator's entry in a golden file.
#[derive(Clone, Debug, PartialEq)]
pub struct PieceCase {
    /// The file.
    pub file: GoldenFile,
    /// Which of its entries: the beginning of its tensors' names.
    pub entry: String,
    /// The operator that is asked.
    pub op: Op,
}

/// Every entry of every file.
pub(crate) fn all() -> Vec<PieceCase> {
    let mut all = Vec::new();
    quantize(&mut all);
    dequantize(&mut all);
    matmul(&mut all);
    moe(&mut all);
    all
}

fn add(all: &mut Vec<PieceCase>, file: GoldenFile, entry: &str, op: impl Into<Op>) {
    all.push(PieceCase { file, entry: entry.to_owned(), op: op.into() });
}

fn quantize(all: &mut Vec<PieceCase>) {
    let mut entry = |file, k, name: &str, to: Quantization| {
        add(all, file, name, Quantize { rows: 207, k, input: Format::F32, to });
    };
    for rule in [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even] {
        let to = Quantization::new(Format::Mxfp4).with_rule(rule);
        entry(GoldenFile::QuantizeMxfp4, 32, rule.name(), to);
    }
    for rule in [ScaleRule::Floor, ScaleRule::Ceil] {
        for (group, format) in [("g32", Format::Mxfp8), ("g128", Format::Mxfp8G128)] {
            let to = Quantization::new(format).with_rule(rule);
            entry(GoldenFile::QuantizeMxfp8, 128, &format!("{group}.{rule}"), to);
            let floored = to.with_amax_floor(1e-4);
            entry(GoldenFile::QuantizeMxfp8, 128, &format!("{group}.{rule}.amax1e-4"), floored);
        }
        let to = Quantization::new(Format::Mxint8).with_rule(rule);
        entry(GoldenFile::QuantizeMxint8, 32, rule.name(), to);
    }
}

fn dequantize(all: &mut Vec<PieceCase>) {
    let mxfp4 = Dequantize { rows: 256, k: 32, from: Format::Mxfp4, output: Format::F32 };
    add(all, GoldenFile::Dequantize, "mxfp4", mxfp4);
    add(all, GoldenFile::Dequantize, "nvfp4", Dequantize { rows: 64, k: 64, from: Format::Nvfp4, ..mxfp4 });
}

/// The activation format of the name that a scheme has in the files.
fn scheme_of(name: &str) -> Format {
    match name {
        "w4a4" => Format::Mxfp4,
        "w4a8" => Format::Mxfp8,
        "w4a8i" => Format::Mxint8,
        _ => Format::Bf16,
    }
}

fn matmul(all: &mut Vec<PieceCase>) {
    let product = |golden: &Golden, name: &str, m: usize, activation: Format| {
        let shape = golden.shape(&format!("{name}.w_packed"));
        Matmul::mxfp4(m, shape[0], 2 * shape[1], Quantization::new(activation))
    };
    let golden = GoldenFile::MatmulExact.open();
    for name in golden.names_ending_in(".y_f32") {
        let scheme = scheme_of(name.split('_').next().unwrap_or_default());
        let each = product(&golden, &name, golden.shape(&format!("{name}.y_f32"))[0], scheme);
        for output in [Format::F32, Format::Bf16] {
            add(all, GoldenFile::MatmulExact, &name, Matmul { input: scheme, output, ..each });
        }
    }
    let golden = GoldenFile::MatmulBounded.open();
    for name in golden.names_ending_in(".y") {
        let (case, scheme) = name.split_once('.').unwrap_or_default();
        let m = golden.shape(&format!("{name}.y"))[0];
        add(all, GoldenFile::MatmulBounded, &name, product(&golden, case, m, scheme_of(scheme)));
    }
}

fn moe(all: &mut Vec<PieceCase>) {
    let file = GoldenFile::MoePieces;
    for (entry, form) in [
        ("swiglu.plain", SwiGluForm::silu(0.0)),
        ("swiglu.limit10", SwiGluForm::silu(10.0)),
        ("swiglu.oai7", SwiGluForm::gpt_oss(7.0)),
    ] {
        for interleaved in [false, true] {
            let (form, to) = (SwiGluForm { interleaved, ..form }, Quantization::new(Format::F32));
            add(
                all,
                file,
                entry,
                SwiGlu { rows: 32, n: 64, form, input: Format::F32, row_weights: false, to },
            );
        }
    }
    for (name, score) in
        [("softmax", Score::Softmax), ("sigmoid", Score::Sigmoid), ("sqrtsoftplus", Score::SqrtSoftplus)]
    {
        for kind in ["plain", "bias", "fixed"] {
            let route = Route {
                tokens: 24,
                experts: 64,
                top_k: 6,
                score,
                bias: kind == "bias",
                ids_given: kind == "fixed",
                renormalize: true,
                scale: 2.5,
            };
            add(all, file, &format!("route.{name}.{kind}"), route);
        }
    }
    let (tokens, columns, top_k) = (24, 32, 6);
    let format = Format::Bf16;
    add(
        all,
        file,
        "permute",
        Permute { tokens, columns, experts: 64, top_k, format, weights: false, mapped: None },
    );
    let combine =
        Combine { tokens, columns, top_k, input: format, output: Format::F32, weighted: true, addend: None };
    add(all, file, "combine", combine);
}

/// What a file says of an output.
struct Expected {
    output: &'static str,
    values: Matrix,
    /// How far each value may be; 0 for not at all, infinite where the file leaves a choice.
    bounds: Vec<f64>,
}

impl Expected {
    fn exactly(output: &'static str, values: Matrix) -> Self {
        Self { output, bounds: vec![0.0; values.values.len()], values }
    }

    fn within(output: &'static str, values: Matrix, bound: impl Fn(usize) -> f64) -> Self {
        Self { output, bounds: (0..values.values.len()).map(bound).collect(), values }
    }

    fn check(&self, got: &HostBuffer) -> Result<(), Failure> {
        let got = match got.layout.format() {
            Format::I32 => read_integers(got).into_iter().map(f64::from).collect(),
            _ => read(got).values,
        };
        let wrong = |&index: &usize| {
            let (expected, got) = (self.values.values[index], got[index]);
            let same = expected == got || (expected.is_nan() && got.is_nan());
            let near = (got - expected).abs() <= self.bounds[index];
            !same && !near && self.bounds[index] != f64::INFINITY
        };
        let all: Vec<usize> = (0..got.len()).filter(wrong).collect();
        let Some(&first) = all.first() else { return Ok(()) };
        Err(Failure {
            tensor: Some(self.output.to_owned()),
            index: vec![first / self.values.columns, first % self.values.columns],
            expected: Some(format!("{:e}", self.values.values[first])),
            got: Some(format!("{:e}", got[first])),
            bound: Some(self.bounds[first]),
            wrong_elements: Some(all.len() as u64),
            ..Failure::new(format!("{} is not what the golden file has", self.output))
        })
    }
}

impl PieceCase {
    pub(crate) fn name(&self) -> String {
        let more = match &self.op {
            Op::Matmul(each) => format!("/{}", each.output),
            Op::SwiGlu(op) if op.form.interleaved => "/interleaved".to_owned(),
            Op::SwiGlu(_) => "/concatenated".to_owned(),
            Op::Quantize(op) => format!("/{}", op.to.format),
            _ => String::new(),
        };
        let tier = match self.file {
            GoldenFile::MatmulExact => "exact/",
            GoldenFile::MatmulBounded => "bounded/",
            _ => "",
        };
        format!("{}/{tier}{}{more}", self.op.kind(), self.entry)
    }

    pub(crate) fn profile(&self) -> Profile {
        profile_of(&self.op)
    }

    pub(crate) fn run(&self, subject: &Subject) -> Result<Measures, Stop> {
        let properties = supported(subject, &self.op)?;
        let golden = self.file.open();
        let inputs = self.inputs(&golden);
        let exact = matches!(self.op, Op::Quantize(_) | Op::Dequantize(_) | Op::Permute(_))
            || self.file == GoldenFile::MatmulExact;
        let tier = if exact { Tier::Exact } else { Tier::Bounded };
        // Blocks that may be quantized in two ways are among the file's; elsewhere what is exact has one answer.
        let free = matches!(self.op, Op::Quantize(_));
        let case = OpCase::new(self.op, if free { Values::NonFinite } else { Values::Ordinary }, tier);
        let (measures, outputs) = case.compare(subject, 0, &inputs, &properties)?;
        for expected in self.expected(&golden, &inputs) {
            let place = self.op.arguments().iter().position(|argument| argument.name == expected.output);
            let got = place.and_then(|place| outputs[place].as_ref());
            expected.check(got.expect("the operator has the outputs that are expected of it"))?;
        }
        Ok(measures)
    }

    fn inputs(&self, golden: &Golden) -> Inputs {
        let entry = &self.entry;
        let named = |name: &str| -> HostBuffer {
            match (&self.op, name) {
                (Op::Quantize(_), _) => golden.floats("x", Format::F32),
                (Op::Dequantize(op), _) => {
                    let (data, scales) = (format!("{entry}.packed"), format!("{entry}.scale"));
                    let mut x = golden.blocks(op.from, &[op.rows, op.k], &data, &scales);
                    if op.from == Format::Nvfp4 {
                        x.factors = golden.bytes("nvfp4.global").to_vec();
                    }
                    x
                }
                (Op::Matmul(each), _) => activations(golden, entry, self.file, each),
                (Op::SwiGlu(op), _) => gate_and_up(golden, op.form.interleaved),
                (Op::Route(_), "logits") => golden.floats("route.logits", Format::F32),
                (Op::Route(_), "bias") => floats(Format::F32, &[64], golden.matrix("route.bias").values),
                (Op::Route(_), _) => golden.ids("route.fixed_ids"),
                (_, "ids") => golden.ids("permute.ids"),
                (_, "x") => golden.floats("permute.x_bf16", Format::Bf16),
                (_, "rows") => golden.floats("combine.rows_bf16", Format::Bf16),
                (_, "weights") => golden.floats("combine.weights", Format::F32),
                _ => crate::opcase::tensor::integers(&[24, 6], &positions(golden)),
            }
        };
        let tensors = self.op.arguments().into_iter().map(|argument| {
            let wanted = argument.present && argument.role == mxhal_core::op::Role::Input;
            wanted.then(|| named(argument.name))
        });
        let weights = self.op.weights().into_iter().map(|desc| {
            let base = match self.file {
                GoldenFile::MatmulBounded => entry.split('.').next().unwrap_or_default(),
                _ => entry,
            };
            let (data, scales) = (format!("{base}.w_packed"), format!("{base}.w_scale"));
            golden.blocks(desc.format, &[1, desc.n, desc.k], &data, &scales)
        });
        Inputs { rows: self.op.max_rows(), tensors: tensors.collect(), weights: weights.collect() }
    }

    fn expected(&self, golden: &Golden, inputs: &Inputs) -> Vec<Expected> {
        let entry = &self.entry;
        let matrix = |end: &str| golden.matrix(&format!("{entry}{end}"));
        match &self.op {
            Op::Quantize(op) => {
                let free = blocks_with_a_choice(golden, entry);
                let columns = op.to.format.blocks().map_or(1, |blocks| blocks.columns);
                let values = matrix(".dequant");
                let bound = |element: usize| if free[element / columns] { f64::INFINITY } else { 0.0 };
                vec![Expected::within("y", values, bound)]
            }
            Op::Dequantize(_) => vec![Expected::exactly("y", matrix(".value"))],
            Op::Matmul(each) if self.file == GoldenFile::MatmulExact => {
                let end = if each.output == Format::F32 { ".y_f32" } else { ".y_bf16" };
                vec![Expected::exactly("y", matrix(end))]
            }
            Op::Matmul(each) => {
                let (y, magnitude) = (matrix(".y"), matrix(".magnitude"));
                let gamma = oracle::matmul::gamma(each.k);
                let bounds: Vec<f64> = y
                    .values
                    .iter()
                    .zip(&magnitude.values)
                    .map(|(y, magnitude)| {
                        let bound = gamma * magnitude;
                        bound + Float::F32.half_ulp(y.abs() + bound)
                    })
                    .collect();
                vec![Expected::within("y", y, |index| bounds[index])]
            }
            Op::SwiGlu(_) => {
                let y = matrix("");
                let bounds: Vec<f64> = y.values.iter().map(|&y| swiglu::bound(y, Float::F32)).collect();
                vec![Expected::within("y", y, |index| bounds[index])]
            }
            Op::Route(_) => {
                let weights = matrix(".weights");
                let bound = |weight: &f64| oracle::route::weight_bound(*weight);
                let bounds: Vec<f64> = weights.values.iter().map(bound).collect();
                vec![
                    Expected::exactly("ids", matrix(".ids")),
                    Expected::within("weights", weights, |index| bounds[index]),
                ]
            }
            Op::Permute(_) => vec![
                Expected::exactly("counts", matrix(".counts")),
                Expected::exactly("source", matrix(".source")),
                Expected::exactly("rows", matrix(".rows_bf16")),
            ],
            _ => {
                let value = |name| read(inputs.get(&self.op, name).expect("combine takes rows and weights"));
                let (rows, weights) = (value("rows"), value("weights").values);
                let product = oracle::combine(&rows, &weights, &positions(golden), 6, None);
                let product = product.expect("the positions of the file are rows");
                let bound = |index| product.bound(index, Float::F32, true);
                vec![Expected::within("y", matrix(".y"), bound)]
            }
        }
    }
}

/// For each block of a quantize file, whether more than one answer is right.
fn blocks_with_a_choice(golden: &Golden, entry: &str) -> Vec<bool> {
    let kinds = golden.bytes("kind");
    let scales = golden.shape(&format!("{entry}.scale"))[1];
    // `ceil` alone has boundaries; the floor on amax leaves them where they are.
    let boundary = format!("{}.boundary", entry.strip_suffix(".amax1e-4").unwrap_or(entry));
    let boundary = golden.has(&boundary).then(|| golden.bytes(&boundary));
    let has_choice = |block: usize| {
        matches!(kinds[block / scales], 1 | 2) || boundary.is_some_and(|boundary| boundary[block] != 0)
    };
    (0..kinds.len() * scales).map(has_choice).collect()
}

fn activations(golden: &Golden, entry: &str, file: GoldenFile, each: &Matmul) -> HostBuffer {
    if file == GoldenFile::MatmulBounded {
        let base = entry.split('.').next().unwrap_or_default();
        return golden.floats(&format!("{base}.x_bf16"), Format::Bf16);
    }
    let (shape, scales) = ([each.m, each.k], format!("{entry}.a_scale"));
    match each.input {
        Format::Bf16 => golden.floats(&format!("{entry}.a_bf16"), Format::Bf16),
        Format::Mxfp4 => golden.blocks(each.input, &shape, &format!("{entry}.a_packed"), &scales),
        format => golden.blocks(format, &shape, &format!("{entry}.a_codes"), &scales),
    }
}

fn gate_and_up(golden: &Golden, interleaved: bool) -> HostBuffer {
    let (gate, up) = (golden.matrix("swiglu.gate"), golden.matrix("swiglu.up"));
    let row = |row: usize| -> Vec<f64> {
        match interleaved {
            true => gate.row(row).iter().zip(up.row(row)).flat_map(|(&gate, &up)| [gate, up]).collect(),
            false => [gate.row(row), up.row(row)].concat(),
        }
    };
    let shape = [gate.rows, 2 * gate.columns];
    debug_assert_eq!(layout(Format::F32, &shape).rows(), gate.rows);
    floats(Format::F32, &shape, (0..gate.rows).flat_map(row))
}

/// The file has the rows' sources; combine wants the slots' rows.
fn positions(golden: &Golden) -> Vec<i32> {
    let source = golden.integers("permute.source");
    let mut positions = vec![-1; source.len()];
    for (row, &route) in source.iter().enumerate() {
        positions[route as usize] = row as i32;
    }
    positions
}
