//! The operators of aclnn, each a struct of its arguments.
//!
//! `new` takes what must be given and fills in what an MX backend wants of the rest; the fields are public, so that
//! each can be said otherwise. `prepare` makes an [`Executor`](super::Executor).
//!
//! | struct | versions | on the Ascend 950 |
//! | --- | --- | --- |
//! | [`DynamicMxQuant`] | V3, V2, V1 | MXFP4, MXFP8 of FP16, BF16, FP32 |
//! | [`AntiMxQuant`] | V1 | |
//! | [`QuantMatmul`] | V5; WeightNz for an `x2` in FRACTAL_NZ | MXFP4, MXFP8, MXFP8 × MXFP4 |
//! | [`WeightQuantBatchMatmul`] | V3, V2 | FP16 or BF16 × MXFP4 |
//! | [`GroupedMatmul`] | V5, V4; WeightNz for weights in FRACTAL_NZ | MXFP4, MXFP8 |
//! | [`GroupedMatmulSwigluQuant`] | V2; WeightNzV2 for weights in FRACTAL_NZ | MXFP4, MXFP8 |
//! | [`SwigluMxQuant`] | V1 | with a clamp, where one is wanted |
//! | [`SwiGlu`] | V1 | |
//! | [`MoeGatingTopK`] | V2, V1 | sqrt-softplus; the table of V2 |
//! | [`MoeGatingTopKSoftmax`] | V2, V1 | |
//! | [`MoeInitRouting`] | V3 | counts INT64, as `GroupedMatmul` takes them; quantises |
//! | [`MoeInitRoutingV2`] | V2 | counts INT32 |
//! | [`MoeFinalizeRouting`] | V2 | |
//! | [`MoeTokenPermute`], [`MoeTokenUnpermute`] | V1 | |
//! | [`FormatCast`] | V1 | ND to FRACTAL_NZ |

mod grouped;
mod layout;
mod matmul;
mod quantize;
mod routing;

pub use grouped::{GroupList, GroupedMatmul, GroupedMatmulSwigluQuant};
pub use layout::{FormatCast, Storage, storage_for};
pub use matmul::{MX_GROUP_SIZE, QuantMatmul, WeightQuantBatchMatmul};
pub use quantize::{AntiMxQuant, DynamicMxQuant, RoundMode, SwiGlu, SwigluMxQuant};
pub use routing::{
    Gate, MoeFinalizeRouting, MoeGatingTopK, MoeGatingTopKSoftmax, MoeInitRouting, MoeInitRoutingV2,
    MoeTokenPermute, MoeTokenUnpermute,
};

/// Calls the first function of an operator with these arguments, in CANN's order; an executor comes of it.
macro_rules! prepare {
    ($context:expr, $prepare:ident then $run:ident, $($argument:expr),+ $(,)?) => {{
        let context: &Context = $context;
        let table = context.library().operator_table();
        let (Some(prepare), Some(run)) = (table.$prepare, table.$run) else {
            return Err(context.library().missing_operator(stringify!($run)));
        };
        let mut held = Vec::new();
        let mut workspace_bytes = 0;
        let mut executor = core::ptr::null_mut();
        let _current = context.enter()?;
        // SAFETY: the function has this signature. Tensors, lists and arrays are alive, and the executor holds on to
        // them; texts are static.
        let code = unsafe {
            prepare($(Argument::pass($argument, &mut held),)+ &mut workspace_bytes, &mut executor)
        };
        let functions = (stringify!($prepare), stringify!($run), run);
        Executor::new(context, functions, held, code, workspace_bytes, executor)
    }};
}
use prepare;
