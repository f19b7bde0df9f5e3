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
    /// Why there are no kernels of ours, where there are none.
    missing_kernels: Option<String>,
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
    /// What a library has, and why there are no kernels if there are none.
    pub(crate) fn of(library: &Library, options: &Options, missing_kernels: Option<String>) -> Self {
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
        Self { options: options.clone(), operators: operators.collect(), missing_kernels }
    }

    /// Refuses what needs a kernel of ours where they are not loaded.
    pub(crate) fn needs_kernels(&self) -> Result<(), Refusal> {
        match &self.missing_kernels {
            None => Ok(()),
            Some(why) => refuse(Reason::Library, why),
        }
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

/// By what an operator is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Operators of CANN's, perhaps with kernels of ours between them.
    Cann,
    /// Kernels of ours alone.
    Kernels,
}

/// Yes, or why not; an error for an operator that does not validate.
pub(crate) fn supports(offer: &Offer, op: &Op) -> Result<Support> {
    op.validate()?;
    let answer = op::executable(op).and_then(|op| op.check(offer));
    Ok(match answer {
        // CANN promises no order of sums, and its executors are not captured.
        Ok(Means::Cann) => Support::Yes(Properties::default()),
        Ok(Means::Kernels) => {
            let sums = Properties { run_to_run: true, batch_invariant: true, ..Properties::default() };
            Support::Yes(Properties {
                thread_invariant: true,
                slot_order: matches!(op, Op::Combine(_)),
                ..sums
            })
        }
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
    use crate::options::{W4a8, W4a16};

    /// Everything, or all but these versions; and kernels.
    pub(crate) fn offer(options: Options, absent: &[(Operator, u32)]) -> Offer {
        let found = |operator| Found {
            operator,
            versions: (1..=5).filter(|version| !absent.contains(&(operator, *version))).collect(),
            words: format!("{operator}: as the test has it"),
        };
        let operators = Operator::ALL.iter().copied().map(found).collect();
        Offer { options, operators, missing_kernels: None }
    }

    /// The same without kernels.
    fn bare(options: Options, absent: &[(Operator, u32)]) -> Offer {
        Offer { missing_kernels: Some("kernels: built by cmake".to_owned()), ..offer(options, absent) }
    }

    fn answer(offer: &Offer, op: impl Into<Op>) -> Result<Properties, Refusal> {
        match supports(offer, &op.into()).unwrap() {
            Support::Yes(properties) => Ok(properties),
            Support::No(refusal) => Err(refusal),
        }
    }

    fn refusal(offer: &Offer, op: impl Into<Op>) -> Option<Refusal> {
        answer(offer, op).err()
    }

    fn assert_refused(offer: &Offer, op: impl Into<Op>, reason: Reason, word: &str) {
        let refusal = refusal(offer, op).unwrap_or_else(|| panic!("not refused for {word}"));
        assert!(refusal.reason == reason && refusal.text.contains(word), "{refusal}");
    }

    /// By kernels alone, or, where there are none, not at all, with these words and how to build them.
    fn assert_takes_kernels(op: impl Into<Op> + Copy, word: &str) {
        let by_kernels = answer(&offer(Options::default(), &[]), op).unwrap();
        assert!(by_kernels.run_to_run && by_kernels.batch_invariant, "{word}");
        let bare = bare(Options::default(), &[]);
        assert_refused(&bare, op, Reason::Library, word);
        assert_refused(&bare, op, Reason::Library, "cmake");
    }

    /// By CANN's operators, with or without kernels.
    fn assert_takes_none(op: impl Into<Op> + Copy) {
        for offer in [offer(Options::default(), &[]), bare(Options::default(), &[])] {
            assert_eq!(answer(&offer, op), Ok(Properties::default()));
        }
    }

    fn quantize(to: Quantization) -> Quantize {
        Quantize { rows: 4, k: 96, input: Format::Bf16, to }
    }

    #[test]
    fn scales_that_cann_chooses_exactly_are_its_own_and_the_others_a_kernels() {
        let (mxfp4, mxfp8) = (Quantization::new(Format::Mxfp4), Quantization::new(Format::Mxfp8));
        for to in [mxfp4, mxfp4.with_rule(ScaleRule::Even), mxfp8, Quantization::deepseek()] {
            assert_takes_none(quantize(to));
        }
        assert_takes_kernels(quantize(mxfp4.with_rule(ScaleRule::Floor)), "floor");
        assert_takes_kernels(quantize(mxfp8.with_rule(ScaleRule::Even)), "even");
        let from_f32 = |to| Quantize { input: Format::F32, ..quantize(to) };
        assert_takes_kernels(from_f32(mxfp4.with_rule(ScaleRule::Even)), "even");
        assert_takes_kernels(from_f32(Quantization::deepseek()), "128");
        for format in [Format::Mxint8, Format::Nvfp4] {
            let offer = offer(Options::default(), &[]);
            assert_refused(&offer, quantize(Quantization::new(format)), Reason::Format, format.name());
        }
    }

    #[test]
    fn what_an_older_cann_lacks_a_kernel_does_or_the_version_is_named() {
        let floored = quantize(Quantization::new(Format::Mxfp8).with_amax_floor(1e-4));
        let older = [(Operator::DynamicMxQuant, 3)];
        assert_refused(&bare(Options::default(), &older), floored, Reason::Library, "V3");
        assert!(answer(&offer(Options::default(), &older), floored).unwrap().run_to_run);
        let first = [(Operator::DynamicMxQuant, 2), (Operator::DynamicMxQuant, 3)];
        let ceil = quantize(Quantization::new(Format::Mxfp4));
        assert_refused(&bare(Options::default(), &first), ceil, Reason::Library, "V2 or V3");
        assert!(answer(&offer(Options::default(), &first), ceil).unwrap().run_to_run);
    }

    #[test]
    fn products_are_offered_as_their_operators_take_them() {
        let mxfp4 = Quantization::new(Format::Mxfp4);
        let mxfp8 = Quantization::new(Format::Mxfp8);
        for activation in [mxfp4, mxfp8, Quantization::deepseek()] {
            let each = Matmul { bias: true, ..Matmul::mxfp4(8, 64, 96, activation) };
            assert_takes_none(each);
            assert_takes_none(GroupedMatmul { each, groups: 4 });
            assert_takes_none(Matmul { input: activation.format, ..each });
        }
        let floor = Matmul::mxfp4(8, 64, 96, mxfp8.with_rule(ScaleRule::Floor));
        assert_eq!(answer(&offer(Options::default(), &[]), floor), Ok(Properties::default()));
        assert_refused(&bare(Options::default(), &[]), floor, Reason::Library, "cmake");
        let deepseek = Matmul::mxfp4(8, 64, 96, Quantization::deepseek());
        let without = offer(Options::default(), &[(Operator::AntiMxQuant, 1)]);
        assert_refused(&without, deepseek, Reason::Library, "AntiMxQuant");
        let integers = Matmul::mxfp4(8, 64, 96, Quantization::new(Format::Mxint8));
        assert_refused(&offer(Options::default(), &[]), integers, Reason::Format, "mxint8");
    }

    #[test]
    fn bf16_activations_take_a_kernel_or_what_cann_has_for_them() {
        let each = Matmul { bias: true, ..Matmul::mxfp4(8, 63, 96, Quantization::none()) };
        for weight in [Format::Mxfp4, Format::Mxfp8, Format::Fp8Tile128, Format::Bf16] {
            let each = Matmul { weight, ..each };
            assert_takes_kernels(each, "kernels");
            assert_takes_kernels(GroupedMatmul { each, groups: 4 }, "kernels");
        }
        let native = bare(Options { w4a16: W4a16::Native, ..Options::default() }, &[]);
        let bf16 = Matmul::mxfp4(8, 64, 96, Quantization::none());
        assert_refused(&native, bf16, Reason::Format, "bf16");
        assert_eq!(refusal(&native, Matmul { output: Format::Bf16, ..bf16 }), None);
        assert_refused(&native, Matmul { output: Format::Bf16, n: 63, ..bf16 }, Reason::Shape, "odd");
        assert_refused(&native, GroupedMatmul { each: bf16, groups: 4 }, Reason::Format, "group");
        assert_refused(&native, GroupedMatmul { each: bf16, groups: 1 }, Reason::Format, "w4a16");
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
    fn routing_is_canns_as_far_as_its_answer_is_right() {
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
        assert_takes_none(route);
        let given = Route { bias: false, ids_given: true, ..route };
        assert_takes_none(given);
        assert_takes_kernels(Route { renormalize: false, ..route }, "always");
        assert_takes_kernels(Route { score: Score::SoftmaxOfChosen, ..route }, "chooses");
        assert_takes_kernels(Route { experts: 2049, ..route }, "2048");
        let offered = offer(Options::default(), &[]);
        assert_refused(&offered, Route { experts: 4097, ..route }, Reason::Shape, "4096");
        let softmax = Route { score: Score::Softmax, experts: 2049, ..route };
        assert_refused(&offered, softmax, Reason::Shape, "2048");
        let older = bare(Options::default(), &[(Operator::MoeGatingTopK, 2)]);
        assert_eq!(refusal(&older, route), None);
        assert_refused(&older, given, Reason::Library, "V2");
    }

    #[test]
    fn permute_is_canns_where_no_id_is_skipped() {
        let permute = Permute {
            tokens: 3,
            columns: 64,
            experts: 8,
            top_k: 2,
            format: Format::Mxfp4,
            weights: true,
            mapped: None,
        };
        assert_takes_kernels(permute, "skipped_ids");
        let promised = Options { ids_are_never_skipped: true, ..Options::default() };
        let bare = bare(promised.clone(), &[]);
        assert_eq!(answer(&bare, permute), Ok(Properties::default()));
        assert_eq!(refusal(&bare, Permute { format: Format::Mxfp8, ..permute }), None);
        assert_refused(&bare, Permute { columns: 96, ..permute }, Reason::Library, "odd");
        assert_refused(&bare, Permute { mapped: Some(9), ..permute }, Reason::Library, "map");
        let offered = offer(promised, &[]);
        assert!(answer(&offered, Permute { columns: 96, mapped: Some(9), ..permute }).unwrap().run_to_run);
        assert_refused(&offered, Permute { format: Format::Nvfp4, ..permute }, Reason::Format, "nvfp4");
        assert_refused(&offered, Permute { experts: 16_385, ..permute }, Reason::Shape, "16384");
    }

    #[test]
    fn what_cann_gates_sums_and_dequantizes_is_its_own_and_the_rest_a_kernels() {
        let swiglu = SwiGlu {
            rows: 4,
            n: 64,
            form: SwiGluForm::silu(0.0),
            input: Format::Bf16,
            row_weights: false,
            to: Quantization::none(),
        };
        assert_takes_none(swiglu);
        assert_takes_none(SwiGlu { to: Quantization::new(Format::Mxfp8), ..swiglu });
        assert_takes_kernels(SwiGlu { form: SwiGluForm::silu(10.0), ..swiglu }, "kernels");
        assert_takes_kernels(SwiGlu { form: SwiGluForm::gpt_oss(7.0), ..swiglu }, "kernels");
        assert_takes_kernels(SwiGlu { row_weights: true, ..swiglu }, "kernels");
        assert_takes_kernels(SwiGlu { input: Format::F32, ..swiglu }, "kernels");

        let combine = Combine {
            tokens: 3,
            columns: 64,
            top_k: 2,
            input: Format::Bf16,
            output: Format::Bf16,
            weighted: true,
            addend: None,
        };
        assert_takes_none(combine);
        for other in
            [Combine { output: Format::F32, ..combine }, Combine { addend: Some(Format::F32), ..combine }]
        {
            assert_takes_kernels(other, "kernels");
            assert!(answer(&offer(Options::default(), &[]), other).unwrap().slot_order);
        }

        let dequantize = Dequantize { rows: 4, k: 96, from: Format::Mxfp4, output: Format::F32 };
        assert_takes_none(dequantize);
        assert_takes_kernels(Dequantize { from: Format::Fp8Tile128, ..dequantize }, "kernels");
        let offer = offer(Options::default(), &[]);
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
