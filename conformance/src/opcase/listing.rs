//! Listing numeric cases: what each is called, and which profile asks for it.

use std::time::Duration;

use mxhal_core::op::{Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, SwiGlu};
use mxhal_core::{Format, Op, Quantization};

use super::random::Random;
use super::{Load, OpCase, Values};
use crate::case::{Body, Case};
use crate::profile::Profile;
use crate::suite::SuiteKind;

/// What a case may take; most take milliseconds.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(20);

/// The cases of a suite, as they are added.
pub(crate) struct Listing {
    suite: SuiteKind,
    seed: u64,
    cases: Vec<Case>,
}

impl Listing {
    pub(crate) const fn new(suite: SuiteKind, seed: u64) -> Self {
        Self { suite, seed, cases: Vec::new() }
    }

    /// Adds a case that is called `suite/op/what/shape/formats`.
    pub(crate) fn add(&mut self, what: &str, case: OpCase) {
        let kind = case.op.kind();
        let (shape, formats) = (shape(&case), formats(&case.op));
        let name = format!("{}/{kind}/{what}/{shape}/{formats}", self.suite);
        self.cases.push(Case {
            suite: self.suite,
            seed: Random::new(self.seed, &name).bits(),
            name,
            profile: profile_of(&case.op),
            time_limit: TIME_LIMIT,
            body: Body::Op(case),
        });
    }

    pub(crate) fn into_cases(self) -> Vec<Case> {
        self.cases
    }
}

/// The profile that asks for an operator: that of the rarest format in it, so that a backend without that format
/// claims less.
pub(crate) fn profile_of(op: &Op) -> Profile {
    let scheme = activation(op).map(|activation| activation.format);
    let weights: Vec<Format> = op.weights().iter().map(|desc| desc.format).collect();
    let held: Vec<Format> = op.arguments().iter().map(|argument| argument.format).collect();
    let all = || held.iter().chain(&weights).chain(&scheme).copied();
    if all().any(|format| format == Format::Nvfp4) {
        Profile::Nvfp4
    } else if weights
        .iter()
        .any(|&format| matches!(format, Format::Mxfp8 | Format::Mxfp8G128 | Format::Mxint8))
    {
        Profile::W8
    } else if scheme == Some(Format::Mxfp4) {
        Profile::W4a4
    } else if all().any(|format| format == Format::Mxint8) {
        Profile::Mxint8
    } else if matches!(op, Op::MoeFfn(_)) {
        Profile::Fused
    } else {
        Profile::Core
    }
}

/// What an operator quantizes activations to.
fn activation(op: &Op) -> Option<Quantization> {
    match op {
        Op::Matmul(each) => Some(each.activation),
        Op::GroupedMatmul(grouped) => Some(grouped.each.activation),
        Op::SwiGlu(op) => Some(op.to),
        Op::MoeFfn(op) => Some(op.activation),
        _ => None,
    }
}

/// Rows, and the other extents of the operator.
pub(crate) fn shape(case: &OpCase) -> String {
    let rows = match case.rows == case.op.max_rows() {
        true => case.rows.to_string(),
        false => format!("{}of{}", case.rows, case.op.max_rows()),
    };
    match case.op {
        Op::Quantize(Quantize { k, .. }) | Op::Dequantize(Dequantize { k, .. }) => format!("{rows}x{k}"),
        Op::Matmul(Matmul { n, k, .. }) => format!("{rows}x{n}x{k}"),
        Op::GroupedMatmul(GroupedMatmul { each: Matmul { n, k, .. }, groups }) => {
            format!("{rows}x{n}x{k}x{groups}")
        }
        Op::SwiGlu(SwiGlu { n, .. }) => format!("{rows}x{n}"),
        Op::Route(Route { experts, top_k, .. }) => format!("{rows}x{experts}x{top_k}"),
        Op::Permute(Permute { columns, experts, top_k, .. }) => format!("{rows}x{columns}x{experts}x{top_k}"),
        Op::Combine(Combine { columns, top_k, .. }) => format!("{rows}x{columns}x{top_k}"),
        Op::MoeFfn(MoeFfn { hidden, inner, experts, top_k, .. }) => {
            format!("{rows}x{hidden}x{inner}x{experts}x{top_k}")
        }
        _ => rows,
    }
}

/// The formats and attributes, in an order that is the same for all: weights, activations, where they come from,
/// output, the rest.
pub(crate) fn formats(op: &Op) -> String {
    let product = |each: &Matmul| {
        let from = if each.input == each.activation.format { "" } else { "_from-bf16" };
        let bias = if each.bias { "_bias" } else { "" };
        format!("{}_{}{from}_{}{bias}", each.weight, scheme(&each.activation), each.output)
    };
    match op {
        Op::Quantize(op) => format!("{}_{}", op.input, scheme(&op.to)),
        Op::Dequantize(op) => format!("{}_{}", op.from, op.output),
        Op::Matmul(each) => product(each),
        Op::GroupedMatmul(grouped) => product(&grouped.each),
        Op::SwiGlu(op) => {
            let weights = if op.row_weights { "_weights" } else { "" };
            let order = if op.form.interleaved { "_interleaved" } else { "" };
            let form = format!("{}-{}", op.form.variant, op.form.limit);
            format!("{}_{}_{form}{order}{weights}", op.input, scheme(&op.to))
        }
        Op::Route(op) => {
            let flags = [(op.bias, "_bias"), (op.ids_given, "_given"), (op.renormalize, "_renormalized")];
            let flags: String = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
            format!("{}{flags}_{}", op.score, op.scale)
        }
        Op::Permute(op) => {
            let flags = [(op.weights, "_weights"), (op.mapped.is_some(), "_mapped")];
            let flags: String = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
            format!("{}{flags}", op.format)
        }
        Op::Combine(op) => {
            let weighted = if op.weighted { "_weighted" } else { "" };
            let addend = op.addend.map_or(String::new(), |format| format!("_plus-{format}"));
            format!("{}_{}{weighted}{addend}", op.input, op.output)
        }
        Op::MoeFfn(op) => {
            let shared = op.shared.map_or(String::new(), |shared| {
                format!("_shared-{}{}", shared.weight, if shared.clamped { "-clamped" } else { "" })
            });
            let flags = [(op.bias, "_bias"), (op.mapped.is_some(), "_mapped")];
            let flags: String = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
            let (form, position) = (op.form.variant, op.weight_position);
            let order = if op.form.interleaved { "-interleaved" } else { "" };
            format!(
                "{}_{}_{}_{form}{order}_{position}{flags}{shared}",
                op.weight,
                scheme(&op.activation),
                op.output
            )
        }
        other => other.kind().to_string(),
    }
}

/// A format, with rule and floor where they are not the usual ones.
fn scheme(to: &Quantization) -> String {
    let rule =
        if to.rule == Quantization::new(to.format).rule { String::new() } else { format!("-{}", to.rule) };
    let floor = if to.amax_floor == 0.0 { String::new() } else { format!("-amax{:e}", to.amax_floor) };
    format!("{}{rule}{floor}", to.format)
}

impl Load {
    /// What it is called in names of cases.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::OneExpert => "one-expert",
            Self::Sparse => "sparse",
            Self::Missing => "missing",
            Self::OutOfRange => "out-of-range",
            Self::Nobody => "nobody",
        }
    }
}

impl Values {
    /// What they are called in names of cases.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Exact { .. } => "exact",
            Self::Ties => "ties",
            Self::Tiny => "tiny",
            Self::SignedZeros => "signed-zeros",
            Self::Boundary => "boundary",
            Self::NonFinite => "non-finite",
            Self::EveryCode => "every-code",
            Self::NanWeightScales => "nan-weight-scales",
            Self::NanInputScales => "nan-input-scales",
            Self::LowWeightScales => "low-weight-scales",
            Self::HighWeightScales => "high-weight-scales",
            Self::Overflow => "overflow",
            Self::OverflowF16 => "overflow-f16",
        }
    }
}
