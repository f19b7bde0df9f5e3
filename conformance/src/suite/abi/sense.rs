//! Operators that make no sense, beside twins that do: both `op_supports` and `plan_create` call them invalid.
//!
//! A backend may refuse a kind, or a format, without looking further. So a question is asked of what the plugin offers:
//! a twin that it supports is changed in one place, and no longer makes sense.

use mxhal_core::Status::{InvalidArgument, Unsupported};
use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert,
    SwiGlu, SwiGluForm, WeightPosition,
};
use mxhal_core::{Format, Op, Quantization, ScaleRule};
use mxhal_ffi::{convert, sys};

use super::Questions;
use super::answer::{Answer, Finding, ensure};
use super::bytes::{OpBytes, switches};
use super::raw::Plan;
use super::session::Session;
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("sense/quantize", |subject| ask(subject, quantize())),
    ("sense/dequantize", |subject| ask(subject, dequantize())),
    ("sense/matmul", |subject| ask(subject, matmul())),
    ("sense/grouped-matmul", |subject| ask(subject, grouped_matmul())),
    ("sense/swiglu", |subject| ask(subject, swiglu())),
    ("sense/route", |subject| ask(subject, route())),
    ("sense/permute", |subject| ask(subject, permute())),
    ("sense/combine", |subject| ask(subject, combine())),
    ("sense/moe-ffn", |subject| ask(subject, moe_ffn())),
];

/// An operator of sense, and the same without.
struct Pair {
    twin: Op,
    nonsense: Op,
    /// What is wrong with it.
    why: &'static str,
    /// Whether a backend may refuse it for its formats before it sees that it makes no sense.
    by_format: bool,
}

/// One more than an extent may be.
const TOO_LARGE: usize = 1 << 31;

/// Numbers that no attribute may be.
const NO_NUMBERS: [(f32, &str); 3] = [(f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (-1.0, "-1")];

/// What is quantized to, with the usual rules.
const ROW_FORMATS: [Format; 5] =
    [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4];

fn pairs<O: Into<Op> + Copy>(twin: O, changes: impl IntoIterator<Item = (O, &'static str)>) -> Vec<Pair> {
    let pair = |(nonsense, why): (O, _)| Pair {
        twin: twin.into(),
        nonsense: nonsense.into(),
        why,
        by_format: false,
    };
    changes.into_iter().map(pair).collect()
}

/// The same for formats that do not belong there.
fn by_format<O: Into<Op> + Copy>(twin: O, changes: impl IntoIterator<Item = (O, &'static str)>) -> Vec<Pair> {
    pairs(twin, changes).into_iter().map(|pair| Pair { by_format: true, ..pair }).collect()
}

/// Quantizations that do not hold together.
fn quantizations(of: Quantization) -> Vec<(Quantization, &'static str)> {
    let (rule, why) = match of.format {
        Format::Nvfp4 => (ScaleRule::Ceil, "the rule ceil for nvfp4"),
        _ => (ScaleRule::Nearest, "the rule nearest for a scale that is a power of two"),
    };
    let mut wrong = vec![(of.with_rule(rule), why)];
    wrong.extend(
        NO_NUMBERS.map(|(floor, _)| (of.with_amax_floor(floor), "an amax_floor that is no magnitude")),
    );
    if of.format == Format::Nvfp4 {
        wrong.push((of.with_amax_floor(1e-4), "an amax_floor for nvfp4"));
    }
    wrong
}

/// The usual quantization to each format, with columns of whole blocks, and columns that are not.
fn blocks() -> impl Iterator<Item = (Quantization, usize, usize)> {
    ROW_FORMATS.into_iter().map(|format| {
        // Of 128 columns the last group may be short, but for whole blocks of 32.
        (Quantization::new(format), 160, 160 + format.column_multiple() / 2)
    })
}

fn quantize() -> Vec<Pair> {
    let mut all = Vec::new();
    for (to, k, broken) in blocks() {
        let op = Quantize { rows: 4, k, input: Format::F32, to };
        all.extend(pairs(
            op,
            [
                (Quantize { rows: 0, ..op }, "no rows"),
                (Quantize { rows: TOO_LARGE, ..op }, "2^31 rows"),
                (Quantize { k: 0, ..op }, "no columns"),
                (Quantize { k: broken, ..op }, "columns that are no whole blocks"),
            ],
        ));
        all.extend(pairs(op, quantizations(to).into_iter().map(|(to, why)| (Quantize { to, ..op }, why))));
        all.extend(by_format(
            op,
            [
                (Quantize { input: Format::I32, ..op }, "input in i32"),
                (Quantize { to: Quantization::none(), ..op }, "quantizing to bf16"),
                (Quantize { to: Quantization::new(Format::Fp8Tile128), ..op }, "quantizing to tiles"),
            ],
        ));
    }
    all
}

fn dequantize() -> Vec<Pair> {
    let mut all = Vec::new();
    for (to, k, broken) in blocks() {
        let op = Dequantize { rows: 4, k, from: to.format, output: Format::F32 };
        all.extend(pairs(
            op,
            [
                (Dequantize { rows: 0, ..op }, "no rows"),
                (Dequantize { k: 0, ..op }, "no columns"),
                (Dequantize { k: broken, ..op }, "columns that are no whole blocks"),
            ],
        ));
        all.extend(by_format(
            op,
            [
                (Dequantize { from: Format::Bf16, ..op }, "dequantizing from bf16"),
                (Dequantize { output: Format::U8, ..op }, "output in u8"),
            ],
        ));
    }
    all
}

/// Products by each scheme, with MXFP4 weights and with tiles.
fn products() -> Vec<Matmul> {
    let schemes = [Quantization::none(), Quantization::deepseek()]
        .into_iter()
        .chain(ROW_FORMATS.map(Quantization::new));
    let with = |activation: Quantization| {
        [Format::Mxfp4, Format::Fp8Tile128, Format::Nvfp4]
            .map(|weight| Matmul { weight, ..Matmul::mxfp4(4, 64, 160, activation) })
    };
    schemes.flat_map(with).collect()
}

/// The same product without sense, and whether for a format that does not belong there.
fn broken_products(op: Matmul) -> Vec<(Matmul, &'static str, bool)> {
    let mut wrong = vec![
        (Matmul { m: 0, ..op }, "no rows", false),
        (Matmul { n: 0, ..op }, "no output columns", false),
        (Matmul { k: 0, ..op }, "no columns", false),
        (Matmul { input: Format::F16, ..op }, "input in f16", true),
        (Matmul { output: Format::I32, ..op }, "output in i32", true),
        (Matmul { weight: Format::F32, ..op }, "weights in f32", true),
        (Matmul { activation: Quantization::new(Format::Fp8Tile128), ..op }, "activations in tiles", true),
    ];
    let multiple = op.weight.column_multiple().max(op.activation.format.column_multiple());
    if multiple > 1 {
        wrong.push((Matmul { k: op.k + multiple / 2, ..op }, "columns that are no whole blocks", false));
    }
    if !op.activation.is_none() {
        let quantizations = quantizations(op.activation).into_iter();
        wrong.extend(quantizations.map(|(activation, why)| (Matmul { activation, ..op }, why, false)));
    }
    wrong
}

fn matmul() -> Vec<Pair> {
    let of = |op: Matmul| {
        let wrong = broken_products(op).into_iter();
        wrong.map(move |(nonsense, why, by_format)| Pair {
            twin: op.into(),
            nonsense: nonsense.into(),
            why,
            by_format,
        })
    };
    products().into_iter().flat_map(of).collect()
}

fn grouped_matmul() -> Vec<Pair> {
    let of = |each: Matmul| {
        let op = GroupedMatmul { each, groups: 3 };
        let mut all = pairs(op, [(GroupedMatmul { groups: 0, ..op }, "no groups")]);
        all.extend(broken_products(each).into_iter().map(|(each, why, by_format)| Pair {
            twin: op.into(),
            nonsense: GroupedMatmul { each, ..op }.into(),
            why,
            by_format,
        }));
        all
    };
    products().into_iter().flat_map(of).collect()
}

/// Forms of a SwiGLU that do not hold together.
fn forms(of: SwiGluForm) -> Vec<(SwiGluForm, &'static str)> {
    let mut wrong: Vec<_> =
        NO_NUMBERS.map(|(limit, _)| (SwiGluForm { limit, ..of }, "a limit that is no magnitude")).to_vec();
    if of == (SwiGluForm { limit: of.limit, ..SwiGluForm::silu(0.0) }) {
        wrong.push((SwiGluForm { alpha: 1.702, ..of }, "an alpha for silu"));
    }
    wrong.push((SwiGluForm { alpha: f32::NAN, ..of }, "an alpha that is NaN"));
    wrong.push((SwiGluForm { alpha: f32::NEG_INFINITY, ..of }, "an alpha that is infinite"));
    wrong
}

fn swiglu() -> Vec<Pair> {
    let mut all = Vec::new();
    for form in [SwiGluForm::silu(10.0), SwiGluForm::gpt_oss(7.0)] {
        let to = Quantization::new(Format::F32);
        let op = SwiGlu { rows: 4, n: 160, form, input: Format::F32, row_weights: false, to };
        all.extend(pairs(op, [(SwiGlu { rows: 0, ..op }, "no rows"), (SwiGlu { n: 0, ..op }, "no columns")]));
        all.extend(pairs(op, forms(form).into_iter().map(|(form, why)| (SwiGlu { form, ..op }, why))));
        all.extend(by_format(
            op,
            [
                (SwiGlu { input: Format::Mxfp8, ..op }, "input in mxfp8"),
                (SwiGlu { to: Quantization::new(Format::I32), ..op }, "output in i32"),
            ],
        ));
        for (to, n, broken) in blocks() {
            let op = SwiGlu { n, to, ..op };
            all.extend(pairs(op, [(SwiGlu { n: broken, ..op }, "columns that are no whole blocks")]));
            all.extend(pairs(op, quantizations(to).into_iter().map(|(to, why)| (SwiGlu { to, ..op }, why))));
        }
    }
    all
}

fn route() -> Vec<Pair> {
    let mut all = Vec::new();
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        let (bias, ids_given, renormalize) = (false, false, true);
        let op = Route { tokens: 4, experts: 8, top_k: 2, score, bias, ids_given, renormalize, scale: 1.0 };
        all.extend(pairs(
            op,
            [
                (Route { tokens: 0, ..op }, "no tokens"),
                (Route { experts: 0, ..op }, "no experts"),
                (Route { top_k: 0, ..op }, "a top_k of 0"),
                (Route { top_k: 9, ..op }, "a top_k of 9 among 8 experts"),
                (Route { scale: f32::NAN, ..op }, "a scale that is NaN"),
                (Route { scale: f32::INFINITY, ..op }, "a scale that is infinite"),
            ],
        ));
        let (steered, given) = (Route { bias: true, ..op }, Route { ids_given: true, ..op });
        let both = Route { bias: true, ids_given: true, ..op };
        all.extend(pairs(steered, [(both, "a bias for ids that are given")]));
        all.extend(pairs(
            given,
            [(both, "a bias for ids that are given"), (Route { top_k: 9, ..given }, "9 ids of 8 experts")],
        ));
    }
    all
}

fn permute() -> Vec<Pair> {
    let mut all = Vec::new();
    for format in [Format::F32, Format::Bf16].into_iter().chain(ROW_FORMATS) {
        let (columns, weights) = (160, true);
        let op = Permute { tokens: 4, columns, experts: 5, top_k: 2, format, weights, mapped: None };
        all.extend(pairs(
            op,
            [
                (Permute { tokens: 0, ..op }, "no tokens"),
                (Permute { columns: 0, ..op }, "no columns"),
                (Permute { experts: 0, ..op }, "no experts"),
                (Permute { top_k: 0, ..op }, "a top_k of 0"),
                (Permute { tokens: TOO_LARGE / 2, ..op }, "2^30 tokens of 2 slots"),
            ],
        ));
        let broken = Permute { columns: columns + format.column_multiple() / 2, ..op };
        if broken != op {
            all.extend(pairs(op, [(broken, "columns that are no whole blocks")]));
        }
        all.extend(by_format(op, [(Permute { format: Format::Fp8Tile128, ..op }, "rows in tiles")]));
    }
    all
}

fn combine() -> Vec<Pair> {
    let (input, output) = (Format::Bf16, Format::F32);
    let op = Combine { tokens: 4, columns: 64, top_k: 2, input, output, weighted: true, addend: None };
    let added = Combine { addend: Some(Format::Bf16), ..op };
    let mut all = pairs(
        op,
        [
            (Combine { tokens: 0, ..op }, "no tokens"),
            (Combine { columns: 0, ..op }, "no columns"),
            (Combine { top_k: 0, ..op }, "a top_k of 0"),
            (Combine { tokens: TOO_LARGE / 2, ..op }, "2^30 tokens of 2 slots"),
        ],
    );
    all.extend(by_format(
        added,
        [
            (Combine { input: Format::Mxfp8, ..added }, "rows in mxfp8"),
            (Combine { output: Format::I32, ..added }, "output in i32"),
            (Combine { addend: Some(Format::I32), ..added }, "an addend in i32"),
        ],
    ));
    all
}

fn moe_ffn() -> Vec<Pair> {
    let mut all = Vec::new();
    for activation in [Quantization::none(), Quantization::deepseek(), Quantization::new(Format::Mxint8)] {
        let op = MoeFfn {
            tokens: 4,
            hidden: 160,
            inner: 96,
            experts: 4,
            top_k: 2,
            weight: Format::Mxfp4,
            activation,
            form: SwiGluForm::silu(10.0),
            weight_position: WeightPosition::BeforeDown,
            bias: false,
            output: Format::F32,
            mapped: None,
            shared: None,
        };
        let shared = SharedExpert { inner: 64, weight: Format::Fp8Tile128, clamped: true };
        let with_shared = MoeFfn { shared: Some(shared), ..op };
        all.extend(pairs(
            op,
            [
                (MoeFfn { tokens: 0, ..op }, "no tokens"),
                (MoeFfn { tokens: TOO_LARGE / 2, ..op }, "2^30 tokens of 2 slots"),
                (MoeFfn { experts: 0, ..op }, "no experts"),
                (MoeFfn { top_k: 0, ..op }, "a top_k of 0"),
                (MoeFfn { hidden: 176, ..op }, "hidden columns that are no whole blocks"),
                (MoeFfn { inner: 80, ..op }, "inner columns that are no whole blocks"),
            ],
        ));
        all.extend(pairs(op, forms(op.form).into_iter().map(|(form, why)| (MoeFfn { form, ..op }, why))));
        let interleaved = SwiGluForm { interleaved: true, ..op.form };
        all.extend(pairs(
            with_shared,
            [(MoeFfn { form: interleaved, ..with_shared }, "a shared expert with alternating gate and up")],
        ));
        if !activation.is_none() {
            let wrong = quantizations(activation).into_iter();
            all.extend(pairs(op, wrong.map(|(activation, why)| (MoeFfn { activation, ..op }, why))));
        }
        all.extend(by_format(
            op,
            [
                (MoeFfn { weight: Format::F32, ..op }, "weights in f32"),
                (MoeFfn { output: Format::Mxfp8, ..op }, "output in mxfp8"),
            ],
        ));
    }
    all
}

/// Asks about those whose twins are supported.
fn ask(subject: &Subject, pairs: Vec<Pair>) -> Finding {
    let session = Session::open(subject)?;
    let (mut asked, mut twin) = (0, None);
    let total = pairs.len();
    for Pair { twin: op, nonsense, why, by_format } in pairs {
        let (_, offered) = match twin {
            Some(known @ (known_op, _)) if known_op == op => known,
            _ => {
                let offered = is_offered(&session, &op)?;
                if offered {
                    refuses_switches(&session, &op)?;
                }
                *twin.insert((op, offered))
            }
        };
        if offered {
            asked += 1;
            let why = format!("{} with {why}", op.kind());
            refuses(&session, &OpBytes::new(&nonsense)?, &why, by_format)?;
        }
    }
    if asked > 0 {
        return Ok(());
    }
    let text = format!("no operator is supported of the {total} that would be changed here");
    Err(Box::new(Outcome::Skipped { text }))
}

fn is_offered(session: &Session<'_>, op: &Op) -> Finding<bool> {
    let mut answer: sys::mxhal_answer = convert::empty();
    session.raw.op_supports(session.device, Some(&OpBytes::new(op)?), Some(&mut answer)).ok()?;
    Ok(answer.yes == 1)
}

/// A switch is 0 or 1.
fn refuses_switches(session: &Session<'_>, op: &Op) -> Finding {
    for (name, offset) in switches(op.kind()) {
        let why = format!("{} with {name} = 2", op.kind());
        refuses(session, &OpBytes::new(op)?.with(offset, 2), &why, false)?;
    }
    Ok(())
}

/// Both ways to ask call it invalid, or, where a format may be to blame, not offered.
fn refuses(session: &Session<'_>, op: &OpBytes, why: &str, by_format: bool) -> Finding {
    let statuses = if by_format { &[InvalidArgument, Unsupported][..] } else { &[InvalidArgument] };
    let mut plan = Plan::NULL;
    let created = session.raw.plan_create(session.device, Some(op), Some(&mut plan));
    if created.status == 0 {
        session.raw.plan_destroy(plan.take()).ok()?;
    }
    created.refused_as(statuses, why)?;
    let mut answer: sys::mxhal_answer = convert::empty();
    let asked: Answer = session.raw.op_supports(session.device, Some(op), Some(&mut answer));
    if by_format && asked.status == 0 {
        asked.ok()?;
        return ensure(answer.yes == 0, || format!("op_supports answered yes to {why}"));
    }
    asked.refused_as(statuses, why).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_twin_makes_sense_and_what_became_of_it_does_not() {
        let all = [
            quantize(),
            dequantize(),
            matmul(),
            grouped_matmul(),
            swiglu(),
            route(),
            permute(),
            combine(),
            moe_ffn(),
        ];
        for Pair { twin, nonsense, why, .. } in all.into_iter().flatten() {
            assert!(twin.validate().is_ok(), "{twin:?}");
            assert!(nonsense.validate().is_err(), "{why}: {nonsense:?}");
            OpBytes::new(&nonsense).unwrap();
        }
    }
}
