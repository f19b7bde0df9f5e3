//! What runs here, on each architecture, and why the rest does not.
//!
//! Every operator runs on every architecture that has kernels, in every format: what a tensor core has no instruction
//! for is widened to BF16, which is exact. What is refused is what a launch cannot hold.
//!
//! | products | Hopper (`sm_90`) | Blackwell (`sm_100`, `sm_103`) | Blackwell (`sm_120`, `sm_121`) |
//! | --- | --- | --- | --- |
//! | up to 8 rows a group, MXFP4 weights | decode | decode | decode |
//! | MXFP4 weights by MXFP4, MXFP8 | widened, by warpgroups | tensor memory | block-scaled |
//! | MXFP4 weights by BF16, MXINT8 | widened, by warpgroups | widened | widened |
//! | NVFP4 weights by NVFP4 | widened | tensor memory | block-scaled |
//! | anything else | widened | widened | widened |
//!
//! The whole of it is the table of [`Product::choose`]; a layer of experts for up to eight tokens has kernels of its own.
//!
//! [`Product::choose`]: mxhal_kernels_cuda::Product::choose

use mxhal_core::{Op, OpKind, Properties, Reason, Refusal, Result, Support};
use mxhal_kernels_cuda::Target;

use crate::op;

/// What a device offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) target: Target,
    /// Bytes of shared memory that a block may have.
    pub(crate) most_shared_bytes: u32,
}

/// Blocks along x, y and z that a launch may have.
const MOST_BLOCKS: [u32; 3] = [(1 << 31) - 1, 65_535, 65_535];

/// Elements of a tensor that kernels count: a thread each, of blocks of at least 128.
const MOST_ELEMENTS: usize = 1 << 37;

impl Offer {
    /// Refuses tensors of more elements than a launch has threads.
    pub(crate) fn ensure_elements(&self, extents: &[usize]) -> Result<(), Refusal> {
        let elements = extents.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent));
        if elements.is_some_and(|elements| elements <= MOST_ELEMENTS) {
            return Ok(());
        }
        let text =
            format!("a tensor of {extents:?} elements is more than one launch covers ({MOST_ELEMENTS})");
        refuse(Reason::Shape, text)
    }

    /// Refuses grids that are larger than a launch may have.
    pub(crate) fn ensure_grid(&self, kernel: &str, grid: [u32; 3]) -> Result<(), Refusal> {
        if grid.iter().zip(MOST_BLOCKS).all(|(blocks, most)| *blocks <= most) {
            return Ok(());
        }
        let text = format!(
            "kernel `{kernel}` would take a grid of {grid:?} blocks, and a launch has at most {MOST_BLOCKS:?}"
        );
        refuse(Reason::Shape, text)
    }

    /// Refuses more shared memory than a block may have.
    pub(crate) fn ensure_shared_memory(&self, what: &str, bytes: u64) -> Result<(), Refusal> {
        if bytes <= u64::from(self.most_shared_bytes) {
            return Ok(());
        }
        let text = format!(
            "{what} takes {bytes} bytes of shared memory, and a block of this device has {}",
            self.most_shared_bytes
        );
        refuse(Reason::Architecture, text)
    }
}

/// Yes, or why not; an error for an operator that does not validate.
pub(crate) fn supports(offer: &Offer, op: &Op) -> Result<Support> {
    op.validate()?;
    let kind = op.kind();
    let executable = op::executable(op).and_then(|op| op.check(offer).map(|()| op));
    Ok(match executable {
        Ok(op) => Support::Yes(Properties {
            capturable: true,
            run_to_run: true,
            batch_invariant: op.is_batch_invariant(offer),
            thread_invariant: true,
            slot_order: matches!(kind, OpKind::Combine | OpKind::MoeFfn),
        }),
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
        Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert,
        SwiGlu, SwiGluForm, WeightPosition,
    };
    use mxhal_core::{Format, Quantization};

    use super::*;

    /// What a block may have is that of CUDA C++'s table of compute capabilities.
    pub(crate) fn offer(target: Target) -> Offer {
        let kilobytes = if target == Target::Blackwell120 { 99 } else { 227 };
        Offer { target, most_shared_bytes: kilobytes << 10 }
    }

    fn each_operator() -> Vec<Op> {
        let mxfp4 = Quantization::new(Format::Mxfp4);
        let each = Matmul { bias: true, ..Matmul::mxfp4(8, 64, 96, mxfp4) };
        vec![
            Quantize { rows: 4, k: 96, input: Format::Bf16, to: mxfp4 }.into(),
            Dequantize { rows: 4, k: 96, from: Format::Nvfp4, output: Format::F32 }.into(),
            each.into(),
            GroupedMatmul { each, groups: 4 }.into(),
            SwiGlu {
                rows: 4,
                n: 64,
                form: SwiGluForm::gpt_oss(7.0),
                input: Format::Bf16,
                row_weights: true,
                to: Quantization::new(Format::Nvfp4),
            }
            .into(),
            route().into(),
            Permute {
                tokens: 3,
                columns: 64,
                experts: 8,
                top_k: 2,
                format: Format::Mxfp4,
                weights: true,
                mapped: Some(9),
            }
            .into(),
            Combine {
                tokens: 3,
                columns: 64,
                top_k: 2,
                input: Format::Bf16,
                output: Format::F32,
                weighted: true,
                addend: Some(Format::F16),
            }
            .into(),
            layer().into(),
        ]
    }

    fn route() -> Route {
        Route {
            tokens: 3,
            experts: 256,
            top_k: 6,
            score: Score::SqrtSoftplus,
            bias: true,
            ids_given: false,
            renormalize: true,
            scale: 1.5,
        }
    }

    fn layer() -> MoeFfn {
        MoeFfn {
            tokens: 3,
            hidden: 64,
            inner: 64,
            experts: 4,
            top_k: 2,
            weight: Format::Mxfp4,
            activation: Quantization::deepseek(),
            form: SwiGluForm::silu(7.0),
            weight_position: WeightPosition::BeforeDown,
            bias: false,
            output: Format::Bf16,
            mapped: None,
            shared: Some(SharedExpert { inner: 64, weight: Format::Fp8Tile128, clamped: false }),
        }
    }

    fn refusal(op: impl Into<Op>) -> Option<Refusal> {
        match supports(&offer(Target::Blackwell120), &op.into()).unwrap() {
            Support::Yes(_) => None,
            Support::No(refusal) => Some(refusal),
        }
    }

    #[test]
    fn every_operator_runs_on_every_architecture() {
        for target in Target::ALL {
            let answers =
                each_operator().into_iter().map(|op| (op.kind(), supports(&offer(target), &op).unwrap()));
            let kinds: Vec<OpKind> = answers
                .inspect(|(kind, answer)| assert!(answer.is_yes(), "{kind}: {answer:?}"))
                .map(|a| a.0)
                .collect();
            assert_eq!(kinds, OpKind::ALL);
        }
    }

    #[test]
    fn every_format_goes_with_every_activation() {
        for weight in Format::ALL.into_iter().filter(|format| format.is_block_scaled()).chain([Format::Bf16])
        {
            for activation in Format::ALL.into_iter().filter(|format| format.is_row_quantized()) {
                let activation = Quantization::new(activation);
                for target in Target::ALL {
                    for m in [1, 8, 9, 300, 5000] {
                        let op = Matmul { weight, ..Matmul::mxfp4(m, 130, 128, activation) };
                        assert!(
                            supports(&offer(target), &op.into()).unwrap().is_yes(),
                            "{weight} {activation:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_the_same_in_every_batch_where_few_rows_have_no_kernel_of_their_own() {
        for target in Target::ALL {
            let is_invariant = |weight, activation| {
                let each = Matmul { weight, ..Matmul::mxfp4(9, 130, 128, Quantization::new(activation)) };
                let activation = Quantization::new(activation);
                let answers = [
                    each.into(),
                    GroupedMatmul { each, groups: 4 }.into(),
                    MoeFfn { weight, activation, ..layer() }.into(),
                ]
                .map(|op: Op| match supports(&offer(target), &op).unwrap() {
                    Support::Yes(properties) => properties.batch_invariant,
                    Support::No(refusal) => panic!("{op:?}: {refusal}"),
                });
                assert_eq!(answers, [answers[0]; 3], "{target} {weight} {activation:?}");
                answers[0]
            };
            assert!(is_invariant(Format::Nvfp4, Format::Nvfp4), "{target}");
            assert!(is_invariant(Format::Fp8Tile128, Format::Bf16), "{target}");
            assert!(!is_invariant(Format::Mxfp4, Format::Bf16), "{target}");
            assert!(!is_invariant(Format::Mxfp4, Format::Mxfp8), "{target}");
        }
    }

    #[test]
    fn what_a_launch_cannot_hold_is_refused() {
        let refused = refusal(Route { experts: 20_000, ..route() }).unwrap();
        assert_eq!(refused.reason, Reason::Architecture);
        assert!(refused.text.contains("240048 bytes"), "{refused}");
        let most = i32::MAX as usize;
        let mxfp4 = Quantization::new(Format::Mxfp4);
        let wide = Quantize { rows: most, k: 1 << 30, input: Format::Bf16, to: mxfp4 };
        assert_eq!(refusal(wide).unwrap().reason, Reason::Shape);
        let tall = Matmul { m: most, n: 64, k: 32, ..Matmul::mxfp4(1, 1, 32, Quantization::none()) };
        assert_eq!(refusal(tall).unwrap().reason, Reason::Shape);
        assert_eq!(refusal(MoeFfn { tokens: most / 2, ..layer() }).unwrap().reason, Reason::Shape);
        assert_eq!(refusal(MoeFfn { experts: most, ..layer() }), None);
    }
}
