//! Dense matmul.

use super::super::executor::Argument;
use super::super::{Context, Executor, TensorView};
use super::prepare;
use crate::error::Result;

/// Blocks of 1 × 1 × 32 along M, N and K, as CANN packs them into one number.
pub const MX_GROUP_SIZE: i64 = 32 | (1 << 16) | (1 << 32);

/// Quantised matmul: `out[m, n] = Σ_k x1·x2·scales + bias`.
///
/// `x1` `[b, m, k]` or, transposed, `[b, k, m]`; `x2` `[b, k, n]` or, transposed, `[b, n, k]`; up to four batch dims.
/// Scales E8M0 in pairs: `x1_scale` `[b, m, ceil(k/64), 2]` or `[b, ceil(k/64), m, 2]`, `x2_scale` `[b, ceil(k/64), n, 2]`
/// or `[b, n, ceil(k/64), 2]`. Both sides MXFP4 or MXFP8, or `x1` MXFP8 and `x2` MXFP4 without batch dims, `x2`
/// transposed, k a multiple of 8. `out` FP16, BF16 or, but for the last, FP32. FP4 wants even inner dims and k above 2.
#[derive(Clone, Debug)]
pub struct QuantMatmul<'a> {
    /// The left side.
    pub x1: &'a TensorView,
    /// The right side; one in FRACTAL_NZ takes the operator for that.
    pub x2: &'a TensorView,
    /// The scales of the left side.
    pub x1_scale: &'a TensorView,
    /// The scales of the right side.
    pub x2_scale: &'a TensorView,
    /// The result.
    pub out: &'a TensorView,
    /// Added to each row.
    pub bias: Option<&'a TensorView>,
    /// Whether the left side lies transposed.
    pub transpose_x1: bool,
    /// Whether the right side lies transposed; true unless said otherwise.
    pub transpose_x2: bool,
    /// The block of each axis; [`MX_GROUP_SIZE`] unless said otherwise.
    pub group_size: i64,
}

impl<'a> QuantMatmul<'a> {
    /// MX blocks of 32, `x2` as `[n, k]`, no bias.
    pub fn new(
        x1: &'a TensorView,
        x1_scale: &'a TensorView,
        x2: &'a TensorView,
        x2_scale: &'a TensorView,
        out: &'a TensorView,
    ) -> Self {
        Self {
            x1,
            x2,
            x1_scale,
            x2_scale,
            out,
            bias: None,
            transpose_x1: false,
            transpose_x2: true,
            group_size: MX_GROUP_SIZE,
        }
    }

    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x1, x2, x1_scale, x2_scale, out, bias, transpose_x1, transpose_x2, group_size } = *self;
        let none = None::<&TensorView>;
        if x2.spec().format().is_nz() {
            return prepare!(
                context, aclnnQuantMatmulWeightNzGetWorkspaceSize then aclnnQuantMatmulWeightNz,
                x1, x2, x1_scale, x2_scale, none, none, none, none, bias, transpose_x1, transpose_x2, group_size, out,
            );
        }
        prepare!(
            context, aclnnQuantMatmulV5GetWorkspaceSize then aclnnQuantMatmulV5,
            x1, x2, x1_scale, x2_scale, none, none, none, none, bias, transpose_x1, transpose_x2, group_size, out,
        )
    }
}

/// Matmul of FP16 or BF16 rows with a quantised weight.
///
/// For MX on the 950: `x` `[m, k]`, `weight` FP4 E2M1 `[k, n]` in ND, `scale` E8M0 `[ceil(k/32), n]`, blocks of 32.
#[derive(Clone, Debug)]
pub struct WeightQuantBatchMatmul<'a> {
    /// The rows.
    pub x: &'a TensorView,
    /// The weight.
    pub weight: &'a TensorView,
    /// The scales of the weight.
    pub scale: &'a TensorView,
    /// The result.
    pub y: &'a TensorView,
    /// What is added to the weight before it is scaled.
    pub offset: Option<&'a TensorView>,
    /// The scale of a quantised result.
    pub quant_scale: Option<&'a TensorView>,
    /// The offset of a quantised result.
    pub quant_offset: Option<&'a TensorView>,
    /// Added to each row.
    pub bias: Option<&'a TensorView>,
    /// Elements of a block; 32 unless said otherwise.
    pub group_size: i32,
    /// The choice of precision; V3. 0 unless said otherwise.
    pub inner_precise: i32,
}

impl<'a> WeightQuantBatchMatmul<'a> {
    /// Blocks of 32, nothing added.
    pub fn new(x: &'a TensorView, weight: &'a TensorView, scale: &'a TensorView, y: &'a TensorView) -> Self {
        Self {
            x,
            weight,
            scale,
            y,
            offset: None,
            quant_scale: None,
            quant_offset: None,
            bias: None,
            group_size: 32,
            inner_precise: 0,
        }
    }

    /// The newest version that is there, as long as it can do what is asked for.
    ///
    /// # Errors
    ///
    /// No version is there; what is asked for needs a newer one; CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x, weight, scale, y, offset, quant_scale, quant_offset, bias, group_size, inner_precise } =
            *self;
        let table = context.library().operator_table();
        let v2_will_do = inner_precise == 0 && table.aclnnWeightQuantBatchMatmulV2.is_some();
        if table.aclnnWeightQuantBatchMatmulV3.is_none() && v2_will_do {
            return prepare!(
                context, aclnnWeightQuantBatchMatmulV2GetWorkspaceSize then aclnnWeightQuantBatchMatmulV2,
                x, weight, scale, offset, quant_scale, quant_offset, bias, group_size, y,
            );
        }
        prepare!(
            context, aclnnWeightQuantBatchMatmulV3GetWorkspaceSize then aclnnWeightQuantBatchMatmulV3,
            x, weight, scale, offset, quant_scale, quant_offset, bias, group_size, inner_precise, y,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_size_of_mx_is_the_documented_number() {
        assert_eq!(MX_GROUP_SIZE, 4_295_032_864);
    }
}
