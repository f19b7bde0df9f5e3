//! Grouped matmul: one matmul per expert.

use super::super::executor::Argument;
use super::super::{Context, Executor, IntArray, TensorList, TensorView};
use super::prepare;
use crate::error::{Error, Result};

/// How a group list says where each group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupList {
    /// `[g]`: rows up to the end of each group.
    Ends,
    /// `[g]`: rows of each group.
    Counts,
    /// `[g, 2]`: expert and rows.
    ExpertCounts,
}

impl GroupList {
    /// CANN's number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Ends => 0,
            Self::Counts => 1,
            Self::ExpertCounts => 2,
        }
    }
}

/// One matmul per expert, each with the rows that the group list gives it.
///
/// `x` `[M, K]`; each weight a view `[g, K, N]` with scales `[g, ceil(K/64), N, 2]`. There are no flags of transposition: a
/// weight that lies as `[g, N, K]` is told by its strides, and so are its scales; see
/// [`TensorSpec::transposed`](crate::safe::TensorSpec::transposed). `per_token_scale` E8M0 `[M, ceil(K/64), 2]`; `out` BF16,
/// FP16 or FP32 `[M, N]`; the group list INT64 on the device, at most 1024 groups. FP4 wants K even and not 2, and N even
/// where the weight is not transposed. Rows beyond the last group are not written.
#[derive(Clone, Debug)]
pub struct GroupedMatmul<'a> {
    /// The rows, sorted by expert.
    pub x: &'a TensorList,
    /// The weights; those in FRACTAL_NZ take the operator for that.
    pub weight: &'a TensorList,
    /// The result.
    pub out: &'a TensorList,
    /// Added to each row of an expert.
    pub bias: Option<&'a TensorList>,
    /// The scales of the weights.
    pub scale: Option<&'a TensorList>,
    /// The scales of the rows.
    pub per_token_scale: Option<&'a TensorList>,
    /// The scales of weights that are made floating-point again.
    pub antiquant_scale: Option<&'a TensorList>,
    /// The offsets of such weights.
    pub antiquant_offset: Option<&'a TensorList>,
    /// The group list.
    pub group_list: Option<&'a TensorView>,
    /// How it is to be read.
    pub group_list_type: GroupList,
    /// 0 and 1: several results, 2 and 3: one; 3 unless said otherwise.
    pub split_item: i64,
    /// The axis of the groups: 0 for M, 2 for K, -1 for none; 0 unless said otherwise.
    pub group_type: i64,
    /// Numbers for tuning; not with the 950.
    pub tuning: Option<&'a IntArray>,
    /// The block, for weights in FRACTAL_NZ; 0 unless said otherwise.
    pub quant_group_size: i64,
}

impl<'a> GroupedMatmul<'a> {
    /// Groups along M, one result, counts of rows; no scales yet.
    pub fn new(
        x: &'a TensorList,
        weight: &'a TensorList,
        out: &'a TensorList,
        group_list: &'a TensorView,
    ) -> Self {
        Self {
            x,
            weight,
            out,
            bias: None,
            scale: None,
            per_token_scale: None,
            antiquant_scale: None,
            antiquant_offset: None,
            group_list: Some(group_list),
            group_list_type: GroupList::Counts,
            split_item: 3,
            group_type: 0,
            tuning: None,
            quant_group_size: 0,
        }
    }

    /// The same with MX scales of rows and weights.
    pub fn with_mx_scales(mut self, per_token_scale: &'a TensorList, scale: &'a TensorList) -> Self {
        (self.per_token_scale, self.scale) = (Some(per_token_scale), Some(scale));
        self
    }

    /// The newest version that is there.
    ///
    /// # Errors
    ///
    /// No version is there; tuning is asked for, which needs V5; CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let table = context.library().operator_table();
        let Self { x, weight, out, bias, scale, per_token_scale, antiquant_scale, antiquant_offset, .. } =
            *self;
        let Self { group_list, split_item, group_type, tuning, quant_group_size, .. } = *self;
        let group_list_type = self.group_list_type.number();
        // No activation: MX takes none.
        let (none, no_activation) = (None::<&TensorList>, 0_i64);
        if is_nz(weight)? {
            return prepare!(
                context, aclnnGroupedMatmulWeightNzGetWorkspaceSize then aclnnGroupedMatmulWeightNz,
                x, weight, bias, scale, none, antiquant_scale, antiquant_offset, per_token_scale, group_list,
                none, none, none, split_item, group_type, group_list_type, no_activation, tuning, quant_group_size,
                out, none, none,
            );
        }
        if table.aclnnGroupedMatmulV5.is_none() && table.aclnnGroupedMatmulV4.is_some() && tuning.is_none() {
            return prepare!(
                context, aclnnGroupedMatmulV4GetWorkspaceSize then aclnnGroupedMatmulV4,
                x, weight, bias, scale, none, antiquant_scale, antiquant_offset, per_token_scale, group_list,
                none, none, none, split_item, group_type, group_list_type, no_activation, out, none, none,
            );
        }
        prepare!(
            context, aclnnGroupedMatmulV5GetWorkspaceSize then aclnnGroupedMatmulV5,
            x, weight, bias, scale, none, antiquant_scale, antiquant_offset, per_token_scale, group_list,
            none, none, none, split_item, group_type, group_list_type, no_activation, tuning, out, none, none,
        )
    }
}

/// Grouped matmul, SwiGLU and MX quantisation in one.
///
/// `x` `[M, K]` with scales `[M, ceil(K/64), 2]`; one weight `[E, K, N]` or, transposed, `[E, N, K]`, with its scales; `output`
/// `[M, N/2]` in FP4 or FP8 with scales `[M, ceil((N/2)/64), 2]`. The left half is activated: `swish(left) · right`. N a
/// multiple of 4, K even and not 2. There is no clamp.
#[derive(Clone, Debug)]
pub struct GroupedMatmulSwigluQuant<'a> {
    /// The rows, sorted by expert.
    pub x: &'a TensorView,
    /// The scales of the rows.
    pub x_scale: &'a TensorView,
    /// A list of one weight; one in FRACTAL_NZ takes the operator for that.
    pub weight: &'a TensorList,
    /// A list of its scales.
    pub weight_scale: &'a TensorList,
    /// The group list.
    pub group_list: &'a TensorView,
    /// How it is to be read: ends or counts.
    pub group_list_type: GroupList,
    /// The elements.
    pub output: &'a TensorView,
    /// The scales.
    pub output_scale: &'a TensorView,
}

impl GroupedMatmulSwigluQuant<'_> {
    /// The operator, ready to run, with the modes of MX: both 2, in between FP32.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x, x_scale, weight, weight_scale, group_list, output, output_scale, group_list_type } =
            *self;
        let group_list_type = group_list_type.number();
        let (dequant_mode, dequant_type, quant_mode) = (2_i64, 0_i64, 2_i64);
        let (none, no_list, no_tuning) = (None::<&TensorView>, None::<&TensorList>, None::<&IntArray>);
        if is_nz(weight)? {
            return prepare!(
                context,
                aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize then aclnnGroupedMatmulSwigluQuantWeightNzV2,
                x, weight, weight_scale, no_list, none, x_scale, none, group_list, dequant_mode, dequant_type,
                quant_mode, group_list_type, no_tuning, output, output_scale,
            );
        }
        prepare!(
            context, aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize then aclnnGroupedMatmulSwigluQuantV2,
            x, weight, weight_scale, no_list, none, x_scale, none, group_list, dequant_mode, dequant_type,
            quant_mode, group_list_type, no_tuning, output, output_scale,
        )
    }
}

/// Whether the weights are in FRACTAL_NZ; all are, or none is.
fn is_nz(weights: &TensorList) -> Result<bool> {
    let mut nz = (0..weights.len()).filter_map(|index| weights.spec(index)).map(|spec| spec.format().is_nz());
    let first =
        nz.next().ok_or_else(|| Error::InvalidArgument("grouped matmul wants at least one weight".into()))?;
    if nz.any(|other| other != first) {
        return Err(Error::InvalidArgument(
            "some weights of a grouped matmul are in FRACTAL_NZ and some are not; bring them all to one layout".into(),
        ));
    }
    Ok(first)
}
