//! Kernels for x86.
//!
//! | module | holds |
//! | --- | --- |
//! | `avx2` | products of packed rows with panels; rows and panels are made by portable code |
//! | `many256` | the same for many rows of floats |
//! | `dot256` | what they do with a block, for each kind of numbers |
//! | `avx512` | products of packed rows with panels: two loops |
//! | `dot512` | what they do with a block, for each kind of numbers |
//! | `ahead` | memory fetched ahead, for few rows |
//! | `values` | products of float32, for what is not in panels or out of the ordinary |
//! | `pack512` | panels and packed rows made |
//! | `quantize512` | rows quantized |
//! | `rows256`, `rows512` | rows converted otherwise, by AVX2 and by AVX-512 |
//! | `peak` | instructions alone, for the ceilings |
//!
//! A function with instructions that not every machine has is `unsafe` to call elsewhere. Each is reached through a
//! [`Kernels`] alone, and [`kernels`] makes one only where the processor has them all.

mod ahead;
mod avx2;
mod avx512;
mod dot256;
mod dot512;
mod many256;
mod pack512;
mod peak;
mod quantize512;
mod rows256;
mod rows512;
#[cfg(test)]
mod twins;
mod values;

use crate::isa::Isa;
use crate::kernel::{Kernels, PanelKernels, RowKernels};
use crate::packed;

/// The kernels for `isa`, over those that every machine runs; `None` where this machine lacks an instruction.
pub(crate) fn kernels(isa: Isa, portable: Kernels) -> Option<Kernels> {
    match isa {
        Isa::Avx512 if has_avx512() && is_x86_feature_detected!("avx2") => Some(Kernels {
            isa,
            pack_panel: pack512::pack_panel,
            panels: Some(PanelKernels { pack: pack512::pack, multiply: avx512::multiply }),
            rows: RowKernels {
                decode: rows512::decode,
                round_bf16: rows512::round_bf16,
                quantize: quantize512::quantize,
                activate: rows512::activate,
                score: rows512::score,
                choose: rows512::choose,
                accumulate: rows512::accumulate,
                accumulate_bf16: rows512::accumulate_bf16,
                sum_bf16: rows512::sum_bf16,
                copy_past_caches: rows512::copy_past_caches,
                settle: rows512::settle,
            },
            products: values::products,
            peak: peak::AVX512,
        }),
        Isa::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => Some(Kernels {
            isa,
            panels: Some(PanelKernels { pack: packed::pack, multiply: avx2::multiply }),
            rows: RowKernels {
                decode: rows256::decode,
                round_bf16: rows256::round_bf16,
                quantize: rows256::quantize,
                activate: rows256::activate,
                accumulate: rows256::accumulate,
                score: rows256::score,
                choose: rows256::choose,
                sum_bf16: rows256::sum_bf16,
                copy_past_caches: rows256::copy_past_caches,
                settle: rows512::settle,
                ..RowKernels::PORTABLE
            },
            products: values::products,
            peak: peak::AVX2,
            ..portable
        }),
        _ => None,
    }
}

/// Whether everything is there that the functions for AVX-512 are compiled with.
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512bf16")
}
