//! Gates, and rows sorted by expert and back.

use super::super::executor::Argument;
use super::super::{Context, Executor, IntArray, TensorView};
use super::prepare;
use crate::error::Result;

/// What makes weights of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid.
    Sigmoid,
    /// `sqrt(softplus(x))`; on the 950 only.
    SqrtSoftplus,
}

impl Gate {
    /// CANN's number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Softmax => 0,
            Self::Sigmoid => 1,
            Self::SqrtSoftplus => 2,
        }
    }
}

/// The gate: the `k` experts of each row, and their weights.
///
/// `x` FP16, BF16 or FP32 `[rows, E]`, E at most 2048; `y` of its type `[rows, k]`; `expert` INT32 `[rows, k]`; `normed` FP32
/// `[rows, E]`. The bias counts for the choice only. Weights are divided by their sum (with `renorm` for softmax, always
/// else), then multiplied by `routed_scaling_factor`.
#[derive(Clone, Debug)]
pub struct MoeGatingTopK<'a> {
    /// The logits.
    pub x: &'a TensorView,
    /// The weights.
    pub y: &'a TensorView,
    /// The experts.
    pub expert: &'a TensorView,
    /// All gate values, written with `out_flag`.
    pub normed: Option<&'a TensorView>,
    /// Added to the gate values for the choice, `[E]`.
    pub bias: Option<&'a TensorView>,
    /// Token ids, for the table; V2.
    pub input_ids: Option<&'a TensorView>,
    /// From token ids to experts; V2.
    pub token_to_expert: Option<&'a TensorView>,
    /// Experts of each row.
    pub k: i64,
    /// Groups that experts are chosen from; 1 unless said otherwise.
    pub k_group: i64,
    /// Groups that there are; 1 unless said otherwise.
    pub group_count: i64,
    /// How groups are compared: 0 by the greatest, 1 by the sum of the greatest two.
    pub group_select_mode: i64,
    /// Whether the weights of softmax are divided by their sum.
    pub renorm: bool,
    /// What makes weights of logits.
    pub gate: Gate,
    /// Whether `normed` is written.
    pub out_flag: bool,
    /// What the weights are multiplied by.
    pub routed_scaling_factor: f64,
    /// What is added to the sum.
    pub eps: f64,
}

impl<'a> MoeGatingTopK<'a> {
    /// One group, no bias, a factor of 1, 1e-20 added to the sum.
    pub fn new(x: &'a TensorView, k: i64, gate: Gate, y: &'a TensorView, expert: &'a TensorView) -> Self {
        Self {
            x,
            y,
            expert,
            normed: None,
            bias: None,
            input_ids: None,
            token_to_expert: None,
            k,
            k_group: 1,
            group_count: 1,
            group_select_mode: 0,
            renorm: false,
            gate,
            out_flag: false,
            routed_scaling_factor: 1.0,
            eps: 1e-20,
        }
    }

    /// The newest version that is there, as long as it can do what is asked for.
    ///
    /// # Errors
    ///
    /// No version is there; a table is given, which needs V2; CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x, y, expert, normed, bias, input_ids, token_to_expert, k, k_group, group_count, .. } =
            *self;
        let Self { group_select_mode, out_flag, routed_scaling_factor, eps, .. } = *self;
        let (renorm, gate) = (i64::from(self.renorm), self.gate.number());
        let v1_will_do = input_ids.is_none() && token_to_expert.is_none();
        if context.library().operator_table().aclnnMoeGatingTopKV2.is_none() && v1_will_do {
            return prepare!(
                context, aclnnMoeGatingTopKGetWorkspaceSize then aclnnMoeGatingTopK,
                x, bias, k, k_group, group_count, group_select_mode, renorm, gate, out_flag, routed_scaling_factor,
                eps, y, expert, normed,
            );
        }
        prepare!(
            context, aclnnMoeGatingTopKV2GetWorkspaceSize then aclnnMoeGatingTopKV2,
            x, bias, input_ids, token_to_expert, k, k_group, group_count, group_select_mode, renorm, gate, out_flag,
            routed_scaling_factor, eps, y, expert, normed,
        )
    }
}

/// The gate by softmax: the `k` experts of each row, and their weights.
///
/// V2 renormalises where wanted; V1 does not, but writes `row`. What is given says which is taken.
#[derive(Clone, Debug)]
pub struct MoeGatingTopKSoftmax<'a> {
    /// The logits, `[rows, E]`.
    pub x: &'a TensorView,
    /// The weights, `[rows, k]`.
    pub y: &'a TensorView,
    /// The experts, INT32 `[rows, k]`.
    pub expert: &'a TensorView,
    /// Rows that get no expert, but E.
    pub finished: Option<&'a TensorView>,
    /// INT32 `[rows, k]`, the place of each pair in column order. V1, and needed there.
    pub row: Option<&'a TensorView>,
    /// All gate values; V2.
    pub softmax: Option<&'a TensorView>,
    /// Experts of each row.
    pub k: i64,
    /// Whether the weights are divided by their sum; V2.
    pub renorm: bool,
}

impl<'a> MoeGatingTopKSoftmax<'a> {
    /// No row finished, not renormalised.
    pub fn new(x: &'a TensorView, k: i64, y: &'a TensorView, expert: &'a TensorView) -> Self {
        Self { x, y, expert, finished: None, row: None, softmax: None, k, renorm: false }
    }

    /// V1 where `row` is given, else V2.
    ///
    /// # Errors
    ///
    /// That version is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x, y, expert, finished, row, softmax, k, renorm } = *self;
        if row.is_some() {
            return prepare!(
                context, aclnnMoeGatingTopKSoftmaxGetWorkspaceSize then aclnnMoeGatingTopKSoftmax,
                x, finished, k, y, expert, row,
            );
        }
        prepare!(
            context, aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize then aclnnMoeGatingTopKSoftmaxV2,
            x, finished, k, i64::from(renorm), softmax.is_some(), y, expert, softmax,
        )
    }
}

/// Rows sorted by expert, V3: counts are INT64, as grouped matmul takes them.
///
/// `x` `[rows, H]`, `expert` INT32 `[rows, k]`; `expanded` `[rows·k, H]`, `row` INT32 `[rows·k]`. The 950 wants
/// `active` to be rows·k.
#[derive(Clone, Debug)]
pub struct MoeInitRouting<'a> {
    /// The rows.
    pub x: &'a TensorView,
    /// The experts of each row.
    pub expert: &'a TensorView,
    /// The rows, sorted by expert.
    pub expanded: &'a TensorView,
    /// Where each pair went, or came from.
    pub row: &'a TensorView,
    /// The counts, INT64.
    pub counts: &'a TensorView,
    /// The scales of the sorted rows: E8M0 `[rows·k, ceil(H/64), 2]` for MXFP4.
    pub expanded_scale: Option<&'a TensorView>,
    /// The scales of rows that come quantised, or of static quantisation.
    pub scale: Option<&'a TensorView>,
    /// The offset of static quantisation.
    pub offset: Option<&'a TensorView>,
    /// Pairs that there are.
    pub active: i64,
    /// Rows that an expert takes; 0 for any.
    pub capacity: i64,
    /// Experts that there are.
    pub experts: i64,
    /// 0 drops nothing, 1 drops and pads.
    pub drop_pad_mode: i64,
    /// What `counts` is: 0 ends, 1 counts, 2 experts and counts.
    pub counts_type: i64,
    /// -1 none, 2 MXFP8 E5M2, 3 MXFP8 E4M3, 9 MXFP4.
    pub quant_mode: i64,
    /// The range of the experts that are active here.
    pub range: Option<&'a IntArray>,
    /// What `row` is: 0 gather, 1 scatter.
    pub row_type: i64,
}

impl<'a> MoeInitRouting<'a> {
    /// Of all pairs, nothing dropped, nothing quantised; counts, and places in gather form.
    pub fn new(
        x: &'a TensorView,
        expert: &'a TensorView,
        experts: i64,
        expanded: &'a TensorView,
        row: &'a TensorView,
        counts: &'a TensorView,
    ) -> Self {
        Self {
            x,
            expert,
            expanded,
            row,
            counts,
            expanded_scale: None,
            scale: None,
            offset: None,
            active: expert.spec().dims().iter().product(),
            capacity: 0,
            experts,
            drop_pad_mode: 0,
            counts_type: 1,
            quant_mode: -1,
            range: None,
            row_type: 0,
        }
    }

    /// V3, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnMoeInitRoutingV3GetWorkspaceSize then aclnnMoeInitRoutingV3,
            self.x, self.expert, self.scale, self.offset, self.active, self.capacity, self.experts,
            self.drop_pad_mode, self.counts_type, true, self.quant_mode, self.range, self.row_type,
            self.expanded, self.row, self.counts, self.expanded_scale,
        )
    }
}

/// Rows sorted by expert, V2: counts are INT32.
#[derive(Clone, Debug)]
pub struct MoeInitRoutingV2<'a> {
    /// The rows, `[rows, H]`.
    pub x: &'a TensorView,
    /// The experts of each row, INT32 `[rows, k]`.
    pub expert: &'a TensorView,
    /// The rows, sorted by expert, `[rows·k, H]`.
    pub expanded: &'a TensorView,
    /// Where each pair went, INT32 `[rows·k]`.
    pub row: &'a TensorView,
    /// Ends or counts, INT32 `[E]`.
    pub counts: Option<&'a TensorView>,
    /// Counts before rows beyond the capacity were dropped.
    pub counts_before_capacity: Option<&'a TensorView>,
    /// Pairs that there are.
    pub active: i64,
    /// Rows that an expert takes; 0 for any.
    pub capacity: i64,
    /// Experts that there are.
    pub experts: i64,
    /// 0 drops nothing, 1 drops and pads.
    pub drop_pad_mode: i64,
    /// What `counts` is: 0 not written, 1 ends, 2 counts.
    pub counts_type: i64,
}

impl MoeInitRoutingV2<'_> {
    /// V2, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnMoeInitRoutingV2GetWorkspaceSize then aclnnMoeInitRoutingV2,
            self.x, self.expert, self.active, self.capacity, self.experts, self.drop_pad_mode, self.counts_type,
            self.counts_before_capacity.is_some(), self.expanded, self.row, self.counts, self.counts_before_capacity,
        )
    }
}

/// The weighted sum of the experts' rows: `out[i] = x1 + x2 + Σ_k scales[i, k]·(expanded[row] + bias[expert])`.
#[derive(Clone, Debug)]
pub struct MoeFinalizeRouting<'a> {
    /// The experts' rows.
    pub expanded: &'a TensorView,
    /// Where each pair's row is.
    pub row: &'a TensorView,
    /// The result.
    pub out: &'a TensorView,
    /// Added to the result.
    pub x1: Option<&'a TensorView>,
    /// Added to the result.
    pub x2: Option<&'a TensorView>,
    /// Added to each expert's rows.
    pub bias: Option<&'a TensorView>,
    /// The weights of the experts.
    pub scales: Option<&'a TensorView>,
    /// The experts, for the bias.
    pub expert: Option<&'a TensorView>,
    /// 0 and 1 for places in column order, 2 (nothing dropped) and 3 (padded) in row order; 2 unless said otherwise.
    pub drop_pad_mode: i64,
}

impl<'a> MoeFinalizeRouting<'a> {
    /// With places in row order, as [`MoeInitRouting`] gives them, nothing dropped and nothing added.
    pub fn new(
        expanded: &'a TensorView,
        row: &'a TensorView,
        scales: &'a TensorView,
        out: &'a TensorView,
    ) -> Self {
        let scales = Some(scales);
        Self { expanded, row, out, x1: None, x2: None, bias: None, scales, expert: None, drop_pad_mode: 2 }
    }

    /// V2, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnMoeFinalizeRoutingV2GetWorkspaceSize then aclnnMoeFinalizeRoutingV2,
            self.expanded, self.row, self.x1, self.x2, self.bias, self.scales, self.expert, self.drop_pad_mode, self.out,
        )
    }
}

/// Rows sorted by expert, without counts.
#[derive(Clone, Debug)]
pub struct MoeTokenPermute<'a> {
    /// The rows.
    pub tokens: &'a TensorView,
    /// The experts of each row.
    pub indices: &'a TensorView,
    /// The rows, sorted by expert.
    pub permuted: &'a TensorView,
    /// Where each pair went.
    pub sorted_indices: &'a TensorView,
    /// Rows that are written; 0 for all.
    pub out_tokens: i64,
    /// Whether the rows of each expert are padded.
    pub padded: bool,
}

impl MoeTokenPermute<'_> {
    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnMoeTokenPermuteGetWorkspaceSize then aclnnMoeTokenPermute,
            self.tokens, self.indices, self.out_tokens, self.padded, self.permuted, self.sorted_indices,
        )
    }
}

/// The inverse of [`MoeTokenPermute`], weighted where weights are given.
#[derive(Clone, Debug)]
pub struct MoeTokenUnpermute<'a> {
    /// The rows, sorted by expert.
    pub permuted: &'a TensorView,
    /// Where each pair went.
    pub sorted_indices: &'a TensorView,
    /// The result.
    pub out: &'a TensorView,
    /// The weights of the experts.
    pub probs: Option<&'a TensorView>,
    /// Whether the rows of each expert are padded.
    pub padded: bool,
    /// The dims of the result, where they are padded.
    pub restore_shape: Option<&'a IntArray>,
}

impl MoeTokenUnpermute<'_> {
    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnMoeTokenUnpermuteGetWorkspaceSize then aclnnMoeTokenUnpermute,
            self.permuted, self.sorted_indices, self.probs, self.padded, self.restore_shape, self.out,
        )
    }
}
