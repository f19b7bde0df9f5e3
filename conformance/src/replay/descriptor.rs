//! Operators as JSON. Core has no serde; the shapes of its structs are said here a second time, and the compiler holds
//! the two together.
//!
//! Formats, rules and the other enumerations are written by the names that reports use.

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Op, Permute, Quantize, Route, Score, SharedExpert,
    SwiGlu, SwiGluForm, SwiGluVariant, WeightPosition,
};
use mxhal_core::{Format, Quantization, ScaleRule};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `#[serde(with = "descriptor")]` for an [`Op`].
pub(crate) fn serialize<S: Serializer>(op: &Op, serializer: S) -> Result<S::Ok, S::Error> {
    let any = match *op {
        Op::Quantize(op) => Any::Quantize(op),
        Op::Dequantize(op) => Any::Dequantize(op),
        Op::Matmul(op) => Any::Matmul(op),
        Op::GroupedMatmul(op) => Any::GroupedMatmul(op),
        Op::SwiGlu(op) => Any::Swiglu(op),
        Op::Route(op) => Any::Route(op),
        Op::Permute(op) => Any::Permute(op),
        Op::Combine(op) => Any::Combine(op),
        Op::MoeFfn(op) => Any::MoeFfn(op),
        ref other => return Err(S::Error::custom(format!("{} has no form in a replay file", other.kind()))),
    };
    any.serialize(serializer)
}

/// The other half of it. The operator validates.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Op, D::Error> {
    let op = match Any::deserialize(deserializer)? {
        Any::Quantize(op) => Op::from(op),
        Any::Dequantize(op) => op.into(),
        Any::Matmul(op) => op.into(),
        Any::GroupedMatmul(op) => op.into(),
        Any::Swiglu(op) => op.into(),
        Any::Route(op) => op.into(),
        Any::Permute(op) => op.into(),
        Any::Combine(op) => op.into(),
        Any::MoeFfn(op) => op.into(),
    };
    op.validate().map_err(|error| D::Error::custom(format!("op: {error}")))?;
    Ok(op)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Any {
    Quantize(#[serde(with = "QuantizeFields")] Quantize),
    Dequantize(#[serde(with = "DequantizeFields")] Dequantize),
    Matmul(#[serde(with = "MatmulFields")] Matmul),
    GroupedMatmul(#[serde(with = "GroupedMatmulFields")] GroupedMatmul),
    Swiglu(#[serde(with = "SwiGluFields")] SwiGlu),
    Route(#[serde(with = "RouteFields")] Route),
    Permute(#[serde(with = "PermuteFields")] Permute),
    Combine(#[serde(with = "CombineFields")] Combine),
    MoeFfn(#[serde(with = "MoeFfnFields")] MoeFfn),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quantization", deny_unknown_fields)]
struct QuantizationFields {
    #[serde(with = "named")]
    format: Format,
    #[serde(with = "named")]
    rule: ScaleRule,
    amax_floor: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quantize", deny_unknown_fields)]
struct QuantizeFields {
    rows: usize,
    k: usize,
    #[serde(with = "named")]
    input: Format,
    #[serde(with = "QuantizationFields")]
    to: Quantization,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Dequantize", deny_unknown_fields)]
struct DequantizeFields {
    rows: usize,
    k: usize,
    #[serde(with = "named")]
    from: Format,
    #[serde(with = "named")]
    output: Format,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Matmul", deny_unknown_fields)]
struct MatmulFields {
    m: usize,
    n: usize,
    k: usize,
    #[serde(with = "named")]
    input: Format,
    #[serde(with = "named")]
    weight: Format,
    #[serde(with = "named")]
    output: Format,
    bias: bool,
    #[serde(with = "QuantizationFields")]
    activation: Quantization,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "GroupedMatmul", deny_unknown_fields)]
struct GroupedMatmulFields {
    #[serde(with = "MatmulFields")]
    each: Matmul,
    groups: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SwiGluForm", deny_unknown_fields)]
struct SwiGluFormFields {
    #[serde(with = "named")]
    variant: SwiGluVariant,
    limit: f32,
    alpha: f32,
    interleaved: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SwiGlu", deny_unknown_fields)]
struct SwiGluFields {
    rows: usize,
    n: usize,
    #[serde(with = "SwiGluFormFields")]
    form: SwiGluForm,
    #[serde(with = "named")]
    input: Format,
    row_weights: bool,
    #[serde(with = "QuantizationFields")]
    to: Quantization,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Route", deny_unknown_fields)]
struct RouteFields {
    tokens: usize,
    experts: usize,
    top_k: usize,
    #[serde(with = "named")]
    score: Score,
    bias: bool,
    ids_given: bool,
    renormalize: bool,
    scale: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Permute", deny_unknown_fields)]
struct PermuteFields {
    tokens: usize,
    columns: usize,
    experts: usize,
    top_k: usize,
    #[serde(with = "named")]
    format: Format,
    weights: bool,
    mapped: Option<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Combine", deny_unknown_fields)]
struct CombineFields {
    tokens: usize,
    columns: usize,
    top_k: usize,
    #[serde(with = "named")]
    input: Format,
    #[serde(with = "named")]
    output: Format,
    weighted: bool,
    #[serde(with = "optional_format")]
    addend: Option<Format>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SharedExpert", deny_unknown_fields)]
struct SharedExpertFields {
    inner: usize,
    #[serde(with = "named")]
    weight: Format,
    clamped: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MoeFfn", deny_unknown_fields)]
struct MoeFfnFields {
    tokens: usize,
    hidden: usize,
    inner: usize,
    experts: usize,
    top_k: usize,
    #[serde(with = "named")]
    weight: Format,
    #[serde(with = "QuantizationFields")]
    activation: Quantization,
    #[serde(with = "SwiGluFormFields")]
    form: SwiGluForm,
    #[serde(with = "named")]
    weight_position: WeightPosition,
    bias: bool,
    #[serde(with = "named")]
    output: Format,
    mapped: Option<usize>,
    #[serde(with = "optional_shared")]
    shared: Option<SharedExpert>,
}

/// An enumeration whose values have names.
pub(crate) trait Named: Copy + ToString {
    /// What it is, for errors.
    const WHAT: &'static str;

    /// The value with this number in the C header.
    fn of_number(number: u32) -> Option<Self>;
}

macro_rules! named {
    ($($name:ident, $what:literal;)*) => {
        $(impl Named for $name {
            const WHAT: &'static str = $what;

            fn of_number(number: u32) -> Option<Self> {
                Self::from_number(number)
            }
        })*
    };
}

named! {
    Format, "format";
    ScaleRule, "scale rule";
    Score, "score";
    SwiGluVariant, "SwiGLU variant";
    WeightPosition, "weight position";
}

pub(crate) mod named {
    use super::{Deserialize, Deserializer, Named, Serializer};
    use serde::de::Error as _;

    /// Above the numbers of every enumeration.
    const NUMBERS: u32 = 64;

    pub(crate) fn serialize<T: Named, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(crate) fn deserialize<'de, T: Named, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let name = String::deserialize(deserializer)?;
        let mut all = (0..NUMBERS).filter_map(T::of_number);
        all.find(|value| value.to_string() == name).ok_or_else(|| {
            let names: Vec<_> = (0..NUMBERS)
                .filter_map(T::of_number)
                .map(|value| format!("`{}`", value.to_string()))
                .collect();
            D::Error::custom(format!("`{name}` is no {}; there are {}", T::WHAT, names.join(", ")))
        })
    }
}

mod optional_format {
    use super::{Deserialize, Deserializer, Format, Serialize, Serializer, named};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Name(#[serde(with = "named")] Format);

    pub(super) fn serialize<S: Serializer>(value: &Option<Format>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Name).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Format>, D::Error> {
        Ok(Option::<Name>::deserialize(deserializer)?.map(|name| name.0))
    }
}

mod optional_shared {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SharedExpert, SharedExpertFields};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Fields(#[serde(with = "SharedExpertFields")] SharedExpert);

    pub(super) fn serialize<S: Serializer>(
        value: &Option<SharedExpert>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Fields).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SharedExpert>, D::Error> {
        Ok(Option::<Fields>::deserialize(deserializer)?.map(|fields| fields.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::case::Body;
    use crate::suite::SuiteKind;

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] Op);

    fn back(op: Op) -> Op {
        let text = serde_json::to_string(&Holder(op)).unwrap();
        serde_json::from_str::<Holder>(&text).unwrap_or_else(|error| panic!("{text}: {error}")).0
    }

    #[test]
    fn every_operator_that_the_suites_ask_leads_back() {
        let mut kinds = Vec::new();
        for case in SuiteKind::ALL.into_iter().flat_map(|suite| suite.cases(1)) {
            if let Body::Op(case) = case.body {
                assert_eq!(back(case.op), case.op);
                kinds.push(case.op.kind());
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, mxhal_core::OpKind::ALL);
    }

    proptest! {
        #[test]
        fn attributes_lead_back_to_the_last_bit(
            (tokens, k, experts, limit, scale) in (1usize..1 << 20, 1usize..64, 1usize..400, 0f32..1e6, any::<f32>()),
            (bias, interleaved, number, mapped) in (any::<bool>(), any::<bool>(), 1u32..5, proptest::option::of(1usize..500)),
        ) {
            let score = Score::from_number(number).unwrap();
            prop_assume!(scale.is_finite());
            let op = Op::from(Route {
                tokens, experts, top_k: 1, score, bias, ids_given: false, renormalize: interleaved, scale,
            });
            prop_assert_eq!(back(op), op);
            let op = Op::from(MoeFfn {
                tokens,
                hidden: 32 * k,
                inner: 32 * k,
                experts,
                top_k: 1,
                weight: Format::Mxfp4,
                activation: Quantization::new(Format::Mxfp8).with_amax_floor(limit),
                form: SwiGluForm { interleaved, ..SwiGluForm::gpt_oss(limit) },
                weight_position: WeightPosition::from_number(1 + number % 2).unwrap(),
                bias,
                output: Format::Bf16,
                mapped,
                shared: (!interleaved).then_some(SharedExpert { inner: 32, weight: Format::Mxfp4, clamped: bias }),
            });
            prop_assert_eq!(back(op), op);
        }
    }

    #[test]
    fn what_is_unknown_is_named() {
        let text = r#"{"quantize": {"rows": 1, "k": 32, "input": "bf17", "to": {"format": "mxfp4", "rule": "ceil", "amax_floor": 0.0}}}"#;
        let error =
            |text: &str| serde_json::from_str::<Holder>(text).map(|holder| holder.0).unwrap_err().to_string();
        assert!(error(text).contains("`bf17` is no format; there are `f32`"), "{}", error(text));
        let text = text.replace("bf17", "bf16").replace("\"k\": 32", "\"k\": 33");
        assert!(error(&text).contains("k is 33"), "{}", error(&text));
        assert!(error(&text.replace("rows", "lines")).contains("lines"));
    }
}
