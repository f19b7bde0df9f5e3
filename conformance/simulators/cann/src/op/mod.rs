//! The aclnn operators. Each module says what it computes, and what it had to choose.

mod dense;
mod format_cast;
mod gating;
mod gating_softmax;
mod grouped;
mod mx;
mod permute;
mod product;
mod quantize;
mod scales;
mod swiglu;
mod unpermute;
mod weight_only;
