//! Quantise, dequantise, and SwiGLU.

use core::ffi::CStr;

use super::super::executor::Argument;
use super::super::{Context, Executor, TensorView};
use super::prepare;
use crate::error::Result;

/// How an element is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoundMode {
    /// To the nearest, ties to even.
    #[default]
    Rint,
    /// Towards minus infinity; FP4 only.
    Floor,
    /// To the nearest, ties away from zero; FP4 only.
    Round,
}

impl RoundMode {
    /// As CANN has it.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Rint => c"rint",
            Self::Floor => c"floor",
            Self::Round => c"round",
        }
    }
}

/// MX quantisation: elements and E8M0 scales of blocks along an axis.
///
/// `x` FP16, BF16 or FP32 of rank 1 to 7; `y` of its dims in FP4 or FP8, which says what is made; `scale` E8M0 with one
/// more axis, of 2: along the last axis `[M, K]` gives `[M, ceil(K/64), 2]`, and a byte without a block is 0. FP4 wants
/// an even last dim.
#[derive(Clone, Debug)]
pub struct DynamicMxQuant<'a> {
    /// What is quantised.
    pub x: &'a TensorView,
    /// The elements.
    pub y: &'a TensorView,
    /// The scales.
    pub scale: &'a TensorView,
    /// The axis of the blocks; -1, the last, unless said otherwise.
    pub axis: i64,
    /// How elements are rounded.
    pub round_mode: RoundMode,
    /// Elements of a block: 32 unless said otherwise.
    pub block_size: i64,
    /// The rule of the scale: 0 OCP, 1 ceil (FP8 only), 2 by `dst_type_max` (FP4 E2M1, V2 or later).
    pub scale_alg: i64,
    /// The greatest value for rule 2: 0, or 6 to 12. V2 or later.
    pub dst_type_max: f64,
    /// A lower bound of a block's maximum. V3.
    pub max_low_bound: f64,
}

impl<'a> DynamicMxQuant<'a> {
    /// Blocks of 32 along the last axis, OCP's scale, ties to even.
    pub fn new(x: &'a TensorView, y: &'a TensorView, scale: &'a TensorView) -> Self {
        Self {
            x,
            y,
            scale,
            axis: -1,
            round_mode: RoundMode::default(),
            block_size: 32,
            scale_alg: 0,
            dst_type_max: 0.0,
            max_low_bound: 0.0,
        }
    }

    /// The newest version that is there, as long as it can do what is asked for.
    ///
    /// # Errors
    ///
    /// No version is there; what is asked for needs a newer one; CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let table = context.library().operator_table();
        let Self { x, y, scale, axis, round_mode, block_size, scale_alg, dst_type_max, max_low_bound } =
            *self;
        let (round_mode, dst_type) = (round_mode.name(), i64::from(y.spec().data_type().number()));
        let (bounded, v2) = (max_low_bound != 0.0, dst_type_max != 0.0 || scale_alg == 2);
        if table.aclnnDynamicMxQuantV3.is_some() || bounded {
            return prepare!(
                context, aclnnDynamicMxQuantV3GetWorkspaceSize then aclnnDynamicMxQuantV3,
                x, axis, round_mode, dst_type, block_size, scale_alg, dst_type_max, max_low_bound, y, scale,
            );
        }
        if table.aclnnDynamicMxQuantV2.is_some() || v2 {
            return prepare!(
                context, aclnnDynamicMxQuantV2GetWorkspaceSize then aclnnDynamicMxQuantV2,
                x, axis, round_mode, dst_type, block_size, scale_alg, dst_type_max, y, scale,
            );
        }
        prepare!(
            context, aclnnDynamicMxQuantGetWorkspaceSize then aclnnDynamicMxQuant,
            x, axis, round_mode, dst_type, block_size, scale_alg, y, scale,
        )
    }
}

/// MX dequantisation: the inverse of [`DynamicMxQuant`].
#[derive(Clone, Debug)]
pub struct AntiMxQuant<'a> {
    /// The elements, FP4 or FP8.
    pub x: &'a TensorView,
    /// The scales, E8M0 in pairs.
    pub scale: &'a TensorView,
    /// The values, whose type says what is made.
    pub y: &'a TensorView,
    /// The axis of the blocks; -1, the last, unless said otherwise.
    pub axis: i64,
}

impl<'a> AntiMxQuant<'a> {
    /// Blocks along the last axis.
    pub fn new(x: &'a TensorView, scale: &'a TensorView, y: &'a TensorView) -> Self {
        Self { x, scale, y, axis: -1 }
    }

    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let Self { x, scale, y, axis } = *self;
        let dst_type = i64::from(y.spec().data_type().number());
        prepare!(context, aclnnAntiMxQuantGetWorkspaceSize then aclnnAntiMxQuant, x, scale, axis, dst_type, y)
    }
}

/// SwiGLU, then MX quantisation.
#[derive(Clone, Debug)]
pub struct SwigluMxQuant<'a> {
    /// Both halves.
    pub x: &'a TensorView,
    /// The elements, FP4 or FP8.
    pub y: &'a TensorView,
    /// The scales, E8M0 in pairs.
    pub scale: &'a TensorView,
    /// Rows of each group, where not all rows are used.
    pub group_index: Option<&'a TensorView>,
    /// The axis that the halves lie along; -1 unless said otherwise.
    pub activate_dim: i64,
    /// Whether the left half is the one that passes through the activation.
    pub activate_left: bool,
    /// Which SwiGLU, by CANN's number; 0 unless said otherwise.
    pub swiglu_mode: i64,
    /// Where values are clamped.
    pub clamp_limit: f64,
    /// The factor in the sigmoid.
    pub glu_alpha: f64,
    /// What is added to the other half.
    pub glu_bias: f64,
    /// How `group_index` is to be read.
    pub group_mode: i64,
    /// The axis of the blocks; -1 unless said otherwise.
    pub axis: i64,
    /// How elements are rounded.
    pub round_mode: RoundMode,
    /// The rule of the scale, as for [`DynamicMxQuant`].
    pub scale_alg: i64,
    /// The greatest value, for rule 2.
    pub max_dtype_value: f64,
}

impl<'a> SwigluMxQuant<'a> {
    /// The plain SwiGLU of the two halves of the last axis, the left one activated; OCP's scale.
    pub fn new(x: &'a TensorView, y: &'a TensorView, scale: &'a TensorView) -> Self {
        Self {
            x,
            y,
            scale,
            group_index: None,
            activate_dim: -1,
            activate_left: true,
            swiglu_mode: 0,
            clamp_limit: 0.0,
            glu_alpha: 1.0,
            glu_bias: 0.0,
            group_mode: 0,
            axis: -1,
            round_mode: RoundMode::default(),
            scale_alg: 0,
            max_dtype_value: 0.0,
        }
    }

    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        let dst_type = i64::from(self.y.spec().data_type().number());
        prepare!(
            context, aclnnSwigluMxQuantGetWorkspaceSize then aclnnSwigluMxQuant,
            self.x, self.group_index, self.activate_dim, self.activate_left, self.swiglu_mode, self.clamp_limit,
            self.glu_alpha, self.glu_bias, self.group_mode, self.axis, dst_type, self.round_mode.name(),
            self.scale_alg, self.max_dtype_value, self.y, self.scale,
        )
    }
}

/// SwiGLU in floating point.
#[derive(Clone, Debug)]
pub struct SwiGlu<'a> {
    /// Both halves.
    pub x: &'a TensorView,
    /// The result, of half the dim.
    pub out: &'a TensorView,
    /// The axis that the halves lie along; -1 unless said otherwise.
    pub dim: i64,
}

impl<'a> SwiGlu<'a> {
    /// Of the halves of the last axis.
    pub fn new(x: &'a TensorView, out: &'a TensorView) -> Self {
        Self { x, out, dim: -1 }
    }

    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(context, aclnnSwiGluGetWorkspaceSize then aclnnSwiGlu, self.x, self.dim, self.out)
    }
}
