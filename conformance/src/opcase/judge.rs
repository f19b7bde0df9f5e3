//! The judge: outputs of a run against the oracle's.

use mxhal_core::op::{Argument, Op, Role};
use mxhal_core::{Format, HostBuffer, Properties, Quantization};

use super::Tier;
use super::judge_moe;
use super::recipe::Inputs;
use super::rig::Poison;
use super::routing;
use super::tensor::{bytes_of_first, read, read_factors, read_integers, read_rows};
use crate::oracle::format::Float;
use crate::oracle::{self, Encoded, Error, Matrix, Product, interval, swiglu};
use crate::outcome::Failure;

/// A run, and what is needed to judge it.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) op: &'a Op,
    pub(crate) tier: Tier,
    pub(crate) inputs: &'a Inputs,
    /// In the order of the operator's arguments; `None` for inputs.
    pub(crate) outputs: &'a [Option<HostBuffer>],
    pub(crate) properties: &'a Properties,
    /// Which columns of a product are compared; all if `None`.
    pub(crate) columns: Option<Vec<usize>>,
}

/// What a comparison that found no fault measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Elements compared.
    pub(crate) elements: u64,
    /// The largest error over its bound; 0 where equality was demanded.
    pub(crate) error_over_bound: f64,
}

/// Compares a run with the oracle.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    match evidence.op {
        Op::Quantize(quantize) => {
            judge_quantized(&read(evidence.input("x")), quantize.to, evidence.output("y"))
                .map_err(in_tensor("y"))
        }
        Op::Dequantize(_) => judge_dequantize(evidence),
        Op::Matmul(_) | Op::GroupedMatmul(_) => judge_product(evidence),
        Op::SwiGlu(op) => judge_swiglu(evidence, op),
        Op::Route(op) => judge_route(evidence, op),
        Op::Permute(op) => judge_permute(evidence, op),
        Op::Combine(op) => judge_combine(evidence, op),
        Op::MoeFfn(op) => judge_moe::judge(evidence, op),
        other => Err(Failure::new(format!("the suite does not know how {} is judged", other.kind()))),
    }
}

impl Evidence<'_> {
    /// An input that the operator takes.
    pub(crate) fn input(&self, name: &str) -> &HostBuffer {
        self.inputs.get(self.op, name).expect("the recipe drew every input that is asked for")
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&HostBuffer> {
        self.inputs.get(self.op, name)
    }

    pub(crate) fn output(&self, name: &str) -> &HostBuffer {
        let place = self.op.arguments().iter().position(|argument| argument.name == name);
        place.and_then(|place| self.outputs[place].as_ref()).expect("the rig gives every output")
    }
}

// ---- written or not --------------------------------------------------------------------------------------------

/// Whether everything that must be written was, and nothing that must be left as it was.
pub(crate) fn expect_written(
    op: &Op,
    inputs: &Inputs,
    runs: &[Vec<Option<HostBuffer>>; 2],
) -> Result<(), Failure> {
    let [first, second] = Poison::BOTH;
    for (place, argument) in outputs(op) {
        let [Some(one), Some(other)] = [&runs[0][place], &runs[1][place]] else { continue };
        let kept = |one: &[u8], other: &[u8]| {
            one.iter().all(|&byte| byte == first.0) && other.iter().all(|&byte| byte == second.0)
        };
        let left_alone = left_alone_from(op, inputs, argument.name);
        let element = (argument.format.bits() / 8).max(1);
        let row_bytes = bytes_of_first(one);
        for ((part, row_bytes), size) in parts(one, other).into_iter().zip(row_bytes).zip([element, 1, 4]) {
            let (one, other, what) = part;
            for (index, (one, other)) in one.chunks(size).zip(other.chunks(size)).enumerate() {
                let row = (index * size).checked_div(row_bytes).unwrap_or(0);
                let wrong = match (row >= left_alone, kept(one, other)) {
                    (true, false) => "was written, and it must be left as it was",
                    (false, true) => "was written by nobody",
                    _ => continue,
                };
                return Err(Failure {
                    tensor: Some(argument.name.to_owned()),
                    index: vec![row, (index * size - row * row_bytes) / size],
                    ..Failure::new(format!("{what} {index} of {} {wrong}", argument.name))
                });
            }
        }
    }
    Ok(())
}

/// The first output that two runs do not have in common, what they leave alone not counted.
pub(crate) fn first_difference(
    op: &Op,
    inputs: &Inputs,
    runs: &[Vec<Option<HostBuffer>>; 2],
) -> Option<&'static str> {
    let differs = |(place, argument): &(usize, Argument)| {
        let [Some(one), Some(other)] = [&runs[0][*place], &runs[1][*place]] else { return false };
        let rows = left_alone_from(op, inputs, argument.name);
        let row_bytes = bytes_of_first(one);
        parts(one, other).into_iter().zip(row_bytes).any(|((one, other, _), row_bytes)| {
            let end = rows.saturating_mul(row_bytes).min(one.len());
            one[..end] != other[..end]
        })
    };
    outputs(op).into_iter().find(differs).map(|(_, argument)| argument.name)
}

fn outputs(op: &Op) -> Vec<(usize, Argument)> {
    let arguments = op.arguments().into_iter().enumerate();
    arguments.filter(|(_, argument)| argument.role == Role::Output).collect()
}

/// The parts of the same output of two runs, with what they are called.
fn parts<'a>(one: &'a HostBuffer, other: &'a HostBuffer) -> [(&'a [u8], &'a [u8], &'static str); 3] {
    [
        (&one.data, &other.data, "element"),
        (&one.scales, &other.scales, "scale"),
        (&one.factors, &other.factors, "factor"),
    ]
}

/// From which row on an output is left as it was.
fn left_alone_from(op: &Op, inputs: &Inputs, name: &str) -> usize {
    let given = |name| inputs.get(op, name).map(read_integers).unwrap_or_default();
    match (op, name) {
        (Op::GroupedMatmul(_), "y") => given("counts").iter().sum::<i32>() as usize,
        (Op::Permute(_), "rows" | "row_weights") => {
            local_ids(op, inputs).iter().filter(|&&id| id >= 0).count()
        }
        _ => usize::MAX,
    }
}

/// The ids of an operator that has them, as the experts here are numbered.
pub(crate) fn local_ids(op: &Op, inputs: &Inputs) -> Vec<i32> {
    let given = |name| inputs.get(op, name).map(read_integers);
    let (experts, ..) = routing::shape_of(op);
    routing::local(&given("ids").unwrap_or_default(), given("expert_map").as_deref(), experts)
}

// ---- weights ---------------------------------------------------------------------------------------------------

/// Whether weights came back as they were given; one factor for all rows may come back as one for each.
pub(crate) fn expect_same_weights(given: &HostBuffer, exported: &HostBuffer) -> Result<(), Failure> {
    if exported.layout != given.layout {
        let message = format!("weights of {} were exported as {}", given.layout, exported.layout);
        return Err(Failure::new(message));
    }
    let repeated;
    let factors = if given.factors.len() == 4 && exported.factors.len() > 4 {
        repeated = given.factors.repeat(exported.factors.len() / 4);
        &repeated
    } else {
        &given.factors
    };
    let parts = [
        ("data", &given.data, &exported.data),
        ("scales", &given.scales, &exported.scales),
        ("factors", factors, &exported.factors),
    ];
    for (part, given, exported) in parts {
        if given.len() != exported.len() {
            let message = format!("{} bytes of {part} came back as {}", given.len(), exported.len());
            return Err(Failure::new(message));
        }
        let wrong = given.iter().zip(exported).filter(|(given, exported)| given != exported).count();
        if let Some(place) = given.iter().zip(exported).position(|(given, exported)| given != exported) {
            return Err(Failure {
                tensor: Some(format!("weights ({part})")),
                index: vec![place],
                expected: Some(format!("{:#04x}", given[place])),
                got: Some(format!("{:#04x}", exported[place])),
                wrong_elements: Some(wrong as u64),
                ..Failure::new("exported weights are not the ones that were prepared")
            });
        }
    }
    Ok(())
}

// ---- formats ---------------------------------------------------------------------------------------------------

fn judge_quantized(x: &Matrix, to: Quantization, got: &HostBuffer) -> Result<Verdict, Failure> {
    let factors = read_factors(got);
    let encoded = Encoded {
        format: to.format,
        rows: x.rows,
        columns: x.columns,
        data: &got.data,
        scales: &got.scales,
        factors: &factors,
    };
    oracle::check_quantized(x, to, &encoded).map_err(wrong_answer)?;
    Ok(Verdict { elements: x.values.len() as u64, error_over_bound: 0.0 })
}

fn judge_dequantize(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    let (expected, got) = (read(evidence.input("x")), evidence.output("y"));
    let float = Float::of(got.layout.format()).map_err(wrong_answer)?;
    let same = |expected: f64, got: f64| {
        // Each element has a sign, also where it is zero.
        (expected == got && expected.is_sign_negative() == got.is_sign_negative())
            || (expected.is_nan() && got.is_nan())
    };
    equal("y", &expected.map(|value| float.round(value)), &read(got), same)
}

/// Equality, in the given sense, of each element.
fn equal(
    tensor: &str,
    expected: &Matrix,
    got: &Matrix,
    same: impl Fn(f64, f64) -> bool,
) -> Result<Verdict, Failure> {
    let pairs = || expected.values.iter().zip(&got.values).map(|(&expected, &got)| (expected, got));
    let wrong = pairs().filter(|&(expected, got)| !same(expected, got)).count();
    match pairs().position(|(expected, got)| !same(expected, got)) {
        None => Ok(Verdict { elements: expected.values.len() as u64, error_over_bound: 0.0 }),
        Some(first) => Err(Failure {
            tensor: Some(tensor.to_owned()),
            index: vec![first / expected.columns, first % expected.columns],
            expected: Some(format!("{:e}", expected.values[first])),
            got: Some(format!("{:e}", got.values[first])),
            wrong_elements: Some(wrong as u64),
            ..Failure::new(format!("{tensor} is not what is exactly right"))
        }),
    }
}

/// Equality of values; the sign of a zero depends on the order of a sum.
fn same_value(expected: f64, got: f64) -> bool {
    expected == got || (expected.is_nan() && got.is_nan())
}

// ---- products --------------------------------------------------------------------------------------------------

fn judge_product(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    let (each, groups, counts) = match evidence.op {
        Op::Matmul(each) => (each, 1, vec![evidence.inputs.rows]),
        Op::GroupedMatmul(grouped) => {
            let counts = read_integers(evidence.input("counts"));
            (&grouped.each, grouped.groups, counts.iter().map(|&count| count as usize).collect())
        }
        _ => return Err(Failure::new("only products are judged as products")),
    };
    let columns = evidence.columns.clone().unwrap_or_else(|| (0..each.n).collect());
    let a = read(evidence.input("a"));
    let a = if each.input == each.activation.format || each.activation.is_none() {
        a
    } else {
        oracle::quantize_dequantize(&a, each.activation).map_err(wrong_answer)?
    };
    // A group without rows has nothing to be judged by.
    let weights: Vec<Matrix> = (0..groups)
        .map(|group| match counts[group] {
            0 => Matrix::zeros(columns.len(), each.k),
            _ => read_rows(&evidence.inputs.weights[0], group, &columns),
        })
        .collect();
    let biases = evidence.optional("bias").map(|bias| {
        let bias = read(bias);
        let of_group = |group: usize| columns.iter().map(|&n| bias.values[group * each.n + n]).collect();
        (0..groups).map(of_group).collect::<Vec<Vec<f64>>>()
    });
    let product = oracle::grouped_matmul(&a, &weights, &counts, biases.as_deref()).map_err(wrong_answer)?;

    let y = read(evidence.output("y"));
    let picked = (0..product.rows).flat_map(|row| columns.iter().map(move |&n| (row, n)));
    let got = Matrix {
        rows: product.rows,
        columns: columns.len(),
        values: picked.map(|(row, n)| y.row(row)[n]).collect(),
    };
    judge_sums("y", &product, &got, each.output, evidence.tier)
        .map_err(|failure| in_column(failure, &columns))
}

/// Sums against their oracle, exactly or within their bound.
pub(crate) fn judge_sums(
    tensor: &str,
    product: &Product,
    got: &Matrix,
    output: Format,
    tier: Tier,
) -> Result<Verdict, Failure> {
    if tier == Tier::Exact {
        return equal(tensor, &product.rounded(output).map_err(wrong_answer)?, got, same_value);
    }
    let float = Float::of(output).map_err(wrong_answer)?;
    let ratio = |index: usize| product.ratio(index, got.values[index], float, true);
    judge_ratios(tensor, got, ratio, |index| (product.sums[index].value(), product.bound(index, float, true)))
}

/// Errors over their bounds. `expected` gives a value and its bound, for the report.
fn judge_ratios(
    tensor: &str,
    got: &Matrix,
    ratio: impl Fn(usize) -> f64,
    expected: impl Fn(usize) -> (f64, f64),
) -> Result<Verdict, Failure> {
    let ratios: Vec<f64> = (0..got.values.len()).map(ratio).collect();
    // A ratio that is NaN is as wrong as an infinite one.
    let (mut worst, mut most) = (0, 0.0);
    for (index, &ratio) in ratios.iter().enumerate() {
        let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
        if ratio > most {
            (worst, most) = (index, ratio);
        }
    }
    if most <= 1.0 {
        return Ok(Verdict { elements: ratios.len() as u64, error_over_bound: most });
    }
    let (value, bound) = expected(worst);
    let wrong = ratios.iter().filter(|&&ratio| ratio.is_nan() || ratio > 1.0).count();
    Err(Failure {
        tensor: Some(tensor.to_owned()),
        index: vec![worst / got.columns, worst % got.columns],
        expected: Some(format!("{value:e}")),
        got: Some(format!("{:e}", got.values[worst])),
        bound: Some(bound),
        wrong_elements: Some(wrong as u64),
        ..Failure::new(format!("{tensor} is further from what is right than its bound, {most:.3} times that"))
    })
}

// ---- the operators around them ---------------------------------------------------------------------------------

/// The oracle's SwiGLU of this form.
pub(crate) fn oracle_swiglu(form: &mxhal_core::op::SwiGluForm) -> oracle::SwiGlu {
    let variant = match form.variant {
        mxhal_core::op::SwiGluVariant::GptOss => oracle::Variant::GptOss { alpha: f64::from(form.alpha) },
        _ => oracle::Variant::Plain,
    };
    oracle::SwiGlu { variant, limit: f64::from(form.limit), interleaved: form.interleaved }
}

/// The oracle's routing of this operator.
pub(crate) fn oracle_route(op: &mxhal_core::op::Route) -> oracle::Route {
    use mxhal_core::op::Score;
    let score = match op.score {
        Score::Sigmoid => oracle::Score::Sigmoid,
        Score::SqrtSoftplus => oracle::Score::SqrtSoftplus,
        Score::SoftmaxOfChosen => oracle::Score::SoftmaxOfChosen,
        _ => oracle::Score::Softmax,
    };
    oracle::Route { score, top_k: op.top_k, renormalize: op.renormalize, scale: f64::from(op.scale) }
}

fn judge_swiglu(evidence: &Evidence<'_>, op: &mxhal_core::op::SwiGlu) -> Result<Verdict, Failure> {
    let weights = evidence.optional("row_weights").map(|weights| read(weights).values);
    let h = oracle_swiglu(&op.form)
        .apply(&read(evidence.input("x")), weights.as_deref())
        .map_err(wrong_answer)?;
    let got = evidence.output("y");
    if !op.to.is_none() {
        return judge_quantized_swiglu(&h, op.to, got).map_err(in_tensor("y"));
    }
    let (float, got) = (Float::of(op.to.format).map_err(wrong_answer)?, read(got));
    let bound = |index: usize| swiglu::bound(h.values[index], float);
    let ratio = |index: usize| {
        let (value, got) = (h.values[index], got.values[index]);
        if value.is_nan() || got.is_nan() {
            return if value.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if got.is_infinite() {
            let furthest = value + swiglu::error_before_rounding(value).copysign(got);
            return if float.round(furthest) == got { 0.0 } else { f64::INFINITY };
        }
        (got - value).abs() / bound(index)
    };
    judge_ratios("y", &got, ratio, |index| (h.values[index], bound(index)))
}

/// Values within their error, rounded to BF16, then quantized. A block whose BF16 values are certain has one answer;
/// in others each element lies in its range.
fn judge_quantized_swiglu(h: &Matrix, to: Quantization, got: &HostBuffer) -> Result<Verdict, Failure> {
    let ranges: Vec<interval::Range> = h
        .values
        .iter()
        .map(|&value| {
            let error = swiglu::error_before_rounding(value);
            let bf16 = |end: f64| Float::BF16.round(end);
            interval::Range { low: bf16(value - error), high: bf16(value + error) }
        })
        .collect();
    let is_certain = |ranges: &[interval::Range]| ranges.iter().all(|range| range.low == range.high);
    let values = read(got);
    let columns = h.columns.max(1);
    for (row, ranges) in ranges.chunks(columns).enumerate() {
        if is_certain(ranges) {
            let x = Matrix { rows: 1, columns, values: ranges.iter().map(|range| range.low).collect() };
            let [data, scales, factors] = bytes_of_first(got);
            let one = HostBuffer {
                layout: super::tensor::layout(to.format, &[1, columns]),
                data: got.data[row * data..][..data].to_vec(),
                scales: got.scales[row * scales..][..scales].to_vec(),
                factors: got.factors[row * factors..][..factors].to_vec(),
            };
            judge_quantized(&x, to, &one).map_err(|failure| in_row(failure, row))?;
        }
        let allowed = interval::quantize_row(ranges, to).map_err(wrong_answer)?;
        for (column, (range, &got)) in allowed.iter().zip(values.row(row)).enumerate() {
            if !range.contains(got) {
                return Err(Failure {
                    index: vec![row, column],
                    expected: Some(format!("a value from {:e} to {:e}", range.low, range.high)),
                    got: Some(format!("{got:e}")),
                    ..Failure::new("y is not what any value within the error is quantized to")
                });
            }
        }
    }
    Ok(Verdict { elements: h.values.len() as u64, error_over_bound: 0.0 })
}

fn judge_route(evidence: &Evidence<'_>, op: &mxhal_core::op::Route) -> Result<Verdict, Failure> {
    let logits = read(evidence.input("logits"));
    let bias = evidence.optional("bias").map(|bias| read(bias).values);
    let given = evidence.optional("ids_given").map(read_integers);
    let (ids, weights) = (read_integers(evidence.output("ids")), read(evidence.output("weights")).values);
    let route = oracle_route(op);
    let checked = route.check(&logits, bias.as_deref(), given.as_deref(), &ids, &weights);
    checked.map_err(wrong_answer).map_err(in_tensor("ids, weights"))?;
    let right = route.apply(&logits, bias.as_deref(), Some(&ids)).map_err(wrong_answer)?.weights;
    let ratios = right.iter().zip(&weights).map(|(&right, &got)| {
        let error = (got - right).abs() / oracle::route::weight_bound(right);
        if error.is_nan() { 0.0 } else { error }
    });
    Ok(Verdict { elements: 2 * ids.len() as u64, error_over_bound: ratios.fold(0.0, f64::max) })
}

fn judge_permute(evidence: &Evidence<'_>, op: &mxhal_core::op::Permute) -> Result<Verdict, Failure> {
    let ids = local_ids(evidence.op, evidence.inputs);
    let right = oracle::permute(&ids, op.top_k, op.experts).map_err(wrong_answer)?;
    let counts: Vec<i32> = right.counts.iter().map(|&count| count as i32).collect();
    for (name, expected, columns) in [
        ("counts", &counts, op.experts),
        ("source", &right.source, right.source.len()),
        ("positions", &right.positions, op.top_k),
    ] {
        equal_integers(name, expected, &read_integers(evidence.output(name)), columns)?;
    }
    let taken = right.source.iter().take_while(|&&route| route >= 0).count();
    let (x, rows) = (evidence.input("x"), evidence.output("rows"));
    let [data, scales, factors] = bytes_of_first(x);
    let per_tensor = x.factors.len() == 4 && evidence.inputs.rows > 1;
    for (row, &route) in right.source[..taken].iter().enumerate() {
        let token = route as usize / op.top_k;
        let pairs = [
            ("elements", &x.data[token * data..][..data], &rows.data[row * data..][..data]),
            ("scales", &x.scales[token * scales..][..scales], &rows.scales[row * scales..][..scales]),
        ];
        for (part, expected, got) in pairs {
            if expected != got {
                let message = format!("the {part} of row {row} of rows are not those of token {token}");
                return Err(Failure {
                    tensor: Some("rows".to_owned()),
                    index: vec![row],
                    ..Failure::new(message)
                });
            }
        }
        let from = if per_tensor { 0 } else { token * factors };
        let size = factors.max(if per_tensor { 4 } else { 0 });
        if x.factors[from..][..size] != rows.factors[row * size..][..size] {
            let message = format!("the factor of row {row} of rows is not that of token {token}");
            return Err(Failure {
                tensor: Some("rows".to_owned()),
                index: vec![row],
                ..Failure::new(message)
            });
        }
    }
    if let Some(weights) = evidence.optional("weights") {
        let (weights, got) = (read(weights).values, read(evidence.output("row_weights")));
        let expected: Vec<f64> = right.source[..taken].iter().map(|&route| weights[route as usize]).collect();
        let expected = Matrix { rows: taken, columns: 1, values: expected };
        let got = Matrix { rows: taken, columns: 1, values: got.values[..taken].to_vec() };
        equal("row_weights", &expected, &got, same_value)?;
    }
    let elements = taken * op.columns + counts.len() + 2 * ids.len();
    Ok(Verdict { elements: elements as u64, error_over_bound: 0.0 })
}

fn equal_integers(tensor: &str, expected: &[i32], got: &[i32], columns: usize) -> Result<(), Failure> {
    let wrong = expected.iter().zip(got).filter(|(expected, got)| expected != got).count();
    match expected.iter().zip(got).position(|(expected, got)| expected != got) {
        None => Ok(()),
        Some(place) => Err(Failure {
            tensor: Some(tensor.to_owned()),
            index: if columns == expected.len() {
                vec![place]
            } else {
                vec![place / columns, place % columns]
            },
            expected: Some(expected[place].to_string()),
            got: Some(got[place].to_string()),
            wrong_elements: Some(wrong as u64),
            ..Failure::new(format!("{tensor} is not what is exactly right"))
        }),
    }
}

fn judge_combine(evidence: &Evidence<'_>, op: &mxhal_core::op::Combine) -> Result<Verdict, Failure> {
    let rows = read(evidence.input("rows"));
    let positions = read_integers(evidence.input("positions"));
    let weights = match evidence.optional("weights") {
        Some(weights) => read(weights).values,
        None => vec![1.0; positions.len()],
    };
    let addend = evidence.optional("addend").map(read);
    let got = read(evidence.output("y"));
    let arguments = (&rows, &weights[..], &positions[..], op.top_k, addend.as_ref());
    let (rows, weights, positions, top_k, addend) = arguments;
    let product = oracle::combine(rows, weights, positions, top_k, addend).map_err(wrong_answer)?;
    let verdict = judge_sums("y", &product, &got, op.output, evidence.tier)?;
    if evidence.properties.slot_order {
        let bits = oracle::combine_in_slot_order(rows, weights, positions, top_k, addend, op.output)
            .map_err(wrong_answer)?;
        equal("y", &bits, &got, same_value).map_err(|failure| Failure {
            message: "y is not the sum in order of slot that was declared".to_owned(),
            ..failure
        })?;
    }
    Ok(verdict)
}

// ---- failures --------------------------------------------------------------------------------------------------

/// A failure in the oracle's words: what it found wrong, or that it was asked something it cannot answer.
pub(crate) fn wrong_answer(error: Error) -> Failure {
    match error {
        Error::Mismatch(mismatch) => Failure {
            index: [Some(mismatch.row), mismatch.element].into_iter().flatten().collect(),
            expected: Some(mismatch.expected.clone()),
            got: Some(mismatch.got.clone()),
            ..Failure::new(format!("not an allowed answer: {mismatch}"))
        },
        other => Failure::new(format!("the oracle cannot answer: {other}")),
    }
}

pub(crate) fn in_tensor(tensor: &str) -> impl Fn(Failure) -> Failure {
    let tensor = tensor.to_owned();
    move |failure| Failure { tensor: Some(tensor.clone()), ..failure }
}

fn in_row(mut failure: Failure, row: usize) -> Failure {
    if let Some(first) = failure.index.first_mut() {
        *first = row;
    }
    failure
}

/// The place in the output of a place among the columns that were compared.
fn in_column(mut failure: Failure, columns: &[usize]) -> Failure {
    if let [_, column] = &mut failure.index[..] {
        *column = columns[*column];
    }
    failure
}
