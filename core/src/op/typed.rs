//! The operators as an engine calls them: one typed method each, whose plan takes tensors by name.

use std::sync::Arc;

use super::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Op, Permute, Quantize, Route, Signature, SwiGlu,
};
use crate::error::Result;
use crate::hal::{Device, Plan, PlanInfo, Stream, Weights};
use crate::tensor::{Span, Tensor};

/// One typed method for each operator, over any [`Device`].
///
/// ```
/// use std::sync::Arc;
/// use mxhal_core::op::{Matmul, MatmulTensors, Operators};
/// use mxhal_core::{Device, Quantization, Result, Span, Stream, Tensor, Weights};
///
/// /// `y = a · wᵀ` for MXFP4 weights and BF16 activations.
/// fn product(
///     device: &Arc<dyn Device>,
///     stream: &dyn Stream,
///     (a, w, y): (Tensor, &dyn Weights, Tensor),
///     workspace: Span,
/// ) -> Result<()> {
///     let (m, n, k) = (a.layout().rows(), y.layout().columns(), a.layout().columns());
///     let plan = device.matmul(Matmul::mxfp4(m, n, k, Quantization::none()))?;
///     plan.run(stream, MatmulTensors { a, bias: None, y }, [w], workspace)
/// }
/// ```
pub trait Operators {
    /// Plans a [`Quantize`].
    ///
    /// # Errors
    ///
    /// Those of [`Device::prepare`]; so for every method below.
    fn quantize(&self, op: Quantize) -> Result<QuantizePlan>;
    /// Plans a [`Dequantize`].
    fn dequantize(&self, op: Dequantize) -> Result<DequantizePlan>;
    /// Plans a [`Matmul`].
    fn matmul(&self, op: Matmul) -> Result<MatmulPlan>;
    /// Plans a [`GroupedMatmul`].
    fn grouped_matmul(&self, op: GroupedMatmul) -> Result<GroupedMatmulPlan>;
    /// Plans a [`SwiGlu`].
    fn swiglu(&self, op: SwiGlu) -> Result<SwiGluPlan>;
    /// Plans a [`Route`].
    fn route(&self, op: Route) -> Result<RoutePlan>;
    /// Plans a [`Permute`].
    fn permute(&self, op: Permute) -> Result<PermutePlan>;
    /// Plans a [`Combine`].
    fn combine(&self, op: Combine) -> Result<CombinePlan>;
    /// Plans a [`MoeFfn`].
    fn moe_ffn(&self, op: MoeFfn) -> Result<MoeFfnPlan>;
}

/// What the typed plans share: checked tensors in, the untyped plan run.
fn run(
    plan: &dyn Plan,
    signature: &Signature,
    stream: &dyn Stream,
    tensors: &[Option<Tensor>],
    weights: &[&dyn Weights],
    workspace: Span,
) -> Result<()> {
    signature.check(tensors)?;
    plan.run(stream, tensors, weights, workspace)
}

/// A typed plan and its tensors; `field: required` or `field: optional`, in the order of the operator's arguments.
macro_rules! typed_plan {
    (
        $op:ident: $plan:ident, $tensors:ident { $($field:ident: $kind:ident),* $(,)? },
        weights: $weights:ty
    ) => {
        #[doc = concat!("The tensors of a run of [`", stringify!($op), "`], whose documentation has the table.")]
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs, reason = "each field is a row of the operator's table")]
        pub struct $tensors {
            $(pub $field: typed_plan!(@type $kind),)*
        }

        #[doc = concat!("A plan of a [`", stringify!($op), "`].")]
        pub struct $plan {
            op: Op,
            signature: Signature,
            plan: Box<dyn Plan>,
        }

        impl $plan {
            /// Enqueues a run. It allocates nothing and returns at once; `workspace` is at least what
            /// [`Self::info`] asks for and is used by nothing else until the stream has passed the run.
            ///
            /// # Errors
            ///
            /// [`Status::InvalidArgument`](crate::Status::InvalidArgument), naming the tensor that does not fit, and
            /// those of [`Plan::run`].
            pub fn run(
                &self,
                stream: &dyn Stream,
                tensors: $tensors,
                weights: $weights,
                workspace: Span,
            ) -> Result<()> {
                let tensors = [$(typed_plan!(@pass $kind tensors.$field)),*];
                run(&*self.plan, &self.signature, stream, &tensors, &weights, workspace)
            }

            /// The workspace it wants, and how it will run.
            pub fn info(&self) -> &PlanInfo {
                self.plan.info()
            }

            /// The operator that it was made for.
            pub const fn op(&self) -> &Op {
                &self.op
            }
        }
    };
    (@type required) => { Tensor };
    (@type optional) => { Option<Tensor> };
    (@pass required $tensor:expr) => { Some($tensor) };
    (@pass optional $tensor:expr) => { $tensor };
}

typed_plan!(Quantize: QuantizePlan, QuantizeTensors { x: required, y: required }, weights: [&dyn Weights; 0]);
typed_plan!(Dequantize: DequantizePlan, DequantizeTensors { x: required, y: required }, weights: [&dyn Weights; 0]);
typed_plan!(
    Matmul: MatmulPlan,
    MatmulTensors { a: required, bias: optional, y: required },
    weights: [&dyn Weights; 1]
);
typed_plan!(
    GroupedMatmul: GroupedMatmulPlan,
    GroupedMatmulTensors { a: required, counts: required, bias: optional, y: required },
    weights: [&dyn Weights; 1]
);
typed_plan!(
    SwiGlu: SwiGluPlan,
    SwiGluTensors { x: required, row_weights: optional, y: required },
    weights: [&dyn Weights; 0]
);
typed_plan!(
    Route: RoutePlan,
    RouteTensors { logits: required, bias: optional, ids_given: optional, ids: required, weights: required },
    weights: [&dyn Weights; 0]
);
typed_plan!(
    Permute: PermutePlan,
    PermuteTensors {
        x: required,
        ids: required,
        weights: optional,
        expert_map: optional,
        rows: required,
        row_weights: optional,
        counts: required,
        source: required,
        positions: required,
    },
    weights: [&dyn Weights; 0]
);
typed_plan!(
    Combine: CombinePlan,
    CombineTensors { rows: required, positions: required, weights: optional, addend: optional, y: required },
    weights: [&dyn Weights; 0]
);

/// The tensors of a run of [`MoeFfn`], whose documentation has the table.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is a row of the operator's table")]
pub struct MoeFfnTensors {
    pub x: Tensor,
    pub ids: Tensor,
    pub weights: Tensor,
    pub expert_map: Option<Tensor>,
    pub gate_up_bias: Option<Tensor>,
    pub down_bias: Option<Tensor>,
    pub y: Tensor,
}

/// The prepared weights of a run of [`MoeFfn`].
#[derive(Clone, Copy)]
pub struct MoeFfnWeights<'a> {
    /// `[experts, 2 · inner, hidden]`.
    pub gate_up: &'a dyn Weights,
    /// `[experts, hidden, inner]`.
    pub down: &'a dyn Weights,
    /// Gate and up, and down, of the shared expert, if there is one.
    pub shared: Option<(&'a dyn Weights, &'a dyn Weights)>,
}

/// A plan of a [`MoeFfn`].
pub struct MoeFfnPlan {
    op: Op,
    signature: Signature,
    plan: Box<dyn Plan>,
}

impl MoeFfnPlan {
    /// Enqueues a run; see [`MatmulPlan::run`].
    ///
    /// # Errors
    ///
    /// As [`MatmulPlan::run`].
    pub fn run(
        &self,
        stream: &dyn Stream,
        tensors: MoeFfnTensors,
        weights: MoeFfnWeights<'_>,
        workspace: Span,
    ) -> Result<()> {
        let MoeFfnTensors { x, ids, weights: w, expert_map, gate_up_bias, down_bias, y } = tensors;
        let tensors = [Some(x), Some(ids), Some(w), expert_map, gate_up_bias, down_bias, Some(y)];
        let routed = [weights.gate_up, weights.down];
        match weights.shared {
            None => run(&*self.plan, &self.signature, stream, &tensors, &routed, workspace),
            Some((gate_up, down)) => {
                let all = [routed[0], routed[1], gate_up, down];
                run(&*self.plan, &self.signature, stream, &tensors, &all, workspace)
            }
        }
    }

    /// The workspace it wants, and how it will run.
    pub fn info(&self) -> &PlanInfo {
        self.plan.info()
    }

    /// The operator that it was made for.
    pub const fn op(&self) -> &Op {
        &self.op
    }
}

macro_rules! operators {
    ($($method:ident: $op:ident -> $plan:ident),* $(,)?) => {
        impl Operators for Arc<dyn Device> {
            $(fn $method(&self, op: $op) -> Result<$plan> {
                let op = Op::from(op);
                op.validate()?;
                Ok($plan { plan: self.prepare(&op)?, signature: op.signature(), op })
            })*
        }
    };
}

operators!(
    quantize: Quantize -> QuantizePlan,
    dequantize: Dequantize -> DequantizePlan,
    matmul: Matmul -> MatmulPlan,
    grouped_matmul: GroupedMatmul -> GroupedMatmulPlan,
    swiglu: SwiGlu -> SwiGluPlan,
    route: Route -> RoutePlan,
    permute: Permute -> PermutePlan,
    combine: Combine -> CombinePlan,
    moe_ffn: MoeFfn -> MoeFfnPlan,
);
