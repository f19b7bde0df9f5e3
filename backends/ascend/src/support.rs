//! What runs here: what the installed CANN has functions for, within the rules that these are documented to have.

use mxhal_cann::library::{Library, Operator};
use mxhal_core::{Op, Properties, Reason, Refusal, Result, Support};

use crate::op;
use crate::options::Options;

/// What the installed CANN offers, and what the options say.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) options: Options,
    operators: Vec<Found>,
}

/// An operator, and what was found of it.
#[derive(Clone, Debug)]
struct Found {
    operator: Operator,
    versions: Vec<u32>,
    /// What was found where, in words.
    words: String,
}

impl Offer {
    /// What a library has.
    pub(crate) fn of(library: &Library, options: &Options) -> Self {
        let operators = library.operators().iter().map(|availability| Found {
            operator: availability.operator,
            versions: availability
                .versions
                .iter()
                .filter(|version| version.found.is_ok())
                .map(|version| version.number)
                .collect(),
            words: availability.to_string(),
        });
        Self { options: options.clone(), operators: operators.collect() }
    }

    /// Refuses what needs an operator that is not there, or not in any of these versions.
    pub(crate) fn needs(&self, operator: Operator, versions: &[u32]) -> Result<(), Refusal> {
        let found = self.operators.iter().find(|found| found.operator == operator);
        if found.is_some_and(|found| found.versions.iter().any(|version| versions.contains(version))) {
            return Ok(());
        }
        let wanted: Vec<String> = versions.iter().map(|version| format!("V{version}")).collect();
        let words = found.map_or_else(|| operator.to_string(), |found| found.words.clone());
        let text = format!(
            "it takes CANN's {operator} in version {}, and there is: {words}; install a newer CANN",
            wanted.join(" or ")
        );
        Err(Refusal { reason: Reason::Library, text })
    }
}

/// Yes, or why not; an error for an operator that does not validate.
pub(crate) fn supports(offer: &Offer, op: &Op) -> Result<Support> {
    op.validate()?;
    let answer = op::executable(op).and_then(|op| op.check(offer));
    Ok(match answer {
        // CANN promises no order of sums, and its executors are not captured.
        Ok(()) => Support::Yes(Properties::default()),
        Err(refusal) => Support::No(refusal),
    })
}

/// A refusal.
pub(crate) fn refuse<T>(reason: Reason, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason, text: text.into() })
}

#[cfg(test)]
pub(crate) mod tests {
    use mxhal_core::op::{
        Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SwiGlu,
        SwiGluForm, WeightPosition,
    };
    use mxhal_core::{Format, Quantization, ScaleRule};

    use super::*;
    use crate::options::W4a8;

    /// Everything, or all but these versions.
    pub(crate) fn offer(options: Options, absent: &[(Operator, u32)]) -> Offer {
        let found = |operator| Found {
            operator,
            versions: (1..=5).filter(|version| !absent.contains(&(operator, *version))).collect(),
            words: format!("{operator}: as the test has it"),
        };
        Offer { options, operators: Operator::ALL.iter().copied().map(found).collect() }
    }

    fn refusal(offer: &Offer, op: impl Into<Op>) -> Option<Refusal> {
        match supports(offer, &op.into()).unwrap() {
            Support::Yes(_) => None,
            Support::No(refusal) => Some(refusal),
        }
    }

    fn assert_refused(offer: &Offer, op: impl Into<Op>, reason: Reason, word: &str) {
        let refusal = refusal(offer, op).unwrap_or_else(|| panic!("not refused for {word}"));
        assert!(refusal.reason == reason && refusal.text.contains(word), "{refusal}");
    }

    fn quantize(to: Quantization) -> Quantize {
        Quantize { rows: 4, k: 96, input: Format::Bf16, to }
    }

    #[test]
    fn scale_rules_that_no_version_has_are_refused() {
        let offer = offer(Options::default(), &[]);
        let mxfp4 = Quantization::new(Format::Mxfp4);
        assert_eq!(refusal(&offer, quantize(mxfp4.with_rule(ScaleRule::Floor))), None);
        assert_eq!(refusal(&offer, quantize(mxfp4)), None);
        assert_eq!(refusal(&offer, quantize(mxfp4.with_rule(ScaleRule::Even))), None);
        let mxfp8 = Quantization::new(Format::Mxfp8);
        assert_refused(&offer, quantize(mxfp8.with_rule(ScaleRule::Even)), Reason::Attribute, "even");
        let first =
            self::offer(Options::default(), &[(Operator::DynamicMxQuant, 2), (Operator::DynamicMxQuant, 3)]);
        assert_refused(&first, quantize(mxfp4), Reason::Library, "V2 or V3");
        for rule in [ScaleRule::Floor, ScaleRule::Ceil] {
            assert_eq!(refusal(&offer, quantize(Quantization::new(Format::Mxfp8).with_rule(rule))), None);
        }
        for format in [Format::Mxint8, Format::Nvfp4] {
            assert_refused(
                &offer,
                quantize(Quantization::new(format)),
                Reason::Format,
                "no operator of CANN",
            );
        }
    }

    #[test]
    fn a_floor_on_amax_takes_version_three() {
        let floored = quantize(Quantization::new(Format::Mxfp8).with_amax_floor(1e-4));
        assert_eq!(refusal(&offer(Options::default(), &[]), floored), None);
        let older = offer(Options::default(), &[(Operator::DynamicMxQuant, 3)]);
        assert_refused(&older, floored, Reason::Library, "V3");
        assert_eq!(refusal(&older, quantize(Quantization::new(Format::Mxfp8))), None);
    }

    #[test]
    fn products_are_offered_as_their_operators_take_them() {
        let offered = offer(Options::default(), &[]);
        let mxfp4 = Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Floor);
        let mxfp8 = Quantization::new(Format::Mxfp8);
        for activation in [mxfp4, mxfp8, Quantization::deepseek()] {
            let each = Matmul { bias: true, ..Matmul::mxfp4(8, 64, 96, activation) };
            assert_eq!(refusal(&offered, each), None);
            assert_eq!(refusal(&offered, GroupedMatmul { each, groups: 4 }), None);
            let arrived = Matmul { input: activation.format, ..each };
            assert_eq!(refusal(&offered, arrived), None);
        }
        let bf16 = Matmul::mxfp4(8, 64, 96, Quantization::none());
        assert_refused(&offered, bf16, Reason::Format, "bf16");
        assert_eq!(refusal(&offered, Matmul { output: Format::Bf16, ..bf16 }), None);
        assert_refused(&offered, Matmul { output: Format::Bf16, n: 63, ..bf16 }, Reason::Shape, "odd");
        assert_refused(&offered, GroupedMatmul { each: bf16, groups: 4 }, Reason::Format, "group");
        let deepseek = Matmul::mxfp4(8, 64, 96, Quantization::deepseek());
        assert_eq!(refusal(&offered, deepseek), None);
        let without = offer(Options::default(), &[(Operator::AntiMxQuant, 1)]);
        assert_refused(&without, deepseek, Reason::Library, "AntiMxQuant");
        let integers = Matmul::mxfp4(8, 64, 96, Quantization::new(Format::Mxint8));
        assert_refused(&offered, integers, Reason::Format, "mxint8");
    }

    #[test]
    fn native_weights_for_mxfp8_go_with_what_that_operator_takes() {
        let native = offer(Options { w4a8: W4a8::Native, ..Options::default() }, &[]);
        let each = Matmul::mxfp4(8, 64, 128, Quantization::new(Format::Mxfp8));
        assert_refused(&native, each, Reason::Format, "f32");
        let each = Matmul { output: Format::Bf16, ..each };
        assert_eq!(refusal(&native, each), None);
        assert_refused(&native, Matmul { bias: true, ..each }, Reason::Attribute, "bias");
        assert_refused(&native, GroupedMatmul { each, groups: 2 }, Reason::Format, "w4a8");
    }

    #[test]
    fn a_missing_operator_is_named_with_what_was_found() {
        let older = offer(Options::default(), &[(Operator::QuantMatmul, 5)]);
        let each = Matmul::mxfp4(8, 64, 128, Quantization::new(Format::Mxfp8));
        assert_refused(&older, each, Reason::Library, "QuantMatmul: as the test has it");
        let older = offer(Options::default(), &[(Operator::MoeInitRouting, 3)]);
        assert_refused(&older, GroupedMatmul { each, groups: 2 }, Reason::Library, "V3");
    }

    #[test]
    fn routing_is_offered_as_far_as_one_answer_is_right() {
        let offered = offer(Options::default(), &[]);
        let route = Route {
            tokens: 3,
            experts: 256,
            top_k: 6,
            score: Score::SqrtSoftplus,
            bias: true,
            ids_given: false,
            renormalize: true,
            scale: 1.5,
        };
        assert_eq!(refusal(&offered, route), None);
        assert_eq!(refusal(&offered, Route { bias: false, ids_given: true, ..route }), None);
        assert_refused(&offered, Route { renormalize: false, ..route }, Reason::Attribute, "always");
        assert_refused(
            &offered,
            Route { score: Score::SoftmaxOfChosen, ..route },
            Reason::Attribute,
            "chosen",
        );
        assert_refused(&offered, Route { experts: 2049, ..route }, Reason::Shape, "2048");
        let older = offer(Options::default(), &[(Operator::MoeGatingTopK, 2)]);
        assert_eq!(refusal(&older, route), None);
        assert_refused(&older, Route { bias: false, ids_given: true, ..route }, Reason::Library, "V2");
    }

    #[test]
    fn permute_wants_the_promise_that_no_id_is_skipped() {
        let permute = Permute {
            tokens: 3,
            columns: 64,
            experts: 8,
            top_k: 2,
            format: Format::Mxfp4,
            weights: true,
            mapped: None,
        };
        assert_refused(&offer(Options::default(), &[]), permute, Reason::Attribute, "skipped_ids");
        let promised = offer(Options { ids_are_never_skipped: true, ..Options::default() }, &[]);
        assert_eq!(refusal(&promised, permute), None);
        assert_refused(&promised, Permute { columns: 96, ..permute }, Reason::Shape, "odd");
        assert_eq!(refusal(&promised, Permute { format: Format::Mxfp8, ..permute }), None);
        assert_refused(&promised, Permute { mapped: Some(9), ..permute }, Reason::Attribute, "map");
        assert_refused(&promised, Permute { format: Format::Nvfp4, ..permute }, Reason::Format, "nvfp4");
    }

    #[test]
    fn what_is_left_is_refused_for_what_it_asks() {
        let offer = offer(Options::default(), &[]);
        let swiglu = SwiGlu {
            rows: 4,
            n: 64,
            form: SwiGluForm::silu(0.0),
            input: Format::Bf16,
            row_weights: false,
            to: Quantization::none(),
        };
        assert_eq!(refusal(&offer, swiglu), None);
        assert_eq!(refusal(&offer, SwiGlu { to: Quantization::new(Format::Mxfp8), ..swiglu }), None);
        assert_refused(&offer, SwiGlu { form: SwiGluForm::silu(10.0), ..swiglu }, Reason::Attribute, "clamp");
        assert_refused(
            &offer,
            SwiGlu { form: SwiGluForm::gpt_oss(7.0), ..swiglu },
            Reason::Attribute,
            "gpt-oss",
        );
        assert_refused(&offer, SwiGlu { row_weights: true, ..swiglu }, Reason::Attribute, "weight");
        assert_refused(&offer, SwiGlu { input: Format::F32, ..swiglu }, Reason::Format, "f32");

        let combine = Combine {
            tokens: 3,
            columns: 64,
            top_k: 2,
            input: Format::Bf16,
            output: Format::Bf16,
            weighted: true,
            addend: None,
        };
        assert_eq!(refusal(&offer, combine), None);
        assert_refused(&offer, Combine { output: Format::F32, ..combine }, Reason::Format, "bf16");
        assert_refused(&offer, Combine { addend: Some(Format::F32), ..combine }, Reason::Format, "addend");

        let dequantize = Dequantize { rows: 4, k: 96, from: Format::Mxfp4, output: Format::F32 };
        assert_eq!(refusal(&offer, dequantize), None);
        assert_refused(&offer, Dequantize { from: Format::Nvfp4, ..dequantize }, Reason::Format, "nvfp4");

        let layer = MoeFfn {
            tokens: 3,
            hidden: 64,
            inner: 64,
            experts: 4,
            top_k: 2,
            weight: Format::Mxfp4,
            activation: Quantization::new(Format::Mxfp8),
            form: SwiGluForm::silu(0.0),
            weight_position: WeightPosition::AfterDown,
            bias: false,
            output: Format::Bf16,
            mapped: None,
            shared: None,
        };
        assert_refused(&offer, layer, Reason::Operator, "composed");
    }
}
